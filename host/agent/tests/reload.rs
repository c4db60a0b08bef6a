//! The configuration and the plugins' files are changed while the agent runs.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test panics where it fails, and says what it measured"
)]

mod common;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::agent::{config, promtool, signal};
use common::{Agent, Lab, Nginx, fixture, within};

const PATIENCE: Duration = Duration::from_secs(30);

/// A sink of the fixture `good-echo`, which writes a line a window to a file of its name.
fn echo(lab: &Lab, name: &str, more: &str) -> String {
    sink(lab, name, &fixture("good-echo"), more)
}

fn sink(lab: &Lab, name: &str, plugin: &Path, more: &str) -> String {
    format!(
        "[[sinks]]\nname = \"{name}\"\nplugin = \"{}\"\nmode = \"every-window\"\n\
         endpoints.out = {{ kind = \"file\", path = \"{}\" }}\n{more}\n",
        plugin.display(),
        out(lab, name).display()
    )
}

fn out(lab: &Lab, name: &str) -> PathBuf {
    lab.dir.path().join(name)
}

/// Windows and requests that a sink wrote.
fn windows(lab: &Lab, name: &str) -> Vec<(u64, u64)> {
    let text = std::fs::read_to_string(out(lab, name)).unwrap_or_default();
    let number = |word: &str| word.split_once('=').unwrap().1.parse().unwrap();
    text.lines()
        .map(|line| {
            let words: Vec<_> = line.split(' ').collect();
            (number(words[0]), number(words[2]))
        })
        .collect()
}

/// The sink has written `more` windows from now on.
fn writes(lab: &Lab, agent: &Agent<'_>, name: &str, more: usize) {
    let before = windows(lab, name).len();
    within(PATIENCE, "the sink writes", || {
        let now = windows(lab, name).len();
        if now >= before + more {
            Ok(())
        } else {
            Err(format!(
                "{now} of {before} and {more} windows: {}",
                agent.sink(name)
            ))
        }
    });
}

/// Each window once and in order.
fn whole(lab: &Lab, name: &str) {
    let windows: Vec<u64> = windows(lab, name)
        .iter()
        .map(|(window, _)| *window)
        .collect();
    assert!(
        windows.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{windows:?}"
    );
}

/// As editors and configuration tools do it.
fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(&new, file).unwrap();
}

fn says(agent: &Agent<'_>, line: &str) -> String {
    within(PATIENCE, "the agent's log says it", || {
        let log = agent.log();
        let found = log.lines().find(|found| found.contains(line));
        found
            .map(str::to_owned)
            .ok_or_else(|| format!("{line:?} is not in\n{log}"))
    })
}

fn metric(agent: &Agent<'_>, line: &str) {
    within(PATIENCE, "the metric says it", || {
        let (_, metrics) = agent.get("/metrics").unwrap();
        if metrics.contains(&format!("\n{line}\n")) {
            Ok(())
        } else {
            Err(format!("{line} is not in\n{metrics}"))
        }
    });
}

fn is(agent: &Agent<'_>, name: &str, what: &str, good: impl Fn(&serde_json::Value) -> bool) {
    within(PATIENCE, what, || {
        let sink = agent.sink(name);
        if good(&sink) {
            Ok(())
        } else {
            Err(sink.to_string())
        }
    });
}

#[test]
fn a_changed_file_is_in_effect_without_a_restart_and_no_window_is_lost() {
    let lab = Lab::new(1);
    let nginx = Nginx::start(&lab, "p1");
    let file = lab.dir.path().join("owlk8s.toml");
    let with = |sinks: &str| config(&[lab.target("p1")], sinks);
    let agent = Agent::attached(&lab, &with(&(echo(&lab, "a", "") + &echo(&lab, "b", ""))));
    writes(&lab, &agent, "a", 2);
    writes(&lab, &agent, "b", 1);
    let children = agent.children();
    let begin = nginx.requests();
    let load = nginx.spawn_load(3);
    for round in 1..=5 {
        let changed = echo(&lab, "a", &format!("limits.log_lines = {round}"));
        replace(&file, &with(&(changed + &echo(&lab, "c", ""))));
        is(&agent, "a", "the next generation runs", |sink| {
            sink["generation"] == round + 1
        });
    }
    load.wait_with_output().unwrap();
    let truth = nginx.requests_since(begin);
    within(PATIENCE, "the sink has every request", || {
        let last = *windows(&lab, "a").last().unwrap();
        if last.1 == truth {
            Ok(())
        } else {
            Err(format!("{last:?}, {truth} at nginx"))
        }
    });
    whole(&lab, "a");
    writes(&lab, &agent, "c", 2);
    within(PATIENCE, "b is gone", || {
        let plugins = agent.json("/plugins").to_string();
        if plugins.contains("\"name\":\"b\"") {
            Err(plugins)
        } else {
            Ok(())
        }
    });
    whole(&lab, "b");
    assert_eq!(agent.children(), children, "by the same plugin process");
    assert_eq!(agent.sink("a")["counters"]["windows_dropped"], 0);
    metric(&agent, "owlk8s_config_reloads_total{result=\"applied\"} 5");
    let (_, metrics) = agent.get("/metrics").unwrap();
    promtool(&metrics);
    println!(
        "{} windows and {truth} requests over 5 reloads",
        windows(&lab, "a").len()
    );
}

#[test]
fn a_broken_file_is_refused_as_a_whole_with_one_line() {
    let lab = Lab::new(1);
    let file = lab.dir.path().join("owlk8s.toml");
    let good = config(&[lab.target("p1")], &echo(&lab, "a", ""));
    let agent = Agent::start(&lab, &good);
    writes(&lab, &agent, "a", 1);
    // Its first sink alone would be good.
    replace(
        &file,
        &(good.clone() + &echo(&lab, "b", "") + "intervall = 3\n"),
    );
    let line = says(&agent, "new configuration is refused");
    assert!(
        line.contains("owlk8s.toml:") && line.contains("unknown key \\\"intervall\\\""),
        "{line}"
    );
    println!("{line}");
    metric(&agent, "owlk8s_config_reloads_total{result=\"refused\"} 1");
    metric(&agent, "owlk8s_config_last_reload_successful 0");
    assert_eq!(agent.json("/plugins").as_array().unwrap().len(), 1);
    writes(&lab, &agent, "a", 3);
    whole(&lab, "a");
    replace(&file, &(good + &echo(&lab, "b", "")));
    writes(&lab, &agent, "b", 1);
    metric(&agent, "owlk8s_config_last_reload_successful 1");
    assert_eq!(agent.sink("a")["generation"], 1);
}

#[test]
fn the_swap_of_a_config_map_s_data_link_is_a_reload() {
    let lab = Lab::new(1);
    let dir = lab.dir.path();
    // As the kubelet lays it out: owlk8s.toml -> ..data/owlk8s.toml, ..data -> ..2026_1.
    for version in ["..2026_1", "..2026_2"] {
        std::fs::create_dir(dir.join(version)).unwrap();
    }
    symlink("..2026_1", dir.join("..data")).unwrap();
    symlink("..data/owlk8s.toml", dir.join("owlk8s.toml")).unwrap();
    let text = |sinks: &str| config(&[lab.target("p1")], sinks);
    let agent = Agent::start(&lab, &text(&echo(&lab, "a", "")));
    writes(&lab, &agent, "a", 1);
    for (round, (new, old)) in [("..2026_2", "..2026_1"), ("..2026_1", "..2026_2")]
        .into_iter()
        .enumerate()
    {
        let _ = std::fs::create_dir(dir.join(new));
        let sinks = echo(&lab, "a", "") + &echo(&lab, &format!("b{round}"), "");
        std::fs::write(dir.join(new).join("owlk8s.toml"), text(&sinks)).unwrap();
        symlink(new, dir.join("..data_tmp")).unwrap();
        std::fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
        std::fs::remove_dir_all(dir.join(old)).unwrap();
        writes(&lab, &agent, &format!("b{round}"), 2);
    }
    whole(&lab, "a");
    assert_eq!(agent.sink("a")["generation"], 1);
}

#[test]
fn a_broken_component_is_refused_beside_the_one_that_runs() {
    let lab = Lab::new(1);
    let mine = lab.dir.path().join("mine.wasm");
    std::fs::copy(fixture("good-echo"), &mine).unwrap();
    let agent = Agent::start(
        &lab,
        &config(&[lab.target("p1")], &sink(&lab, "a", &mine, "")),
    );
    writes(&lab, &agent, "a", 1);
    // In place, as `cp` does it.
    std::fs::copy(fixture("panics"), &mine).unwrap();
    is(&agent, "a", "the generation is refused", |sink| {
        let reason = sink["refused"]["reason"].as_str().unwrap_or_default();
        reason.contains("dry run on window") && reason.contains("panicked")
    });
    let line = says(
        &agent,
        "the new generation is refused, and generation 1 runs on: ",
    );
    println!("{line}");
    let one: serde_json::Value = serde_json::from_str(&agent.get("/plugins/a").unwrap().1).unwrap();
    assert_eq!(
        (&one["state"], &one["generation"]),
        (&"active".into(), &1.into())
    );
    writes(&lab, &agent, "a", 3);
    std::fs::write(&mine, b"garbage").unwrap();
    is(&agent, "a", "garbage is refused", |sink| {
        sink["refused"]["reason"]
            .to_string()
            .contains("is no WebAssembly component")
    });
    writes(&lab, &agent, "a", 2);
    std::fs::copy(fixture("good-echo"), &mine).unwrap();
    is(&agent, "a", "the old one is found good again", |sink| {
        sink["refused"].is_null()
    });
    writes(&lab, &agent, "a", 1);
    assert_eq!(agent.sink("a")["generation"], 1, "it never ended");
    whole(&lab, "a");
}

#[test]
fn a_plugin_s_file_that_is_replaced_is_the_next_generation() {
    let lab = Lab::new(1);
    let plugins = lab.dir.path().join("plugins");
    std::fs::create_dir(&plugins).unwrap();
    let by_name = sink(&lab, "a", Path::new("mine"), "");
    let dirs = format!("plugin_dirs = [\"{}\"]\n", plugins.display());
    let agent = Agent::start(&lab, &(dirs + &config(&[lab.target("p1")], &by_name)));
    is(&agent, "a", "there is no such plugin yet", |sink| {
        sink["state"] == "failed"
    });
    // It comes by itself when its file does.
    std::fs::copy(fixture("good-echo"), plugins.join("mine.wasm")).unwrap();
    writes(&lab, &agent, "a", 2);
    replace(
        &plugins.join("mine.wasm"),
        "\0", // Broken for a moment, as by an upload that fails.
    );
    is(&agent, "a", "it is refused", |sink| {
        !sink["refused"].is_null()
    });
    std::fs::copy(fixture("keeps-state"), plugins.join("mine.wasm")).unwrap();
    is(&agent, "a", "the next generation runs", |sink| {
        sink["generation"] == 2
    });
}

#[test]
fn sighup_looks_again_and_says_what_needs_a_restart() {
    let lab = Lab::new(1);
    let file = lab.dir.path().join("owlk8s.toml");
    let text = config(&[lab.target("p1")], &echo(&lab, "a", ""));
    let agent = Agent::start(&lab, &text);
    writes(&lab, &agent, "a", 1);
    signal(agent.pid(), "HUP");
    says(&agent, "configuration reloaded");
    metric(&agent, "owlk8s_config_reloads_total{result=\"applied\"} 1");
    assert_eq!(agent.sink("a")["generation"], 1, "nothing had changed");
    replace(
        &file,
        &(text
            .replace("200ms", "300ms")
            .replace("lab\"\n", "other\"\nlog = \"debug\"\n")
            + "[probe]\nrows = 128\n"),
    );
    let line = says(&agent, "configuration reloaded, in part");
    assert!(line.contains("changed=\"interval, log\""), "{line}");
    assert!(
        line.contains("needs_restart=\"node, probe.rows\""),
        "{line}"
    );
    metric(&agent, "owlk8s_config_keys_needing_restart 2");
    assert_eq!(agent.snapshot()["node"], "lab", "it stays until then");
    writes(&lab, &agent, "a", 2);
    whole(&lab, "a");
}

#[test]
fn static_targets_come_and_go_with_the_file_and_the_others_count_on() {
    let lab = Lab::new(2);
    let nginx = Nginx::start(&lab, "p1");
    let file = lab.dir.path().join("owlk8s.toml");
    let agent = Agent::attached(&lab, &config(&[lab.target("p1")], ""));
    nginx.get("/200");
    replace(&file, &config(&[lab.target("p1"), lab.target("p2")], ""));
    let pods = || -> Vec<String> {
        let snapshot = agent.snapshot();
        let targets = snapshot["targets"].as_array().unwrap().iter();
        targets
            .filter(|target| target["status"] == "active")
            .map(|target| target["pod"].as_str().unwrap().to_owned())
            .collect()
    };
    let are = |wanted: &[&str]| {
        within(PATIENCE, "the targets are those of the file", || {
            let pods = pods();
            if pods == wanted {
                Ok(())
            } else {
                Err(format!("{pods:?}"))
            }
        });
    };
    are(&["p1", "p2"]);
    nginx.get("/200");
    within(PATIENCE, "p1 counts on", || {
        let requests = agent.pod("p1")["totals"]["requests"].clone();
        if requests == 2 {
            Ok(())
        } else {
            Err(requests.to_string())
        }
    });
    replace(&file, &config(&[lab.target("p1")], ""));
    are(&["p1"]);
    // One without anything to watch is refused.
    replace(&file, "node = \"lab\"\n");
    says(&agent, "new configuration is refused");
    are(&["p1"]);
}

//! `kill -9` of plugin process, compile child and agent under load: where the agent lived the sums of a `delta` sink
//! are the truth, and where it did not a gap is told.
//!
//! `OWLK8S_KILLS` is how often each of the three is killed, 3 by default.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test panics where it fails, and says what it measured"
)]

mod common;

use std::path::Path;
use std::process::Child;
use std::time::Duration;

use common::agent::{config, is_signalled, signal};
use common::{Agent, Lab, Nginx, fixture, within};

/// A line of the fixture `good-echo`.
#[derive(Clone, Copy, Debug)]
struct Line {
    window: u64,
    requests: u64,
    gap: Option<u64>,
}

fn lines(file: &Path) -> Vec<Line> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    // A line on its way has no end yet.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let line = |line: &str| {
        let field = |name: &str| {
            let words = line.split(' ').filter_map(|word| word.split_once('='));
            let value = { words }.find(|(key, _)| *key == name)?.1;
            Some(value.parse().unwrap_or_else(|_| panic!("{line:?}")))
        };
        Line {
            window: field("window").unwrap(),
            requests: field("requests").unwrap(),
            gap: field("gap"),
        }
    };
    whole.lines().map(line).collect()
}

fn sum(lines: &[Line]) -> u64 {
    lines.iter().map(|line| line.requests).sum()
}

fn kills() -> u32 {
    let kills = std::env::var("OWLK8S_KILLS").ok();
    kills.map_or(3, |kills| kills.parse().expect("OWLK8S_KILLS is a number"))
}

/// Two sinks: differences, and every window's sums, which the differences must add up to. Nothing is compiled for them yet.
fn sinks(lab: &Lab, plugin: &Path) -> String {
    let dir = lab.dir.path();
    for made in ["state", "cache"] {
        std::fs::create_dir(dir.join(made)).unwrap();
    }
    let sink = |name: &str, mode: &str| {
        format!(
            "[[sinks]]\nname = \"{name}\"\nplugin = \"{}\"\nmode = \"{mode}\"\n\
             endpoints.out = {{ kind = \"file\", path = \"{}\" }}\n",
            plugin.display(),
            dir.join(name).display()
        )
    };
    format!(
        "[plugins]\nstate_dir = \"{}\"\ncache_dir = \"{}\"\n{}{}",
        dir.join("state").display(),
        dir.join("cache").display(),
        sink("delta", "delta"),
        sink("every", "every-window")
    )
}

fn is_active(agent: &Agent<'_>) {
    within(
        Duration::from_secs(60),
        "the sinks are active",
        || match ["delta", "every"].map(|name| agent.sink(name)) {
            [delta, every] if delta["state"] == "active" && every["state"] == "active" => Ok(()),
            sinks => Err(format!("{sinks:?}")),
        },
    );
}

/// Waits until the lines from `from` on add up to what nginx answered, and stay so.
fn is_truth(file: &Path, from: usize, truth: u64) {
    within(Duration::from_secs(20), "the sum is the truth", || {
        let lines = lines(file).split_off(from);
        match sum(&lines) {
            sum if sum == truth => Ok(()),
            sum => Err(format!("{sum} of {truth} in {lines:?}")),
        }
    });
    let windows = lines(file).len();
    within(Duration::from_secs(20), "two more windows come", || {
        if lines(file).len() >= windows + 2 {
            Ok(())
        } else {
            Err("none".to_owned())
        }
    });
    assert_eq!(sum(&lines(file)[from..]), truth);
}

/// While load runs, at any time of a window: not for something to happen.
fn some_time() {
    let random = std::collections::hash_map::RandomState::new();
    let random = std::hash::BuildHasher::hash_one(&random, 0);
    std::thread::sleep(Duration::from_millis(150 + random % 500));
}

fn ended(mut load: Child) {
    load.wait().unwrap();
}

#[test]
fn sums_are_the_truth_however_often_the_plugin_process_is_killed() {
    let lab = Lab::new(1);
    let nginx = Nginx::start(&lab, "p1");
    let out = lab.dir.path().join("delta");
    let agent = Agent::attached(
        &lab,
        &config(&[lab.target("p1")], &sinks(&lab, &fixture("good-echo"))),
    );
    is_active(&agent);
    let (from, mut truth) = (lines(&out).len(), 0);
    for round in 1..=kills() {
        let begin = nginx.requests();
        let load = nginx.spawn_load(2);
        some_time();
        let killed = within(Duration::from_secs(30), "there is one to kill", || {
            let child = agent.children().first().copied();
            child.ok_or_else(|| agent.log())
        });
        signal(killed, "KILL");
        ended(load);
        truth += nginx.requests_since(begin);
        is_active(&agent);
        is_truth(&out, from, truth);
        let windows = lines(&out).len() - from;
        println!("plugin process killed {round} times: {truth} requests in {windows} windows");
    }
    let delta = agent.sink("delta");
    assert_eq!(delta["counters"]["gaps"], 0, "{delta}");
    // It waits longer each time that it is started anew; of what does not wait meanwhile, none is lost silently.
    let every = agent.sink("every");
    let all = lines(&lab.dir.path().join("every"));
    let windows: Vec<u64> = { all.iter() }.map(|line| line.window).collect();
    let once = windows.is_sorted_by(|a, b| a < b);
    assert!(once, "each window is in the file once: {windows:?}");
    let passed = windows[windows.len() - 1] - windows[0] + 1;
    let missing = passed - windows.len() as u64;
    let dropped = every["counters"]["windows_dropped"].as_u64();
    assert!(dropped >= Some(missing), "{missing} are missing: {every}");
}

/// The fixture with a custom section that no other round has: another component, which must be compiled.
fn replace(plugin: &Path, round: u32) {
    let mut component = std::fs::read(fixture("good-echo")).unwrap();
    component.extend([0, 9, 4]);
    component.extend(b"kill");
    component.extend(round.to_le_bytes());
    let new = plugin.with_extension("new");
    std::fs::write(&new, component).unwrap();
    std::fs::rename(new, plugin).unwrap();
}

/// Kills the agent's compile child as soon as there is one; false where it was faster.
fn compiler_is_killed(agent: &Agent<'_>, plugins: u32) -> bool {
    let compiler = within(Duration::from_secs(30), "a compile child", || {
        let child = agent.children().into_iter().find(|pid| *pid != plugins);
        child.ok_or_else(|| agent.log())
    });
    is_signalled(compiler, "KILL")
}

#[test]
fn sums_are_the_truth_however_often_the_compile_child_is_killed() {
    let lab = Lab::new(1);
    let nginx = Nginx::start(&lab, "p1");
    let (out, plugin) = (
        lab.dir.path().join("delta"),
        lab.dir.path().join("echo.wasm"),
    );
    replace(&plugin, 0);
    let agent = Agent::attached(&lab, &config(&[lab.target("p1")], &sinks(&lab, &plugin)));
    is_active(&agent);
    let plugins = agent.children()[0];
    let generation = |agent: &Agent<'_>| agent.sink("delta")["generation"].as_u64().unwrap();
    let (from, mut truth) = (lines(&out).len(), 0);
    let (mut killed, mut version) = (0, 0);
    while killed < kills() {
        let (begin, before) = (nginx.requests(), generation(&agent));
        let load = nginx.spawn_load(2);
        some_time();
        version += 1;
        replace(&plugin, version);
        killed += u32::from(compiler_is_killed(&agent, plugins));
        ended(load);
        truth += nginx.requests_since(begin);
        within(Duration::from_secs(30), "the new one runs", || {
            let sink = agent.sink("delta");
            if generation(&agent) > before && sink["state"] == "active" {
                Ok(())
            } else {
                Err(format!("{sink}\n{}", agent.log()))
            }
        });
        is_truth(&out, from, truth);
        let windows = lines(&out).len() - from;
        println!("compile child killed {killed} times: {truth} requests in {windows} windows");
    }
    assert_eq!(
        agent.children(),
        [plugins],
        "the plugin process was not touched"
    );
    let delta = agent.sink("delta");
    assert_eq!(delta["counters"]["gaps"], 0, "{delta}");
    assert_eq!(delta["counters"]["windows_dropped"], 0, "{delta}");
}

#[test]
fn gap_is_told_for_each_time_that_the_agent_was_killed() {
    let lab = Lab::new(1);
    let nginx = Nginx::start(&lab, "p1");
    let (out, every) = (lab.dir.path().join("delta"), lab.dir.path().join("every"));
    let config = config(&[lab.target("p1")], &sinks(&lab, &fixture("good-echo")));
    let mut agent = Agent::attached(&lab, &config);
    is_active(&agent);
    for round in 1..=kills() {
        let (from, from_every) = life(&out, &every);
        // Where it lived.
        let (begin, so_far) = (nginx.requests(), lines(&out).len());
        let before = sum(&lines(&out)[from..so_far]);
        ended(nginx.spawn_load(1));
        is_truth(&out, from, before + nginx.requests_since(begin));
        // And died.
        let load = nginx.spawn_load(2);
        some_time();
        signal(agent.pid(), "KILL");
        drop(agent);
        ended(load);
        let (life, sums) = (
            lines(&out).split_off(from),
            lines(&every).split_off(from_every),
        );
        let both = life
            .iter()
            .rfind(|line| sums.iter().any(|sum| sum.window == line.window))
            .unwrap();
        let until: Vec<Line> = { life.iter() }
            .filter(|line| line.window <= both.window)
            .copied()
            .collect();
        let cumulative = sums.iter().find(|sum| sum.window == both.window).unwrap();
        assert_eq!(sum(&until), cumulative.requests, "{until:?}\n{sums:?}");
        agent = Agent::attached(&lab, &config);
        is_active(&agent);
        let first = within(
            Duration::from_secs(30),
            "the next agent's first window",
            || {
                let lines = lines(&out);
                lines
                    .get(from + life.len())
                    .copied()
                    .ok_or_else(|| format!("{lines:?}\n{}", agent.log()))
            },
        );
        let gap = first.gap.expect("the gap is told");
        println!(
            "agent killed {round} times: {} requests until window {}, then a gap of {gap} ms",
            cumulative.requests, both.window
        );
        within(Duration::from_secs(10), "the gap is counted", || {
            let delta = agent.sink("delta");
            if delta["counters"]["gaps"] == round {
                Ok(())
            } else {
                Err(delta.to_string())
            }
        });
    }
    let told = lines(&out).iter().filter(|line| line.gap.is_some()).count();
    assert_eq!(told, kills() as usize, "once for each");
    let (_, metrics) = agent.get("/metrics").unwrap();
    let counted = format!("owlk8s_sink_gaps_total{{sink=\"delta\"}} {}\n", kills());
    assert!(metrics.contains(&counted), "{metrics}");
    within(Duration::from_secs(10), "the gap is logged", || {
        let log = agent.log();
        if log.contains("nothing was counted for") {
            Ok(())
        } else {
            Err(log)
        }
    });
}

/// Where the lines of this agent begin.
fn life(out: &Path, every: &Path) -> (usize, usize) {
    let from = |file: &Path| {
        lines(file)
            .iter()
            .rposition(|line| line.gap.is_some())
            .unwrap_or(0)
    };
    (from(out), from(every))
}

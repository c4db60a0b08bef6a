//! The plugin process beside the agent: killed, fed with bad plugins, scraped.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test panics where it fails, and says what it measured"
)]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::agent::{config, promtool, request, signal};
use common::{Agent, Lab, Nginx, fixture, shipped, within};

/// What the fixture `good-echo` wrote: window and requests of each line.
fn echoes(file: &Path) -> Vec<(u64, u64)> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let number = |word: &str| word.split_once('=').unwrap().1.parse().unwrap();
    text.lines()
        .map(|line| {
            let words: Vec<_> = line.split(' ').collect();
            (number(words[0]), number(words[2]))
        })
        .collect()
}

/// A sink that writes a line a window to `file`.
fn echo(file: &Path) -> String {
    format!(
        "[[sinks]]\nname = \"echo\"\nplugin = \"{}\"\nmode = \"every-window\"\n\
         endpoints.out = {{ kind = \"file\", path = \"{}\" }}\n",
        fixture("good-echo").display(),
        file.display()
    )
}

fn plugin_process(agent: &Agent<'_>) -> u32 {
    within(Duration::from_secs(10), "the plugin process runs", || {
        agent
            .children()
            .first()
            .copied()
            .ok_or_else(|| "no child".to_owned())
    })
}

#[test]
fn a_killed_plugin_process_is_back_within_2_seconds_and_no_count_is_lost() {
    let lab = Lab::new(1);
    let nginx = Nginx::start(&lab, "p1");
    let out = lab.dir.path().join("echo");
    let agent = Agent::attached(&lab, &config(&[lab.target("p1")], &echo(&out)));
    within(Duration::from_secs(20), "the first window arrives", || {
        if echoes(&out).is_empty() {
            Err(agent.sink("echo").to_string())
        } else {
            Ok(())
        }
    });
    let begin = nginx.requests();
    let load = nginx.spawn_load(3);
    within(
        Duration::from_secs(5),
        "requests arrive at the sink",
        || {
            let last = echoes(&out).last().copied();
            if last.is_some_and(|(_, requests)| requests > 0) {
                Ok(())
            } else {
                Err(format!("{last:?}"))
            }
        },
    );

    let killed = plugin_process(&agent);
    let (before, _) = *echoes(&out).last().unwrap();
    signal(killed, "KILL");
    let died = Instant::now();
    within(
        Duration::from_secs(2),
        "another plugin process writes windows",
        || {
            let back = agent.children().first().is_some_and(|pid| *pid != killed);
            let last = echoes(&out).last().unwrap().0;
            if back && last > before + 1 {
                Ok(())
            } else {
                Err(format!("back: {back}, window {last} after {before}"))
            }
        },
    );
    println!("back with a window after {:?}", died.elapsed());

    load.wait_with_output().unwrap();
    let truth = nginx.requests_since(begin);
    within(Duration::from_secs(3), "the sink has every request", || {
        let last = echoes(&out).last().copied().unwrap();
        if last.1 == truth {
            Ok(())
        } else {
            Err(format!("{last:?}, {truth} at nginx"))
        }
    });
    let all = echoes(&out);
    assert!(all.is_sorted(), "windows and counts go on: {all:?}");
    let (_, metrics) = agent.get("/metrics").unwrap();
    assert!(
        metrics.contains("\nowlk8s_plugin_process_restarts_total 1\n"),
        "{metrics}"
    );
}

#[test]
fn bad_plugins_delay_no_window_of_a_good_one() {
    let lab = Lab::new(1);
    let out = lab.dir.path().join("echo");
    let bad = ["spins", "allocates", "panics", "sleeps"];
    let mut sinks = echo(&out);
    for name in bad {
        sinks += &format!(
            "[[sinks]]\nname = \"{name}\"\nplugin = \"{}\"\nendpoints.out = {{ kind = \"stderr\" }}\n",
            fixture(name).display()
        );
    }
    let agent = Agent::attached(&lab, &config(&[lab.target("p1")], &sinks));
    for name in bad {
        let status = within(Duration::from_secs(20), "its fault is counted", || {
            let status = agent.sink(name);
            if status["counters"]["plugin_faults"].as_u64() > Some(0) {
                Ok(status)
            } else {
                Err(status.to_string())
            }
        });
        println!("{name}: {} {}", status["state"], status["last_error"]);
        let error = status["last_error"].as_str().unwrap();
        assert!(error.contains(name), "the error names its plugin: {error}");
        assert_eq!(status["counters"]["windows_delivered"], 0);
        assert_eq!(
            status["counters"]["sink_faults"], 0,
            "a plugin's fault is not the sink's"
        );
    }
    // From here on they are all at work, or wait for their next try.
    let (begin, began) = (echoes(&out).len(), Instant::now());
    let newest = within(Duration::from_secs(8), "20 windows arrive", || {
        let all = echoes(&out);
        if all.len() >= begin + 20 {
            Ok(all)
        } else {
            Err(format!("{} of 20", all.len() - begin))
        }
    });
    println!("20 windows of 200 ms in {:?}", began.elapsed());
    let windows: Vec<_> = newest.iter().map(|(window, _)| *window).collect();
    assert!(
        windows.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "each window once, in order: {windows:?}"
    );
    assert_eq!(agent.sink("echo")["counters"]["windows_dropped"], 0);
    assert_eq!(agent.pod("p1")["status"], "active");
}

#[test]
fn a_plugin_of_another_world_is_a_failed_sink_beside_one_that_runs() {
    let lab = Lab::new(1);
    let out = lab.dir.path().join("echo");
    let wrong = format!(
        "[[sinks]]\nname = \"wrong\"\nplugin = \"{}\"\nendpoints.out = {{ kind = \"stdout\" }}\n",
        fixture("wrong-world").display()
    );
    let agent = Agent::attached(&lab, &config(&[lab.target("p1")], &(wrong + &echo(&out))));
    within(Duration::from_secs(10), "it has failed", || {
        let status = agent.sink("wrong");
        let named = status["reason"]
            .as_str()
            .unwrap()
            .contains("wrong-world.wasm");
        if status["state"] == "failed" && named {
            Ok(())
        } else {
            Err(status.to_string())
        }
    });
    within(Duration::from_secs(10), "the other one runs", || {
        if echoes(&out).len() > 2 {
            Ok(())
        } else {
            Err(agent.sink("echo").to_string())
        }
    });
}

#[test]
fn the_prometheus_plugin_s_page_passes_promtool_and_has_nginx_s_counts() {
    shipped("prometheus");
    let lab = Lab::new(1);
    let nginx = Nginx::start(&lab, "p1");
    let sink = "[[sinks]]\nname = \"prometheus\"\nplugin = \"prometheus\"\n\
                endpoints.metrics = { kind = \"serve\", listen = \"127.0.0.1:9466\" }\n";
    let agent = Agent::attached(&lab, &config(&[lab.target("p1")], sink));
    for path in ["/200", "/404", "/500", "/500"] {
        nginx.get(path);
    }
    let counts = [("200", 1), ("404", 1), ("500", 2)];
    let page = within(
        Duration::from_secs(20),
        "all requests are on the page",
        || {
            let to = "127.0.0.1:9466".parse().unwrap();
            let (status, page) = request(&lab, to, "GET", "/metrics").map_err(|e| e.to_string())?;
            let has = |(code, count): &(&str, u32)| {
                page.lines().any(|line| {
                    line.starts_with("http_server_request_duration_seconds_count{")
                        && line.contains(&format!("http_response_status_code=\"{code}\""))
                        && line.ends_with(&format!(" {count}"))
                })
            };
            if status == 200 && counts.iter().all(has) {
                Ok(page)
            } else {
                Err(format!("{status}\n{page}"))
            }
        },
    );
    promtool(&page);
    drop(agent);
}

/// Every shipped plugin in its component, on a pod with traffic: each delivers, none has a fault.
#[test]
fn every_shipped_plugin_does_its_work_as_a_component() {
    let lab = Lab::new(1);
    let nginx = Nginx::start(&lab, "p1");
    let file = |name: &str| lab.dir.path().join(name);
    let to = |name: &str| {
        format!(
            "endpoints.out = {{ kind = \"file\", path = \"{}\" }}\n",
            file(name).display()
        )
    };
    let sink = |name: &str, plugin: &str, mode: &str, more: &str| {
        shipped(plugin);
        format!("[[sinks]]\nname = \"{name}\"\nplugin = \"{plugin}\"\nmode = \"{mode}\"\n{more}")
    };
    let serve = |port: u16| {
        format!("endpoints.http = {{ kind = \"serve\", listen = \"127.0.0.1:{port}\" }}\n")
    };
    let sums = "filters = [{ plugin = \"aggregate\", config = { counts = \"cumulative\" } }]\n";
    let narrowed = "filters = [\"drop-idle\", { plugin = \"select\", config = { keep = [{ pod = \"p*\" }], \
                    rename = [{ match = { pod = \"p1\" }, pod = \"one\" }] } }, \
                    { plugin = \"cardinality\", config = { target = 1 } }]\n";
    let telling = serve(9467).replace(" }", ", plugins = true }");
    let sinks = [
        sink(
            "influxdb",
            "influxdb",
            "delta",
            &to("influxdb").replace(".out", ".write"),
        ),
        sink("otlp", "otlp", "delta", &to("otlp")),
        sink(
            "otlp-json",
            "otlp",
            "latest",
            &(to("otlp-json") + "config = { encoding = \"json\" }\n"),
        ),
        sink("statsd", "statsd", "delta", &to("statsd")),
        sink(
            "json-log",
            "json-log",
            "delta",
            &(to("json-log") + narrowed),
        ),
        sink("simple-log", "simple-log", "latest", &to("simple-log")),
        sink("dashboard", "dashboard", "latest", &telling),
        sink("sums", "prometheus", "delta", &(serve(9468) + sums)),
    ];
    let agent = Agent::attached(&lab, &config(&[lab.target("p1")], &sinks.concat()));
    for path in ["/200", "/404", "/500", "/500"] {
        nginx.get(path);
    }
    let page = |port: u16, path: &str| {
        let to = format!("127.0.0.1:{port}").parse().unwrap();
        match request(&lab, to, "GET", path) {
            Ok((200, page)) => Ok(page),
            other => Err(format!("{other:?}\n{}", agent.json("/plugins"))),
        }
    };
    let has = |text: Result<String, String>, wanted: &str| match text {
        Ok(text) if text.contains(wanted) => Ok(()),
        Ok(text) => Err(format!("{wanted:?} is not in {text}")),
        Err(complaint) => Err(complaint),
    };
    let read = |name: &str| {
        std::fs::read_to_string(file(name)).map_err(|e| format!("{e}\n{}", agent.json("/plugins")))
    };
    let sums = "owlk8s_requests_answered_total{k8s_namespace_name=\"lab\",k8s_workload_kind=\"Deployment\",\
                k8s_workload_name=\"web\",k8s_service_name=\"web\"} 4\n";
    within(
        Duration::from_secs(60),
        "every sink has the requests",
        || {
            has(page(9468, "/metrics"), sums)?;
            has(
                page(9467, "/api/live"),
                "\"requests\":4,\"err4\":1,\"err5\":2,",
            )?;
            has(page(9467, "/"), "<title>owlk8s</title>")?;
            has(
                page(9467, "/plugins"),
                "{\"name\":\"statsd\",\"state\":\"active\",\"reason\":\"\",",
            )?;
            has(
                read("influxdb"),
                "INT_svcmetrics,namespace=lab,owner=web,podname=p1,service=web duration=",
            )?;
            has(read("otlp-json"), "\"k8s.deployment.name\"")?;
            has(read("statsd"), "owlk8s.lab.web.p1.err5:")?;
            has(read("json-log"), "\"podname\":\"one\"")?;
            has(read("simple-log"), "Requests: 4, Err4: 1, Err5: 2")
        },
    );
    assert!(std::fs::metadata(file("otlp")).unwrap().len() > 0);
    for status in agent.json("/plugins").as_array().unwrap() {
        assert_eq!(status["counters"]["plugin_faults"], 0, "{status}");
    }
    drop(agent);
}

#[test]
fn a_crash_is_shown_by_the_command_line_and_happens_again_in_a_replay() {
    let lab = Lab::new(1);
    let plugin = fixture("panics-on-names");
    let sink = format!(
        "[[sinks]]\nname = \"bad\"\nplugin = \"{}\"\nendpoints.out = {{ kind = \"stderr\" }}\n",
        plugin.display()
    );
    let target = lab.target("p1").replace("\"p1\"", "\"checkout-0\"");
    let agent = Agent::start(&lab, &config(&[target], &sink));
    let owlk8s = |arguments: &[&str]| {
        let ran = lab
            .command("node", common::agent::BINARY)
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        let complained = String::from_utf8_lossy(&ran.stderr).into_owned();
        (ran.status.code(), said, complained)
    };
    let shown = within(
        Duration::from_secs(20),
        "the crash is reported",
        || match owlk8s(&["plugin", "crash", "bad"]) {
            (Some(0), said, _) => Ok(said),
            other => Err(format!("{other:?}")),
        },
    );
    println!("{shown}");
    assert!(
        shown.starts_with("plugin panics-on-names panicked: "),
        "{shown}"
    );
    assert!(
        shown.contains("core::panicking::panic_fmt"),
        "functions have names: {shown}"
    );
    assert!(
        !shown.contains("checkout"),
        "names of the cluster are replaced: {shown}"
    );
    let (_, json, _) = owlk8s(&["plugin", "crash", "bad", "--json"]);
    let report = lab.dir.path().join("crash.json");
    std::fs::write(&report, json).unwrap();
    let (report, plugin) = (report.display().to_string(), plugin.display().to_string());
    let (code, said, complained) = owlk8s(&["plugin", "replay", &report, "--plugin", &plugin]);
    assert_eq!(code, Some(1), "{said}{complained}");
    assert!(said.contains("plugin panics-on-names panicked: "), "{said}");
    let echo = fixture("good-echo").display().to_string();
    let (code, said, _) = owlk8s(&["plugin", "replay", &report, "--plugin", &echo]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.ends_with("the plugin survived\n"), "{said}");
    let (code, _, complained) = owlk8s(&["plugin", "crash", "nobody"]);
    assert_eq!(code, Some(1));
    assert!(
        complained.contains("there is no sink \"nobody\""),
        "{complained}"
    );
    drop(agent);
}

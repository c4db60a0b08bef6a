//! The plugin `webhook` before a real HTTP server: what begins and what ends is told once each, also where the server did not
//! take it at first.

#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

mod common;

use std::time::Duration;

use common::agent::config;
use common::{Agent, Lab, Nginx, Receiver, shipped, within};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(30);
const SINK: &str = r#"
[[sinks]]
name = "alarm"
plugin = "webhook"
mode = "delta"
grant = { http = ["http://127.0.0.1:8088"], loopback = true }
[sinks.config]
url = "http://127.0.0.1:8088/hook"
rules = [{ name = "errors", metric = "error_ratio", above = 0.4 },
         { name = "slow", metric = "p99", above = 0.0, by = "service" },
         { name = "busy", metric = "rate", above = 0.0, by = "pod" },
         { name = "never", metric = "rate", above = 1000000000.0 }]
"#;

/// Rule and group of the alerts in this part of a notice.
fn names(notice: &Value, part: &str) -> Vec<String> {
    let alerts = notice[part].as_array().unwrap().iter();
    let name = |alert: &Value| format!("{} {}", alert["rule"], alert["group"]).replace('"', "");
    alerts.map(name).collect()
}

#[test]
fn what_begins_and_ends_is_told_once_also_by_a_server_that_was_down() {
    shipped("webhook");
    let lab = Lab::new(1);
    let nginx = Nginx::start(&lab, "p1");
    let receiver = Receiver::start(&lab, "127.0.0.1:8088", 503);
    let agent = Agent::attached(&lab, &config(&[lab.target("p1")], SINK));
    for _ in 0..4 {
        nginx.get("/500");
    }
    let all = ["errors lab/Deployment/web", "slow lab/web", "busy lab/p1"];
    within(LIMIT, "all that began is tried", || {
        match receiver.told(503).last() {
            Some(told) if names(&told.body, "firing") == all => Ok(()),
            other => Err(format!("{other:?}; {}", agent.sink("alarm"))),
        }
    });
    assert!(receiver.told(204).is_empty());

    receiver.answer(204);
    let told = within(LIMIT, "what ended is told as well", || {
        let told = receiver.told(204);
        if told.len() >= 2 {
            Ok(told)
        } else {
            Err(format!("{told:?}; {}", agent.sink("alarm")))
        }
    });
    let (began, ended) = (&told[0], &told[1]);
    assert_eq!(began.request, "POST /hook application/json");
    assert_eq!(names(&began.body, "firing"), all);
    assert_eq!(names(&began.body, "resolved"), [""; 0]);
    let errors = &began.body["firing"][0];
    assert_eq!(
        (&errors["value"], &errors["side"]),
        (&1.0.into(), &"above".into())
    );
    assert_eq!(names(&ended.body, "resolved"), all);
    assert_eq!(names(&ended.body, "firing"), [""; 0]);

    // What goes on is not told again: windows come and go, and the next thing told is the next that begins.
    let calls = |agent: &Agent<'_>| agent.sink("alarm")["counters"]["windows_delivered"].as_u64();
    let before = calls(&agent).unwrap();
    within(LIMIT, "five windows more arrive", || match calls(&agent) {
        Some(now) if now >= before + 5 => Ok(()),
        now => Err(format!("{now:?} after {before}: {}", agent.sink("alarm"))),
    });
    assert_eq!(receiver.told(204).len(), 2);
    nginx.get("/500");
    within(LIMIT, "it begins again", || {
        let told = receiver.told(204);
        let again = told.iter().filter(|told| {
            names(&told.body, "firing").contains(&"errors lab/Deployment/web".to_owned())
        });
        match again.count() {
            2 => Ok(()),
            _ => Err(format!("{told:?}")),
        }
    });
    let status = agent.sink("alarm");
    assert_eq!(status["counters"]["plugin_faults"], 0, "{status}");
    drop(agent);
}

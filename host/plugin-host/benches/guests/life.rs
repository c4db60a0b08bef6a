//! How long a sink takes to run, and what a change of its configuration costs while windows come.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use owlk8s_plugin_host::{PluginHost, SinkConfig, SinkState, SinkStatus, node};
use serde_json::json;

use crate::{median, options, row, sink};

const STARTS: usize = 5;
const SWAPS: u64 = 20;
const PAUSE: Duration = Duration::from_millis(1);

/// Of three plugins: from the start of the host until all are active.
pub(crate) async fn start_from_the_cache() {
    let (mut compiled, mut cached) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let cache = tempfile::tempdir().unwrap();
        compiled.push(start(cache.path()).await);
        cached.push(start(cache.path()).await);
    }
    let (compiled, cached) = (median(compiled), median(cached));
    row(
        "prometheus, json-log and simple-log active after the start, from the cache",
        Duration::from_secs_f64(cached),
        &format!("compiled, {:.3?}", Duration::from_secs_f64(compiled)),
        cached / compiled,
    );
}

async fn start(cache: &Path) -> f64 {
    let null = json!({"kind": "file", "path": "/dev/null"});
    let sinks = vec![
        sink(
            "page",
            "prometheus",
            &json!({"kind": "serve", "listen": "127.0.0.1:0"}),
            json!({}),
        ),
        sink("log", "json-log", &null, json!({})),
        sink("lines", "simple-log", &null, json!({})),
    ];
    let began = Instant::now();
    let host = PluginHost::start(options(sinks, cache)).unwrap();
    let active = |status: &SinkStatus| status.state == SinkState::Active;
    while !host.status().iter().all(active) {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "{:?}",
            host.status()
        );
        tokio::time::sleep(PAUSE).await;
    }
    let took = began.elapsed().as_secs_f64();
    host.drain(Duration::from_secs(5)).await;
    took
}

/// A sink is configured anew again and again while windows come as fast as it takes them: each arrives.
pub(crate) async fn swap_under_load() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("out");
    let sinks = |round: u64| -> Vec<SinkConfig> {
        let out = json!({"kind": "file", "path": file});
        let more = json!({"mode": "every-window", "limits": {"log_lines": round + 1}});
        vec![sink("swapped", "good-echo", &out, more)]
    };
    let host = PluginHost::start(options(sinks(0), dir.path())).unwrap();
    let mut sequence = 0;
    let (mut quiet, mut swapped, mut swaps) = (Vec::new(), Vec::new(), Vec::new());
    window(&host, &mut sequence).await;
    for round in 1..=SWAPS {
        for _ in 0..10 {
            quiet.push(window(&host, &mut sequence).await);
        }
        let began = Instant::now();
        host.reload(options(sinks(round), dir.path())).unwrap();
        while status(&host).generation <= round {
            swapped.push(window(&host, &mut sequence).await);
        }
        swaps.push(began.elapsed().as_secs_f64());
    }
    let counters = status(&host).counters;
    host.drain(Duration::from_secs(5)).await;
    let echoed = std::fs::read_to_string(&file).unwrap();
    let arrived = echoed.lines().count();
    let (quiet, swapped) = (median(quiet), median(swapped));
    row(
        &format!(
            "a window until it arrived, during {SWAPS} swaps that took {:.3?} each: {arrived} of {sequence} arrived, {} dropped",
            Duration::from_secs_f64(median(swaps)),
            counters.windows_dropped,
        ),
        Duration::from_secs_f64(swapped),
        &format!("between them, {:.3?}", Duration::from_secs_f64(quiet)),
        swapped / quiet,
    );
}

fn status(host: &PluginHost) -> SinkStatus {
    let mut all = host.status();
    let status = all.remove(0);
    assert!(status.last_error.is_empty(), "{status:?}");
    status
}

/// The next one; how long until it arrived.
async fn window(host: &PluginHost, sequence: &mut u64) -> f64 {
    *sequence += 1;
    let began = Instant::now();
    host.offer(Arc::new(node(10, 2, *sequence)));
    while status(host).last_sequence < *sequence {
        tokio::time::sleep(PAUSE).await;
    }
    began.elapsed().as_secs_f64()
}

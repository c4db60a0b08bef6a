//! How much memory ten plugins take for 250 targets: this process in the place of the agent, and the real
//! plugin process.

use std::sync::Arc;
use std::time::Duration;

use owlk8s_plugin_host::{PluginHost, SinkStatus, node};

use crate::{options, sink};

const PLUGINS: [&str; 10] = [
    "simple-log",
    "json-log",
    "prometheus",
    "simple-log",
    "json-log",
    "prometheus",
    "simple-log",
    "json-log",
    "simple-log",
    "json-log",
];
const WINDOWS: u64 = 30;

pub(crate) async fn of_ten_plugins() {
    let before = resident(std::process::id());
    let dir = tempfile::tempdir().unwrap();
    let sinks = PLUGINS.iter().enumerate().map(|(n, plugin)| {
        let endpoint = if *plugin == "prometheus" {
            serde_json::json!({"kind": "serve", "listen": "127.0.0.1:0"})
        } else {
            serde_json::json!({"kind": "file", "path": dir.path().join(format!("out-{n}"))})
        };
        let name = format!("sink-{n}");
        sink(&name, plugin, &endpoint, serde_json::Value::Null)
    });
    let host = PluginHost::start(options(sinks.collect(), dir.path())).unwrap();
    for sequence in 1..=WINDOWS {
        host.offer(Arc::new(node(250, 3, sequence)));
        let arrived = |status: &SinkStatus| {
            assert!(status.last_error.is_empty(), "{status:?}");
            status.last_sequence >= sequence
        };
        while !host.status().iter().all(arrived) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for status in host.status() {
            for address in &status.listening {
                scrape(address).await;
            }
        }
    }
    let process = resident(host.pid().unwrap());
    let here = resident(std::process::id()) - before;
    println!(
        "| resident memory with 10 plugins and 250 targets: plugin process {process:.1} MiB, what the agent holds of it \
         {here:.1} MiB | | | |"
    );
    host.drain(Duration::from_secs(5)).await;
}

async fn scrape(address: &str) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut page = Vec::new();
    stream.read_to_end(&mut page).await.unwrap();
    assert!(
        page.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&page)
    );
}

/// MiB.
fn resident(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1024.0
}

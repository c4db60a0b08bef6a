//! The responder behind a real listener, natively: each request for `api/live` is the next window.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use owlk8s_plugin::records::{Status, Total};
use owlk8s_plugin::testing::SnapshotData;
use owlk8s_plugin::{Request, Responder, Response, Snapshot, state};
use owlk8s_plugin_golden::{snapshot, thousand_targets};
use serde_json::json;

use crate::{Config, Dashboard};

/// What is watched.
#[derive(Clone, Copy)]
pub(super) enum Scene {
    /// A few pods, one of them blind, one failed, one degraded.
    Shop,
    /// 250 pods of 50 services.
    Many,
    /// A pod whose name is markup.
    Odd,
    /// As the shop, and the host tells of its sinks: one quarantined, one refused.
    Ailing,
}

pub(super) struct Server {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(scene: Scene) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ended);
        let serve = move || {
            state::set(&[]).unwrap();
            let mut data = scene.snapshot();
            for stream in listener.incoming() {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                // A browser that goes away in the middle is no failure.
                let _ = answer(stream.unwrap(), scene, &mut data);
            }
        };
        Self {
            address,
            ended,
            thread: Some(std::thread::spawn(serve)),
        }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn answer(mut stream: TcpStream, scene: Scene, data: &mut SnapshotData) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let mut words = first.split(' ');
    let request = Request {
        method: words.next().unwrap_or_default().to_owned(),
        target: words.next().unwrap_or_default().to_owned(),
        headers: Vec::new(),
    };
    if request.path() == "/api/live" {
        a_second_later(data);
    }
    let response = match (scene, request.path()) {
        (Scene::Ailing, "/plugins") => Response::new(200, "application/json", ailing()),
        _ => Dashboard::respond(&Config::default(), &request, &Snapshot::new(data)).unwrap(),
    };
    write!(stream, "HTTP/1.1 {} OK\r\n", response.status)?;
    for (name, value) in &response.headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    write!(
        stream,
        "content-length: {}\r\nconnection: close\r\n\r\n",
        response.body.len()
    )?;
    stream.write_all(&response.body)
}

/// What the host tells of three sinks.
fn ailing() -> String {
    let counters = |delivered: u64, faults: u64| {
        json!({
            "windows_delivered": delivered, "windows_dropped": 0, "plugin_faults": faults, "sink_faults": 0,
            "calls": 1200, "cpu_ns": 1_200_000_000_u64,
        })
    };
    let plugin = |name: &str| json!([{ "name": name, "version": "0.1.0" }]);
    json!([
        {
            "name": "metrics", "state": "active", "reason": "", "refused": null, "last_error": "connection refused",
            "last_error_unix_ns": 1, "last_success_unix_ns": 2, "plugins": plugin("prometheus"),
            "counters": counters(1200, 0),
        },
        {
            "name": "team-a", "state": "quarantined", "reason": "panicked at <img src=x>", "refused": null,
            "last_error": "panicked at <img src=x>", "last_error_unix_ns": 1, "last_success_unix_ns": null,
            "plugins": plugin("team-a"), "counters": counters(7, 3),
        },
        {
            "name": "log", "state": "draining", "reason": "", "refused": "no such column", "last_error": "",
            "last_error_unix_ns": null, "last_success_unix_ns": 2, "plugins": [], "counters": counters(1200, 0),
        },
    ])
    .to_string()
}

/// A hundred more answers of each target that has rows: ninety in its first row, ten in its last.
fn a_second_later(data: &mut SnapshotData) {
    data.window.sequence += 1;
    data.window.start_unix_ns = data.window.end_unix_ns;
    data.window.end_unix_ns += 1_000_000_000;
    for target in 0..data.targets.len() {
        let rows: Vec<usize> = (0..data.rows.len())
            .filter(|&row| data.rows[row].target as usize == target)
            .collect();
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            continue;
        };
        for (row, count) in [(*first, 90), (*last, 10)] {
            data.rows[row].count += count;
            data.latency.counts[data.rows[row].bucket_start as usize] += count;
        }
        let total = &mut data.totals[target];
        total.requests += 100;
        total.seen += 100;
        total.err5 += 10;
    }
}

impl Scene {
    fn snapshot(self) -> SnapshotData {
        match self {
            Self::Shop | Self::Ailing => shop(),
            Self::Many => {
                let mut data = thousand_targets();
                data.rows.retain(|row| row.target < 250);
                data.grpc_rows.clear();
                data.targets.truncate(250);
                data.totals.truncate(250);
                data
            }
            Self::Odd => {
                let mut data = snapshot("odd-names");
                data.targets[0].pod = "<img src=x onerror=\"document.title='harm'\">".to_owned();
                data
            }
        }
    }
}

/// The golden shop with a pod that answers 200 in 4 ms and 500 in 30 ms, and one that is blind.
fn shop() -> SnapshotData {
    let mut data = snapshot("shop");
    data.rows.retain(|row| !(row.client || row.probe));
    // Of the first target's rows only `GET 200` and `POST 500` are left.
    data.rows
        .retain(|row| row.target != 0 || row.count == 900 || row.status == 500);
    data.grpc_rows.clear();
    data.targets[1].status = Status::Active;
    data.targets[1].reason.clear();
    let mut hidden = data.targets[2].clone();
    hidden.id = "hidden".to_owned();
    hidden.pod = "hidden-0".to_owned();
    hidden.services = vec!["hidden".to_owned()];
    hidden.reason =
        "blind: its packets bypass veth7b1c0d (grant CAP_SYS_ADMIN or CAP_NET_ADMIN)".to_owned();
    data.targets.push(hidden);
    data.totals.push(Total {
        coverage: 0.0,
        ..Total::none()
    });
    data
}

//! What goes on when the plugin process or the agent ends: the same windows again, the states, and a
//! gap that is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use owlk8s_model::Snapshot;
use owlk8s_plugin_host::SinkState;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{Host, start, start_in, window};

/// Pid of the process that the backend kills when it gets the body, instead of an answer; 0: nobody.
type Victim = Arc<AtomicU32>;

/// Takes bodies of POSTs that end with a newline.
async fn backend(victim: Victim) -> (String, Arc<std::sync::Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let taken = Arc::new(std::sync::Mutex::new(Vec::new()));
    let for_task = Arc::clone(&taken);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            let body = loop {
                if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                    break None;
                }
                let text = String::from_utf8_lossy(&request).into_owned();
                let body = text.split_once("\r\n\r\n").map(|(_, body)| body);
                if let Some(body) = body.filter(|body| body.ends_with('\n')) {
                    break Some(body.to_owned());
                }
            };
            for_task.lock().unwrap().extend(body);
            if let Some(pid) = Pid::from_raw(victim.swap(0, Ordering::SeqCst).cast_signed()) {
                kill_process(pid, Signal::KILL).unwrap();
                continue;
            }
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let _ = stream.write_all(answer).await;
        }
    });
    (url, taken)
}

fn aim(victim: &Victim, host: &Host) {
    victim.store(host.host.pid().unwrap(), Ordering::SeqCst);
}

#[tokio::test]
async fn window_whose_acknowledgement_was_lost_comes_again_with_the_same_bytes() {
    let victim = Victim::default();
    let (url, taken) = backend(Arc::clone(&victim)).await;
    let host = start(&format!(
        "[[sinks]]\nname = \"delta\"\nplugin = \"{{good-echo}}\"\nmode = \"delta\"\nendpoints.out = {{ kind = \"http\", url = \"{url}\" }}"
    ));
    host.offer(1, 10);
    host.delivered("delta", 1).await;
    aim(&victim, &host);
    host.offer(2, 25);
    host.until("delta", |_| host.host.restarts() == 1).await;
    // Counted before the process is back: it is no part of the window that may have arrived.
    host.offer(3, 40);
    host.offer(4, 41);
    host.delivered("delta", 4).await;
    let mut taken = taken.lock().unwrap().clone();
    // Whether 3 and 4 came as one is a matter of time.
    let rest: u64 = taken.split_off(3).iter().map(|line| requests(line)).sum();
    assert_eq!(
        taken,
        [
            "window=1 targets=1 requests=10\n",
            "window=2 targets=1 requests=15\n",
            "window=2 targets=1 requests=15\n",
        ]
    );
    assert_eq!(rest, 16);
}

fn requests(line: &str) -> u64 {
    let (_, rest) = line.split_once("requests=").unwrap();
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn file_that_has_the_window_gets_it_no_second_time() {
    let victim = Victim::default();
    let (url, second) = backend(Arc::clone(&victim)).await;
    let host = start(&format!(
        "[[sinks]]\nname = \"x\"\nplugin = \"{{two-endpoints}}\"\nmode = \"delta\"\n\
         endpoints.first = {{ kind = \"file\", path = \"{{dir}}/first\" }}\n\
         endpoints.second = {{ kind = \"http\", url = \"{url}\" }}"
    ));
    for sequence in 1..=4 {
        host.offer(sequence, sequence);
        host.delivered("x", sequence).await;
        aim(&victim, &host);
    }
    // Each but the first was written to the file, and its process killed at the second endpoint.
    let lines: String = (1..=4).map(|n| format!("window={n}\n")).collect();
    assert_eq!(host.read("first"), lines);
    let twice: Vec<String> = [1, 2, 2, 3, 3, 4, 4]
        .iter()
        .map(|n| format!("window={n}\n"))
        .collect();
    assert_eq!(*second.lock().unwrap(), twice);
}

#[tokio::test]
async fn state_of_a_call_whose_window_did_not_arrive_is_not_kept() {
    let victim = Victim::default();
    let (url, taken) = backend(Arc::clone(&victim)).await;
    let host = start(&format!(
        "[[sinks]]\nname = \"state\"\nplugin = \"{{keeps-state}}\"\nmode = \"every-window\"\nendpoints.out = {{ kind = \"http\", url = \"{url}\" }}"
    ));
    host.offer(1, 1);
    host.delivered("state", 1).await;
    aim(&victim, &host);
    host.offer(2, 1);
    host.delivered("state", 2).await;
    host.offer(3, 1);
    host.delivered("state", 3).await;
    assert_eq!(
        *taken.lock().unwrap(),
        ["calls=1\n", "calls=2\n", "calls=2\n", "calls=3\n"]
    );
}

/// More windows than wait in the agent pass while there is no process; a target lived in them alone,
/// and another ended there.
#[tokio::test]
async fn targets_that_went_while_no_process_ran_are_counted() {
    let host = start(
        "[[sinks]]\nname = \"delta\"\nplugin = \"{good-echo}\"\nmode = \"delta\"\nendpoints.out = { kind = \"file\", path = \"{dir}/delta\" }",
    );
    host.host.offer(window(1, &[("a", 10), ("b", 20)]));
    host.delivered("delta", 1).await;
    let pid = Pid::from_raw(host.host.pid().unwrap().cast_signed()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    host.until("delta", |status| status.state == SinkState::Starting)
        .await;
    for sequence in 2..=30 {
        let mut targets = vec![("a", 10 + sequence)];
        if sequence <= 5 {
            targets.push(("b", 20 + sequence));
        }
        if (7..=9).contains(&sequence) {
            targets.push(("c", 100 * sequence));
        }
        host.host.offer(window(sequence, &targets));
    }
    host.delivered("delta", 30).await;
    let lines = host.read("delta");
    let sum: u64 = lines.lines().map(requests).sum();
    assert_eq!(sum, (10 + 30) + (20 + 5) + 900, "{lines}");
}

const KEPT: &str = r#"
[[sinks]]
name = "delta"
plugin = "{good-echo}"
mode = "delta"
endpoints.out = { kind = "file", path = "{dir}/delta" }
[[sinks]]
name = "state"
plugin = "{keeps-state}"
endpoints.out = { kind = "file", path = "{dir}/state" }
"#;

/// Windows of an agent that began so many seconds later.
fn later(seconds: u64, snapshot: &Snapshot) -> Arc<Snapshot> {
    let mut snapshot = snapshot.clone();
    snapshot.window.start.0 += seconds * 1_000_000_000;
    snapshot.window.end.0 += seconds * 1_000_000_000;
    Arc::new(snapshot)
}

#[tokio::test]
async fn next_agent_tells_the_gap_once_and_goes_on_with_states_and_counters() {
    let host = start_in(KEPT, tempfile::tempdir().unwrap());
    for sequence in 1..=2 {
        host.offer(sequence, sequence * 10);
        host.delivered("delta", sequence).await;
        host.delivered("state", sequence).await;
    }
    let Host { host, dir } = host;
    host.drain(std::time::Duration::from_secs(60)).await;

    let host = start_in(KEPT, dir);
    for sequence in 1..=2 {
        let began = later(60, &window(sequence, &[("cart-0", sequence * 7)]));
        host.host.offer(began);
        host.delivered("delta", sequence).await;
        host.delivered("state", sequence).await;
    }
    // Its first window began at 60 s, and the last one of the agent before ended at 2 s.
    assert_eq!(
        host.read("delta"),
        "window=1 targets=1 requests=10\nwindow=2 targets=1 requests=10\n\
         window=1 targets=1 requests=7 gap=58000\nwindow=2 targets=1 requests=7\n"
    );
    assert_eq!(host.read("state"), "calls=1\ncalls=2\ncalls=3\ncalls=4\n");
    let counters = host.sink("delta").counters;
    assert_eq!((counters.gaps, counters.windows_delivered), (1, 4));
}

#[tokio::test]
async fn gap_is_told_after_the_process_was_killed_before_it_could() {
    let victim = Victim::default();
    let (url, taken) = backend(Arc::clone(&victim)).await;
    let sinks = format!(
        "[[sinks]]\nname = \"delta\"\nplugin = \"{{good-echo}}\"\nmode = \"delta\"\nendpoints.out = {{ kind = \"http\", url = \"{url}\" }}"
    );
    let host = start_in(&sinks, tempfile::tempdir().unwrap());
    host.offer(1, 10);
    host.delivered("delta", 1).await;
    let Host { host, dir } = host;
    host.drain(std::time::Duration::from_secs(60)).await;

    let host = start_in(&sinks, dir);
    host.until("delta", |status| status.state == SinkState::Active)
        .await;
    aim(&victim, &host);
    host.host.offer(later(60, &window(1, &[("cart-0", 7)])));
    host.delivered("delta", 1).await;
    let line = "window=1 targets=1 requests=7 gap=59000\n";
    assert_eq!(taken.lock().unwrap()[1..], [line, line]);
    assert_eq!(host.sink("delta").counters.gaps, 1);
}

#[tokio::test]
async fn without_a_state_directory_everything_else_works() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = crate::support::options(KEPT, &dir);
    options.plugins.state_dir = dir.path().join("not-there");
    let host = owlk8s_plugin_host::PluginHost::start(options).unwrap();
    let host = Host { host, dir };
    host.offer(1, 3);
    host.delivered("delta", 1).await;
    assert_eq!(host.read("delta"), "window=1 targets=1 requests=3\n");
}

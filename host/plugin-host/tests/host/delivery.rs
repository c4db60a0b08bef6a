use std::sync::{Arc, Mutex};
use std::time::Duration;

use owlk8s_plugin_host::SinkState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::start;

/// Answers every POST with `status`; the bodies that it answered with 200.
async fn backend(status: Arc<Mutex<&'static str>>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/write", listener.local_addr().unwrap());
    let taken = Arc::new(Mutex::new(Vec::new()));
    let for_task = Arc::clone(&taken);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 64 << 10];
            let mut length = 0;
            let body = loop {
                length += stream.read(&mut request[length..]).await.unwrap();
                let text = String::from_utf8_lossy(&request[..length]).into_owned();
                if let Some((_, body)) = text
                    .split_once("\r\n\r\n")
                    .filter(|(_, body)| body.ends_with('\n'))
                {
                    break body.to_owned();
                }
            };
            let status = *status.lock().unwrap();
            if status.starts_with("200") {
                for_task.lock().unwrap().push(body);
            }
            let answer =
                format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (url, taken)
}

fn sink(name: &str, mode: &str, url: &str) -> String {
    format!(
        "[[sinks]]\nname = \"{name}\"\nplugin = \"{{good-echo}}\"\nmode = \"{mode}\"\nqueue = 3\nendpoints.out = {{ kind = \"http\", url = \"{url}\" }}\n"
    )
}

#[tokio::test]
async fn outage_of_a_backend_loses_resolution_in_delta_and_the_oldest_in_every_window() {
    let status = Arc::new(Mutex::new("200 OK"));
    let (delta_url, delta) = backend(Arc::clone(&status)).await;
    let (every_url, every) = backend(Arc::clone(&status)).await;
    let host = start(&format!(
        "{}{}",
        sink("delta", "delta", &delta_url),
        sink("every", "every-window", &every_url)
    ));
    host.offer(1, 10);
    host.delivered("delta", 1).await;
    host.delivered("every", 1).await;
    *status.lock().unwrap() = "503 Service Unavailable";
    host.offer(2, 20);
    for name in ["delta", "every"] {
        let status = host
            .until(name, |status| status.state == SinkState::Backoff)
            .await;
        assert!(
            status.reason.contains("answered 503 Service Unavailable"),
            "{}",
            status.reason
        );
        assert_eq!(status.counters.plugin_faults, 0);
    }
    for sequence in 3..=8 {
        host.offer(sequence, sequence * 10);
        // The newest few windows wait in the agent; these must all reach the process.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    *status.lock().unwrap() = "200 OK";
    host.delivered("delta", 8).await;
    let every_status = host.delivered("every", 8).await;
    assert_eq!(
        *delta.lock().unwrap(),
        [
            "window=1 targets=1 requests=10\n",
            "window=2 targets=1 requests=10\n",
            "window=8 targets=1 requests=60\n"
        ]
    );
    let windows: Vec<String> = [1, 2, 6, 7, 8]
        .iter()
        .map(|n| format!("window={n} targets=1 requests={}\n", n * 10))
        .collect();
    assert_eq!(*every.lock().unwrap(), windows);
    assert_eq!(every_status.counters.windows_dropped, 3);
    assert_eq!(host.sink("delta").counters.windows_dropped, 0);
    assert!(host.sink("delta").counters.sink_faults > 0);
}

#[tokio::test]
async fn refused_window_is_given_up_and_in_delta_its_counts_come_with_the_next() {
    let status = Arc::new(Mutex::new("400 Bad Request"));
    let (latest_url, latest) = backend(Arc::clone(&status)).await;
    let (delta_url, delta) = backend(Arc::clone(&status)).await;
    let host = start(&format!(
        "{}{}",
        sink("latest", "latest", &latest_url),
        sink("delta", "delta", &delta_url)
    ));
    host.offer(1, 10);
    host.until("latest", |status| status.counters.windows_dropped == 1)
        .await;
    host.until("delta", |status| status.counters.sink_faults == 1)
        .await;
    *status.lock().unwrap() = "200 OK";
    host.offer(2, 30);
    host.delivered("latest", 2).await;
    host.delivered("delta", 2).await;
    assert_eq!(
        *latest.lock().unwrap(),
        ["window=2 targets=1 requests=30\n"]
    );
    assert_eq!(*delta.lock().unwrap(), ["window=2 targets=1 requests=30\n"]);
}

#[tokio::test]
async fn endpoint_that_is_away_is_named_and_stops_its_own_sink_alone() {
    let host = start(
        r#"
        [[sinks]]
        name = "x"
        plugin = "{good-echo}"
        mode = "every-window"
        endpoints.out = { kind = "http", url = "http://127.0.0.1:1/" }
        [[sinks]]
        name = "y"
        plugin = "{good-echo}"
        endpoints.out = { kind = "file", path = "{dir}/y" }
        "#,
    );
    host.offer(1, 1);
    let status = host
        .until("x", |status| status.state == SinkState::Backoff)
        .await;
    assert!(
        status
            .reason
            .starts_with("endpoint out: cannot reach 127.0.0.1:1: "),
        "{}",
        status.reason
    );
    host.delivered("y", 1).await;
}

#[tokio::test]
async fn endpoint_that_is_away_does_not_repeat_the_window_for_the_other_one() {
    let status = Arc::new(Mutex::new("503 Service Unavailable"));
    let (url, second) = backend(Arc::clone(&status)).await;
    let host = start(&format!(
        r#"
        [[sinks]]
        name = "x"
        plugin = "{{two-endpoints}}"
        mode = "delta"
        endpoints.first = {{ kind = "file", path = "{{dir}}/first" }}
        endpoints.second = {{ kind = "http", url = "{url}" }}
        "#
    ));
    host.offer(1, 1);
    let waiting = host
        .until("x", |status| status.counters.sink_faults >= 2)
        .await;
    assert!(
        waiting.last_error.starts_with("endpoint second: "),
        "{}",
        waiting.last_error
    );
    assert_eq!(
        host.read("first"),
        "window=1\n",
        "the first endpoint has it once"
    );
    *status.lock().unwrap() = "200 OK";
    host.delivered("x", 1).await;
    host.offer(2, 2);
    host.delivered("x", 2).await;
    assert_eq!(host.read("first"), "window=1\nwindow=2\n");
    assert_eq!(*second.lock().unwrap(), ["window=1\n", "window=2\n"]);
}

/// A payload that its backend fails on each time must not hold up those behind it for ever.
#[tokio::test]
async fn window_that_fails_for_too_long_is_given_up_and_in_delta_its_counts_come_with_the_next() {
    let status = Arc::new(Mutex::new("503 Service Unavailable"));
    let (every_url, every) = backend(Arc::clone(&status)).await;
    let (delta_url, delta) = backend(Arc::clone(&status)).await;
    let patience = |sink: String| sink.replace("queue = 3", "queue = 3\nretry_for = \"0s\"");
    let host = start(&format!(
        "{}{}",
        patience(sink("every", "every-window", &every_url)),
        patience(sink("delta", "delta", &delta_url))
    ));
    host.offer(1, 10);
    for name in ["every", "delta"] {
        let status = host
            .until(name, |status| status.counters.payloads_refused == 1)
            .await;
        let text = "answered 503 Service Unavailable; given up (retry_for is 0ns)";
        assert!(status.last_error.ends_with(text), "{}", status.last_error);
    }
    *status.lock().unwrap() = "200 OK";
    host.offer(2, 30);
    host.delivered("every", 2).await;
    host.delivered("delta", 2).await;
    assert_eq!(*every.lock().unwrap(), ["window=2 targets=1 requests=30\n"]);
    assert_eq!(*delta.lock().unwrap(), ["window=2 targets=1 requests=30\n"]);
    assert_eq!(host.sink("every").counters.windows_dropped, 1);
    assert_eq!(host.sink("delta").counters.windows_dropped, 0);
}

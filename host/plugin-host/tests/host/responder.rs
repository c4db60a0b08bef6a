use owlk8s_plugin_host::SinkState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::start;

async fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}

#[tokio::test]
async fn responder_answers_from_the_latest_window_under_its_path() {
    let host = start(
        r#"
        [[sinks]]
        name = "page"
        plugin = "{prometheus}"
        endpoints.http = { kind = "serve", listen = "127.0.0.1:0", path = "/metrics" }
        "#,
    );
    let status = host
        .until("page", |status| status.state == SinkState::Active)
        .await;
    let address = &status.listening[0];
    assert!(
        get(address, "/metrics").await.starts_with("HTTP/1.1 503 "),
        "no window yet"
    );
    for (sequence, requests) in [(1, 5), (2, 12)] {
        host.offer(sequence, requests);
        host.delivered("page", sequence).await;
        let response = get(address, "/metrics").await;
        assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
        let count = response
            .lines()
            .find(|line| line.starts_with("http_server_request_duration_seconds_count{"));
        let count = count.unwrap_or_else(|| panic!("no count in\n{response}"));
        assert!(
            count.contains("cart-0") && count.ends_with(&format!(" {requests}")),
            "{count}"
        );
    }
    assert!(get(address, "/other").await.starts_with("HTTP/1.1 404 "));
    let status = host
        .until("page", |status| status.counters.requests_served == 3)
        .await;
    assert_eq!(
        (
            status.counters.plugin_faults,
            status.counters.windows_delivered
        ),
        (0, 2)
    );
}

#[tokio::test]
async fn responder_answers_again_after_the_process_was_killed() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let host = start(&format!(
        "[[sinks]]\nname = \"page\"\nplugin = \"{{prometheus}}\"\nendpoints.http = {{ kind = \"serve\", listen = \"127.0.0.1:{port}\" }}"
    ));
    host.offer(1, 5);
    host.until("page", |status| {
        status.last_sequence == 1 && status.state == SinkState::Active
    })
    .await;
    let pid =
        rustix::process::Pid::from_raw(i32::try_from(host.host.pid().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    host.until("page", |status| status.state == SinkState::Starting)
        .await;
    host.until("page", |status| status.state == SinkState::Active)
        .await;
    host.offer(2, 6);
    host.delivered("page", 2).await;
    assert!(
        get(&format!("127.0.0.1:{port}"), "/metrics")
            .await
            .starts_with("HTTP/1.1 200 OK\r\n")
    );
}

/// What a responder hands on before it returns comes first, is gone after an error, and is output like all else.
#[tokio::test]
async fn body_in_pieces_arrives_whole_or_not_at_all() {
    for reuse in [false, true] {
        let host = start(&format!(
            "[[sinks]]\nname = \"page\"\nplugin = \"{{writes-ahead}}\"\nreuse = {reuse}\nlimits.output = \"256KiB\"\n\
             endpoints.http = {{ kind = \"serve\", listen = \"127.0.0.1:0\" }}"
        ));
        host.offer(1, 5);
        let status = host.delivered("page", 1).await;
        let address = &status.listening[0];
        for pieces in [0, 1, 200] {
            let answer = get(address, &format!("/{pieces}")).await;
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            let wanted: String = (0..pieces)
                .map(|piece| format!("{piece:>1023}\n"))
                .collect();
            assert!(
                body == wanted + "end\n",
                "{pieces} pieces, {} bytes",
                body.len()
            );
        }
        let failed = get(address, "/fail").await;
        assert!(failed.starts_with("HTTP/1.1 500 "), "{failed}");
        assert!(
            failed.contains("invalid digit") && failed.len() < 1023,
            "{failed}"
        );
        let over = get(address, "/257").await;
        assert!(over.starts_with("HTTP/1.1 500 "), "{over}");
        assert!(
            over.contains("made more output than 256KiB (limits.output)"),
            "{over}"
        );
    }
}

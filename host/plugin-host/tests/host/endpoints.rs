//! Endpoints through the real plugin process, and what must not be seen of them.

use std::sync::Arc;

use owlk8s_plugin_host::{PluginHost, Secret, SinkState};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram};

use crate::support::{Host, options, start};

fn sink(name: &str, endpoint: &str) -> String {
    format!(
        "[[sinks]]\nname = \"{name}\"\nplugin = \"{{good-echo}}\"\nmode = \"every-window\"\nendpoints.out = {endpoint}\n"
    )
}

#[tokio::test]
async fn sockets_of_each_kind_get_the_payload() {
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let unix = UnixDatagram::bind(&path).unwrap();
    // The plugin process is another user.
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    std::fs::set_permissions(
        dir.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let host = start(
        &[
            sink(
                "udp",
                &format!(
                    "{{ kind = \"udp\", address = \"{}\" }}",
                    udp.local_addr().unwrap()
                ),
            ),
            sink(
                "tcp",
                &format!(
                    "{{ kind = \"tcp\", address = \"{}\" }}",
                    tcp.local_addr().unwrap()
                ),
            ),
            sink(
                "unix",
                &format!(
                    "{{ kind = \"unix\", path = \"{}\", socket = \"datagram\" }}",
                    path.display()
                ),
            ),
        ]
        .concat(),
    );
    host.offer(1, 3);
    let expected = "window=1 targets=1 requests=3";
    let mut buffer = [0; 100];
    let length = udp.recv(&mut buffer).await.unwrap();
    assert_eq!(&buffer[..length], expected.as_bytes());
    let length = unix.recv(&mut buffer).await.unwrap();
    assert_eq!(&buffer[..length], expected.as_bytes());
    let (stream, _) = tcp.accept().await.unwrap();
    let mut lines = BufReader::new(stream).lines();
    assert_eq!(lines.next_line().await.unwrap().unwrap(), expected);
    for name in ["udp", "tcp", "unix"] {
        host.delivered(name, 1).await;
    }
}

#[tokio::test]
async fn line_that_no_datagram_holds_is_counted_and_said() {
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!(
        "{{ kind = \"udp\", address = \"{}\", datagram = 64 }}",
        udp.local_addr().unwrap()
    );
    let host = start(&format!(
        "[[sinks]]\nname = \"x\"\nplugin = \"{{json-log}}\"\nendpoints.out = {endpoint}\n"
    ));
    host.offer(1, 3);
    let status = host.delivered("x", 1).await;
    assert_eq!(status.counters.lines_left_out, 1);
    assert_eq!(
        status.last_error,
        "endpoint out: 1 lines longer than 64 bytes were left out (raise `datagram`)"
    );
}

/// Answers every request with `answer`, and keeps what it was sent.
async fn quoting(answer: &'static str) -> (String, Arc<std::sync::Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let for_task = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\n") || !request.windows(4).any(|four| four == b"\r\n\r\n") {
                if stream.read_buf(&mut request).await.unwrap() == 0 {
                    break;
                }
            }
            for_task
                .lock()
                .unwrap()
                .push(String::from_utf8(request).unwrap());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (url, seen)
}

#[tokio::test]
async fn secrets_are_sent_and_shown_nowhere() {
    const SECRETS: [&str; 3] = ["env-hunter2", "file-swordfish", "b3dsOmZpbGUtc3dvcmRmaXNo"];
    let (url, seen) = quoting(
        "HTTP/1.1 400 No\r\ncontent-length: 61\r\nconnection: close\r\n\r\nenv-hunter2 file-swordfish b3dsOmZpbGUtc3dvcmRmaXNo are wrong",
    )
    .await;
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    std::fs::write(&password, "file-swordfish\n").unwrap();
    std::fs::set_permissions(
        &password,
        std::os::unix::fs::PermissionsExt::from_mode(0o644),
    )
    .unwrap();
    std::fs::set_permissions(
        dir.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let text = sink(
        "x",
        &format!(
            "{{ kind = \"http\", url = \"{url}\", headers = {{ x-key = {{ env = \"KEY\" }} }}, \
             basic = {{ user = \"owl\", password = {{ file = \"{}\" }} }} }}",
            password.display()
        ),
    );
    let mut options = options(&text, &dir);
    options.secrets = [("KEY".to_owned(), Secret::from("env-hunter2".to_owned()))].into();
    let shown = [
        format!("{options:?}"),
        toml::to_string(&options.sinks[0]).unwrap(),
    ];
    let host = PluginHost::start(options).unwrap();
    let host = Host { host, dir };
    host.offer(1, 3);
    let status = host
        .until("x", |status| status.counters.payloads_refused == 1)
        .await;
    let reason = "answered 400 Bad Request: *** *** *** are wrong";
    assert!(status.last_error.ends_with(reason), "{}", status.last_error);
    let sent = seen.lock().unwrap()[0].clone();
    assert!(
        sent.contains("x-key: env-hunter2") && sent.contains(&format!("Basic {}", SECRETS[2])),
        "{sent}"
    );
    let status = serde_json::to_string(&host.host.status()).unwrap();
    for secret in SECRETS {
        for text in shown.iter().chain([&status]) {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

/// The responder's own header would end the head and begin another answer.
#[tokio::test]
async fn header_with_a_line_break_is_the_responders_fault_and_never_sent() {
    let host = start(
        "[[sinks]]\nname = \"x\"\nplugin = \"{bad-headers}\"\nendpoints.http = { kind = \"serve\", listen = \"127.0.0.1:0\" }",
    );
    let status = host
        .until("x", |status| status.state == SinkState::Active)
        .await;
    host.offer(1, 3);
    host.delivered("x", 1).await;
    let mut stream = TcpStream::connect(&status.listening[0]).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert!(!answer.contains("injected: yes"), "{answer}");
    let status = host
        .until("x", |status| status.counters.plugin_faults == 1)
        .await;
    assert_eq!(
        status.last_error,
        "plugin bad-headers answers with header \"x-evil\", whose name or value is no HTTP (a line break, perhaps)"
    );
}

/// A backend that asks for patience, then fails, then is well again; a sink beside it misses nothing.
#[tokio::test]
async fn backend_that_is_ill_for_a_while_gets_every_count_in_the_end() {
    let answers = Arc::new(std::sync::Mutex::new(vec![
        "429 Too Many Requests\r\nretry-after: 1",
        "503 Service Unavailable\r\nretry-after: Thu, 01 Jan 1970 00:00:00 GMT",
        "500 Internal Server Error",
    ]));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let taken = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (for_task, left) = (Arc::clone(&taken), Arc::clone(&answers));
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            let body = loop {
                stream.read_buf(&mut request).await.unwrap();
                let text = String::from_utf8_lossy(&request).into_owned();
                let body = text.split_once("\r\n\r\n").map(|(_, body)| body);
                if let Some(body) = body.filter(|body| body.ends_with('\n')) {
                    break body.to_owned();
                }
            };
            let ill = { left.lock().unwrap() }.pop();
            if ill.is_none() {
                for_task.lock().unwrap().push(body);
            }
            let status = ill.unwrap_or("200 OK");
            let answer =
                format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let ill = format!(
        "[[sinks]]\nname = \"ill\"\nplugin = \"{{good-echo}}\"\nmode = \"delta\"\nendpoints.out = {{ kind = \"http\", url = \"{url}\" }}\n"
    );
    let host = start(&format!(
        "{ill}{}",
        sink("well", "{ kind = \"file\", path = \"{dir}/well\" }")
    ));
    for sequence in 1..=6 {
        host.offer(sequence, sequence * 10);
        host.delivered("well", sequence).await;
    }
    host.delivered("ill", 6).await;
    assert!(answers.lock().unwrap().is_empty());
    let taken = taken.lock().unwrap().clone();
    let sum: u64 = { taken.iter() }
        .map(|line: &String| {
            line.trim()
                .rsplit_once('=')
                .unwrap()
                .1
                .parse::<u64>()
                .unwrap()
        })
        .sum();
    assert_eq!(sum, 60);
    let (ill, well) = (host.sink("ill").counters, host.sink("well").counters);
    assert_eq!((ill.sink_faults, ill.windows_dropped), (3, 0));
    assert_eq!(
        (
            well.windows_delivered,
            well.windows_dropped,
            well.sink_faults
        ),
        (6, 0, 0)
    );
}

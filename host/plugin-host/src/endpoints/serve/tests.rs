use std::io::Read;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;

use super::*;

/// Answers each request with its method and `Accept`, after `gate` lets it; a large page under `/large`.
struct Echo {
    gate: Semaphore,
    asked: Semaphore,
}

impl Ask for Echo {
    fn ask(self: Arc<Self>, request: types::Request) -> Answering {
        Box::pin(async move {
            self.asked.add_permits(1);
            let _passed = self.gate.acquire().await.unwrap();
            let accept = request.headers.iter().find(|(name, _)| name == "accept");
            let accept = accept.map_or("", |(_, value)| value);
            let body = match request.target.as_str() {
                "/large" => "0123456789".repeat(1000),
                _ => format!("{} {accept}", request.method),
            };
            types::Response {
                status: 200,
                headers: vec![("content-length".to_owned(), "7".to_owned())],
                body: body.into_bytes(),
            }
        })
    }

    fn standing(&self) -> Bytes {
        Bytes::from_static(b"[\"the host\"]")
    }
}

async fn listen(fields: serde_json::Value) -> (SocketAddr, Arc<Echo>) {
    let mut config = serde_json::json!({ "listen": "127.0.0.1:0" });
    config
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    let listener = Listener::bind("http", &serde_json::from_value(config).unwrap())
        .await
        .unwrap();
    let (address, echo) = (
        listener.address(),
        Arc::new(Echo {
            gate: Semaphore::new(1000),
            asked: Semaphore::new(0),
        }),
    );
    let responder = Arc::clone(&echo) as Arc<dyn Ask>;
    tokio::spawn(async move {
        let stop = watch::Sender::new(false);
        listener.run(responder, stop.subscribe()).await;
    });
    (address, echo)
}

/// A request on a connection that is closed after it; head and body of the answer.
async fn ask(address: SocketAddr, head: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{head}host: x\r\nconnection: close\r\n\r\n");
    // What is refused is not read to its end: the connection may be reset behind the answer.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let at = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap()
        + 4;
    let body = answer.split_off(at);
    (String::from_utf8(answer).unwrap().to_lowercase(), body)
}

#[test]
fn path_takes_itself_and_what_is_below_it() {
    for (path, root, taken) in [
        ("/metrics", "/metrics", true),
        ("/metrics/", "/metrics", true),
        ("/metrics/x", "/metrics", true),
        ("/metricsx", "/metrics", false),
        ("/", "/metrics", false),
        ("/anything", "/", true),
        ("/metrics/../secret", "/metrics", false),
        ("/metrics/%2E%2e/secret", "/metrics", false),
        ("/metrics/x%2f..%2fy", "/metrics", false),
        ("/..", "/", false),
        ("/metrics/a..b", "/metrics", true),
        ("/a", "/a/", true),
    ] {
        assert_eq!(is_under(path, root), taken, "{path} under {root}");
    }
}

#[test]
fn answer_that_is_no_http_is_a_fault() {
    let of = |status, name: &str, value: &str| {
        fault(&types::Response {
            status,
            headers: vec![(name.to_owned(), value.to_owned())],
            body: Vec::new(),
        })
    };
    assert_eq!(of(200, "x", "y"), None);
    let text = "answers with status 99, and 200 to 599 are legal";
    assert_eq!(of(99, "x", "y").as_deref(), Some(text));
    let text = "answers with header \"x\", whose name or value is no HTTP (a line break, perhaps)";
    assert_eq!(of(200, "x", "y\r\nset-cookie: z").as_deref(), Some(text));
    assert!(of(200, "x\r\ny", "z").is_some());
}

#[tokio::test]
async fn taken_port_is_named_with_its_remedy() {
    let (address, _) = listen(serde_json::json!({})).await;
    let config = serde_json::from_value(serde_json::json!({ "listen": address })).unwrap();
    let error = Listener::bind("http", &config).await.err().unwrap();
    assert!(
        error.starts_with(&format!(
            "cannot listen on {address}: Address already in use"
        )),
        "{error}"
    );
    assert!(
        error.ends_with("(another process listens there: choose a free port)"),
        "{error}"
    );
}

#[tokio::test]
async fn accept_reaches_the_responder_and_head_is_a_get_without_its_body() {
    let (address, _) = listen(serde_json::json!({})).await;
    let (_, body) = ask(address, "GET / HTTP/1.1\r\naccept: text/html\r\n").await;
    assert_eq!(body, b"GET text/html");
    let (head, body) = ask(address, "HEAD /large HTTP/1.1\r\n").await;
    assert!(
        head.starts_with("http/1.1 200 ok") && head.contains("content-length: 10000"),
        "{head}"
    );
    assert_eq!(body, b"");
}

#[tokio::test]
async fn large_answer_is_compressed_for_who_takes_it() {
    let (address, _) = listen(serde_json::json!({})).await;
    let (head, body) = ask(address, "GET /large HTTP/1.1\r\naccept-encoding: gzip\r\n").await;
    assert!(
        head.contains("content-encoding: gzip") && head.contains("vary: accept-encoding"),
        "{head}"
    );
    let mut text = String::new();
    flate2::read::GzDecoder::new(&body[..])
        .read_to_string(&mut text)
        .unwrap();
    assert!(text == "0123456789".repeat(1000) && body.len() < 1000);
    let (head, body) = ask(address, "GET /large HTTP/1.1\r\n").await;
    assert!(!head.contains("content-encoding"), "{head}");
    assert_eq!(body.len(), 10_000);
}

#[tokio::test]
async fn head_over_its_bounds_is_refused() {
    let (address, _) = listen(serde_json::json!({})).await;
    let much = format!("GET / HTTP/1.1\r\nx: {}\r\n", "y".repeat(HEAD_MAX));
    assert!(ask(address, &much).await.0.starts_with("http/1.1 431 "));
    let many = format!("GET / HTTP/1.1\r\n{}", "x: y\r\n".repeat(HEADERS_MAX + 1));
    assert!(ask(address, &many).await.0.starts_with("http/1.1 431 "));
}

/// Slow-loris: all places are held by clients that never end their head.
#[tokio::test]
async fn clients_that_hold_every_place_and_say_nothing_keep_nobody_out() {
    let (address, _) = listen(serde_json::json!({ "connections": 4, "idle": "1h" })).await;
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
        slow.push(stream);
    }
    for _ in 0..8 {
        assert_eq!(ask(address, "GET / HTTP/1.1\r\n").await.1, b"GET ");
    }
    // One made room for all that came after it, one at a time.
    let mut rest = Vec::new();
    assert_eq!(slow[0].read_to_end(&mut rest).await.unwrap(), 0);
}

#[tokio::test]
async fn connection_whose_request_is_being_answered_is_never_closed_for_another() {
    let (address, echo) = listen(serde_json::json!({ "connections": 1, "idle": "1h" })).await;
    let held = echo.gate.acquire_many(1000).await.unwrap();
    let first = tokio::spawn(async move { ask(address, "GET / HTTP/1.1\r\n").await });
    // It is being answered from here on.
    echo.asked.acquire().await.unwrap().forget();
    let second = tokio::spawn(async move { ask(address, "GET / HTTP/1.1\r\n").await });
    drop(held);
    assert_eq!(first.await.unwrap().1, b"GET ");
    assert_eq!(second.await.unwrap().1, b"GET ");
}

#[tokio::test]
async fn idle_connection_is_closed() {
    let (address, _) = listen(serde_json::json!({ "idle": "20ms" })).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
    let mut rest = Vec::new();
    assert_eq!(stream.read_to_end(&mut rest).await.unwrap(), 0);
}

#[tokio::test]
async fn tls_is_spoken_with_the_certificate_of_the_files_as_they_are_now() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("cert"), dir.path().join("key"));
    let issue = || {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        made.cert.der().clone()
    };
    let first = issue();
    let (address, _) = listen(serde_json::json!({ "cert_file": cert, "key_file": key })).await;
    over_tls(address, first).await;
    let second = issue();
    over_tls(address, second).await;
}

async fn over_tls(address: SocketAddr, trusted: rustls::pki_types::CertificateDer<'static>) {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = "localhost".try_into().unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(name, stream).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("\r\n\r\nGET "), "{answer}");
}

#[tokio::test]
async fn how_it_stands_with_the_sinks_is_told_by_the_host_and_only_where_the_endpoint_says_so() {
    let (address, echo) = listen(serde_json::json!({ "path": "/live", "plugins": true })).await;
    let (head, body) = ask(address, "GET /live/plugins HTTP/1.1\r\n").await;
    assert!(head.contains("content-type: application/json"), "{head}");
    assert_eq!(body, b"[\"the host\"]");
    let (head, body) = ask(address, "HEAD /live/plugins HTTP/1.1\r\n").await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert_eq!(body, b"");
    assert_eq!(echo.asked.available_permits(), 0, "the plugin was asked");
    for elsewhere in [
        "GET /live/plugins/",
        "GET /live/x/plugins",
        "POST /live/plugins",
    ] {
        let (_, body) = ask(address, &format!("{elsewhere} HTTP/1.1\r\n")).await;
        assert_ne!(body, b"[\"the host\"]", "{elsewhere}");
    }
    let (head, _) = ask(address, "GET /plugins HTTP/1.1\r\n").await;
    assert!(head.starts_with("http/1.1 404 "), "{head}");

    let (address, _) = listen(serde_json::json!({})).await;
    assert_eq!(ask(address, "GET /plugins HTTP/1.1\r\n").await.1, b"GET ");
}

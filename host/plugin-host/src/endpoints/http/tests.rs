use std::fs;
use std::io::Read;
use std::sync::Mutex;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use tokio::net::TcpListener;

use super::*;
use crate::config::Secret;

/// Answers each request with the next of `answers`, and keeps the requests' heads and bodies.
async fn server(
    answers: Vec<Response<Full<Bytes>>>,
) -> (
    String,
    Arc<Mutex<Vec<(hyper::http::request::Parts, Bytes)>>>,
) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/push?db=x", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (answers, for_task) = (Arc::new(Mutex::new(answers.into_iter())), Arc::clone(&seen));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(|request: Request<Incoming>| {
                let (answers, seen) = (Arc::clone(&answers), Arc::clone(&for_task));
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    seen.lock().unwrap().push((head, body));
                    Ok::<_, std::convert::Infallible>(answers.lock().unwrap().next().unwrap())
                }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    });
    (url, seen)
}

fn answer(
    status: u16,
    field: Option<(&'static str, &'static str)>,
    body: &'static str,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    if let Some((name, value)) = field {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

fn endpoint(fields: serde_json::Value) -> HttpEndpoint {
    serde_json::from_value(fields).unwrap()
}

fn payload() -> Payload {
    Payload {
        endpoint: "x".to_owned(),
        content_type: "text/plain".to_owned(),
        body: b"body".to_vec(),
    }
}

#[tokio::test]
async fn request_carries_body_type_headers_and_a_token_read_for_each() {
    let (url, seen) = server(vec![answer(204, None, ""), answer(200, None, "ok")]).await;
    let token = tempfile::NamedTempFile::new().unwrap();
    fs::write(token.path(), "one\n").unwrap();
    let config = endpoint(serde_json::json!({
        "url": url, "method": "PUT", "headers": {"x-scope": "a"}, "bearer_token_file": token.path()
    }));
    let mut http = Http::new(&config, &Secrets::new()).unwrap();
    assert!(matches!(http.deliver(&payload()).await, Delivery::Arrived));
    fs::write(token.path(), "two").unwrap();
    assert!(matches!(http.deliver(&payload()).await, Delivery::Arrived));
    let seen = seen.lock().unwrap();
    let (head, body) = &seen[0];
    assert_eq!(
        (
            head.method.as_str(),
            head.uri.to_string().as_str(),
            &body[..]
        ),
        ("PUT", "/push?db=x", &b"body"[..])
    );
    assert_eq!(
        (&head.headers["content-type"], &head.headers["x-scope"]),
        (&"text/plain".parse().unwrap(), &"a".parse().unwrap())
    );
    let tokens: Vec<_> = seen
        .iter()
        .map(|(head, _)| head.headers["authorization"].to_str().unwrap())
        .collect();
    assert_eq!(tokens, ["Bearer one", "Bearer two"]);
}

#[tokio::test]
async fn answers_are_judged_by_class_and_by_retry_after() {
    let (url, _) = server(vec![
        answer(503, Some(("retry-after", "7")), "over\nloaded"),
        answer(429, None, ""),
        answer(400, None, "bad line 3"),
        answer(
            302,
            Some(("location", "http://127.0.0.1:1/?key=hunter2")),
            "",
        ),
        answer(501, None, ""),
    ])
    .await;
    let mut http = Http::new(
        &endpoint(serde_json::json!({ "url": url })),
        &Secrets::new(),
    )
    .unwrap();
    let Delivery::Retry(why, after) = http.deliver(&payload()).await else {
        panic!("503 is tried again")
    };
    assert!(
        why.ends_with("answered 503 Service Unavailable: over loaded"),
        "{why}"
    );
    assert_eq!(after, Some(Duration::from_secs(7)));
    assert!(matches!(
        http.deliver(&payload()).await,
        Delivery::Retry(_, None)
    ));
    assert!(
        matches!(http.deliver(&payload()).await, Delivery::Refused(why) if why.ends_with(": bad line 3"))
    );
    assert!(
        matches!(http.deliver(&payload()).await, Delivery::Refused(why) if why.ends_with("answered 302 Found and redirects to host 127.0.0.1, which is not followed (set `url` to where payloads shall go)"))
    );
    assert!(matches!(
        http.deliver(&payload()).await,
        Delivery::Refused(_)
    ));
}

#[tokio::test]
async fn silent_and_missing_servers_are_tried_again() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let config = endpoint(serde_json::json!({ "url": url, "timeout": "50ms" }));
    let mut http = Http::new(&config, &Secrets::new()).unwrap();
    assert!(
        matches!(http.deliver(&payload()).await, Delivery::Retry(why, None) if why.ends_with("did not answer in 50ms"))
    );
    drop(silent);
    assert!(
        matches!(http.deliver(&payload()).await, Delivery::Retry(why, None) if why.contains("refused"))
    );
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
    let parsed = |text| retry_after(&HeaderValue::from_static(text), now);
    assert_eq!(parsed("120"), Some(Duration::from_secs(120)));
    assert_eq!(
        parsed("Sun, 06 Nov 1994 08:49:47 GMT"),
        Some(Duration::from_secs(10))
    );
    assert_eq!(
        (parsed("Sun, 06 Nov 1994 08:49:27 GMT"), parsed("soon")),
        (None, None)
    );
}

#[test]
fn what_cannot_start_says_why() {
    let fail = |fields| Http::new(&endpoint(fields), &Secrets::new()).err().unwrap();
    assert_eq!(
        fail(serde_json::json!({"url": "http://h", "bearer_token_env": "TOKEN"})),
        "bearer_token_env: the agent has no environment variable TOKEN"
    );
    let empty = tempfile::NamedTempFile::new().unwrap();
    let error = fail(serde_json::json!({"url": "https://h", "ca_file": empty.path()}));
    assert_eq!(
        error,
        format!(
            "ca_file {}: holds no certificate in PEM form",
            empty.path().display()
        )
    );
}

#[tokio::test]
async fn secret_headers_and_a_password_are_sent_and_hidden_where_the_server_quotes_them() {
    let quoting = "no such key: hunter2 or swordfish, b3dsOnN3b3JkZmlzaA==";
    let (url, seen) = server(vec![answer(400, None, quoting)]).await;
    let password = tempfile::NamedTempFile::new().unwrap();
    fs::write(password.path(), "swordfish\n").unwrap();
    let config = endpoint(serde_json::json!({
        "url": url, "headers": {"x-key": {"env": "KEY"}},
        "basic": {"user": "owl", "password": {"file": password.path()}}
    }));
    let secrets = Secrets::from([("KEY".to_owned(), Secret::from("hunter2".to_owned()))]);
    let mut http = Http::new(&config, &secrets).unwrap();
    let Delivery::Refused(why) = http.deliver(&payload()).await else {
        panic!("400 is refused");
    };
    assert!(why.ends_with(": no such key: *** or ***, ***"), "{why}");
    let (head, _) = &seen.lock().unwrap()[0];
    assert_eq!(head.headers["x-key"], "hunter2");
    assert_eq!(head.headers["authorization"], "Basic b3dsOnN3b3JkZmlzaA==");
}

#[tokio::test]
async fn secret_that_is_no_header_is_named_and_not_shown() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "hunter2\r\nhost: x").unwrap();
    let config = endpoint(
        serde_json::json!({ "url": "http://127.0.0.1:1", "bearer_token_file": file.path() }),
    );
    let mut http = Http::new(&config, &Secrets::new()).unwrap();
    let Delivery::Retry(why, None) = http.deliver(&payload()).await else {
        panic!("the file may change");
    };
    assert_eq!(
        why,
        "bearer_token_file: holds characters that no header has, such as a line break"
    );
}

#[tokio::test]
async fn body_is_compressed_and_says_how() {
    let (url, seen) = server(vec![answer(200, None, ""), answer(200, None, "")]).await;
    for compression in ["gzip", "zstd"] {
        let config = endpoint(serde_json::json!({ "url": url, "compression": compression }));
        let mut http = Http::new(&config, &Secrets::new()).unwrap();
        assert!(matches!(http.deliver(&payload()).await, Delivery::Arrived));
    }
    let seen = seen.lock().unwrap();
    let encodings: Vec<_> = seen
        .iter()
        .map(|(head, _)| &head.headers["content-encoding"])
        .collect();
    assert_eq!(encodings, ["gzip", "zstd"]);
    let mut text = String::new();
    flate2::read::GzDecoder::new(&seen[0].1[..])
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "body");
    let mut text = String::new();
    ruzstd::decoding::StreamingDecoder::new(&seen[1].1[..])
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "body");
}

/// An answer without an end, and a head without one: bounded, and the sink goes on.
#[tokio::test]
async fn answer_without_an_end_is_cut() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    for (head, arrives) in [
        ("HTTP/1.1 200 OK\r\n\r\n", true),
        ("HTTP/1.1 500 Oh\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\nx: ", false),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1000]).await;
            let _ = stream.write_all(head.as_bytes()).await;
            // Until it is closed.
            while stream.write_all(&[b'x'; 1000]).await.is_ok() {}
        });
        let config = endpoint(serde_json::json!({ "url": url, "timeout": "1h" }));
        let mut http = Http::new(&config, &Secrets::new()).unwrap();
        let delivery = http.deliver(&payload()).await;
        assert_eq!(
            matches!(delivery, Delivery::Arrived),
            arrives,
            "{head:?}: {delivery:?}"
        );
    }
}

#[tokio::test]
async fn connection_is_used_again() {
    let (url, seen) = server(vec![
        answer(200, None, "x"),
        answer(503, None, "y"),
        answer(200, None, "z"),
    ])
    .await;
    // The server takes one connection at a time: a second one would wait for the first one's end.
    let config = endpoint(serde_json::json!({ "url": url, "timeout": "1h" }));
    let mut http = Http::new(&config, &Secrets::new()).unwrap();
    for _ in 0..3 {
        http.deliver(&payload()).await;
    }
    assert_eq!(seen.lock().unwrap().len(), 3);
}

/// A server that asks for the client's certificate; both sides trust the same authority.
#[tokio::test]
async fn client_shows_its_certificate_and_trusts_its_own_authority_alone() {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_cert = ca.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(ca, ca_key);
    let issue = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &issuer).unwrap(), key)
    };
    let (server_cert, server_key) = issue("localhost");
    let (client_cert, client_key) = issue("owlk8s");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca_cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
        roots.into(),
        Arc::clone(&provider),
    );
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![server_cert.der().clone()],
            PrivateKeyDer::from_pem_slice(server_key.serialize_pem().as_bytes()).unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = acceptor.accept(stream).await else {
                continue;
            };
            let service =
                service_fn(|_| async { Ok::<_, std::convert::Infallible>(answer(200, None, "")) });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    });
    let url = format!("https://localhost:{port}/");
    let ca_file = file("ca", ca_cert.pem());
    let (cert, key) = (
        file("cert", client_cert.pem()),
        file("key", client_key.serialize_pem()),
    );
    let deliver = async |fields: serde_json::Value| {
        let mut http = Http::new(&endpoint(fields), &Secrets::new()).unwrap();
        http.deliver(&payload()).await
    };
    let whole = serde_json::json!({
        "url": url, "ca_file": ca_file, "client_cert_file": cert, "client_key_file": key
    });
    let delivery = deliver(whole).await;
    assert!(matches!(delivery, Delivery::Arrived), "{delivery:?}");
    let unshown = deliver(serde_json::json!({ "url": url, "ca_file": ca_file })).await;
    assert!(
        matches!(&unshown, Delivery::Retry(why, None) if why.starts_with("cannot reach localhost")),
        "{unshown:?}"
    );
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let stranger = serde_json::json!({ "url": url, "ca_file": file("other", other.cert.pem()) });
    let delivery = deliver(stranger).await;
    assert!(
        matches!(&delivery, Delivery::Retry(why, None) if why.contains("invalid peer certificate")),
        "{delivery:?}"
    );
    let mixed = serde_json::json!({
        "url": url, "ca_file": file("ca2", ca_cert.pem()), "client_cert_file": file("c2", other.cert.pem()),
        "client_key_file": file("k2", client_key.serialize_pem())
    });
    let error = Http::new(&endpoint(mixed), &Secrets::new()).err().unwrap();
    assert!(error.contains(" do not fit together: "), "{error}");
}

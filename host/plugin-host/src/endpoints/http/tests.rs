use std::sync::Mutex;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use tokio::net::TcpListener;

use super::*;

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
    let http = Http::new(&config, &Secrets::new()).unwrap();
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
        answer(302, Some(("location", "http://127.0.0.1:1/")), ""),
        answer(501, None, ""),
    ])
    .await;
    let http = Http::new(
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
        matches!(http.deliver(&payload()).await, Delivery::Refused(why) if why.contains("302"))
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
    let http = Http::new(&config, &Secrets::new()).unwrap();
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

//! What an exporter reaches, and what it does not: a real guest, real connections, in a network of its own
//! that has a loopback and no way out.

use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex};

use owlk8s_plugin_host::SinkStatus;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::{Host, start};

/// Run `test` in a network namespace of its own, with only a loopback that is up.
fn alone<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: this thread alone changes its network namespace; it has opened nothing of the old one.
            let unshared = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            let error = std::io::Error::last_os_error();
            assert_eq!(
                unshared, 0,
                "cannot make a network namespace: {error} (run as root)"
            );
            let up = std::process::Command::new("ip")
                .args(["link", "set", "lo", "up"])
                .status()
                .expect("`ip` of Debian's package iproute2");
            assert!(up.success());
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
                .block_on(test());
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// How a server behaves once it has read a request's head.
#[derive(Clone)]
enum Manner {
    Answers(&'static str),
    /// 302 to this place.
    Redirects(String),
    /// A body without an end.
    Floods,
    /// A head without an end, a line each 10 ms.
    Drips,
    /// A head of 1 MiB.
    HugeHead,
    /// Nothing at all.
    IsSilent,
}

/// Of one server: its connections, and the requests' heads as they came.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<(usize, Vec<String>)>>);

impl Seen {
    fn connections(&self) -> usize {
        self.0.lock().unwrap().0
    }

    fn heads(&self) -> Vec<String> {
        self.0.lock().unwrap().1.clone()
    }
}

/// Its port and what it sees.
async fn serve(manner: Manner) -> (u16, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Seen::default();
    let of_server = seen.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            of_server.0.lock().unwrap().0 += 1;
            tokio::spawn(converse(stream, manner.clone(), of_server.clone()));
        }
    });
    (port, seen)
}

/// The same over TLS, for clients that show a certificate of its authority.
async fn serve_tls(tls: TlsAcceptor) -> (u16, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Seen::default();
    let of_server = seen.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(stream) = tls.accept(stream).await {
                of_server.0.lock().unwrap().0 += 1;
                tokio::spawn(converse(stream, Manner::Answers("safe"), of_server.clone()));
            }
        }
    });
    (port, seen)
}

/// Writes `ca.pem`, `cert.pem` and `key.pem` for a client into the directory; and the server's side.
fn authority(dir: &Path) -> TlsAcceptor {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    std::fs::write(dir.join("ca.pem"), certificate.pem()).unwrap();
    let issuer = Issuer::new(params, key);
    let issue = |usage: ExtendedKeyUsagePurpose| {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &issuer).unwrap(), key)
    };
    let (of_client, key) = issue(ExtendedKeyUsagePurpose::ClientAuth);
    std::fs::write(dir.join("cert.pem"), of_client.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
    let (of_server, key) = issue(ExtendedKeyUsagePurpose::ServerAuth);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(
            vec![of_server.der().clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// Ends with the connection; what a guest hangs up on is no error of the server.
async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    manner: Manner,
    seen: Seen,
) -> std::io::Result<()> {
    loop {
        let head = read_request(&mut stream).await?;
        seen.0.lock().unwrap().1.push(head);
        let answer = match &manner {
            Manner::Answers(body) => {
                format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                )
            }
            Manner::Redirects(to) => {
                format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
            }
            Manner::Floods => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
                loop {
                    stream.write_all(&[b'x'; 16 << 10]).await?;
                }
            }
            Manner::Drips => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
                loop {
                    stream.write_all(b"x: y\r\n").await?;
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
            }
            Manner::HugeHead => format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(1 << 20)),
            Manner::IsSilent => std::future::pending().await,
        };
        stream.write_all(answer.as_bytes()).await?;
    }
}

/// Its head; the body is read and forgotten.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(head)
}

/// A good sink, and an exporter `x` that sends to `url`.
fn sinks(url: &str, config: &str, grant: &str) -> String {
    format!(
        "[[sinks]]\nname = \"good\"\nplugin = \"{{good-echo}}\"\nmode = \"every-window\"\n\
         endpoints.out = {{ kind = \"file\", path = \"{{dir}}/good\" }}\n\
         [[sinks]]\nname = \"x\"\nplugin = \"{{sends-http}}\"\nmode = \"every-window\"\n\
         config = {{ {} }}\ngrant = {{ {} }}\n",
        table(&format!("url = \"{url}\""), config),
        table("http = [\"http://*:*\"]", grant)
    )
}

fn table(first: &str, more: &str) -> String {
    [first, more]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(", ")
}

/// One window; the exporter's status after it. The good sink beside it has had it, too.
async fn one_window(host: &Host, sequence: u64) -> SinkStatus {
    host.offer(sequence, 1);
    host.delivered("good", sequence).await;
    host.until("x", |status| {
        status.counters.windows_delivered + status.counters.windows_dropped == sequence
    })
    .await
}

/// What became of one window whose exporter sends to `url`.
async fn sends(url: &str, config: &str, grant: &str) -> SinkStatus {
    one_window(&start(&sinks(url, config, grant)), 1).await
}

fn rejected(status: &SinkStatus) -> &str {
    let said = "plugin sends-http says: the window was rejected: ";
    status
        .last_error
        .strip_prefix(said)
        .unwrap_or_else(|| panic!("{status:#?}"))
}

fn denial(status: &SinkStatus) -> &str {
    let said = "plugin sends-http: HTTP request denied: ";
    status
        .last_denial
        .strip_prefix(said)
        .unwrap_or_else(|| panic!("{status:#?}"))
}

#[test]
fn windows_go_over_one_connection_with_the_hosts_token() {
    alone(|| async {
        let (port, seen) = serve(Manner::Answers("thanks")).await;
        let dir = tempfile::tempdir().unwrap();
        let token = dir.path().join("token");
        std::fs::write(&token, "s3cret\n").unwrap();
        let host = start(&format!(
            "[[sinks]]\nname = \"good\"\nplugin = \"{{good-echo}}\"\nendpoints.out = {{ kind = \"file\", path = \"{{dir}}/good\" }}\n\
             [[sinks]]\nname = \"x\"\nplugin = \"{{sends-http}}\"\nmode = \"every-window\"\n\
             config = {{ url = \"http://localhost:{port}/v1?a=b\", body = 100000, headers = [[\"authorization\", \"mine\"]] }}\n\
             grant.loopback = true\n\
             grant.http = [{{ to = \"http://localhost:{port}\", bearer_token_file = {:?}, headers = {{ x-from = \"host\" }} }}]\n",
            token.display().to_string()
        ));
        for sequence in 1..=5 {
            let status = one_window(&host, sequence).await;
            assert_eq!(status.counters.windows_delivered, sequence, "{status:#?}");
        }
        assert_eq!(host.sink("x").counters.http_requests, 5);
        assert_eq!(seen.connections(), 1);
        let heads = seen.heads();
        assert_eq!(heads.len(), 5);
        for head in heads {
            assert!(head.starts_with("post /v1?a=b http/1.1\r\n"), "{head}");
            for line in [
                format!("host: localhost:{port}"),
                "authorization: bearer s3cret".to_owned(),
                "x-from: host".to_owned(),
                "content-length: 100000".to_owned(),
                concat!("user-agent: owlk8s/", env!("CARGO_PKG_VERSION")).to_owned(),
            ] {
                assert_eq!(
                    head.matches(&format!("\r\n{line}\r\n")).count(),
                    1,
                    "{line}: {head}"
                );
            }
        }
        // Nor is the token anywhere that a person reads.
        assert!(!format!("{:?}", host.host.status()).contains("s3cret"));
    });
}

#[test]
fn addresses_that_are_not_granted_are_not_connected_to() {
    alone(|| async {
        let (port, seen) = serve(Manner::Answers("inner")).await;
        let all = "private = true, loopback = true, link_local = true, translated = true";
        for (url, grant, why) in [
            (
                format!("http://127.0.0.1:{port}"),
                "",
                "127.0.0.1 is this node's loopback: if that is meant, set grant.loopback = true",
            ),
            (
                format!("http://127.1:{port}"),
                "",
                "127.1 is not reached: 127.0.0.1 is this node's loopback",
            ),
            (
                format!("http://2130706433:{port}"),
                "",
                "2130706433 is not reached: 127.0.0.1 is this node's loopback",
            ),
            (
                format!("http://0x7f.1:{port}"),
                "",
                "0x7f.1 is not reached: 127.0.0.1 is this node's loopback",
            ),
            (
                format!("http://localhost:{port}"),
                "private = true",
                "localhost is not reached: ",
            ),
            (
                format!("http://LOCALHOST:{port}"),
                "",
                "is this node's loopback",
            ),
            (
                format!("http://[::ffff:127.0.0.1]:{port}"),
                "",
                "is this node's loopback",
            ),
            (
                format!("http://[::ffff:127.0.0.1]:{port}"),
                "loopback = true",
                "set grant.translated = true",
            ),
            (
                format!("http://0.0.0.0:{port}"),
                all,
                "0.0.0.0 is no address of one host",
            ),
            (
                "http://10.1.2.3".to_owned(),
                "",
                "10.1.2.3 is a private address: if that is meant, set grant.private = true",
            ),
            ("http://100.64.0.1".to_owned(), "", "is a private address"),
            (
                "http://169.254.1.1".to_owned(),
                "",
                "is a link-local address",
            ),
            (
                "http://169.254.169.254/latest/meta-data".to_owned(),
                all,
                "169.254.169.254 is a cloud's metadata service, which nothing allows",
            ),
            (
                "http://[fd00:ec2::254]/".to_owned(),
                all,
                "is a cloud's metadata service",
            ),
            (
                "http://[64:ff9b::169.254.169.254]/".to_owned(),
                all,
                "is a cloud's metadata service",
            ),
        ] {
            let status = sends(&url, "", grant).await;
            assert!(denial(&status).contains(why), "{url}: {}", denial(&status));
            assert!(
                rejected(&status).starts_with("request denied: ErrorCode::DestinationIpProhibited"),
                "{url}: {status:#?}"
            );
            assert_eq!(
                (status.counters.http_denied, status.counters.http_requests),
                (1, 0),
                "{url}"
            );
        }
        assert_eq!(seen.connections(), 0);
        // The same server, granted: it is there.
        let status = sends(&format!("http://127.1:{port}"), "", "loopback = true").await;
        assert_eq!(
            (status.counters.windows_delivered, seen.connections()),
            (1, 1),
            "{status:#?}"
        );
    });
}

#[test]
fn redirect_is_not_followed_and_a_guest_that_does_is_judged_again() {
    alone(|| async {
        let to = "http://169.254.169.254/latest/meta-data/iam/".to_owned();
        let (port, seen) = serve(Manner::Redirects(to)).await;
        let url = format!("http://127.0.0.1:{port}");
        let status = sends(&url, "", "loopback = true, link_local = true").await;
        assert_eq!(rejected(&status), "status 302");
        assert_eq!(
            (status.counters.http_requests, status.counters.http_denied),
            (1, 0)
        );
        let status = sends(&url, "follow = true", "loopback = true, link_local = true").await;
        assert_eq!(
            denial(&status),
            "169.254.169.254 is a cloud's metadata service, which nothing allows"
        );
        assert_eq!(seen.heads().len(), 2);
    });
}

#[test]
fn origin_that_is_not_granted_is_told_with_the_line_that_would_grant_it() {
    alone(|| async {
        let (port, seen) = serve(Manner::Answers("x")).await;
        let host = start(&format!(
            "[[sinks]]\nname = \"good\"\nplugin = \"{{good-echo}}\"\nendpoints.out = {{ kind = \"file\", path = \"{{dir}}/good\" }}\n\
             [[sinks]]\nname = \"x\"\nplugin = \"{{sends-http}}\"\nmode = \"every-window\"\n\
             config.url = \"http://127.0.0.1:{port}\"\ngrant = {{ http = [\"http://other:1\", \"x\"], loopback = true }}\n"
        ));
        let status = one_window(&host, 1).await;
        assert_eq!(
            denial(&status),
            format!(
                "to http://127.0.0.1:{port}: the sink does not grant it: add grant.http = [\"http://127.0.0.1:{port}\"]"
            )
        );
        assert!(
            rejected(&status).contains("HttpRequestDenied"),
            "{status:#?}"
        );
        assert_eq!(seen.connections(), 0);
    });
}

#[test]
fn tls_trusts_the_grants_authority_and_shows_the_grants_certificate() {
    alone(|| async {
        let dir = tempfile::tempdir().unwrap();
        let (port, seen) = serve_tls(authority(dir.path())).await;
        let url = format!("https://localhost:{port}");
        let file = |name: &str| format!("{:?}", dir.path().join(name).display().to_string());
        let (ca, cert, key) = (file("ca.pem"), file("cert.pem"), file("key.pem"));
        let sends = |more: String| {
            let sinks = format!(
                "[[sinks]]\nname = \"good\"\nplugin = \"{{good-echo}}\"\nendpoints.out = {{ kind = \"file\", path = \"{{dir}}/good\" }}\n\
                 [[sinks]]\nname = \"x\"\nplugin = \"{{sends-http}}\"\nmode = \"every-window\"\nconfig.url = \"{url}\"\n\
                 grant.loopback = true\ngrant.http = [{{ to = \"{url}\"{more} }}]\n"
            );
            async move { one_window(&start(&sinks), 1).await }
        };
        let status = sends(format!(
            ", ca_file = {ca}, client_cert_file = {cert}, client_key_file = {key}"
        ))
        .await;
        assert_eq!(
            (status.counters.windows_delivered, seen.connections()),
            (1, 1),
            "{status:#?}"
        );
        let status = sends(String::new()).await;
        assert!(
            rejected(&status).contains("TlsCertificateError"),
            "{}",
            rejected(&status)
        );
        let status = sends(format!(", ca_file = {ca}")).await;
        assert!(
            rejected(&status).contains("TlsAlertReceived"),
            "{}",
            rejected(&status)
        );
        assert_eq!(
            seen.heads().len(),
            1,
            "nothing was said to whom one does not know"
        );
    });
}

#[test]
fn bad_servers_end_the_request_and_nothing_else() {
    alone(|| async {
        for (manner, grant, said) in [
            (
                Manner::IsSilent,
                "read_timeout = \"300ms\", connect_timeout = \"300ms\"",
                "ConnectionReadTimeout",
            ),
            (
                Manner::Drips,
                "read_timeout = \"300ms\", connect_timeout = \"300ms\"",
                "ConnectionReadTimeout",
            ),
            (
                Manner::Floods,
                "response_size = \"64KiB\"",
                "HTTP response body size exceeds limit",
            ),
            (Manner::HugeHead, "", "HttpResponseHeaderSectionSize"),
        ] {
            let (port, _) = serve(manner).await;
            let url = format!("http://127.0.0.1:{port}");
            let status = sends(&url, "", &format!("loopback = true, {grant}")).await;
            assert!(rejected(&status).contains(said), "{}", rejected(&status));
        }
        let nobody = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap().port()
        };
        for (url, said) in [
            (format!("http://127.0.0.1:{nobody}"), "ConnectionRefused"),
            ("http://no-such-name.invalid".to_owned(), "DnsError"),
        ] {
            let status = sends(&url, "", "loopback = true").await;
            assert!(rejected(&status).contains(said), "{}", rejected(&status));
            assert_eq!(status.counters.http_denied, 0);
        }
    });
}

#[test]
fn a_window_has_so_many_requests_and_bytes_and_the_next_has_them_again() {
    alone(|| async {
        let (port, seen) = serve(Manner::Answers("x")).await;
        let url = format!("http://127.0.0.1:{port}");
        let host = start(&sinks(
            &url,
            "times = 1000",
            "loopback = true, requests = 10",
        ));
        for sequence in 1..=2 {
            let status = one_window(&host, sequence).await;
            assert_eq!(
                denial(&status),
                "more than 10 requests in one window (grant.requests)"
            );
            assert_eq!(status.counters.http_requests, sequence * 10);
            assert_eq!(status.counters.http_denied, sequence * 990);
        }
        assert_eq!(seen.heads().len(), 20);
        let status = sends(
            &url,
            "body = 100000",
            "loopback = true, request_size = \"64KiB\"",
        )
        .await;
        assert_eq!(
            denial(&status),
            "the request bodies of one window are larger than 64KiB (grant.request_size)"
        );
        assert!(
            rejected(&status).contains("HttpRequestBodySize"),
            "{status:#?}"
        );
    });
}

#[test]
fn no_trick_says_in_a_request_what_no_request_may_say() {
    alone(|| async {
        let (port, seen) = serve(Manner::Answers("x")).await;
        let host = start(&format!(
            "[[sinks]]\nname = \"good\"\nplugin = \"{{good-echo}}\"\nendpoints.out = {{ kind = \"file\", path = \"{{dir}}/good\" }}\n\
             [[sinks]]\nname = \"x\"\nplugin = \"{{http-tricks}}\"\nmode = \"every-window\"\n\
             config.host = \"127.0.0.1:{port}\"\ngrant = {{ http = [\"http://*:*\"], loopback = true, link_local = true }}\n"
        ));
        for (sequence, expected) in (1..).zip([
            "line break in a value: HeaderError::InvalidSyntax",
            "line break in a name: HeaderError::InvalidSyntax",
            "zero in a value: HeaderError::InvalidSyntax",
            "host: HeaderError::Forbidden",
            "connection: HeaderError::Forbidden",
            "transfer-encoding: HeaderError::Forbidden",
            "two lengths: HeaderError::InvalidSyntax",
            "total size of fields exceeds limit",
            "40 KiB of fields: ErrorCode::HttpRequestHeaderSectionSize",
            "absolute form: no path",
            "no slash: no path",
            "line break in the path: no path",
            "dots: ErrorCode::HttpRequestUriInvalid",
            "hidden dots: ErrorCode::HttpRequestUriInvalid",
            "back dots: ErrorCode::HttpRequestUriInvalid",
            "long path: ErrorCode::HttpRequestUriTooLong",
            "user: ErrorCode::HttpRequestUriInvalid",
            "host as a user: ErrorCode::HttpRequestUriInvalid",
            "line break in the host: no authority",
            "two hosts: ",
        ]) {
            let status = one_window(&host, sequence).await;
            let said = [
                "plugin http-tricks says: the window was rejected: ",
                "plugin http-tricks trapped: ",
            ];
            let told = said
                .iter()
                .find_map(|said| status.last_error.strip_prefix(said))
                .unwrap_or_else(|| panic!("{status:#?}"));
            assert!(told.starts_with(expected), "{told}, not {expected}");
            assert!(!told.ends_with("taken") && !told.ends_with("200"), "{told}");
        }
        assert_eq!(one_window(&host, 21).await.counters.windows_delivered, 1);
        assert_eq!(seen.connections(), 0, "{:?}", seen.heads());
    });
}

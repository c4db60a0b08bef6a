use std::path::{Path, PathBuf};

use hyper::Uri;
use hyper::header::{
    AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, HOST, HeaderName, HeaderValue,
    TRANSFER_ENCODING,
};
use hyper::http::Method;

use crate::config::{
    BasicAuth, Compression, Endpoint, FileEndpoint, HeaderSource, HttpEndpoint, SecretSource,
    ServeEndpoint, SocketKind, TcpEndpoint, UdpEndpoint, UnixEndpoint,
};

/// Keeps a rotation's renames, of which there is one for each file that stays, a short work.
const KEEP_MAX: u32 = 1000;
/// Of a UDP datagram over IPv4.
const DATAGRAM_MAX: usize = 65_507;
/// Less would split most lines.
const DATAGRAM_MIN: usize = 64;
/// `sun_path` of Linux, with its final NUL.
const UNIX_PATH_MAX: usize = 107;
const CONNECTIONS_MAX: usize = 10_000;

/// Takes problems of one endpoint by field.
struct Problems<'a> {
    field: &'a str,
    problem: &'a mut dyn FnMut(&str, String),
}

impl Problems<'_> {
    /// Of the key `name`.
    fn at(&mut self, name: &str, text: impl Into<String>) {
        (self.problem)(&format!("{}.{name}", self.field), text.into());
    }

    /// Of the endpoint as a whole.
    fn whole(&mut self, text: impl Into<String>) {
        (self.problem)(self.field, text.into());
    }
}

pub(super) fn check_endpoint(
    field: &str,
    endpoint: &Endpoint,
    problem: &mut impl FnMut(&str, String),
) {
    let mut problems = Problems { field, problem };
    match endpoint {
        Endpoint::Stdout {} | Endpoint::Stderr {} => {}
        Endpoint::File(file) => check_file(file, &mut problems),
        Endpoint::Http(http) => check_http(http, &mut problems),
        Endpoint::Serve(serve) => check_serve(serve, &mut problems),
        Endpoint::Udp(udp) => check_udp(udp, &mut problems),
        Endpoint::Tcp(tcp) => check_tcp(tcp, &mut problems),
        Endpoint::Unix(unix) => check_unix(unix, &mut problems),
    }
}

fn check_file(file: &FileEndpoint, problems: &mut Problems<'_>) {
    if file.path.file_name().is_none() {
        let path = file.path.display().to_string();
        problems.at("path", format!("{path:?} names no file"));
    }
    if file.keep > KEEP_MAX {
        problems.at(
            "keep",
            format!(
                "{} rotated files are too many; {KEEP_MAX} is the most",
                file.keep
            ),
        );
    }
    if file.rotate_after.is_some_and(|after| after.is_zero()) {
        problems.at(
            "rotate_after",
            "0 would rotate before each payload; leave it out for files of any age",
        );
    }
}

fn check_serve(serve: &ServeEndpoint, problems: &mut Problems<'_>) {
    if !serve.path.starts_with('/') {
        problems.at(
            "path",
            format!("{:?} must begin with `/`, like `/metrics`", serve.path),
        );
    }
    check_pair(
        ("cert_file", &serve.cert_file),
        ("key_file", &serve.key_file),
        problems,
    );
    if !(1..=CONNECTIONS_MAX).contains(&serve.connections) {
        problems.at(
            "connections",
            format!("must be 1 to {CONNECTIONS_MAX}; the default is 128"),
        );
    }
    if serve.idle.is_zero() {
        problems.at("idle", "0 lets no request through; the default is 75s");
    }
}

fn check_udp(udp: &UdpEndpoint, problems: &mut Problems<'_>) {
    check_address(&udp.address, problems);
    check_datagram(udp.datagram, problems);
}

fn check_tcp(tcp: &TcpEndpoint, problems: &mut Problems<'_>) {
    check_address(&tcp.address, problems);
    check_timeout(tcp.timeout.is_zero(), problems);
    check_pair(
        ("client_cert_file", &tcp.client_cert_file),
        ("client_key_file", &tcp.client_key_file),
        problems,
    );
    for (name, file) in [
        ("ca_file", &tcp.ca_file),
        ("client_cert_file", &tcp.client_cert_file),
    ] {
        if file.is_some() && !tcp.tls {
            problems.at(name, "has no use without TLS; add tls = true");
        }
    }
}

fn check_unix(unix: &UnixEndpoint, problems: &mut Problems<'_>) {
    let length = unix.path.as_os_str().len();
    if length == 0 || length > UNIX_PATH_MAX {
        problems.at(
            "path",
            format!("of a socket has 1 to {UNIX_PATH_MAX} bytes, and this has {length}"),
        );
    }
    check_timeout(unix.timeout.is_zero(), problems);
    if unix.socket == SocketKind::Datagram {
        check_datagram(unix.datagram, problems);
    }
}

fn check_address(address: &str, problems: &mut Problems<'_>) {
    if !is_address(address) {
        let text = format!("{address:?} must be HOST:PORT, such as \"127.0.0.1:8125\"");
        problems.at("address", text);
    }
}

/// A host and a port; which host there is, only the network knows.
fn is_address(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else {
        return false;
    };
    let is_v6 = host.starts_with('[') && host.ends_with(']');
    let named = !host.is_empty() && !host.contains([':', '/', '@', ' ']);
    port.parse::<u16>().is_ok_and(|port| port > 0) && (named || is_v6)
}

fn check_datagram(bytes: usize, problems: &mut Problems<'_>) {
    if !(DATAGRAM_MIN..=DATAGRAM_MAX).contains(&bytes) {
        problems.at(
            "datagram",
            format!("must be {DATAGRAM_MIN} to {DATAGRAM_MAX} bytes, and is {bytes}"),
        );
    }
}

fn check_timeout(is_zero: bool, problems: &mut Problems<'_>) {
    if is_zero {
        problems.at("timeout", "0 lets no request through; the default is 10s");
    }
}

/// A certificate and its key: both or none.
fn check_pair(
    cert: (&str, &Option<PathBuf>),
    key: (&str, &Option<PathBuf>),
    problems: &mut Problems<'_>,
) {
    let (has, lacks) = match (cert.1, key.1) {
        (Some(_), None) => (cert.0, key.0),
        (None, Some(_)) => (key.0, cert.0),
        _ => return,
    };
    problems.whole(format!("has {has} and no {lacks}; give both or none"));
}

fn check_http(http: &HttpEndpoint, problems: &mut Problems<'_>) {
    check_url(&http.url, problems);
    if Method::from_bytes(http.method.as_bytes()).is_err() {
        problems.at("method", format!("{:?} is no HTTP method", http.method));
    }
    for (name, source) in &http.headers {
        check_header(name, source, http, problems);
    }
    check_authorization(http, problems);
    check_pair(
        ("client_cert_file", &http.client_cert_file),
        ("client_key_file", &http.client_key_file),
        problems,
    );
    let plain = http.url.starts_with("http://");
    for (name, file) in [
        ("ca_file", &http.ca_file),
        ("client_cert_file", &http.client_cert_file),
    ] {
        if file.is_some() && plain {
            problems.at(
                name,
                "has no use with http://; write https:// or leave it out",
            );
        }
    }
    check_timeout(http.timeout.is_zero(), problems);
}

/// The URL is shown only where it can hold no secret.
fn check_url(url: &str, problems: &mut Problems<'_>) {
    const REMEDY: &str = "use basic, headers, bearer_token_file or bearer_token_env, which take secrets from a file or the \
         environment";
    // Before it is parsed: what does not parse must not be shown either.
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') || url.split('?').next().is_some_and(|url| url.contains('@')) {
        return problems.at("url", format!("holds a user or password; {REMEDY}"));
    }
    if let Some(parameter) = secret_parameter(url) {
        return problems.at(
            "url",
            format!("holds a secret in its parameter {parameter:?}; {REMEDY}"),
        );
    }
    match url.parse::<Uri>() {
        Err(why) => problems.at("url", format!("{url:?} is no URL: {why}")),
        Ok(parsed) => {
            let has_host = parsed.authority().is_some();
            if !(matches!(parsed.scheme_str(), Some("http" | "https")) && has_host) {
                problems.at(
                    "url",
                    format!("{url:?} must begin with http:// or https:// and a host"),
                );
            }
        }
    }
}

/// The name of a query parameter that is a secret by its name.
fn secret_parameter(url: &str) -> Option<&str> {
    let (_, query) = url.split_once('?')?;
    let mut names = query
        .split('&')
        .filter_map(|pair| Some(pair.split_once('=')?.0));
    let has_user = query.split('&').any(|pair| pair.starts_with("u="));
    // InfluxDB 1.x calls them u and p.
    names.find(|name| is_secret(name) || (*name == "p" && has_user))
}

/// Whether a header or parameter of this name is a secret.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace(['-', '_'], "");
    const WORDS: [&str; 8] = [
        "authorization",
        "cookie",
        "token",
        "password",
        "passwd",
        "secret",
        "apikey",
        "accesskey",
    ];
    WORDS.iter().any(|word| name.contains(word))
}

fn check_header(
    name: &str,
    source: &HeaderSource,
    http: &HttpEndpoint,
    problems: &mut Problems<'_>,
) {
    let Ok(parsed) = HeaderName::from_bytes(name.as_bytes()) else {
        return problems.at(
            "headers",
            format!("{name:?} is no HTTP header field with a legal value"),
        );
    };
    if [CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, HOST].contains(&parsed) {
        problems.at(
            "headers",
            format!("{name:?} is the connection's own and cannot be set"),
        );
    }
    if parsed == CONTENT_ENCODING && http.compression != Compression::None {
        problems.at(
            "headers",
            "\"content-encoding\" is set by compression; keep one",
        );
    }
    match source {
        // The value is not shown: it may be a secret under a name that does not say so.
        HeaderSource::Text(value) if HeaderValue::from_str(value).is_err() => problems.at(
            "headers",
            format!("{name:?} is no HTTP header field with a legal value"),
        ),
        HeaderSource::Text(_) if is_secret(name) => problems.at(
            "headers",
            format!("{name:?} holds a secret in the configuration itself; write {{ file = \"...\" }} or {{ env = \"...\" }}"),
        ),
        HeaderSource::Text(_) => {}
        HeaderSource::Secret(secret) => check_source("headers", secret, problems),
    }
}

fn check_source(field: &str, source: &SecretSource, problems: &mut Problems<'_>) {
    let empty = match source {
        SecretSource::File(path) => path == Path::new(""),
        SecretSource::Env(name) => name.is_empty(),
    };
    if empty {
        problems.at(field, "names no file or variable");
    }
}

/// One way to say who we are.
fn check_authorization(http: &HttpEndpoint, problems: &mut Problems<'_>) {
    let header = http
        .headers
        .keys()
        .any(|name| name.eq_ignore_ascii_case(AUTHORIZATION.as_str()));
    let ways: Vec<&str> = [
        ("bearer_token_file", http.bearer_token_file.is_some()),
        ("bearer_token_env", http.bearer_token_env.is_some()),
        ("basic", http.basic.is_some()),
        ("an authorization header", header),
    ]
    .into_iter()
    .filter_map(|(name, is)| is.then_some(name))
    .collect();
    match ways[..] {
        [] | [_] => {}
        [one, other] => problems.whole(format!("has both {one} and {other}; keep one")),
        _ => problems.whole(format!("has {}; keep one", ways.join(", "))),
    }
    if let Some(BasicAuth { user, password }) = &http.basic {
        if user.contains(':') || user.chars().any(char::is_control) {
            problems.at(
                "basic.user",
                "holds a colon or a control character, which RFC 7617 forbids",
            );
        }
        check_source("basic.password", password, problems);
    }
}

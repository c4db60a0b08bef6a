//! Requests and answers, as odd as RFC 9112 lets them be.

use fastrand::Rng;

const METHODS: [&str; 22] = [
    "GET",
    "GET",
    "GET",
    "GET",
    "POST",
    "POST",
    "PUT",
    "PUT",
    "HEAD",
    "HEAD",
    "DELETE",
    "OPTIONS",
    "PATCH",
    "PROPFIND",
    "M-SEARCH",
    "VERSION-CONTROL",
    "BASELINE-CONTROL",
    "PURGE",
    "get",
    "A",
    "GETS",
    "A-METHOD.WITH_22-CHARS",
];
const STATUSES: [u16; 18] = [
    200, 200, 200, 201, 202, 204, 206, 301, 304, 400, 401, 404, 418, 429, 500, 503, 599, 999,
];
/// Fields that look like those that matter.
const FIELDS: [(&str, &str); 18] = [
    ("Content-Type", "text/plain"),
    ("Content-Lengths", "7"),
    ("X-Content-Length", "70"),
    ("Content-Language", "de"),
    ("Contents", "8"),
    ("Cookie", "a=b; c=HTTP/1.1 500"),
    ("Cache-Control", "no-cache"),
    ("TE", "trailers, chunked"),
    ("Trailer", "Expires"),
    ("Transfer-Encodings", "chunked"),
    ("Upgrade-Insecure-Requests", "1"),
    ("ETag", "\"x\""),
    ("Expected", "100-continue"),
    ("User-Agents", "kube-probe/1.30"),
    ("X-Line", "GET / HTTP/1.1"),
    ("C", ""),
    ("T", "e"),
    ("Connection", "keep-alive"),
];

/// A request with all of its body.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) head: Vec<u8>,
    pub(super) body: Vec<u8>,
    pub(super) method: String,
    pub(super) http10: bool,
    pub(super) probe: bool,
}

/// An answer with all of its body.
pub(super) struct Answer {
    pub(super) bytes: Vec<u8>,
}

impl Request {
    pub(super) fn random(rng: &mut Rng) -> Self {
        if rng.u8(..30) == 0 {
            let head =
                b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n".to_vec();
            return Self {
                head,
                body: Vec::new(),
                method: "CONNECT".to_owned(),
                http10: false,
                probe: false,
            };
        }
        let method = METHODS[rng.usize(..METHODS.len())];
        let http10 = rng.u8(..10) == 0;
        let blanks = ["", "", "", "", "", "", " ", " \t"][rng.usize(..8)];
        let mut lines = vec![format!(
            "{method} {} HTTP/1.{}{blanks}",
            target(rng),
            if http10 { 0 } else { 1 }
        )];
        let mut fields = fields(rng);
        let agent = rng.u8(..10);
        match agent {
            0 => fields.push("User-Agent: kube-probe/1.30".to_owned()),
            1 => fields.push("user-agent: kube-probe/1.29+".to_owned()),
            2 => fields.push(field(rng, "User-Agent", "curl/8.0 kube-probe/1")),
            _ => {}
        }
        let mut body = Vec::new();
        if matches!(method, "POST" | "PUT" | "PATCH") || rng.u8(..8) == 0 {
            body = framed(rng, !http10, &mut fields);
        }
        rng.shuffle(&mut fields);
        lines.extend(fields);
        let mut head = if rng.u8(..20) == 0 {
            b"\r\n".to_vec()
        } else {
            Vec::new()
        };
        head.extend(ended(rng, &lines));
        Self {
            head,
            body,
            method: method.to_owned(),
            http10,
            probe: agent < 2,
        }
    }

    /// The same, announcing that it waits for a 100.
    pub(super) fn with_expect(mut self) -> Self {
        let line = self.head.iter().position(|byte| *byte == b'H').unwrap_or(0);
        let end = self.head[line..]
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(self.head.len(), |at| line + at + 1);
        self.head
            .splice(end..end, b"Expect: 100-continue\r\n".iter().copied());
        self
    }
}

impl Answer {
    /// One after which the connection can go on.
    pub(super) fn to(request: &Request, rng: &mut Rng) -> Self {
        let mut bytes = interims(request, rng);
        let mut status = STATUSES[rng.usize(..STATUSES.len())];
        if request.method == "CONNECT" && status < 300 {
            status = 403;
        }
        let mut fields = fields(rng);
        let mut body = Vec::new();
        let none = request.method == "HEAD" || status == 204 || status == 304;
        if !none {
            body = framed(rng, !request.http10, &mut fields);
        } else if rng.bool() && status != 204 {
            // What a GET would have got.
            framed(rng, !request.http10, &mut fields);
        }
        bytes.extend(head(rng, status, fields));
        bytes.extend(body);
        Self { bytes }
    }

    /// One whose body ends with the connection.
    pub(super) fn until_close(request: &Request, rng: &mut Rng) -> Vec<u8> {
        if matches!(request.method.as_str(), "CONNECT" | "HEAD") {
            return Self::to(request, rng).bytes;
        }
        let mut fields = fields(rng);
        if !request.http10 && rng.u8(..4) == 0 {
            fields.push("Transfer-Encoding: gzip".to_owned());
        }
        let mut bytes = interims(request, rng);
        bytes.extend(head(rng, 200, fields));
        bytes.extend(content(rng, 3000));
        bytes
    }
}

/// A CONNECT that is granted, with a length that means nothing.
pub(super) fn connect(rng: &mut Rng) -> (Vec<u8>, Vec<u8>) {
    let fields = if rng.bool() {
        vec!["Content-Length: 10".to_owned()]
    } else {
        Vec::new()
    };
    (
        b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n".to_vec(),
        head(rng, 200, fields),
    )
}

/// The PROXY protocol's header.
pub(super) fn proxy_header(rng: &mut Rng) -> Vec<u8> {
    if rng.bool() {
        return b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 80\r\n".to_vec();
    }
    let addresses = rng.usize(12..300);
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec();
    header.extend((addresses as u16).to_be_bytes());
    header.extend((0..addresses).map(|_| rng.u8(..)));
    header
}

fn interims(request: &Request, rng: &mut Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !request.http10 && rng.u8(..8) == 0 {
        let (status, fields) = if rng.bool() {
            (103, vec!["Link: </a.css>".to_owned()])
        } else {
            (102, Vec::new())
        };
        bytes.extend(head(rng, status, fields));
    }
    bytes
}

fn head(rng: &mut Rng, status: u16, mut fields: Vec<String>) -> Vec<u8> {
    let reason = ["OK", "", "Not Found At All", "HTTP/1.1 200"][rng.usize(..4)];
    let minor = if rng.u8(..12) == 0 { 0 } else { 1 };
    rng.shuffle(&mut fields);
    let mut lines = vec![format!("HTTP/1.{minor} {status} {reason}")];
    lines.extend(fields);
    ended(rng, &lines)
}

/// Lines with their ends; at times a line feed alone, which a recipient may take (RFC 9112, 2.2).
fn ended(rng: &mut Rng, lines: &[String]) -> Vec<u8> {
    let end = if rng.u8(..15) == 0 { "\n" } else { "\r\n" };
    let mut text: String = lines.iter().flat_map(|line| [line.as_str(), end]).collect();
    text.push_str(end);
    text.into_bytes()
}

fn target(rng: &mut Rng) -> String {
    match rng.u8(..12) {
        0 => "*".to_owned(),
        1 => "http://shop/cart?x=HTTP/1.1".to_owned(),
        2 => format!("/{}", "long/".repeat(rng.usize(1..500))),
        _ => format!("/{}", "a".repeat(rng.usize(0..30))),
    }
}

fn fields(rng: &mut Rng) -> Vec<String> {
    let count = if rng.u8(..20) == 0 {
        60
    } else {
        rng.usize(0..8)
    };
    let mut fields = Vec::new();
    for _ in 0..count {
        let (name, value) = FIELDS[rng.usize(..FIELDS.len())];
        fields.push(field(rng, name, value));
    }
    fields
}

/// A field line with any case and any blanks around the value.
fn field(rng: &mut Rng, name: &str, value: &str) -> String {
    let name = match rng.u8(..4) {
        0 => name.to_ascii_lowercase(),
        1 => name.to_ascii_uppercase(),
        _ => name.to_owned(),
    };
    // Once in a while folded (RFC 9112, 5.2).
    let before = ["", " ", " ", " ", " ", "\t", "  ", "\r\n "][rng.usize(..8)];
    let after = ["", "", "", "", " ", "\t "][rng.usize(..6)];
    format!("{name}:{before}{value}{after}")
}

/// A body and the fields that frame it.
fn framed(rng: &mut Rng, chunked: bool, fields: &mut Vec<String>) -> Vec<u8> {
    let most = [0, 1, 30, 30, 400, 400, 4000][rng.usize(..7)];
    let body = content(rng, most);
    if !chunked || rng.bool() {
        let length = format!("{}{}", ["", "", "", "00"][rng.usize(..4)], body.len());
        let length = if rng.u8(..20) == 0 {
            format!("{length}, {length}")
        } else {
            length
        };
        if chunked && rng.u8(..20) == 0 {
            fields.push(field(rng, "Transfer-Encoding", "identity"));
        }
        fields.push(field(rng, "Content-Length", &length));
        return body;
    }
    let coding = [
        "chunked",
        "chunked",
        "Chunked",
        "gzip, chunked",
        "gzip,chunked",
    ][rng.usize(..5)];
    fields.push(field(rng, "Transfer-Encoding", coding));
    chunks(rng, &body)
}

fn chunks(rng: &mut Rng, mut body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let extension = |rng: &mut Rng| ["", "", "", ";a=b", ";a=\"0;1\"", " ;x", ";5"][rng.usize(..7)];
    while !body.is_empty() {
        let (chunk, rest) = body.split_at(rng.usize(1..=body.len()));
        let size = match rng.u8(..3) {
            0 => format!("{:X}", chunk.len()),
            1 => format!("00{:x}", chunk.len()),
            _ => format!("{:x}", chunk.len()),
        };
        bytes.extend(format!("{size}{}\r\n", extension(rng)).into_bytes());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
        body = rest;
    }
    bytes.extend(format!("{}{}\r\n", ["0", "000"][rng.usize(..2)], extension(rng)).into_bytes());
    if rng.u8(..3) == 0 {
        bytes.extend(b"Expires: 0\r\nContent-Length: 77\r\n");
    }
    bytes.extend(b"\r\n");
    bytes
}

/// Up to `most` bytes that may look like messages.
pub(in crate::plan) fn content(rng: &mut Rng, most: usize) -> Vec<u8> {
    const ALIKE: [&[u8]; 5] = [
        b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
        b"GET /body HTTP/1.1\r\nHost: b\r\n\r\n",
        b"0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\r\n\r\n",
    ];
    let len = if most == 0 { 0 } else { rng.usize(1..=most) };
    let mut bytes = Vec::new();
    let alike = rng.bool();
    while bytes.len() < len {
        if alike {
            bytes.extend(ALIKE[rng.usize(..ALIKE.len())]);
        } else {
            bytes.push(rng.u8(..));
        }
    }
    bytes.truncate(len);
    bytes
}

//! HTTP for exporters, to the origins that the plugin's manifest asks for and its sink grants.
//!
//! The host resolves, connects and keeps connections; it adds credentials that the sink's `grant` names,
//! and bounds what a window may send and receive. Redirects are not followed.
//!
//! ```no_run
//! # fn send() -> Result<(), owlk8s_plugin::http::Error> {
//! let answer = owlk8s_plugin::http::post("https://api.acme.example/v1/ratios")
//!     .header("content-type", "application/json")
//!     .body(b"{}".to_vec())
//!     .send()?;
//! assert!(answer.is_success());
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::time::Duration;

/// A request to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    method: String,
    url: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    timeout: Option<Duration>,
}

/// What came back, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// HTTP status code.
    pub status: u16,
    /// Field names in lower case, in order of arrival.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Why there is no response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The sink does not allow it. The sink's status says what would.
    Denied(String),
    /// Everything else; it may be tried again.
    Failed(String),
}

/// A GET request.
pub fn get(url: &str) -> Request {
    Request::new("GET", url)
}

/// A POST request.
pub fn post(url: &str) -> Request {
    Request::new("POST", url)
}

impl Request {
    /// A request with any method.
    pub fn new(method: &str, url: &str) -> Self {
        Self {
            method: method.to_owned(),
            url: url.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout: None,
        }
    }

    /// With one header field more. The host sets `host`, `content-length` and what is between two hops.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// With this body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// With less patience than the sink's, for the response's head and between two pieces of its body.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sends it and waits for all of the response.
    ///
    /// # Errors
    /// Where there is no response. A response of any status is none.
    pub fn send(&self) -> Result<Response, Error> {
        wire::send(self)
    }
}

impl Response {
    /// Whether the status is 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(why) => write!(f, "request denied: {why}"),
            Self::Failed(why) => write!(f, "request failed: {why}"),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(target_family = "wasm")]
mod wire {
    use wasip2::http::outgoing_handler::handle;
    use wasip2::http::types::{
        ErrorCode, Fields, IncomingResponse, Method, OutgoingBody, OutgoingRequest, RequestOptions,
        Scheme,
    };
    use wasip2::io::streams::StreamError;

    use super::{Error, Request, Response};

    /// For each read and write.
    const PIECE: usize = 64 << 10;

    pub(super) fn send(request: &Request) -> Result<Response, Error> {
        let (scheme, authority, target) = split(&request.url)?;
        let fields = Fields::from_list(&request.headers)
            .map_err(|error| Error::Failed(format!("header field: {error:?}")))?;
        // A server may wait for the body of a method that has one.
        if !request.body.is_empty() || ["POST", "PUT", "PATCH"].contains(&&*request.method) {
            let length = request.body.len().to_string();
            fields
                .set("content-length", &[length.into_bytes()])
                .map_err(|error| Error::Failed(format!("content-length: {error:?}")))?;
        }
        let outgoing = OutgoingRequest::new(fields);
        let part = |set: Result<(), ()>, what: &str, value: &str| {
            set.map_err(|()| Error::Failed(format!("{value:?} is no {what}")))
        };
        part(
            outgoing.set_method(&method(&request.method)),
            "method",
            &request.method,
        )?;
        part(outgoing.set_scheme(Some(&scheme)), "scheme", &request.url)?;
        part(outgoing.set_authority(Some(authority)), "host", authority)?;
        part(outgoing.set_path_with_query(Some(target)), "path", target)?;
        let body = outgoing
            .body()
            .map_err(|()| failed("the request has no body"))?;
        let options = request.timeout.map(|timeout| {
            let options = RequestOptions::new();
            let nanos = u64::try_from(timeout.as_nanos()).ok();
            // Hosts may not support one of them; then theirs holds.
            let _ = options.set_first_byte_timeout(nanos);
            let _ = options.set_between_bytes_timeout(nanos);
            options
        });
        let coming = handle(outgoing, options).map_err(of_code)?;
        // A server may answer before it has read all: what it says is worth more than that.
        let written = write(body, &request.body);
        coming.subscribe().block();
        match coming.get() {
            Some(Ok(Ok(response))) => read(&response),
            Some(Ok(Err(code))) => Err(of_code(code)),
            _ => Err(written.err().unwrap_or_else(|| failed("no response"))),
        }
    }

    fn split(url: &str) -> Result<(Scheme, &str, &str), Error> {
        let (scheme, rest) = if let Some(rest) = url.strip_prefix("https://") {
            (Scheme::Https, rest)
        } else if let Some(rest) = url.strip_prefix("http://") {
            (Scheme::Http, rest)
        } else {
            return Err(Error::Failed(format!(
                "{url:?} does not begin with http:// or https://"
            )));
        };
        let rest = rest.split('#').next().unwrap_or(rest);
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let target = if at == rest.len() { "/" } else { &rest[at..] };
        Ok((scheme, &rest[..at], target))
    }

    fn method(name: &str) -> Method {
        match name {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "POST" => Method::Post,
            "PUT" => Method::Put,
            "DELETE" => Method::Delete,
            "PATCH" => Method::Patch,
            "OPTIONS" => Method::Options,
            other => Method::Other(other.to_owned()),
        }
    }

    fn write(body: OutgoingBody, bytes: &[u8]) -> Result<(), Error> {
        {
            let stream = body.write().map_err(|()| failed("the body is closed"))?;
            let ready = stream.subscribe();
            let mut left = bytes;
            while !left.is_empty() {
                ready.block();
                let room = stream.check_write().map_err(of_stream)?;
                let room = usize::try_from(room).unwrap_or(PIECE).min(left.len());
                let (piece, rest) = left.split_at(room);
                stream.write(piece).map_err(of_stream)?;
                left = rest;
            }
        }
        OutgoingBody::finish(body, None).map_err(of_code)
    }

    fn read(response: &IncomingResponse) -> Result<Response, Error> {
        let mut bytes = Vec::new();
        let body = response
            .consume()
            .map_err(|()| failed("the response has no body"))?;
        let stream = body.stream().map_err(|()| failed("the body is closed"))?;
        loop {
            match stream.blocking_read(PIECE as u64) {
                Ok(piece) => bytes.extend_from_slice(&piece),
                Err(StreamError::Closed) => break,
                Err(error) => return Err(of_stream(error)),
            }
        }
        Ok(Response {
            status: response.status(),
            headers: response.headers().entries(),
            body: bytes,
        })
    }

    fn failed(why: &str) -> Error {
        Error::Failed(why.to_owned())
    }

    fn of_stream(error: StreamError) -> Error {
        match error {
            StreamError::Closed => failed("the connection was closed"),
            StreamError::LastOperationFailed(error) => {
                match wasip2::http::types::http_error_code(&error) {
                    Some(code) => of_code(code),
                    None => Error::Failed(error.to_debug_string()),
                }
            }
        }
    }

    fn of_code(code: ErrorCode) -> Error {
        match code {
            ErrorCode::HttpRequestDenied
            | ErrorCode::DestinationIpProhibited
            | ErrorCode::HttpRequestUriInvalid
            | ErrorCode::HttpRequestUriTooLong
            | ErrorCode::HttpRequestMethodInvalid
            | ErrorCode::HttpRequestHeaderSectionSize(_)
            | ErrorCode::HttpRequestBodySize(_)
            | ErrorCode::ConfigurationError => Error::Denied(format!("{code:?}")),
            code => Error::Failed(format!("{code:?}")),
        }
    }
}

/// Of a native test.
#[cfg(not(target_family = "wasm"))]
mod wire {
    use super::{Error, Request, Response};

    pub(super) fn send(request: &Request) -> Result<Response, Error> {
        Err(Error::Failed(format!(
            "{} {}: there is no network in native tests",
            request.method, request.url
        )))
    }
}

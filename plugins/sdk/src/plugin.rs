//! What a plugin implements: one trait for each world of the interface.
//!
//! The types hold no `self`: an instance lives for one window, so there is nothing to keep in it.

use serde::de::DeserializeOwned;

use crate::{Outcome, Payload, Request, Response, Snapshot, Verdict, records};

/// What a plugin's functions return: `?` works on any error, `Err("text".into())` too. The text, with
/// its causes, is what the user reads in the sink's status.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Turns a snapshot into bytes for the sink's endpoints. Pure: no network, no clock.
pub trait Formatter {
    /// The sink's `config` table. Every key should have a default.
    type Config: DeserializeOwned;

    /// Checks what the type cannot say. Called once, before the sink starts.
    ///
    /// # Errors
    /// What is wrong, with the key's name; the sink does not start.
    fn validate(config: &Self::Config) -> Result<()> {
        let _ = config;
        Ok(())
    }

    /// Payloads are delivered in order.
    ///
    /// # Errors
    /// Fails this window of the sink.
    fn format(config: &Self::Config, snapshot: &Snapshot<'_>) -> Result<Vec<Payload>>;
}

/// Chooses which targets and rows the next plugin of the chain sees.
pub trait Filter {
    /// The filter's `config` table. Every key should have a default.
    type Config: DeserializeOwned;

    /// Checks what the type cannot say. Called once, before the sink starts.
    ///
    /// # Errors
    /// What is wrong, with the key's name; the sink does not start.
    fn validate(config: &Self::Config) -> Result<()> {
        let _ = config;
        Ok(())
    }

    /// Start from [`Verdict::all`].
    ///
    /// # Errors
    /// Fails this window of the sink.
    fn filter(config: &Self::Config, snapshot: &Snapshot<'_>) -> Result<Verdict>;
}

/// Answers HTTP requests from the latest snapshot; the host listens.
pub trait Responder {
    /// The sink's `config` table. Every key should have a default.
    type Config: DeserializeOwned;

    /// Checks what the type cannot say. Called once, before the sink starts.
    ///
    /// # Errors
    /// What is wrong, with the key's name; the sink does not start.
    fn validate(config: &Self::Config) -> Result<()> {
        let _ = config;
        Ok(())
    }

    /// One request; the host adds `content-length`.
    ///
    /// # Errors
    /// Answered with status 500.
    fn respond(
        config: &Self::Config,
        request: &Request,
        snapshot: &Snapshot<'_>,
    ) -> Result<Response>;
}

/// Sends a snapshot by itself, over `wasi:http` to the hosts it was granted.
pub trait Exporter {
    /// The sink's `config` table. Every key should have a default.
    type Config: DeserializeOwned;

    /// Checks what the type cannot say. Called once, before the sink starts.
    ///
    /// # Errors
    /// What is wrong, with the key's name; the sink does not start.
    fn validate(config: &Self::Config) -> Result<()> {
        let _ = config;
        Ok(())
    }

    /// One window. The outcome decides whether the host offers it again.
    fn export(config: &Self::Config, snapshot: &Snapshot<'_>) -> Outcome;
}

impl Payload {
    /// UTF-8 text for the endpoint of this name.
    pub fn text(endpoint: &str, body: String) -> Self {
        Self::new(endpoint, "text/plain; charset=utf-8", body.into_bytes())
    }

    /// JSON objects, one a line, for the endpoint of this name.
    pub fn json_lines(endpoint: &str, body: Vec<u8>) -> Self {
        Self::new(endpoint, "application/x-ndjson", body)
    }

    /// Bytes of a MIME type for the endpoint of this name.
    pub fn new(endpoint: &str, content_type: &str, body: Vec<u8>) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            content_type: content_type.to_owned(),
            body,
        }
    }
}

impl Verdict {
    /// Keeps everything.
    pub fn all() -> Self {
        Self {
            replace: None,
            targets: None,
            rows: None,
            renames: Vec::new(),
        }
    }

    /// Hands on a snapshot of the filter's own; see [`TablesBuilder`](crate::TablesBuilder).
    pub fn replace(tables: records::Tables) -> Self {
        Self {
            replace: Some(tables),
            ..Self::all()
        }
    }

    /// Keeps these targets, with all their rows.
    pub fn keep_targets(targets: impl IntoIterator<Item = u32>) -> Self {
        Self {
            targets: Some(targets.into_iter().collect()),
            ..Self::all()
        }
    }
}

impl Request {
    /// The path without the query.
    pub fn path(&self) -> &str {
        self.target
            .split_once('?')
            .map_or(self.target.as_str(), |(path, _)| path)
    }
}

impl Response {
    /// A response with one header, `content-type`.
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: vec![("content-type".to_owned(), content_type.to_owned())],
            body: body.into(),
        }
    }

    /// Hands the beginning of the body that is being made to the host, and empties it, so that a large body is never whole in
    /// the plugin's memory. What comes into it afterwards is the rest: the body of the response that is returned.
    ///
    /// Native tests have no host: there it stays, and the response's body is the whole one.
    pub fn write_ahead(body: &mut Vec<u8>) {
        #[cfg(target_family = "wasm")]
        {
            crate::bindings::response_body::write(body);
            body.clear();
        }
        #[cfg(not(target_family = "wasm"))]
        let _ = body;
    }

    /// With one more header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

//! Push by HTTP. Nothing of a redirect is followed: credentials go to the configured host and to no other.

mod tls;

use std::fs;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{
    AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use hyper::{Method, Request, Response, StatusCode, Uri, body::Incoming};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;

use super::{Delivery, Secrets};
use crate::bindings::types::Payload;
use crate::config::HttpEndpoint;
use crate::guest::printable;

/// Of an answer; the connection of a longer one is closed.
const ANSWER_MAX: usize = 64 << 10;
/// Of an answer, in a message.
const QUOTED: usize = 300;
/// An idle connection is kept for longer than the usual interval.
const IDLE: Duration = Duration::from_secs(90);
/// Of a token file.
const TOKEN_MAX: u64 = 64 << 10;

/// An address that payloads are pushed to.
pub(crate) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    config: HttpEndpoint,
    url: Uri,
    method: Method,
    headers: HeaderMap,
}

impl Http {
    pub(super) fn new(config: &HttpEndpoint, secrets: &Secrets) -> Result<Self, String> {
        let url: Uri = config
            .url
            .parse()
            .map_err(|error| format!("url: {error}"))?;
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(hyper_util::rt::TokioTimer::new())
            .build(tls::connector(&url, config.ca_file.as_deref())?);
        let mut headers = HeaderMap::new();
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("owlk8s/", env!("CARGO_PKG_VERSION"))),
        );
        for (name, value) in &config.headers {
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|error| format!("headers: {error}"))?;
            headers.insert(
                name,
                HeaderValue::from_str(value).map_err(|error| format!("headers: {error}"))?,
            );
        }
        if let Some(name) = &config.bearer_token_env {
            let token = secrets.get(name).filter(|token| !token.trim().is_empty());
            let token = token.ok_or_else(|| {
                format!("bearer_token_env: the agent has no environment variable {name}")
            })?;
            headers.insert(
                AUTHORIZATION,
                bearer(token).map_err(|why| format!("bearer_token_env: {name} {why}"))?,
            );
        }
        let method = Method::from_bytes(config.method.as_bytes())
            .map_err(|error| format!("method: {error}"))?;
        Ok(Self {
            client,
            config: config.clone(),
            url,
            method,
            headers,
        })
    }

    pub(super) async fn deliver(&self, payload: &Payload) -> Delivery {
        let request = match self.request(payload) {
            Ok(request) => request,
            Err(why) => return Delivery::Retry(why, None),
        };
        match tokio::time::timeout(self.config.timeout, self.exchange(request)).await {
            Ok(delivery) => delivery,
            Err(_) => Delivery::Retry(
                format!(
                    "{} did not answer in {:?}",
                    self.host(),
                    self.config.timeout
                ),
                None,
            ),
        }
    }

    fn request(&self, payload: &Payload) -> Result<Request<Full<Bytes>>, String> {
        let mut request = Request::new(Full::new(Bytes::copy_from_slice(&payload.body)));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.url.clone();
        let headers = request.headers_mut();
        if let Ok(content_type) = HeaderValue::from_str(&payload.content_type) {
            headers.insert(CONTENT_TYPE, content_type);
        }
        headers.extend(self.headers.clone());
        if let Some(path) = &self.config.bearer_token_file {
            let of_file = |why: String| format!("bearer_token_file {}: {why}", path.display());
            let length = fs::metadata(path)
                .map_err(|error| of_file(error.to_string()))?
                .len();
            if length > TOKEN_MAX {
                return Err(of_file(format!("{length} bytes are no token")));
            }
            let token = fs::read_to_string(path).map_err(|error| of_file(error.to_string()))?;
            headers.insert(
                AUTHORIZATION,
                bearer(&token).map_err(|why| of_file(why.to_owned()))?,
            );
        }
        Ok(request)
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Delivery {
        match self.client.request(request).await {
            Err(error) => Delivery::Retry(
                format!("cannot reach {}: {}", self.host(), chain(&error)),
                None,
            ),
            Ok(response) => self.judge(response).await,
        }
    }

    async fn judge(&self, response: Response<Incoming>) -> Delivery {
        let status = response.status();
        let after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| retry_after(value, SystemTime::now()));
        let body = Limited::new(response.into_body(), ANSWER_MAX)
            .collect()
            .await;
        if status.is_success() {
            return Delivery::Arrived;
        }
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        let said = printable(String::from_utf8_lossy(&body).trim(), QUOTED);
        let quoted = if said.is_empty() {
            String::new()
        } else {
            format!(": {said}")
        };
        let why = format!("{} answered {status}{quoted}", self.host());
        if may_pass(status) {
            Delivery::Retry(why, after)
        } else {
            Delivery::Refused(why)
        }
    }

    fn host(&self) -> &str {
        self.url
            .authority()
            .map_or("", |authority| authority.as_str())
    }
}

fn bearer(token: &str) -> Result<HeaderValue, &'static str> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
        .map_err(|_| "holds characters that no token has")?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whether the same request may succeed later. As OTLP and Prometheus remote write do, with all of 5xx
/// but what says that the request itself is not understood.
fn may_pass(status: StatusCode) -> bool {
    match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => true,
        StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => false,
        // A wrong or expired credential is put right by a person, or by whoever renews the token file.
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => true,
        status => status.is_server_error(),
    }
}

/// Seconds, or a date (RFC 9110, section 10.2.3).
fn retry_after(value: &HeaderValue, now: SystemTime) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(text)
            .ok()?
            .duration_since(now)
            .ok(),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

#[cfg(test)]
mod tests;

//! Push by HTTP. Nothing of a redirect is followed: credentials go to the configured host and to no other.
//!
//! What becomes of a payload, by the answer:
//!
//! | answer | payload |
//! |---|---|
//! | 2xx | arrived, whatever the answer's body says |
//! | none: no connection, no answer in time | tried again |
//! | 408, 425, 429, 5xx but 501 and 505 | tried again, not before `Retry-After` (at most 10 min) |
//! | 401, 403 | tried again: a person or whoever renews the token puts it right |
//! | all others, redirects among them | refused |

mod body;
mod credentials;

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{
    CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER,
    USER_AGENT,
};
use hyper::{Method, Request, Response, StatusCode, Uri, body::Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::{Delivery, Secrets, root_cause, tls};
use crate::bindings::types::Payload;
use crate::config::{HeaderSource, HttpEndpoint};
use crate::guest::printable;
use credentials::Credentials;

/// Of an answer; the connection of a longer one is closed.
const ANSWER_MAX: usize = 64 << 10;
/// Of an answer's head.
const ANSWER_HEAD_MAX: usize = 64 << 10;
/// Of an answer, in a message.
const QUOTED: usize = 300;
/// An idle connection is kept for longer than the usual interval.
const IDLE: Duration = Duration::from_secs(90);

type Connections = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// An address that payloads are pushed to.
pub(crate) struct Http {
    client: Connections,
    tls: Option<(tls::Client, std::sync::Arc<rustls::ClientConfig>)>,
    config: HttpEndpoint,
    url: Uri,
    method: Method,
    headers: HeaderMap,
    credentials: Credentials,
}

impl Http {
    pub(super) fn new(config: &HttpEndpoint, secrets: &Secrets) -> Result<Self, String> {
        let url: Uri = config
            .url
            .parse()
            .map_err(|error| format!("url: {error}"))?;
        let tls = match url.scheme_str() {
            Some("https") => {
                let mut tls = tls::Client::new(client_files(config), "url")?;
                let current = tls.current();
                Some((tls, current))
            }
            _ => None,
        };
        let mut headers = HeaderMap::new();
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("owlk8s/", env!("CARGO_PKG_VERSION"))),
        );
        for (name, source) in &config.headers {
            let HeaderSource::Text(value) = source else {
                continue;
            };
            let fail = |what: &str| format!("headers: {name:?} {what}");
            headers.insert(
                HeaderName::from_bytes(name.as_bytes()).map_err(|_| fail("is no header"))?,
                HeaderValue::from_str(value).map_err(|_| fail("has no legal value"))?,
            );
        }
        let method = Method::from_bytes(config.method.as_bytes())
            .map_err(|error| format!("method: {error}"))?;
        Ok(Self {
            client: client(tls.as_ref().map(|(_, current)| current.as_ref())),
            tls,
            credentials: Credentials::new(config, secrets)?,
            config: config.clone(),
            url,
            method,
            headers,
        })
    }

    pub(super) async fn deliver(&mut self, payload: &Payload) -> Delivery {
        self.renew();
        let mut shown = Vec::new();
        let request = match self.request(payload, &mut shown).await {
            Ok(request) => request,
            Err(why) => return Delivery::Retry(why, None),
        };
        let exchange = self.exchange(request, &shown);
        match tokio::time::timeout(self.config.timeout, exchange).await {
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

    /// Certificates that were replaced are taken up with new connections.
    fn renew(&mut self) {
        if let Some((tls, used)) = &mut self.tls {
            let current = tls.current();
            if !std::sync::Arc::ptr_eq(&current, used) {
                self.client = client(Some(&current));
                *used = current;
            }
        }
    }

    /// `shown` gets the secrets that the request shows to the server.
    async fn request(
        &self,
        payload: &Payload,
        shown: &mut Vec<String>,
    ) -> Result<Request<Full<Bytes>>, String> {
        let compression = self.config.compression;
        let body = body::encode(payload.body.clone(), compression).await?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.url.clone();
        let headers = request.headers_mut();
        if let Ok(content_type) = HeaderValue::from_str(&payload.content_type) {
            headers.insert(CONTENT_TYPE, content_type);
        }
        if let Some(encoding) = body::encoding(compression) {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        headers.extend(self.headers.clone());
        self.credentials.show(headers, shown)?;
        Ok(request)
    }

    async fn exchange(&self, request: Request<Full<Bytes>>, shown: &[String]) -> Delivery {
        match self.client.request(request).await {
            Err(error) => Delivery::Retry(
                format!("cannot reach {}: {}", self.host(), root_cause(&error)),
                None,
            ),
            Ok(response) => self.judge(response, shown).await,
        }
    }

    async fn judge(&self, response: Response<Incoming>, shown: &[String]) -> Delivery {
        let status = response.status();
        let after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| retry_after(value, SystemTime::now()));
        let redirect = if status.is_redirection() {
            points_to(response.headers())
        } else {
            String::new()
        };
        // Read to its end, so that the connection can be used again.
        let body = Limited::new(response.into_body(), ANSWER_MAX)
            .collect()
            .await;
        if status.is_success() {
            return Delivery::Arrived;
        }
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        let said = credentials::without(&String::from_utf8_lossy(&body), shown);
        let said = printable(said.trim(), QUOTED);
        let quoted = if said.is_empty() {
            String::new()
        } else {
            format!(": {said}")
        };
        let why = format!("{} answered {status}{redirect}{quoted}", self.host());
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

fn client_files(config: &HttpEndpoint) -> tls::ClientFiles {
    tls::ClientFiles {
        ca: config.ca_file.clone(),
        cert_and_key: config
            .client_cert_file
            .clone()
            .zip(config.client_key_file.clone()),
    }
}

fn client(tls: Option<&rustls::ClientConfig>) -> Connections {
    // Without TLS the URL is http://, and nothing of this is used.
    let unused = || {
        rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap_or_else(|_| unreachable!("ring speaks TLS 1.2 and 1.3"))
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth()
    };
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls.cloned().unwrap_or_else(unused))
        .https_or_http()
        .enable_http1()
        .build();
    Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE)
        .pool_timer(TokioTimer::new())
        .http1_max_buf_size(ANSWER_HEAD_MAX)
        .build(connector)
}

/// Whither a redirect leads, for the person who may want to configure that; its path and query may
/// hold what is nobody's business.
fn points_to(headers: &HeaderMap) -> String {
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let target = location.and_then(|location| location.parse::<Uri>().ok());
    let host = target.as_ref().and_then(|target| target.authority());
    let to = match host {
        Some(host) => format!(" to host {}", printable(host.host(), QUOTED)),
        None if location.is_some() => " to another path".to_owned(),
        None => " to nowhere".to_owned(),
    };
    format!(" and redirects{to}, which is not followed (set `url` to where payloads shall go)")
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

#[cfg(test)]
mod tests;

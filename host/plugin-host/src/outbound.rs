//! `wasi:http` for exporters, by a client of our own: wasmtime's default one resolves a name after it was
//! allowed and connects anywhere, opens a connection for each request, trusts one fixed set of
//! authorities, and waits ten minutes.
//!
//! A request passes: the window's budget, the form of its URL, the origins that the plugin may send to,
//! and, for each new connection, the address. What is refused reaches the guest as an error code and the
//! operator as one line with the remedy. A redirect is an answer like any other: nothing follows it, and
//! where a guest does, its request passes all of the above.
//!
//! Secrets (tokens, certificates) are added on this side and never reach the guest.

mod address;
mod body;
mod connect;
mod tls;

use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Semaphore;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody,
    WasiHttpHooks,
};

use crate::authority::{Authority, Grant, Host, HttpGrant, Origin, OriginPattern, Scheme};
use crate::config::Secret;
use crate::desk::Desk;
use crate::endpoints::Secrets;
use crate::frames::Level;
use crate::guest::printable;
use crate::status::PluginKind;
use address::Reach;
use body::{Answering, Asking, Budget};
use connect::{ConnectError, Connector, Resolve, System};

/// Requests of one sink that are under way at once, and so its connections.
const AT_ONCE: usize = 8;
/// Of these, kept for the next window.
const IDLE_CONNECTIONS: usize = 4;
/// An idle connection is kept for longer than the usual interval.
const IDLE: Duration = Duration::from_secs(90);
/// Of a request's path and query; servers take about as much.
const TARGET_MAX: usize = 8 << 10;
/// Of a request's header fields.
const HEADERS_MAX: usize = 32 << 10;
/// Of a response's head.
const HEAD_MAX: usize = 64 << 10;
/// Header fields of a response.
const FIELDS_MAX: usize = 100;
/// Different lines about denials that one sink writes; more than these repeat nothing new.
const TOLD_MAX: usize = 32;
/// Of what a guest wrote, in a line.
const QUOTED: usize = 200;
/// Of a token file.
const TOKEN_MAX: u64 = 64 << 10;

/// Header fields that would let a guest speak for the connection, beside those that wasmtime knows.
const FORBIDDEN: [HeaderName; 3] = [
    hyper::header::TE,
    hyper::header::TRAILER,
    hyper::header::EXPECT,
];

/// The network of one plugin of a sink, for as long as the sink runs.
pub(crate) struct Outbound {
    plugin: String,
    kind: PluginKind,
    grant: Grant,
    reach: Reach,
    routes: Vec<Route>,
    places: Arc<Semaphore>,
    told: Mutex<BTreeSet<String>>,
    desk: Desk,
}

/// Origins with what is added to requests there.
struct Route {
    allowed: Vec<OriginPattern>,
    client: Client<Connector, Asking>,
    headers: HeaderMap,
    grant: HttpGrant,
}

/// What one call of the plugin has of it.
pub(crate) struct Network(Option<Opening>);

struct Opening {
    outbound: Arc<Outbound>,
    budget: Arc<Budget>,
    /// Not while its config is validated.
    open: bool,
}

impl Outbound {
    /// For a plugin that may do what `authority` says. The error says what a person has to do.
    pub(crate) fn new(
        plugin: &str,
        kind: PluginKind,
        authority: &Authority,
        grant: &Grant,
        secrets: &Secrets,
        desk: Desk,
    ) -> Result<Self, String> {
        Self::resolving(
            plugin,
            kind,
            authority,
            grant,
            secrets,
            desk,
            Arc::new(System::default()),
        )
    }

    fn resolving(
        plugin: &str,
        kind: PluginKind,
        authority: &Authority,
        grant: &Grant,
        secrets: &Secrets,
        desk: Desk,
        resolver: Arc<dyn Resolve>,
    ) -> Result<Self, String> {
        let reach = Reach::from(grant);
        let mut routes = Vec::new();
        if !authority.http.is_empty() {
            for (index, entry) in grant.http.iter().enumerate() {
                let allowed: Vec<OriginPattern> = authority
                    .http
                    .iter()
                    .filter_map(|allowed| allowed.meet(&entry.to))
                    .collect();
                if allowed.is_empty() {
                    continue;
                }
                let of_grant = |why: String| format!("grant.http[{index}]: {why}");
                let tls = tls::config(entry).map_err(of_grant)?;
                let connector =
                    Connector::new(Arc::clone(&resolver), reach, tls, grant.connect_timeout);
                routes.push(Route {
                    allowed,
                    client: Client::builder(TokioExecutor::new())
                        .pool_idle_timeout(IDLE)
                        .pool_max_idle_per_host(IDLE_CONNECTIONS)
                        .pool_timer(TokioTimer::new())
                        .timer(TokioTimer::new())
                        .http1_max_buf_size(HEAD_MAX)
                        .http1_max_headers(FIELDS_MAX)
                        .http2_max_header_list_size(HEAD_MAX as u32)
                        .build(connector),
                    headers: headers(entry, secrets).map_err(of_grant)?,
                    grant: entry.clone(),
                });
            }
        }
        Ok(Self {
            plugin: plugin.to_owned(),
            kind,
            grant: grant.clone(),
            reach,
            routes,
            places: Arc::new(Semaphore::new(AT_ONCE)),
            told: Mutex::default(),
            desk,
        })
    }

    /// Tell the operator; the same only once.
    fn denied(&self, why: &str) {
        self.desk.count(|counters| counters.http_denied += 1);
        let line = format!("plugin {}: HTTP request denied: {why}", self.plugin);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < TOLD_MAX && told.insert(line.clone()) {
            drop(told);
            self.desk.log(Level::Warn, line.clone());
        }
        self.desk.status(|status| status.last_denial = line);
    }

    fn deny(&self, why: &str, error: Error) -> Error {
        self.denied(why);
        error
    }

    /// Everything about a request that can be judged before it waits for anything.
    fn admit<B>(&self, request: &Request<B>, budget: &Budget) -> Result<&Route, Error> {
        if !budget.take_request() {
            let why = format!(
                "more than {} requests in one window (grant.requests)",
                self.grant.requests
            );
            return Err(self.deny(&why, Error::HttpRequestDenied));
        }
        if *request.method() == Method::CONNECT || *request.method() == Method::TRACE {
            let why = format!("method {} is not allowed", request.method());
            return Err(self.deny(&why, Error::HttpRequestMethodInvalid));
        }
        let origin = self.origin(request.uri())?;
        let size: usize = request
            .headers()
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 4)
            .sum();
        if size > HEADERS_MAX {
            let why = format!("{size} bytes of header fields are over the limit of {HEADERS_MAX}");
            let size = u32::try_from(size).ok();
            return Err(self.deny(&why, Error::HttpRequestHeaderSectionSize(size)));
        }
        let route = self
            .routes
            .iter()
            .find(|route| route.allowed.iter().any(|allowed| allowed.takes(&origin)));
        let Some(route) = route else {
            return Err(self.deny(&self.no_route(&origin), Error::HttpRequestDenied));
        };
        // A name is judged by what it resolves to.
        if let Host::Address(address) = origin.host
            && let Err(why) = self.reach.allows(address)
        {
            return Err(self.deny(&why, Error::DestinationIpProhibited));
        }
        Ok(route)
    }

    fn no_route(&self, origin: &Origin) -> String {
        let plugin = &self.plugin;
        if self.kind != PluginKind::Exporter {
            return format!(
                "to {origin}: a {} has no network, only an exporter has (deliver through an endpoint of kind http)",
                self.kind.name()
            );
        }
        let granted = self.grant.http.iter().any(|grant| grant.to.takes(origin));
        if granted {
            format!(
                "to {origin}: the sink grants it, and plugin {plugin} does not ask for it in its manifest, or \
                 [plugins.ceiling] does not allow it (`authority` in /plugins shows what is left)"
            )
        } else {
            format!("to {origin}: the sink does not grant it: add grant.http = [\"{origin}\"]")
        }
    }

    /// Where a request goes. What servers and proxies read in different ways is refused.
    fn origin(&self, uri: &Uri) -> Result<Origin, Error> {
        let bad = |what: &str| {
            let why = format!("{what} in {:?}", printable(&uri.to_string(), QUOTED));
            self.deny(&why, Error::HttpRequestUriInvalid)
        };
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if authority.contains('@') {
            return Err(bad("a user"));
        }
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            _ => return Err(bad("no scheme http or https")),
        };
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        if target.len() > TARGET_MAX {
            let why = format!(
                "path and query of {} bytes are over the limit of {TARGET_MAX}",
                target.len()
            );
            return Err(self.deny(&why, Error::HttpRequestUriTooLong));
        }
        if uri.path().split(['/', '\\']).any(is_dots) {
            return Err(bad("a path with `.` or `..`"));
        }
        Origin::of(scheme, authority).map_err(|why| bad(&why))
    }

    /// After the request was admitted.
    async fn exchange(
        self: Arc<Self>,
        sending: Sending,
        within: Within,
    ) -> Result<Response<WasiBody>, Error> {
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
            return Err(Error::ConnectionLimitReached);
        };
        let head = tokio::time::timeout(within.head, sending.response);
        let response = match head.await {
            Err(_) => return Err(Error::ConnectionReadTimeout),
            Ok(Err(error)) => return Err(self.failed(&error)),
            Ok(Ok(response)) => response,
        };
        let this = Arc::clone(&self);
        let over = Box::new(move || {
            this.denied(&format!(
                "the responses of one window are larger than {} (grant.response_size)",
                this.grant.response_size
            ));
        });
        self.desk.count(|counters| counters.http_requests += 1);
        Ok(response.map(|body| {
            Answering::new(body, place, sending.budget, within.between, over).boxed_unsync()
        }))
    }

    /// What the guest is told about an exchange that did not come about.
    fn failed(&self, error: &hyper_util::client::legacy::Error) -> Error {
        let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
        let mut last = error.to_string();
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<ConnectError>() {
                return match error {
                    ConnectError::Prohibited { .. } => {
                        self.deny(&error.to_string(), Error::DestinationIpProhibited)
                    }
                    ConnectError::Timeout(_) => Error::ConnectionTimeout,
                    ConnectError::Resolve { .. } => Error::DnsError {
                        rcode: Some(error.to_string()),
                        info_code: None,
                    },
                };
            }
            if let Some(error) = error.downcast_ref::<rustls::Error>() {
                return match error {
                    rustls::Error::InvalidCertificate(_) => Error::TlsCertificateError,
                    rustls::Error::AlertReceived(alert) => Error::TlsAlertReceived {
                        alert_id: Some(u8::from(*alert)),
                        alert_message: Some(format!("{alert:?}")),
                    },
                    _ => Error::TlsProtocolError,
                };
            }
            if let Some(Error::HttpRequestBodySize(size)) = error.downcast_ref::<Error>() {
                return Error::HttpRequestBodySize(*size);
            }
            if let Some(error) = error.downcast_ref::<std::io::Error>() {
                match error.kind() {
                    std::io::ErrorKind::ConnectionRefused => return Error::ConnectionRefused,
                    std::io::ErrorKind::TimedOut => return Error::ConnectionTimeout,
                    std::io::ErrorKind::NetworkUnreachable
                    | std::io::ErrorKind::HostUnreachable => {
                        return Error::DestinationIpUnroutable;
                    }
                    std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::UnexpectedEof => {
                        return Error::ConnectionTerminated;
                    }
                    _ => {}
                }
            }
            if let Some(error) = error.downcast_ref::<hyper::Error>() {
                if error.is_parse_too_large() {
                    return Error::HttpResponseHeaderSectionSize(Some(HEAD_MAX as u32));
                }
                if error.is_incomplete_message() {
                    return Error::HttpResponseIncomplete;
                }
            }
            last = error.to_string();
            cause = source(error);
        }
        Error::InternalError(Some(printable(&last, QUOTED)))
    }
}

/// The cause, also where an `io::Error` wraps one of ours: its `source` would skip it.
fn source<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e (dyn StdError + 'static)> {
    match error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref)
    {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

/// `.` or `..`, written as it may be.
fn is_dots(segment: &str) -> bool {
    let plain = segment.to_ascii_lowercase().replace("%2e", ".");
    plain == "." || plain == ".."
}

/// A request that was admitted, under way.
struct Sending {
    response: hyper_util::client::legacy::ResponseFuture,
    budget: Arc<Budget>,
}

/// The guest's own patience, within the grant's.
struct Within {
    head: Duration,
    between: Duration,
}

impl Within {
    fn of(options: Option<RequestOptions>, grant: &Grant) -> Self {
        let options = options.unwrap_or_default();
        let at_most =
            |wish: Option<Duration>, most: Duration| wish.map_or(most, |wish| wish.min(most));
        let connect = at_most(options.connect_timeout, grant.connect_timeout);
        Self {
            head: connect + at_most(options.first_byte_timeout, grant.read_timeout),
            between: at_most(options.between_bytes_timeout, grant.read_timeout),
        }
    }
}

fn headers(grant: &HttpGrant, secrets: &Secrets) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in &grant.headers {
        let field = |why: String| format!("headers: {name:?} {why}");
        headers.insert(
            HeaderName::from_bytes(name.as_bytes()).map_err(|error| field(error.to_string()))?,
            HeaderValue::from_str(value).map_err(|error| field(error.to_string()))?,
        );
    }
    if let Some(name) = &grant.bearer_token_env {
        let token = secrets.get(name).map(Secret::expose);
        let token = token.filter(|token| !token.trim().is_empty());
        let token = token.ok_or_else(|| {
            format!("bearer_token_env: the agent has no environment variable {name}")
        })?;
        let token = bearer(token).map_err(|why| format!("bearer_token_env: {name} {why}"))?;
        headers.insert(AUTHORIZATION, token);
    }
    // So that a file that is not there is told at the start.
    if let Some(token) = token_of_file(grant)? {
        headers.insert(AUTHORIZATION, token);
    }
    Ok(headers)
}

fn token_of_file(grant: &HttpGrant) -> Result<Option<HeaderValue>, String> {
    let Some(path) = &grant.bearer_token_file else {
        return Ok(None);
    };
    let of_file = |why: String| format!("bearer_token_file {}: {why}", path.display());
    let length = std::fs::metadata(path)
        .map_err(|error| of_file(error.to_string()))?
        .len();
    if length > TOKEN_MAX {
        return Err(of_file(format!("{length} bytes are no token")));
    }
    let token = std::fs::read_to_string(path).map_err(|error| of_file(error.to_string()))?;
    bearer(&token)
        .map(Some)
        .map_err(|why| of_file(why.to_owned()))
}

fn bearer(token: &str) -> Result<HeaderValue, &'static str> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
        .map_err(|_| "holds characters that no token has")?;
    value.set_sensitive(true);
    Ok(value)
}

impl Route {
    /// With what the host adds, instead of the guest's.
    fn send(
        &self,
        mut request: Request<WasiBody>,
        budget: Arc<Budget>,
        over: body::Over,
    ) -> Result<Sending, String> {
        let headers = request.headers_mut();
        // hyper makes it of the URL that was judged.
        headers.remove(HOST);
        headers
            .entry(USER_AGENT)
            .or_insert(HeaderValue::from_static(concat!(
                "owlk8s/",
                env!("CARGO_PKG_VERSION")
            )));
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        if let Some(token) = token_of_file(&self.grant)? {
            headers.insert(AUTHORIZATION, token);
        }
        let of_body = Arc::clone(&budget);
        let request = request.map(|body| Asking {
            body,
            budget: of_body,
            over,
        });
        Ok(Sending {
            response: self.client.request(request),
            budget,
        })
    }
}

impl Network {
    /// For one call; `open` is false while the plugin's config is validated.
    pub(crate) fn new(outbound: &Arc<Outbound>, open: bool) -> Self {
        Self(Some(Opening {
            outbound: Arc::clone(outbound),
            budget: Arc::new(Budget::from(&outbound.grant)),
            open,
        }))
    }

    /// For a call outside of a sink: every request is denied, and nobody is told.
    pub(crate) fn none() -> Self {
        Self(None)
    }
}

impl Opening {
    fn start(&self, request: Request<WasiBody>) -> Result<Sending, Error> {
        let outbound = &self.outbound;
        if !self.open {
            let why = "there is no network while a config is validated";
            return Err(outbound.deny(why, Error::HttpRequestDenied));
        }
        let route = outbound.admit(&request, &self.budget)?;
        let this = Arc::clone(outbound);
        let over = Box::new(move || {
            this.denied(&format!(
                "the request bodies of one window are larger than {} (grant.request_size)",
                this.grant.request_size
            ));
        });
        route
            .send(request, Arc::clone(&self.budget), over)
            .map_err(|why| outbound.deny(&why, Error::ConfigurationError))
    }
}

/// What wasmtime sends a request by.
type Exchange = Box<
    dyn Future<
            Output = Result<
                (
                    Response<WasiBody>,
                    Box<dyn Future<Output = Result<(), Error>> + Send>,
                ),
                Error,
            >,
        > + Send,
>;

impl WasiHttpHooks for Network {
    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::new(|name| DEFAULT_FORBIDDEN_HEADERS.contains(name) || FORBIDDEN.contains(name))
    }

    fn set_host_header(&mut self) -> bool {
        false
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Exchange {
        let Some(opening) = &self.0 else {
            return Box::new(async { Err(Error::HttpRequestDenied) });
        };
        let within = Within::of(options, &opening.outbound.grant);
        let outbound = Arc::clone(&opening.outbound);
        let started = opening.start(request);
        Box::new(async move {
            let response = outbound.exchange(started?, within).await?;
            let nothing: Box<dyn Future<Output = Result<(), Error>> + Send> =
                Box::new(async { Ok(()) });
            Ok((response, nothing))
        })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        64 << 10
    }
}

#[cfg(test)]
mod tests;

//! From a request to its answer: route, fault, user, permission, and then the one who answers.

mod accept;
mod body;
mod discovery;
mod list;
mod options;
mod review;
mod route;
mod watch;
mod write;

pub(crate) use write::merge;

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, RETRY_AFTER, USER_AGENT,
};
use hyper::{Method, Response};
use serde_json::Value;

use crate::access::Access;
use crate::failure::Failure;
use crate::faults::{Fault, Faults};
use crate::object::{Form, Key};
use crate::requests::{Entry, Log, Request};
use crate::store::Store;
use accept::Representation;
use body::{AnswerBody, Source};
use options::Options;
use route::{Route, Target};

/// All that the answers depend on.
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) log: Log,
    pub(crate) access: Mutex<Access>,
    pub(crate) faults: Mutex<Faults>,
    pub(crate) watches: WatchSettings,
}

/// What a test sets of all watches.
pub(crate) struct WatchSettings {
    /// Between bookmarks.
    pub(crate) bookmarks: tokio::sync::watch::Sender<Duration>,
    /// Grows when all watches are to end.
    pub(crate) ends: tokio::sync::watch::Sender<u64>,
    /// Nothing is sent while it is set.
    pub(crate) silent: tokio::sync::watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self {
            store: Store::new(),
            log: Log::new(),
            access: Mutex::default(),
            faults: Mutex::default(),
            watches: WatchSettings {
                bookmarks: tokio::sync::watch::Sender::new(Duration::from_secs(60)), // as the real one
                ends: tokio::sync::watch::Sender::new(0),
                silent: tokio::sync::watch::Sender::new(false),
            },
        }
    }

    pub(crate) fn access(&self) -> MutexGuard<'_, Access> {
        self.access.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer that is no failure.
pub(crate) struct Reply {
    code: u16,
    content_type: &'static str,
    source: Source,
}

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

impl Reply {
    fn json(code: u16, value: &Value) -> Self {
        Self {
            code,
            content_type: JSON,
            source: Source::whole(value.to_string()),
        }
    }

    fn text(code: u16, text: &'static str) -> Self {
        Self {
            code,
            content_type: TEXT,
            source: Source::whole(text),
        }
    }
}

/// One request with all that its answer needs.
struct Call {
    shared: Arc<Shared>,
    method: Method,
    route: Route,
    options: Options,
    accept: String,
    content_type: String,
    body: Bytes,
}

/// Answers one request; never fails, since a failure is an answer too.
pub(crate) async fn answer(
    shared: Arc<Shared>,
    request: hyper::Request<Incoming>,
) -> Result<Response<AnswerBody>, Infallible> {
    let (parts, body) = request.into_parts();
    let options = Options::parse(parts.uri.query().unwrap_or_default());
    let route = Route::parse(&parts.method, parts.uri.path(), &options);
    let accept = header(&parts.headers, ACCEPT);
    let user_agent = header(&parts.headers, USER_AGENT);
    let metadata_only = accept.contains("as=PartialObjectMetadata");
    let entry = shared.log.begin(Request {
        metadata_only,
        path: parts.uri.path().to_owned(),
        user_agent,
        ..route.logged(&options)
    });
    let call = async {
        let fault = shared.faults().meet(&route.ask.verb, &route.ask.resource);
        match fault {
            Some(Fault::Slow(delay)) => tokio::time::sleep(delay).await,
            Some(Fault::Hang) => std::future::pending().await,
            _ => {}
        }
        if let Some(failure) = fault.and_then(Fault::failure) {
            return Err(failure);
        }
        let authorization = parts
            .headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        {
            let access = shared.access();
            let user = access.user(authorization)?;
            match &route.target {
                Target::Path { public } => {
                    access.authorize_path(&user, parts.uri.path(), *public)?
                }
                _ => access.authorize(&user, &route.ask)?,
            }
        }
        let body = body::read(body).await?;
        let content_type = header(&parts.headers, CONTENT_TYPE);
        Call {
            shared: Arc::clone(&shared),
            method: parts.method.clone(),
            route,
            options,
            accept,
            content_type,
            body,
        }
        .answer()
    };
    let result = Abandoned::guard(&entry, call).await;
    Ok(respond(result, entry))
}

/// Closes the entry of a request whose client went away before it was answered.
struct Abandoned<'a>(Option<&'a Entry>);

impl<'a> Abandoned<'a> {
    async fn guard<T>(entry: &'a Entry, call: impl Future<Output = T>) -> T {
        let mut guard = Self(Some(entry));
        let result = call.await;
        guard.0 = None;
        result
    }
}

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        if let Some(entry) = self.0 {
            entry.close();
        }
    }
}

fn header(headers: &HeaderMap, name: HeaderName) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

fn respond(result: Result<Reply, Failure>, entry: Arc<Entry>) -> Response<AnswerBody> {
    let (reply, retry_after) = match result {
        Ok(reply) => (reply, None),
        Err(failure) => (
            Reply::json(failure.code, &failure.status()),
            failure.retry_after,
        ),
    };
    entry.answer(reply.code);
    let mut response = Response::new(AnswerBody::new(reply.source, entry));
    *response.status_mut() = hyper::StatusCode::from_u16(reply.code).unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        reply
            .content_type
            .parse()
            .unwrap_or_else(|_| unreachable!()),
    );
    if let Some(seconds) = retry_after {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    response
}

impl Call {
    fn answer(self) -> Result<Reply, Failure> {
        let Target::Resource(resource) = self.route.target else {
            return self.answer_other();
        };
        match self.route.ask.verb.as_str() {
            "get" => {
                let representation = Representation::of_object(&self.accept)?;
                let key = Key::new(&self.route.ask.namespace_of(resource), &self.route.ask.name);
                self.options.check_get(self.shared.store.version())?;
                let object = self
                    .shared
                    .store
                    .get(resource.kind, &key)
                    .ok_or_else(|| Failure::not_found(resource, &key.name))?;
                let mut text = Vec::new();
                let form = representation.form(Form::Whole);
                object.write(&mut text, form, object.version);
                Ok(Reply {
                    code: 200,
                    content_type: JSON,
                    source: Source::whole(text),
                })
            }
            "list" => list::answer(&self, resource),
            "watch" => watch::answer(self, resource),
            _ => write::answer(&self, resource),
        }
    }

    fn answer_other(&self) -> Result<Reply, Failure> {
        match &self.route.target {
            Target::Review if self.method == Method::POST => review::answer(self),
            Target::Path { .. } if self.method == Method::GET => {
                let path = self.route.path.as_str();
                Ok(discovery::answer(path).unwrap_or_else(not_found))
            }
            Target::Path { .. } | Target::Unknown => Ok(not_found()),
            Target::Review | Target::Resource(_) => Err(Failure::method_not_allowed()),
        }
    }
}

fn not_found() -> Reply {
    Reply::text(404, "404 page not found\n")
}

//! What is asked of the API server and what it answers: counted for our own metrics, and told on, since a watch that
//! works again says nothing by itself.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use http::{Request, Response};
use tokio::sync::mpsc::UnboundedSender;
use tower_layer::Layer;
use tower_service::Service;

/// What was asked: `list`, `watch` or `get` of a resource, and the status of the answer, 0 where there was none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// Kubernetes verb.
    pub verb: &'static str,
    /// Plural name, as in a URL.
    pub resource: String,
    /// HTTP status; 0: no answer.
    pub status: u16,
}

/// Requests to the API server so far; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ApiRequests(Arc<Mutex<BTreeMap<Asked, u64>>>);

impl ApiRequests {
    /// How many of each.
    pub fn counts(&self) -> BTreeMap<Asked, u64> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn count(&self, asked: &Asked) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(asked.clone()).or_default() += 1;
    }
}

/// Puts [`Counted`] around the client.
#[derive(Clone)]
pub(super) struct Count {
    pub(super) requests: ApiRequests,
    /// Hears of each answer.
    pub(super) answers: UnboundedSender<Asked>,
}

impl<S> Layer<S> for Count {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted {
            inner,
            requests: self.requests.clone(),
            answers: self.answers.clone(),
        }
    }
}

#[derive(Clone)]
pub(super) struct Counted<S> {
    inner: S,
    requests: ApiRequests,
    answers: UnboundedSender<Asked>,
}

impl<S, B, A> Service<Request<B>> for Counted<S>
where
    S: Service<Request<B>, Response = Response<A>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (verb, resource) = what(request.uri());
        let answer = self.inner.call(request);
        let (requests, answers) = (self.requests.clone(), self.answers.clone());
        Box::pin(async move {
            let answer = answer.await;
            let asked = Asked {
                verb,
                resource,
                status: answer.as_ref().map_or(0, |answer| answer.status().as_u16()),
            };
            requests.count(&asked);
            // Nobody listens any more when the agent ends.
            let _ = answers.send(asked);
            answer
        })
    }
}

/// Verb and resource of a request, from its path: `/api/v1/pods`, `/apis/batch/v1/namespaces/shop/jobs/nightly`.
fn what(uri: &http::Uri) -> (&'static str, String) {
    let mut parts = uri.path().trim_start_matches('/').split('/');
    let group = usize::from(parts.next() == Some("apis"));
    let parts: Vec<&str> = parts.skip(group + 1).collect();
    let (resource, name) = match parts[..] {
        ["namespaces", _, resource, ref rest @ ..] => (resource, rest.first()),
        [resource, ref rest @ ..] => (resource, rest.first()),
        [] => ("", None),
    };
    let watched = uri.query().is_some_and(|query| {
        query
            .split('&')
            .any(|part| matches!(part, "watch" | "watch=true" | "watch=1"))
    });
    let verb = match name {
        Some(_) => "get",
        None if watched => "watch",
        None => "list",
    };
    (verb, resource.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(uri: &str) -> (&'static str, String) {
        what(&uri.parse().unwrap())
    }

    #[test]
    fn path_tells_verb_and_resource() {
        for (uri, verb, resource) in [
            ("/api/v1/pods?limit=500", "list", "pods"),
            (
                "https://10.0.0.1/api/v1/pods?watch=true&x=y",
                "watch",
                "pods",
            ),
            ("/api/v1/namespaces", "list", "namespaces"),
            ("/api/v1/namespaces/shop", "get", "namespaces"),
            ("/apis/batch/v1/namespaces/shop/jobs/nightly", "get", "jobs"),
            (
                "/apis/discovery.k8s.io/v1/endpointslices?watch=1",
                "watch",
                "endpointslices",
            ),
        ] {
            assert_eq!(of(uri), (verb, resource.to_owned()), "{uri}");
        }
    }
}

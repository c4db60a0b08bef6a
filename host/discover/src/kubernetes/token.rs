//! A token in a file that somebody renews: the kubelet that of a pod's service account, long before it expires.
//!
//! It is read again each minute, as Kubernetes' own clients do, and at once when the API server does not accept it: what
//! was refused is asked once more where the file says another one.

use std::fs;
use std::future::Future;
use std::mem;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response, StatusCode};
use kube::client::Body;
use tower::ServiceExt as _;
use tower_layer::Layer;
use tower_service::Service;

use super::access::AccessError;

/// How long the file is believed unread.
const FRESH: Duration = Duration::from_secs(60);

/// The file, and what it last said; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct TokenFile(Arc<File>);

#[derive(Debug)]
struct File {
    path: PathBuf,
    latest: Mutex<(HeaderValue, Instant)>,
}

impl TokenFile {
    /// Reads it for the first time.
    pub(super) fn open(path: impl Into<PathBuf>) -> Result<Self, AccessError> {
        let path = path.into();
        let latest = match fs::read_to_string(&path) {
            Ok(text) => bearer(&text).ok_or_else(|| AccessError::Token { path: path.clone() })?,
            Err(source) => return Err(AccessError::ReadToken { path, source }),
        };
        let latest = Mutex::new((latest, Instant::now()));
        Ok(Self(Arc::new(File { path, latest })))
    }

    /// The header that carries it.
    fn header(&self) -> HeaderValue {
        let mut latest = self.0.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.1.elapsed() >= FRESH {
            self.read(&mut latest);
        }
        latest.0.clone()
    }

    /// After `refused` was not accepted: what the file says now, where that is another one.
    fn instead_of(&self, refused: &HeaderValue) -> Option<HeaderValue> {
        let mut latest = self.0.latest.lock().unwrap_or_else(PoisonError::into_inner);
        self.read(&mut latest);
        (latest.0 != *refused).then(|| latest.0.clone())
    }

    /// A file that is gone, or empty while it is written, leaves what it said before.
    fn read(&self, latest: &mut (HeaderValue, Instant)) {
        let text = fs::read_to_string(&self.0.path).unwrap_or_default();
        let said = bearer(&text).unwrap_or_else(|| latest.0.clone());
        *latest = (said, Instant::now());
    }
}

fn bearer(text: &str) -> Option<HeaderValue> {
    let token = Some(text.trim()).filter(|token| !token.is_empty())?;
    let mut header = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

impl<S> Layer<S> for TokenFile {
    type Service = Authorized<S>;

    fn layer(&self, inner: S) -> Authorized<S> {
        Authorized {
            inner,
            token: self.clone(),
        }
    }
}

/// Sends the token with each request.
#[derive(Clone)]
pub(super) struct Authorized<S> {
    inner: S,
    token: TokenFile,
}

impl<S, A> Service<Request<Body>> for Authorized<S>
where
    S: Service<Request<Body>, Response = Response<A>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    A: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let token = self.token.clone();
        let later = self.inner.clone();
        // The one that said it is ready.
        let mut ready = mem::replace(&mut self.inner, later.clone());
        Box::pin(async move {
            let header = token.header();
            let again = repeat(&request);
            request.headers_mut().insert(AUTHORIZATION, header.clone());
            let answer = ready.call(request).await?;
            if answer.status() != StatusCode::UNAUTHORIZED {
                return Ok(answer);
            }
            let Some(other) = token.instead_of(&header) else {
                return Ok(answer);
            };
            let mut again = again;
            again.headers_mut().insert(AUTHORIZATION, other);
            later.oneshot(again).await
        })
    }
}

/// The same question: nothing that is asked here has a body.
fn repeat(request: &Request<Body>) -> Request<Body> {
    let mut again = Request::new(Body::empty());
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.headers_mut() = request.headers().clone();
    again
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_what_the_file_says_without_the_line_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, "first\n").unwrap();
        let token = TokenFile::open(&path).unwrap();
        let first = token.header();
        assert_eq!(first, "Bearer first");
        assert!(first.is_sensitive());
        assert_eq!(token.instead_of(&first), None, "the file says the same");
        fs::write(&path, "second").unwrap();
        assert_eq!(token.header(), "Bearer first", "it was read just now");
        assert_eq!(token.instead_of(&first).unwrap(), "Bearer second");
        fs::remove_file(&path).unwrap();
        assert_eq!(token.instead_of(&first).unwrap(), "Bearer second");
    }

    #[test]
    fn a_file_without_a_token_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let refused = || TokenFile::open(&path).unwrap_err().to_string();
        assert!(refused().contains(&path.display().to_string()));
        for text in ["", "\n", "two\nlines"] {
            fs::write(&path, text).unwrap();
            assert!(refused().ends_with("holds no token"), "{text:?}");
        }
    }
}

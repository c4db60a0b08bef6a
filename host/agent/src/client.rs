//! Asks an agent that runs, at its admin endpoints: for the commands that show or change something of it.

use std::time::Duration;

use anyhow::{Context as _, bail};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;

/// Of an agent that was told nothing else.
pub(crate) const ADMIN: &str = "http://127.0.0.1:9465";
/// An agent answers from memory.
const PATIENCE: Duration = Duration::from_secs(5);
/// A sink's crash reports are some hundred KiB each; a snapshot of 5,000 pods has some MiB.
const ANSWER_MAX: usize = 64 << 20;

/// What is at `path`.
pub(crate) fn get(url: &str, path: &str) -> anyhow::Result<Bytes> {
    ask(url, Method::GET, path, "")
}

/// What is at `path`, as this version has it.
pub(crate) fn read<T: DeserializeOwned>(url: &str, path: &str) -> anyhow::Result<T> {
    serde_json::from_slice(&get(url, path)?)
        .with_context(|| format!("cannot read {url}{path}: is it an owlk8s of this version?"))
}

/// Give `body` to what is at `path`.
pub(crate) fn put(url: &str, path: &str, body: &str) -> anyhow::Result<Bytes> {
    ask(url, Method::PUT, path, body)
}

/// The lines of what `/log` answers.
pub(crate) fn log_lines(log: &serde_json::Value) -> String {
    let lines = log["lines"].as_array().into_iter().flatten();
    lines
        .filter_map(|line| line.as_str())
        .map(|line| format!("{line}\n"))
        .collect()
}

/// For one command.
pub(crate) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

fn ask(url: &str, method: Method, path: &str, body: &str) -> anyhow::Result<Bytes> {
    runtime()?.block_on(async {
        tokio::time::timeout(PATIENCE, talk(url, method, path, body))
            .await
            .unwrap_or_else(|_| bail!("{url} does not answer within {PATIENCE:?}"))
    })
}

async fn talk(url: &str, method: Method, path: &str, body: &str) -> anyhow::Result<Bytes> {
    let uri: Uri = url.parse().with_context(|| format!("{url:?} is no URL"))?;
    let Some(authority) = uri.authority().filter(|_| uri.scheme_str() == Some("http")) else {
        bail!("{url:?} must begin with http:// and a host, like {ADMIN}");
    };
    let port = authority.port_u16().unwrap_or(80);
    let host = authority.host().trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, port)).await.with_context(|| {
        format!("no agent answers on {url}: its configuration has the address, `listen` in [admin]")
    })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let talk = async {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", authority.as_str())
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_MAX)
            .collect()
            .await
            .map_err(|error| anyhow::anyhow!("{url}{path}: {error}"))?
            .to_bytes();
        if status != StatusCode::OK {
            bail!("{url}: {}", String::from_utf8_lossy(&body).trim());
        }
        Ok(body)
    };
    tokio::pin!(talk);
    tokio::select! {
        done = &mut talk => done,
        // Its end may come with the answer.
        _ = connection => talk.await,
    }
}

//! What an agent that runs here already says of its targets.

use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use owlk8s_model::{Snapshot, Status, TargetSnapshot};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Check;
use crate::config::Config;

/// An agent answers from memory.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) async fn checks(config: &Config) -> Vec<Check> {
    let address = config.admin.listen;
    match timeout(PATIENCE, snapshot(address)).await {
        Ok(Ok(snapshot)) => {
            let mut checks = vec![summary(&snapshot)];
            checks.extend(snapshot.targets.iter().filter_map(complaint));
            checks
        }
        Ok(Err(error)) => vec![Check::skipped(
            "agent",
            format!("none answers on {address}: {error}"),
        )],
        Err(_) => vec![
            Check::warning("agent", format!("does not answer on {address}"))
                .remedy("see its log; is something else listening there?"),
        ],
    }
}

async fn snapshot(
    address: std::net::SocketAddr,
) -> Result<Snapshot, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let talk = async {
        let request = Request::get("/snapshot")
            .header("host", address.to_string())
            .body(Empty::<Bytes>::new())?;
        let answer = sender.send_request(request).await?;
        if answer.status() != StatusCode::OK {
            return Err(format!("/snapshot gives {}", answer.status()).into());
        }
        let body = answer.into_body().collect().await?.to_bytes();
        Ok(serde_json::from_slice(&body)?)
    };
    tokio::pin!(talk);
    tokio::select! {
        done = &mut talk => done,
        // Its end may come with the answer.
        _ = connection => talk.await,
    }
}

fn summary(snapshot: &Snapshot) -> Check {
    let count = |status| {
        snapshot
            .targets
            .iter()
            .filter(|t| t.status == status)
            .count()
    };
    Check::ok(
        "agent",
        format!(
            "runs on node {}: {} targets active, {} waiting, {} degraded, {} failed",
            snapshot.node,
            count(Status::Active),
            count(Status::Waiting),
            count(Status::Degraded),
            count(Status::Failed)
        ),
    )
}

/// What is not well with a target.
pub(super) fn complaint(target: &TargetSnapshot) -> Option<Check> {
    let name = format!("target/{}", target.pod);
    let (status, reason) = (target.status, &target.reason);
    match status {
        Status::Active => None,
        Status::Waiting => Some(Check::skipped(name, format!("waiting: {reason}"))),
        Status::Degraded => Some(Check::warning(name, reason.clone())),
        Status::Failed => Some(Check::warning(name, format!("not counted: {reason}"))),
    }
}

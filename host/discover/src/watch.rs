//! The union of all sources, as a value that changes while somebody watches it. Each source is a task of its own.
//!
//! Link events make the `host` source look again, after they have calmed down; an interval does so
//! too, since addresses and names change without an event here. `confirmed_at` goes on while the
//! sources answer, and stands still while one does not: its last targets stay.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use owlk8s_model::{Target, TargetSet, UnixNanos};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::config::DiscoveryConfig;
use crate::error::{DiscoverError, NetlinkError};
use crate::host::Host;
use crate::kubernetes::{ApiRequests, Kubernetes};
use crate::netlink::LinkEvents;

#[cfg(test)]
mod tests;

/// How often targets are confirmed where only the configuration names them.
const CONFIRM: Duration = Duration::from_secs(10);
/// Addresses and names come after the link, and make no event on this side: look once more.
const AFTERTHOUGHT: Duration = Duration::from_secs(2);

/// What surrounds the process, for the sources that need it; read by whoever reads the environment.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Kubernetes name of this node.
    pub node: String,
    /// `host:port` of the API server as the kubelet tells its pods: KUBERNETES_SERVICE_HOST and _PORT.
    pub kubernetes_service: Option<String>,
    /// KUBECONFIG, or the one in the home directory where there is one.
    pub kubeconfig: Option<PathBuf>,
}

/// What there is to watch, as it changes.
#[derive(Clone, Debug)]
pub struct Discovery {
    /// The union of all sources.
    pub sets: watch::Receiver<Arc<TargetSet>>,
    /// What was asked of the Kubernetes API server, where that is a source.
    pub api_requests: Option<ApiRequests>,
    fixed: watch::Sender<Vec<Arc<Target>>>,
}

impl Discovery {
    /// Watch the static targets of `config` in place of those before; its other sources stay as they
    /// are. A target that is in both is not touched.
    ///
    /// # Errors
    /// What is wrong with them; then nothing has changed.
    pub fn set_static(&self, config: &DiscoveryConfig) -> Result<(), DiscoverError> {
        config.validate()?;
        self.fixed.send_replace(config.static_targets()?);
        Ok(())
    }
}

/// Starts the sources that `config` names and gives the union of their targets, as of now and, while
/// the receiver lives, as it changes.
///
/// Watches the calling thread's network namespace; must be called in a tokio runtime. An API server that is away is no
/// error: its targets come when it answers.
///
/// # Errors
/// What is wrong with the configuration, a kernel that cannot be asked, no way to the API server.
pub async fn discover(
    config: &DiscoveryConfig,
    around: &Surroundings,
) -> Result<Discovery, DiscoverError> {
    config.validate()?;
    let (fixed, receiver) = watch::channel(config.static_targets()?);
    let mut sources = Sources {
        fixed: receiver,
        found: Vec::new(),
    };
    let mut api_requests = None;
    if let Some(config) = &config.kubernetes {
        let (kubernetes, requests) = Kubernetes::new(config, around).await?;
        api_requests = Some(requests);
        sources.start(Found::default(), |sender| kubernetes.publish(sender));
    }
    if let Some(config) = &config.host {
        let host = HostSource::start(config.rescan).await?;
        sources.start(host.found.clone(), |sender| host.publish(sender));
    }
    let (sender, sets) = watch::channel(sources.now());
    tokio::spawn(sources.publish(sender));
    Ok(Discovery {
        sets,
        api_requests,
        fixed,
    })
}

/// What one source knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Sorted by id.
    pub(crate) targets: Vec<Arc<Target>>,
    /// When that was last known to be so; 0: never yet.
    pub(crate) confirmed_at: UnixNanos,
}

struct Sources {
    fixed: watch::Receiver<Vec<Arc<Target>>>,
    /// Who is named first knows best.
    found: Vec<watch::Receiver<Found>>,
}

impl Sources {
    fn start<F>(&mut self, first: Found, publish: impl FnOnce(watch::Sender<Found>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (sender, receiver) = watch::channel(first);
        tokio::spawn(publish(sender));
        self.found.push(receiver);
    }

    /// As old as what is oldest in it.
    fn now(&self) -> Arc<TargetSet> {
        let mut targets = self.fixed.borrow().clone();
        let mut confirmed_at = unix_now();
        for source in &self.found {
            let found = source.borrow();
            targets = union(&targets, &found.targets);
            confirmed_at = confirmed_at.min(found.confirmed_at);
        }
        Arc::new(TargetSet {
            confirmed_at,
            targets,
        })
    }

    async fn publish(mut self, sender: watch::Sender<Arc<TargetSet>>) {
        loop {
            tokio::select! {
                () = sender.closed() => return,
                () = sleep(CONFIRM) => {}
                Ok(()) = self.fixed.changed() => {}
                () = changed(&mut self.found) => {}
            }
            sender.send_replace(self.now());
        }
    }
}

/// Returns when one of them has changed; never where all have ended.
async fn changed(sources: &mut [watch::Receiver<Found>]) {
    let mut waiting: FuturesUnordered<_> =
        sources.iter_mut().map(watch::Receiver::changed).collect();
    while let Some(answer) = waiting.next().await {
        if answer.is_ok() {
            return;
        }
    }
    std::future::pending().await
}

/// All targets by id. What the configuration says of an interface or an address stands: another
/// source's target with the same is the same pod, known worse.
fn union(fixed: &[Arc<Target>], found: &[Arc<Target>]) -> Vec<Arc<Target>> {
    let same = |a: &Target, b: &Target| {
        (a.interface.is_some() && a.interface == b.interface)
            || a.ips.iter().any(|ip| b.ips.contains(ip))
    };
    let new = found
        .iter()
        .filter(|target| !fixed.iter().any(|known| same(known, target)));
    let mut by_id: BTreeMap<_, _> = new
        .map(|target| (target.id.clone(), Arc::clone(target)))
        .collect();
    by_id.extend(
        fixed
            .iter()
            .map(|target| (target.id.clone(), Arc::clone(target))),
    );
    by_id.into_values().collect()
}

struct HostSource {
    host: Host,
    events: LinkEvents,
    rescan: Duration,
    found: Found,
    failing: bool,
}

impl HostSource {
    async fn start(rescan: Duration) -> Result<Self, NetlinkError> {
        let host = Host::open()?;
        // Before the first look: what changes during it is told.
        let events = LinkEvents::open()?;
        let targets = host.scan().await?;
        Ok(Self {
            host,
            events,
            rescan,
            found: Found {
                targets,
                confirmed_at: unix_now(),
            },
            failing: false,
        })
    }

    /// Looks again for each reason to, until nobody listens.
    async fn publish(mut self, sender: watch::Sender<Found>) {
        let mut next = Instant::now() + self.rescan;
        loop {
            let after = tokio::select! {
                () = sender.closed() => return,
                () = sleep_until(next) => self.rescan,
                () = self.events.settled() => self.rescan.min(AFTERTHOUGHT),
            };
            match self.host.scan().await {
                Ok(targets) => self.found(targets),
                Err(error) => self.failed(&error),
            }
            next = Instant::now() + after;
            sender.send_replace(self.found.clone());
        }
    }

    fn found(&mut self, targets: Vec<Arc<Target>>) {
        if std::mem::take(&mut self.failing) {
            tracing::info!(
                targets = targets.len(),
                "this machine's network namespaces can be listed again"
            );
        }
        if targets != self.found.targets {
            tracing::debug!(
                targets = targets.len(),
                "this machine's network namespaces changed"
            );
        }
        self.found = Found {
            targets,
            confirmed_at: unix_now(),
        };
    }

    fn failed(&mut self, error: &NetlinkError) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "cannot list this machine's network namespaces: going on with the last ones"
            );
        }
    }
}

pub(crate) fn unix_now() -> UnixNanos {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixNanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

//! The union of all sources, as a value that changes while somebody watches it.
//!
//! Link events make the `host` source look again, after they have calmed down; an interval does so
//! too, since addresses and names change without an event here. `confirmed_at` goes on while the
//! sources answer, and stands still while one does not: its last targets stay.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use owlk8s_model::{Target, TargetSet, UnixNanos};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::config::DiscoveryConfig;
use crate::error::{DiscoverError, NetlinkError};
use crate::host::Host;
use crate::netlink::LinkEvents;

#[cfg(test)]
mod tests;

/// How often targets are confirmed where only the configuration names them.
const CONFIRM: Duration = Duration::from_secs(10);
/// Quiet after a link event before looking: a container's start makes a handful of them.
const CALM: Duration = Duration::from_millis(150);
/// Events that never calm down are not waited for longer.
const CALM_AT_MOST: Duration = Duration::from_secs(1);
/// Addresses and names come after the link, and make no event on this side: look once more.
const AFTERTHOUGHT: Duration = Duration::from_secs(2);

/// Starts the sources that `config` names and gives the union of their targets, as of now and, while
/// the receiver lives, as it changes.
///
/// Watches the calling thread's network namespace; must be called in a tokio runtime.
///
/// # Errors
/// What is wrong with the configuration, and a kernel that cannot be asked.
pub async fn discover(
    config: &DiscoveryConfig,
) -> Result<watch::Receiver<Arc<TargetSet>>, DiscoverError> {
    config.validate()?;
    let host = match &config.host {
        Some(host) => Some(HostSource::start(host.rescan).await?),
        None => None,
    };
    let sources = Sources {
        fixed: config.static_targets()?,
        host,
    };
    let (sender, receiver) = watch::channel(sources.now());
    tokio::spawn(sources.publish(sender));
    Ok(receiver)
}

struct Sources {
    fixed: Vec<Arc<Target>>,
    host: Option<HostSource>,
}

impl Sources {
    fn now(&self) -> Arc<TargetSet> {
        let found = self.host.as_ref().map_or(&[][..], |host| &host.targets);
        let confirmed_at = self
            .host
            .as_ref()
            .map_or_else(unix_now, |host| host.confirmed_at);
        Arc::new(TargetSet {
            confirmed_at,
            targets: union(&self.fixed, found),
        })
    }

    async fn publish(mut self, sender: watch::Sender<Arc<TargetSet>>) {
        loop {
            tokio::select! {
                () = sender.closed() => return,
                () = self.refresh() => {}
            }
            sender.send_replace(self.now());
        }
    }

    async fn refresh(&mut self) {
        match &mut self.host {
            Some(host) => host.refresh().await,
            None => tokio::time::sleep(CONFIRM).await,
        }
    }
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
    next: Instant,
    targets: Vec<Arc<Target>>,
    confirmed_at: UnixNanos,
    failing: bool,
}

impl HostSource {
    async fn start(rescan: Duration) -> Result<Self, NetlinkError> {
        let host = Host::open()?;
        // Before the first look: what changes during it is told.
        let events = LinkEvents::open()?;
        let targets = host.scan().await?;
        let next = Instant::now() + rescan;
        Ok(Self {
            host,
            events,
            rescan,
            next,
            targets,
            confirmed_at: unix_now(),
            failing: false,
        })
    }

    /// Waits for a reason to look again, and looks.
    async fn refresh(&mut self) {
        let after = tokio::select! {
            () = sleep_until(self.next) => self.rescan,
            () = calm_change(&mut self.events) => self.rescan.min(AFTERTHOUGHT),
        };
        match self.host.scan().await {
            Ok(targets) => self.found(targets),
            Err(error) => self.failed(&error),
        }
        self.next = Instant::now() + after;
    }

    fn found(&mut self, targets: Vec<Arc<Target>>) {
        if std::mem::take(&mut self.failing) {
            tracing::info!(
                targets = targets.len(),
                "this machine's network namespaces can be listed again"
            );
        }
        if targets != self.targets {
            tracing::debug!(
                targets = targets.len(),
                "this machine's network namespaces changed"
            );
        }
        self.targets = targets;
        self.confirmed_at = unix_now();
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

/// Returns once events have come and then stopped coming.
async fn calm_change(events: &mut LinkEvents) {
    events.changed().await;
    let latest = Instant::now() + CALM_AT_MOST;
    while Instant::now() < latest && timeout(CALM, events.changed()).await.is_ok() {}
}

fn unix_now() -> UnixNanos {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixNanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

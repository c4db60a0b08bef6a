//! The `[discovery]` table: what was typed, and what it means as targets.
//!
//! Whatever is wrong is told at once, one message for each thing, before anything is attached.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use owlk8s_model::{Target, TargetId, Workload};
use serde::{Deserialize, Serialize};

use crate::error::{DiscoverError, StaticProblem, StaticProblems};

#[cfg(test)]
mod tests;

/// Linux: IFNAMSIZ less the final zero.
const INTERFACE_NAME_MAX: usize = 15;

/// The `[discovery]` table. Sources that are named are all on; their union is watched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiscoveryConfig {
    /// `[discovery.static]`: targets by hand.
    #[serde(rename = "static", skip_serializing_if = "Option::is_none")]
    pub fixed: Option<StaticConfig>,
    /// `[discovery.kubernetes]`: the pods of this node that lie behind services.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<KubernetesConfig>,
    /// `[discovery.host]`: every veth of this machine whose peer lives in another network namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<HostConfig>,
}

/// The `[discovery.static]` table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticConfig {
    /// What to watch.
    pub targets: Vec<StaticTarget>,
}

/// The `[discovery.kubernetes]` table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KubernetesConfig {
    /// Which pods.
    pub include: Include,
    /// How to reach the API server; where it is not given, as a pod of the cluster, or by KUBECONFIG.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig, where it is not the current one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Folder with `token` and `ca.crt` of the pod's service account.
    pub service_account: PathBuf,
}

impl Default for KubernetesConfig {
    fn default() -> Self {
        Self {
            include: Include::default(),
            kubeconfig: None,
            context: None,
            service_account: "/var/run/secrets/kubernetes.io/serviceaccount".into(),
        }
    }
}

/// Which pods of the node are watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Include {
    /// Those that lie behind a service.
    #[default]
    Services,
    /// All that have a network namespace of their own.
    All,
}

/// The `[discovery.host]` table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HostConfig {
    /// How often to look again where no link event said that something changed.
    #[serde(with = "humantime_serde")]
    pub rescan: Duration,
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            rescan: Duration::from_secs(30),
        }
    }
}

/// One entry of `discovery.static.targets`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticTarget {
    /// Its name.
    pub pod: String,
    /// Kubernetes namespace, or whatever groups it.
    #[serde(default)]
    pub namespace: String,
    /// `Kind/name` of what it belongs to: `Deployment/cart`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// Services that lead to it.
    #[serde(default)]
    pub services: Vec<String>,
    /// Its addresses; needed to find the interface where `interface` is not given.
    #[serde(default)]
    pub ips: Vec<String>,
    /// Host-side interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

impl DiscoveryConfig {
    /// Tells everything that is wrong with it, and asks the system nothing.
    ///
    /// # Errors
    /// `NothingToWatch` where no source is on, `StaticTargets` with one line for each problem.
    pub fn validate(&self) -> Result<(), DiscoverError> {
        let targets = self.static_targets()?;
        if targets.is_empty() && self.host.is_none() && self.kubernetes.is_none() {
            return Err(DiscoverError::NothingToWatch);
        }
        Ok(())
    }

    /// The static targets, sorted by id.
    pub(crate) fn static_targets(&self) -> Result<Vec<Arc<Target>>, DiscoverError> {
        self.fixed
            .as_ref()
            .map_or_else(|| Ok(Vec::new()), |fixed| Ok(targets(&fixed.targets)?))
    }
}

/// What the entries mean, or all that is wrong with them.
fn targets(entries: &[StaticTarget]) -> Result<Vec<Arc<Target>>, StaticProblems> {
    let mut problems = Vec::new();
    let mut targets: Vec<Arc<Target>> = Vec::new();
    let mut owners = Owners::default();
    for (position, entry) in entries.iter().enumerate() {
        let found = problems.len();
        let place = format!("discovery.static.targets[{position}] ({})", entry.id());
        let ips = entry.check(&mut |what: String| {
            problems.push(StaticProblem {
                place: place.clone(),
                what,
            })
        });
        owners.take(entry, &ips, &mut |what| {
            problems.push(StaticProblem {
                place: place.clone(),
                what,
            })
        });
        if problems.len() == found {
            targets.push(Arc::new(entry.target(ips)));
        }
    }
    if !problems.is_empty() {
        return Err(StaticProblems(problems));
    }
    targets.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(targets)
}

impl StaticTarget {
    fn id(&self) -> String {
        match self.namespace.as_str() {
            "" => self.pod.clone(),
            namespace => format!("{namespace}/{}", self.pod),
        }
    }

    /// Its addresses, IPv4 first; each problem goes to `report`.
    fn check(&self, report: &mut dyn FnMut(String)) -> Vec<IpAddr> {
        if self.pod.is_empty() {
            report("`pod` is empty: give the target a name".to_owned());
        }
        if let Some(workload) = &self.workload
            && split_workload(workload).is_none()
        {
            report(format!(
                "workload `{workload}` is not `Kind/name`: write it like \"Deployment/cart\""
            ));
        }
        if self.ips.is_empty() && self.interface.is_none() {
            report(
                "has neither `ips` nor `interface`: one of them is needed to find its packets"
                    .to_owned(),
            );
        }
        if let Some(name) = &self.interface
            && (name.is_empty() || name.len() > INTERFACE_NAME_MAX || name.contains(['/', ' ']))
        {
            report(format!(
                "interface `{name}` is no interface name: 1 to {INTERFACE_NAME_MAX} bytes without `/` and spaces"
            ));
        }
        let mut ips: Vec<IpAddr> = self
            .ips
            .iter()
            .filter_map(|ip| parse_ip(ip, report))
            .collect();
        ips.sort_unstable();
        ips.dedup();
        ips
    }

    fn target(&self, ips: Vec<IpAddr>) -> Target {
        let mut services = self.services.clone();
        services.sort_unstable();
        services.dedup();
        Target {
            id: TargetId::from(self.id().as_str()),
            pod: self.pod.clone(),
            uid: String::new(),
            namespace: self.namespace.clone(),
            workload: self.workload.as_deref().and_then(split_workload),
            services,
            ips,
            interface: self.interface.clone(),
            labels: self.labels.clone(),
        }
    }
}

fn parse_ip(text: &str, report: &mut dyn FnMut(String)) -> Option<IpAddr> {
    match text.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() => {
            report(format!(
                "ip `{text}` cannot be a target's address: give the one that others reach it by"
            ));
            None
        }
        Ok(ip) => Some(ip),
        Err(_) => {
            report(format!(
                "ip `{text}` is no address: write it like \"10.77.0.11\" or \"fd77::b\", without a prefix"
            ));
            None
        }
    }
}

fn split_workload(text: &str) -> Option<Workload> {
    let (kind, name) = text.split_once('/')?;
    if kind.is_empty() || name.is_empty() || name.contains('/') {
        return None;
    }
    Some(Workload {
        kind: kind.to_owned(),
        name: name.to_owned(),
    })
}

/// Who has an id, an address or an interface already: packets can only count for one.
#[derive(Default)]
struct Owners(BTreeMap<String, String>);

impl Owners {
    fn take(&mut self, entry: &StaticTarget, ips: &[IpAddr], report: &mut dyn FnMut(String)) {
        let id = entry.id();
        let claims = std::iter::once(format!("pod `{id}`"))
            .chain(ips.iter().map(|ip| format!("ip `{ip}`")))
            .chain(
                entry
                    .interface
                    .iter()
                    .map(|name| format!("interface `{name}`")),
            );
        for claim in claims {
            match self.0.get(&claim) {
                Some(owner) if claim.starts_with("pod ") => {
                    report(format!(
                        "{claim} is there twice (first as {owner}): pod names are unique in their namespace"
                    ));
                }
                Some(owner) => report(format!(
                    "{claim} belongs to {owner} already: its packets can count for one only"
                )),
                None => {
                    self.0.insert(claim, id.clone());
                }
            }
        }
    }
}

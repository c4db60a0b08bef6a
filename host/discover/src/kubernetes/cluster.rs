//! What of the cluster is known, and which targets follow from it. Pure: changes come in, targets go out.
//!
//! A pod is a target when it runs on this node in a network namespace of its own, has an address, lies behind a service
//! (or all pods are wanted), and neither it nor its namespace nor the node is annotated with `owlk8s/ignore: "true"`.
//! Readiness does not matter: a pod that is not ready, or that is ending, still answers whoever is connected. But of
//! pods with the same address only one has it: see [`Cluster::owners`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use owlk8s_model::{Target, TargetId};

use super::objects::{Key, Pod, Service, Slice};
use super::workload::Workloads;
use crate::config::Include;

/// Objects of one kind.
#[derive(Debug)]
pub(super) struct Table<V> {
    known: BTreeMap<Key, V>,
    /// A new list on its way in: what is known stays until all of it is there.
    listed: BTreeMap<Key, V>,
    /// A whole list has come.
    pub(super) complete: bool,
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self {
            known: BTreeMap::new(),
            listed: BTreeMap::new(),
            complete: false,
        }
    }
}

/// A step in the life of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step<V> {
    /// A list begins.
    Begin,
    /// An object of it.
    Listed(Key, V),
    /// The list is complete.
    End,
    /// An object came or changed.
    Applied(Key, V),
    /// An object went.
    Deleted(Key),
}

impl<V: PartialEq> Table<V> {
    /// Takes a step; whether something is known now that was not before.
    pub(super) fn take(&mut self, step: Step<V>) -> bool {
        match step {
            Step::Begin => self.listed.clear(),
            Step::Listed(key, value) => {
                self.listed.insert(key, value);
            }
            Step::End => {
                let listed = std::mem::take(&mut self.listed);
                let first = !std::mem::replace(&mut self.complete, true);
                let changed = first || self.known != listed;
                self.known = listed;
                return changed;
            }
            Step::Applied(key, value) => {
                if self.known.get(&key) == Some(&value) {
                    return false;
                }
                self.known.insert(key, value);
                return true;
            }
            Step::Deleted(key) => return self.known.remove(&key).is_some(),
        }
        false
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Those of one namespace.
    fn of<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = (&'a str, &'a V)> {
        let from = (namespace.into(), "".into());
        let behind = self.known.range::<Key, _>(from..);
        behind
            .take_while(move |((of, _), _)| &**of == namespace)
            .map(|((_, name), value)| (&**name, value))
    }
}

/// All that is known.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    /// Of this node.
    pub(super) pods: Table<Pod>,
    pub(super) services: Table<Service>,
    /// Whether each namespace is ignored.
    pub(super) namespaces: Table<bool>,
    /// Whether this node is ignored; at most one.
    pub(super) node: Table<bool>,
    /// Of services without a selector.
    pub(super) slices: Table<Slice>,
}

/// What follows from what is known.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// Sorted by id.
    pub(super) targets: Vec<Arc<Target>>,
    /// Pods behind services that share the node's network, `namespace/name`: their packets cannot be told from the
    /// node's own.
    pub(super) host_network: BTreeSet<String>,
}

impl Cluster {
    pub(super) fn findings(&self, include: Include, workloads: &Workloads) -> Findings {
        let mut findings = Findings::default();
        if self.node.known.values().any(|ignored| *ignored) {
            return findings;
        }
        let owners = self.owners();
        for ((namespace, name), pod) in &self.pods.known {
            if pod.ignored || pod.finished || self.is_ignored(namespace) {
                continue;
            }
            let services = self.services_of(namespace, pod);
            if services.is_empty() && include == Include::Services {
                continue;
            }
            if pod.host_network {
                findings.host_network.insert(format!("{namespace}/{name}"));
                continue;
            }
            let has = |ip: &&IpAddr| owners.get(ip).is_some_and(|owner| owner.uid == pod.uid);
            let ips: Vec<IpAddr> = pod.ips.iter().filter(has).copied().collect();
            if ips.is_empty() {
                continue;
            }
            findings.targets.push(Arc::new(Target {
                id: TargetId::from(pod.uid.as_str()),
                pod: name.to_string(),
                uid: pod.uid.clone(),
                namespace: namespace.to_string(),
                workload: workloads.of(namespace, name, pod),
                services,
                ips,
                interface: None,
                labels: pod.labels.clone(),
            }));
        }
        findings.targets.sort_by(|a, b| a.id.cmp(&b.id));
        findings
    }

    /// Whose each address is. Two pods have the same while one of them is gone and its object is not yet: an address is
    /// given to another pod when the sandbox ends, and a finalizer, or a kubelet that is late, keeps the object. So it
    /// is that of who is not ending, and of two such the later.
    fn owners(&self) -> HashMap<IpAddr, &Pod> {
        let claim = |pod: &&Pod| (!pod.ending, pod.created.clone());
        let running = self.pods.known.values();
        let running = running.filter(|pod| !pod.finished && !pod.host_network);
        let mut owners: HashMap<IpAddr, &Pod> = HashMap::new();
        for pod in running {
            for ip in &pod.ips {
                let owner = owners.entry(*ip).or_insert(pod);
                if claim(owner) < claim(&pod) {
                    *owner = pod;
                }
            }
        }
        owners
    }

    /// Pods that may become targets, with namespaces and names.
    pub(super) fn pods(&self) -> impl Iterator<Item = (&Key, &Pod)> {
        self.pods.known.iter().filter(|(_, pod)| !pod.finished)
    }

    fn is_ignored(&self, namespace: &str) -> bool {
        let key = ("".into(), namespace.into());
        self.namespaces
            .known
            .get(&key)
            .is_some_and(|ignored| *ignored)
    }

    /// All services that lead to it, sorted.
    fn services_of(&self, namespace: &str, pod: &Pod) -> Vec<String> {
        let selected = self.services.of(namespace).filter(|(_, service)| {
            let selector = &service.selector;
            !selector.is_empty() && selector.iter().all(|(k, v)| pod.labels.get(k) == Some(v))
        });
        let has = |ip: &IpAddr| pod.ips.contains(ip);
        let listed = self.slices.of(namespace).filter(|(_, slice)| {
            // What some other controller keeps for a service with a selector is its business.
            let by_hand = self
                .selector_of(namespace, &slice.service)
                .is_some_and(BTreeMap::is_empty);
            by_hand && slice.ips.iter().any(has)
        });
        let mut names: Vec<String> = selected
            .map(|(name, _)| name.to_owned())
            .chain(listed.map(|(_, slice)| slice.service.clone()))
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn selector_of(&self, namespace: &str, service: &str) -> Option<&BTreeMap<String, String>> {
        let key = (namespace.into(), service.into());
        self.services
            .known
            .get(&key)
            .map(|service| &service.selector)
    }
}

#[cfg(test)]
mod tests;

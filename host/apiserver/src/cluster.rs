//! What a test says of the cluster: what it holds, and what changes. Each call has happened when it returns.

mod churn;

use std::sync::Arc;

use serde_json::{Value, json};

use crate::failure::Failure;
use crate::fixture::{Add, namespace, node, slice_of};
use crate::http::{Shared, merge};
use crate::identity;
use crate::object::{Key, Object};
use crate::resource::Kind;
use crate::selector::{Fields, Labels, Selector};
use crate::store::{At, Store};

/// The cluster behind a server.
#[derive(Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
}

/// An object that is there, to be changed.
///
/// # Panics
/// All methods but [`Existing::exists`] panic when it is not.
pub struct Existing {
    cluster: Cluster,
    kind: Kind,
    key: Key,
}

/// What is there.
impl Cluster {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Puts something there. A pod or a service that is there under its name goes first, as another one of that name
    /// would; a node or a namespace is changed.
    pub fn add<A: Add>(&self, what: A) -> A::Added {
        what.add_to(self)
    }

    /// Puts an object there, or another in its place, exactly as it is but for its uid, time and version.
    ///
    /// # Panics
    /// When it has no name.
    pub fn put(&self, kind: Kind, value: Value) {
        let namespace = value["metadata"]["namespace"].as_str().unwrap_or_default();
        if kind.resource().namespaced {
            self.make_namespace(namespace);
        }
        self.create(kind, value);
    }

    /// A pod.
    pub fn pod(&self, namespace: &str, name: &str) -> Existing {
        self.existing(Kind::Pod, namespace, name)
    }

    /// A service.
    pub fn service(&self, namespace: &str, name: &str) -> Existing {
        self.existing(Kind::Service, namespace, name)
    }

    /// A namespace; deleted, it takes along all that is in it.
    pub fn namespace(&self, name: &str) -> Existing {
        self.existing(Kind::Namespace, "", name)
    }

    /// A node.
    pub fn node(&self, name: &str) -> Existing {
        self.existing(Kind::Node, "", name)
    }

    /// Any object; the namespace is empty for what has none.
    pub fn existing(&self, kind: Kind, namespace: &str, name: &str) -> Existing {
        Existing {
            cluster: self.clone(),
            kind,
            key: Key::new(namespace, name),
        }
    }

    /// Deletes a pod at once, as after its grace period.
    pub fn delete_pod(&self, namespace: &str, name: &str) {
        self.pod(namespace, name).delete();
    }

    /// `NAMESPACE/NAME` of all objects of a kind, in order.
    pub fn names(&self, kind: Kind) -> Vec<String> {
        let objects = self.select(kind, &Selector::default());
        objects
            .iter()
            .map(|object| object.key.to_string())
            .collect()
    }

    /// Names of the pods that this object controls: a ReplicaSet, StatefulSet, Job, ...
    pub fn pods_of(&self, namespace: &str, owner: &str) -> Vec<String> {
        let in_namespace = Selector {
            namespace: Some(namespace.to_owned()),
            ..Selector::default()
        };
        let pods = self.select(Kind::Pod, &in_namespace);
        let owned = pods.iter().filter(|pod| {
            pod.key.name.starts_with(owner)
                && pod.value()["metadata"]["ownerReferences"][0]["name"] == owner
        });
        owned.map(|pod| pod.key.name.to_string()).collect()
    }

    /// Writes the EndpointSlice of a service as the controller would for the pods that it selects now, in place of the
    /// one that was written so before. Returns its name.
    ///
    /// # Panics
    /// When the service is not there, or has no selector.
    pub fn write_slice(&self, namespace: &str, service: &str) -> String {
        let service = self.service(namespace, service).json();
        let selector = service["spec"]["selector"].as_object();
        let selector = selector.unwrap_or_else(|| panic!("the service has no selector"));
        let labels: Vec<_> = selector
            .iter()
            .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
            .collect();
        let selected = Selector {
            namespace: Some(namespace.to_owned()),
            labels: Labels::parse(&labels.join(","))
                .unwrap_or_else(|wrong| panic!("{}", wrong.message)),
            fields: Fields::default(),
        };
        let pods: Vec<_> = self
            .select(Kind::Pod, &selected)
            .iter()
            .map(|pod| pod.value())
            .collect();
        let addressed: Vec<_> = pods
            .into_iter()
            .filter(|pod| pod["status"]["podIP"].is_string())
            .collect();
        let name = format!(
            "{}-slice",
            service["metadata"]["name"].as_str().unwrap_or_default()
        );
        self.add(slice_of(&service, &addressed).named(&name))
    }

    /// The version of the newest change.
    pub fn version(&self) -> u64 {
        self.store().version()
    }

    /// How many objects of a kind there are, and how many bytes they take.
    pub fn size(&self, kind: Kind) -> (usize, usize) {
        self.store().size(kind)
    }
}

/// For those who make fixtures.
impl Cluster {
    fn store(&self) -> &Store {
        &self.shared.store
    }

    fn select(&self, kind: Kind, selector: &Selector) -> Vec<Arc<Object>> {
        let listed = self.store().list(kind, selector, At::Latest, None, None);
        listed.map(|page| page.items).unwrap_or_default() // the latest is always there
    }

    pub(crate) fn number(&self) -> u64 {
        self.store().number()
    }

    pub(crate) fn uid(&self, kind: Kind, namespace: &str, name: &str) -> Option<String> {
        let namespace = if kind.resource().namespaced {
            namespace
        } else {
            ""
        };
        let object = self.store().get(kind, &Key::new(namespace, name))?;
        Some(object.value()["metadata"]["uid"].as_str()?.to_owned())
    }

    pub(crate) fn make_namespace(&self, name: &str) {
        if self
            .store()
            .get(Kind::Namespace, &Key::new("", name))
            .is_none()
        {
            self.add(namespace(name));
        }
    }

    /// Its InternalIP.
    pub(crate) fn make_node(&self, name: &str) -> String {
        let key = Key::new("", name);
        if self.store().get(Kind::Node, &key).is_none() {
            self.add(node(name));
        }
        let node = self.store().get(Kind::Node, &key).map(|node| node.value());
        let ip = node.map(|mut node| node["status"]["addresses"][0]["address"].take());
        ip.as_ref()
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    }

    pub(crate) fn create(&self, kind: Kind, mut value: Value) {
        let part = |name: &str| {
            value["metadata"][name]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        let key = Key::new(&part("namespace"), &part("name"));
        assert!(!key.name.is_empty(), "an object needs a name: {value}");
        identity::stamp(&mut value, kind, self.number());
        if !matches!(kind, Kind::Namespace | Kind::Node) {
            self.store().delete(kind, &key);
        }
        let changed = self.store().change(kind, &key, |before| {
            if let Some(before) = before {
                let before = before.value();
                for member in ["uid", "creationTimestamp"] {
                    value["metadata"][member] = before["metadata"][member].clone();
                }
            }
            Ok(Some(value))
        });
        expect(changed);
    }
}

/// A change by a test, which no rule forbids.
fn expect<T>(result: Result<T, Failure>) -> T {
    result.unwrap_or_else(|failure| panic!("{}", failure.message))
}

impl Existing {
    /// Whether it is there.
    pub fn exists(&self) -> bool {
        self.cluster.store().get(self.kind, &self.key).is_some()
    }

    /// The whole object, as the API sends it.
    pub fn json(&self) -> Value {
        let object = self.cluster.store().get(self.kind, &self.key);
        object.unwrap_or_else(|| self.missing()).value()
    }

    /// Changes it by a merge patch (RFC 7396), in all its parts.
    pub fn patch(&self, patch: &Value) -> &Self {
        let changed = self.cluster.store().change(self.kind, &self.key, |before| {
            let mut value = before.unwrap_or_else(|| self.missing()).value();
            merge(&mut value, patch);
            Ok(Some(value))
        });
        expect(changed);
        self
    }

    /// Sets a label.
    pub fn label(&self, name: &str, value: &str) -> &Self {
        self.patch(&json!({"metadata": {"labels": {name: value}}}))
    }

    /// Takes a label away.
    pub fn unlabel(&self, name: &str) -> &Self {
        self.patch(&json!({"metadata": {"labels": {name: null}}}))
    }

    /// Sets an annotation.
    pub fn annotate(&self, name: &str, value: &str) -> &Self {
        self.patch(&json!({"metadata": {"annotations": {name: value}}}))
    }

    /// Takes an annotation away.
    pub fn unannotate(&self, name: &str) -> &Self {
        self.patch(&json!({"metadata": {"annotations": {name: null}}}))
    }

    /// Of a pod: its phase. One that has ended is not ready; its address stays, as on a real cluster.
    pub fn set_phase(&self, phase: &str) -> &Self {
        if phase != "Running" {
            self.set_ready(false);
        }
        self.patch(&json!({"status": {"phase": phase}}))
    }

    /// Of a pod: whether it is ready.
    pub fn set_ready(&self, ready: bool) -> &Self {
        let mut status = self.json()["status"].take();
        for condition in status["conditions"].as_array_mut().into_iter().flatten() {
            if ["Ready", "ContainersReady"]
                .contains(&condition["type"].as_str().unwrap_or_default())
            {
                condition["status"] = if ready { "True" } else { "False" }.into();
            }
        }
        for container in status["containerStatuses"]
            .as_array_mut()
            .into_iter()
            .flatten()
        {
            container["ready"] = ready.into();
        }
        self.patch(&json!({"status": status}))
    }

    /// Of a pod: its addresses.
    pub fn set_ips<const N: usize>(&self, ips: [&str; N]) -> &Self {
        let all: Vec<_> = ips.iter().map(|ip| json!({"ip": ip})).collect();
        let first = ips.first().map_or(Value::Null, |ip| Value::from(*ip));
        self.patch(&json!({"status": {"podIP": first, "podIPs": all}}))
    }

    /// Of a service: which pods it selects; none: no selector.
    pub fn select<const N: usize>(&self, labels: [(&str, &str); N]) -> &Self {
        self.patch(&json!({"spec": {"selector": null}}));
        let labels: serde_json::Map<_, _> = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Value::from(*value)))
            .collect();
        if !labels.is_empty() {
            self.patch(&json!({"spec": {"selector": labels}}));
        }
        self
    }

    /// Of a pod: it is being deleted, and its grace period runs.
    pub fn terminate(&self) -> &Self {
        self.patch(&json!({
            "metadata": {"deletionTimestamp": identity::now(), "deletionGracePeriodSeconds": 30}
        }))
    }

    /// Deletes it at once.
    pub fn delete(&self) {
        let deleted = self.cluster.store().delete(self.kind, &self.key);
        deleted.unwrap_or_else(|| self.missing());
    }

    fn missing(&self) -> ! {
        panic!("there is no {} {}", self.kind.resource().name, self.key)
    }
}

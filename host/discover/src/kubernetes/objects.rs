//! The parts of Kubernetes objects that decide what is watched and under which names; the rest of each is skipped as it
//! is read, so that a large cluster costs little memory. Sources: the Kubernetes API reference, `core/v1` and
//! `discovery.k8s.io/v1`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::Resource;
use serde::Deserialize;

/// The annotation that takes a pod, a namespace or a node out.
const IGNORE: &str = "owlk8s/ignore";
/// Of the mirror of a static pod: the uid that the kubelet knows it by, in the names of its cgroups. An annotation of the
/// mirror, and a label of the target.
pub(crate) const STATIC_POD_UID: &str = "kubernetes.io/config.hash";
/// Names the service of an EndpointSlice.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Namespace, empty where the object has none, and name.
pub(super) type Key = (Box<str>, Box<str>);

/// The key of an object.
pub(super) fn key(meta: &ObjectMeta) -> Key {
    let text = |text: &Option<String>| text.as_deref().unwrap_or_default().into();
    (text(&meta.namespace), text(&meta.name))
}

/// Whether the object is annotated to be left out.
pub(super) fn ignored(meta: &ObjectMeta) -> bool {
    let annotations = meta.annotations.as_ref();
    annotations.and_then(|a| a.get(IGNORE)).map(String::as_str) == Some("true")
}

/// A pod of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pod {
    pub(super) uid: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) ignored: bool,
    /// IPv4 first.
    pub(super) ips: Vec<IpAddr>,
    pub(super) host_network: bool,
    /// Its containers have ended for good: a completed job.
    pub(super) finished: bool,
    /// It was told to end.
    pub(super) ending: bool,
    pub(super) created: Option<Time>,
    pub(super) owner: Option<Owner>,
}

/// Who controls an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) uid: String,
}

impl Owner {
    /// The controller among an object's owners.
    pub(super) fn controller(meta: &ObjectMeta) -> Option<Self> {
        let owners = meta.owner_references.as_deref().unwrap_or_default();
        let owner: &OwnerReference = owners.iter().find(|o| o.controller == Some(true))?;
        Some(Self {
            kind: owner.kind.clone(),
            name: owner.name.clone(),
            uid: owner.uid.clone(),
        })
    }
}

/// A service, by the labels that it selects; empty where it selects none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) selector: BTreeMap<String, String>,
}

/// Addresses that somebody has put behind a service without a selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) service: String,
    pub(super) ips: Vec<IpAddr>,
}

/// A pod as the API server writes it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct PodObject {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: PodSpec,
    #[serde(default)]
    status: PodStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec {
    #[serde(default)]
    host_network: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodStatus {
    #[serde(default)]
    phase: String,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs", default)]
    pod_ips: Vec<PodIp>,
}

#[derive(Clone, Debug, Deserialize)]
struct PodIp {
    ip: String,
}

impl From<PodObject> for Pod {
    fn from(object: PodObject) -> Self {
        let PodObject {
            metadata,
            spec,
            status,
        } = object;
        let all = status.pod_ips.iter().map(|each| &each.ip);
        let mut ips: Vec<IpAddr> = all
            .chain(&status.pod_ip)
            .filter_map(|ip| ip.parse().ok())
            .collect();
        ips.sort_unstable();
        ips.dedup();
        let static_uid = metadata
            .annotations
            .as_ref()
            .and_then(|a| a.get(STATIC_POD_UID));
        let static_uid = static_uid.map(|uid| (STATIC_POD_UID.to_owned(), uid.clone()));
        Self {
            ignored: ignored(&metadata),
            owner: Owner::controller(&metadata),
            ending: metadata.deletion_timestamp.is_some(),
            labels: metadata
                .labels
                .into_iter()
                .flatten()
                .chain(static_uid)
                .collect(),
            created: metadata.creation_timestamp,
            uid: metadata.uid.unwrap_or_default(),
            ips,
            host_network: spec.host_network,
            finished: matches!(status.phase.as_str(), "Succeeded" | "Failed"),
        }
    }
}

/// A service as the API server writes it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ServiceObject {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: ServiceSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct ServiceSpec {
    #[serde(rename = "type", default)]
    kind: String,
    selector: Option<BTreeMap<String, String>>,
}

impl From<ServiceObject> for Service {
    fn from(object: ServiceObject) -> Self {
        // Another name for something outside: a selector, if it has one, means nothing.
        let external = object.spec.kind == "ExternalName";
        let selector = object.spec.selector.filter(|_| !external);
        Self {
            selector: selector.unwrap_or_default(),
        }
    }
}

/// An EndpointSlice as the API server writes it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct SliceObject {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    endpoints: Option<Vec<Endpoint>>,
}

#[derive(Clone, Debug, Deserialize)]
struct Endpoint {
    #[serde(default)]
    addresses: Vec<String>,
}

impl From<SliceObject> for Slice {
    fn from(object: SliceObject) -> Self {
        let mut labels = object.metadata.labels.unwrap_or_default();
        let endpoints = object.endpoints.unwrap_or_default();
        // A host name, which the API allows too, is no pod's.
        let ips = endpoints.iter().flat_map(|each| &each.addresses);
        Self {
            service: labels.remove(SERVICE_NAME).unwrap_or_default(),
            ips: ips.filter_map(|ip| ip.parse().ok()).collect(),
        }
    }
}

/// Where the API server keeps them.
macro_rules! resource {
    ($object:ty, $group:literal, $kind:literal, $plural:literal) => {
        impl Resource for $object {
            type DynamicType = ();
            type Scope = k8s_openapi::NamespaceResourceScope;

            fn kind(_: &()) -> Cow<'_, str> {
                $kind.into()
            }
            fn group(_: &()) -> Cow<'_, str> {
                $group.into()
            }
            fn version(_: &()) -> Cow<'_, str> {
                "v1".into()
            }
            fn plural(_: &()) -> Cow<'_, str> {
                $plural.into()
            }
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

resource!(PodObject, "", "Pod", "pods");
resource!(ServiceObject, "", "Service", "services");
resource!(
    SliceObject,
    "discovery.k8s.io",
    "EndpointSlice",
    "endpointslices"
);

//! The watches, as one stream of changes to what is known of the cluster. Each lists once, then follows; a break is
//! resumed where it was, or by a new list where the API server has forgotten that place (410 Gone), with backoff and
//! jitter. None of them grows with what happens on other nodes: pods and the node are chosen by field selectors, and
//! endpoint slices are read only where no controller of Kubernetes' own keeps them from a selector.

use std::fmt::Debug;

use futures_util::stream::{BoxStream, SelectAll, StreamExt};
use kube::api::{Api, PartialObjectMeta};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;

use super::cluster::Step;
use super::objects::{self, Pod, PodObject, Service, ServiceObject, Slice, SliceObject};
use k8s_openapi::api::core::v1::{Namespace, Node};

/// Slices that the controller made from a service's selector are not needed: the selector says it.
const BY_HAND: &str = "endpointslice.kubernetes.io/managed-by!=endpointslice-controller.k8s.io";

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Feed {
    Pods,
    Services,
    Namespaces,
    Nodes,
    EndpointSlices,
}

impl Feed {
    pub(super) const ALL: [Self; 5] = [
        Self::Pods,
        Self::Services,
        Self::Namespaces,
        Self::Nodes,
        Self::EndpointSlices,
    ];

    /// The resource's name in a URL and in a rule.
    pub(super) fn resource(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::Services => "services",
            Self::Namespaces => "namespaces",
            Self::Nodes => "nodes",
            Self::EndpointSlices => "endpointslices",
        }
    }

    /// The resource's API group.
    pub(super) fn group(self) -> &'static str {
        match self {
            Self::EndpointSlices => "discovery.k8s.io",
            _ => "",
        }
    }

    /// What goes on without it, in words; None where nothing does.
    pub(super) fn without(self) -> Option<&'static str> {
        match self {
            Self::Pods | Self::Services => None,
            Self::Namespaces => Some("annotations of namespaces are not known"),
            Self::Nodes => Some("annotations of this node are not known"),
            Self::EndpointSlices => Some("services without a selector are not known"),
        }
    }
}

/// What a watch tells.
#[derive(Debug)]
pub(super) enum Change {
    Pod(Step<Pod>),
    Service(Step<Service>),
    Namespace(Step<bool>),
    Node(Step<bool>),
    Slice(Step<Slice>),
    /// The watch failed, and will be tried again.
    Failed(Feed, watcher::Error),
}

/// All watches of `node`.
pub(super) fn changes(client: &Client, node: &str) -> SelectAll<BoxStream<'static, Change>> {
    let everywhere = watcher::Config::default;
    let mine = everywhere().fields(&format!("spec.nodeName={node}"));
    let node = everywhere().fields(&format!("metadata.name={node}"));
    let by_hand = everywhere().labels(BY_HAND);
    futures_util::stream::select_all([
        follow(client, mine, Feed::Pods, Change::Pod, |pod: PodObject| {
            pod.into()
        }),
        follow(
            client,
            everywhere(),
            Feed::Services,
            Change::Service,
            |service: ServiceObject| service.into(),
        ),
        follow(
            client,
            by_hand,
            Feed::EndpointSlices,
            Change::Slice,
            |slice: SliceObject| slice.into(),
        ),
        follow(
            client,
            everywhere(),
            Feed::Namespaces,
            Change::Namespace,
            ignored::<Namespace>,
        ),
        follow(client, node, Feed::Nodes, Change::Node, ignored::<Node>),
    ])
}

/// Of an object only whether it is annotated to be ignored: nothing but its metadata is asked for.
fn ignored<K>(object: PartialObjectMeta<K>) -> bool {
    objects::ignored(&object.metadata)
}

/// One watch; of each object what `read` makes of it.
fn follow<K, V: 'static>(
    client: &Client,
    config: watcher::Config,
    feed: Feed,
    wrap: fn(Step<V>) -> Change,
    read: fn(K) -> V,
) -> BoxStream<'static, Change>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + DeserializeOwned + 'static,
{
    let events = watcher::watcher(Api::<K>::all(client.clone()), config);
    let step = move |event| match event {
        Ok(event) => wrap(step(event, read)),
        Err(error) => Change::Failed(feed, error),
    };
    events.default_backoff().map(step).boxed()
}

fn step<K: Resource, V>(event: Event<K>, read: impl Fn(K) -> V) -> Step<V> {
    match event {
        Event::Init => Step::Begin,
        Event::InitApply(object) => Step::Listed(objects::key(object.meta()), read(object)),
        Event::InitDone => Step::End,
        Event::Apply(object) => Step::Applied(objects::key(object.meta()), read(object)),
        Event::Delete(object) => Step::Deleted(objects::key(object.meta())),
    }
}

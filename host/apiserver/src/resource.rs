//! The resources that the server knows, and what it must know of each. Any other resource is answered as a real
//! server answers one that it does not have: 404.

/// A kind of object that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// core/v1 Namespace.
    Namespace,
    /// core/v1 Node.
    Node,
    /// core/v1 Pod.
    Pod,
    /// core/v1 Service.
    Service,
    /// discovery.k8s.io/v1 EndpointSlice.
    EndpointSlice,
    /// apps/v1 DaemonSet.
    DaemonSet,
    /// apps/v1 Deployment.
    Deployment,
    /// apps/v1 ReplicaSet.
    ReplicaSet,
    /// apps/v1 StatefulSet.
    StatefulSet,
    /// batch/v1 CronJob.
    CronJob,
    /// batch/v1 Job.
    Job,
}

/// What the API says of a kind.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) kind: Kind,
    /// As in `kind:` of an object.
    pub(crate) name: &'static str,
    pub(crate) group: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) singular: &'static str,
    pub(crate) short: &'static [&'static str],
    pub(crate) namespaced: bool,
    /// Field selectors beside `metadata.name` and `metadata.namespace`.
    pub(crate) fields: &'static [&'static str],
}

/// In the order of [`Kind`].
pub(crate) static RESOURCES: [Resource; 11] = [
    Resource {
        kind: Kind::Namespace,
        name: "Namespace",
        group: "",
        plural: "namespaces",
        singular: "namespace",
        short: &["ns"],
        namespaced: false,
        fields: &["status.phase"],
    },
    Resource {
        kind: Kind::Node,
        name: "Node",
        group: "",
        plural: "nodes",
        singular: "node",
        short: &["no"],
        namespaced: false,
        fields: &["spec.unschedulable"],
    },
    Resource {
        kind: Kind::Pod,
        name: "Pod",
        group: "",
        plural: "pods",
        singular: "pod",
        short: &["po"],
        namespaced: true,
        fields: &[
            "spec.hostNetwork",
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "status.nominatedNodeName",
            "status.phase",
            "status.podIP",
        ],
    },
    Resource {
        kind: Kind::Service,
        name: "Service",
        group: "",
        plural: "services",
        singular: "service",
        short: &["svc"],
        namespaced: true,
        fields: &["spec.clusterIP", "spec.type"],
    },
    Resource {
        kind: Kind::EndpointSlice,
        name: "EndpointSlice",
        group: "discovery.k8s.io",
        plural: "endpointslices",
        singular: "endpointslice",
        short: &[],
        namespaced: true,
        fields: &[],
    },
    apps(
        Kind::DaemonSet,
        "DaemonSet",
        "daemonsets",
        "daemonset",
        &["ds"],
        &[],
    ),
    apps(
        Kind::Deployment,
        "Deployment",
        "deployments",
        "deployment",
        &["deploy"],
        &[],
    ),
    apps(
        Kind::ReplicaSet,
        "ReplicaSet",
        "replicasets",
        "replicaset",
        &["rs"],
        &["status.replicas"],
    ),
    apps(
        Kind::StatefulSet,
        "StatefulSet",
        "statefulsets",
        "statefulset",
        &["sts"],
        &[],
    ),
    Resource {
        kind: Kind::CronJob,
        name: "CronJob",
        group: "batch",
        plural: "cronjobs",
        singular: "cronjob",
        short: &["cj"],
        namespaced: true,
        fields: &[],
    },
    Resource {
        kind: Kind::Job,
        name: "Job",
        group: "batch",
        plural: "jobs",
        singular: "job",
        short: &[],
        namespaced: true,
        fields: &["status.successful"],
    },
];

const fn apps(
    kind: Kind,
    name: &'static str,
    plural: &'static str,
    singular: &'static str,
    short: &'static [&'static str],
    fields: &'static [&'static str],
) -> Resource {
    Resource {
        kind,
        name,
        group: "apps",
        plural,
        singular,
        short,
        namespaced: true,
        fields,
    }
}

impl Kind {
    pub(crate) fn resource(self) -> &'static Resource {
        &RESOURCES[self as usize]
    }
}

impl Resource {
    /// `v1`, `apps/v1`.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            "v1".to_owned()
        } else {
            format!("{}/v1", self.group)
        }
    }

    /// As error messages name it: `pods`, `deployments.apps`.
    pub(crate) fn qualified(&self) -> String {
        qualified(self.group, self.plural)
    }

    /// The resource of this group with this name in URLs.
    pub(crate) fn find(group: &str, plural: &str) -> Option<&'static Self> {
        RESOURCES
            .iter()
            .find(|resource| resource.group == group && resource.plural == plural)
    }
}

/// `pods`, `deployments.apps`.
pub(crate) fn qualified(group: &str, plural: &str) -> String {
    if group.is_empty() {
        plural.to_owned()
    } else {
        format!("{plural}.{group}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_stand_in_the_order_of_their_kinds() {
        for (index, resource) in RESOURCES.iter().enumerate() {
            assert_eq!(resource.kind as usize, index, "{}", resource.name);
            assert_eq!(resource.kind.resource().plural, resource.plural);
        }
    }
}

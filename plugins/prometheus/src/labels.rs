//! Which labels name a target.

use owlk8s_plugin::{Snapshot, Target};

use crate::Services;
use crate::exposition::Labels;

/// A target with the labels of all its series.
pub(crate) struct Labelled<'s> {
    pub(crate) target: Target<'s>,
    pub(crate) labels: Labels,
}

/// All targets, each with labels that no other has.
///
/// Namespace, pod, workload and service name a pod to people. Two targets can agree in them, as a pod
/// and its successor of the same name do for a moment: a page must not hold a series twice, so such
/// targets get `k8s_pod_uid` too (the target's id, outside Kubernetes).
pub(crate) fn targets<'s>(
    none: &Labels,
    services: Services,
    snapshot: &'s Snapshot<'_>,
) -> Vec<Labelled<'s>> {
    let labelled = |target| Labelled {
        labels: name(none.clone(), services, &target),
        target,
    };
    let mut targets: Vec<_> = snapshot.targets().map(labelled).collect();
    let mut by_labels: Vec<&Labels> = targets.iter().map(|t| &t.labels).collect();
    by_labels.sort();
    let twice: Vec<Labels> = by_labels
        .array_windows()
        .filter(|[a, b]| a == b)
        .map(|&[a, _]| a.clone())
        .collect();
    for Labelled { target, labels } in &mut targets {
        if twice.binary_search(labels).is_ok() {
            *labels = labels.clone().with("k8s_pod_uid", &target.id);
        }
    }
    targets
}

fn name(none: Labels, services: Services, target: &Target<'_>) -> Labels {
    let service = match services {
        Services::First => target.services.first().cloned().unwrap_or_default(),
        Services::All => target.services.join(","),
    };
    none.with("k8s_namespace_name", &target.namespace)
        .with("k8s_pod_name", &target.pod)
        .with("k8s_workload_kind", &target.workload_kind)
        .with("k8s_workload_name", &target.workload_name)
        .with("k8s_service_name", service)
}

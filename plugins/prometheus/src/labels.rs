//! Which labels name a target.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, DefaultHasher};

use owlk8s_plugin::{Snapshot, Target};

use crate::Services;
use crate::exposition::{Exposition, Labels};

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
    page: &Exposition,
    services: Services,
    snapshot: &'s Snapshot<'_>,
) -> Vec<Labelled<'s>> {
    // Copied from here they take the memory that they need, and no more.
    let mut labels = page.labels();
    let labelled = |target| {
        name(&mut labels, services, &target);
        Labelled {
            labels: labels.clone(),
            target,
        }
    };
    let mut targets: Vec<_> = snapshot.targets().map(labelled).collect();
    for twin in twins(&targets) {
        let Labelled { target, labels } = &mut targets[twin];
        labels.push("k8s_pod_uid", target.id());
    }
    targets
}

/// Which of them agree in their labels with another.
fn twins(targets: &[Labelled<'_>]) -> BTreeSet<usize> {
    // Hashed alike each time: a guest is given no randomness. Sorted they would be compared byte by byte, ten times each.
    let alike = BuildHasherDefault::<DefaultHasher>::default();
    let mut known = HashMap::with_capacity_and_hasher(targets.len(), alike);
    let mut twins = BTreeSet::new();
    for (index, target) in targets.iter().enumerate() {
        let first = *known.entry(target.labels.bytes()).or_insert(index);
        if first != index {
            twins.extend([first, index]);
        }
    }
    twins
}

fn name(labels: &mut Labels, services: Services, target: &Target<'_>) {
    let all;
    let service = match services {
        Services::First => target.services().first().unwrap_or_default(),
        Services::All => {
            all = target.services().join(",");
            &all
        }
    };
    labels
        .clear()
        .push("k8s_namespace_name", target.namespace())
        .push("k8s_pod_name", target.pod())
        .push("k8s_workload_kind", target.workload_kind())
        .push("k8s_workload_name", target.workload_name())
        .push("k8s_service_name", service);
}

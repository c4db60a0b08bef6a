//! Least data: what of a snapshot reaches a sink at all. It is applied where the sink cannot look, so
//! that what it was not granted is in no frame and in no memory of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use owlk8s_model::{Snapshot, TargetSnapshot};

use crate::select::{Select, matches};

/// What a sink may see. Equal ones are served by one cut of the snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct View {
    /// Which targets it asks for.
    pub select: Select,
    /// Bounds on the namespaces, patterns as in [`Select::namespaces`]: a target is in one of each list.
    pub within: Vec<Vec<String>>,
    /// Names of the Kubernetes labels that it was granted.
    pub labels: BTreeSet<String>,
}

impl View {
    /// Whether it shows this target.
    pub fn shows(&self, target: &TargetSnapshot) -> bool {
        let inside = |patterns: &Vec<String>| {
            patterns
                .iter()
                .any(|pattern| matches(pattern, &target.namespace))
        };
        self.within.iter().all(inside) && self.select.takes(target)
    }

    /// The snapshot with the targets that it shows, each with the labels that it was granted and without
    /// what no plugin gets: the interface and the place where it is read. Costs a copy of what is left.
    #[must_use]
    pub fn cut(&self, snapshot: &Snapshot) -> Arc<Snapshot> {
        Arc::new(Snapshot {
            node: snapshot.node.clone(),
            window: snapshot.window,
            temporality: snapshot.temporality,
            targets_confirmed_at: snapshot.targets_confirmed_at,
            targets: snapshot
                .targets
                .iter()
                .filter(|target| self.shows(target))
                .map(|target| self.cut_target(target))
                .collect(),
        })
    }

    /// One target as it shows it; none where it does not.
    pub fn cut_one(&self, target: &TargetSnapshot) -> Option<TargetSnapshot> {
        self.shows(target).then(|| self.cut_target(target))
    }

    /// Every field by its name: one that is new in the model is a decision here.
    fn cut_target(&self, target: &TargetSnapshot) -> TargetSnapshot {
        let granted = |name: &String| Some((name.clone(), target.labels.get(name)?.clone()));
        TargetSnapshot {
            id: target.id.clone(),
            pod: target.pod.clone(),
            uid: target.uid.clone(),
            namespace: target.namespace.clone(),
            workload: target.workload.clone(),
            services: target.services.clone(),
            ips: target.ips.clone(),
            labels: self.labels.iter().filter_map(granted).collect(),
            interface: String::new(),
            since: target.since,
            status: target.status,
            reason: target.reason.clone(),
            hook: None,
            hook_reason: String::new(),
            blind: target.blind,
            totals: target.totals.clone(),
            rows: target.rows.clone(),
            grpc: target.grpc.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sum::fixtures::{snapshot, target};

    fn of(namespace: &str, pod: &str) -> TargetSnapshot {
        let mut target = target(pod, 1);
        target.namespace = namespace.to_owned();
        target.labels = [("team", namespace), ("secret", "x")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        target
    }

    fn pods(view: &View) -> Vec<String> {
        let whole = snapshot(1, vec![of("a", "a-0"), of("b", "b-0"), of("b-test", "b-1")]);
        let cut = view.cut(&whole);
        assert_eq!(cut.window, whole.window);
        cut.targets
            .iter()
            .map(|target| target.pod.clone())
            .collect()
    }

    #[test]
    fn target_is_shown_that_is_selected_and_within_every_bound() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let view = |select: &[&str], within: &[&[&str]]| View {
            select: Select {
                namespaces: list(select),
                ..Select::default()
            },
            within: within.iter().map(|names| list(names)).collect(),
            labels: BTreeSet::new(),
        };
        assert_eq!(pods(&view(&[], &[])), ["a-0", "b-0", "b-1"]);
        assert_eq!(pods(&view(&["b"], &[])), ["b-0"]);
        assert_eq!(pods(&view(&[], &[&["b*"]])), ["b-0", "b-1"]);
        assert_eq!(pods(&view(&[], &[&["b*"], &["*-test", "a"]])), ["b-1"]);
        assert!(
            pods(&view(&["a"], &[&["b"]])).is_empty(),
            "a selection does not lift a bound"
        );
        assert!(
            pods(&view(&[], &[&[]])).is_empty(),
            "an empty bound leaves nothing"
        );
    }

    #[test]
    fn labels_come_as_granted_and_places_of_reading_not_at_all() {
        let view = View {
            labels: ["team".to_owned(), "absent".to_owned()].into(),
            ..View::default()
        };
        let cut = view.cut(&snapshot(1, vec![of("a", "a-0")]));
        let left = &cut.targets[0];
        assert_eq!(left.labels, [("team".to_owned(), "a".to_owned())].into());
        assert_eq!(left.interface, "");
        assert_eq!(left.totals.requests, 1);
    }
}

use std::sync::Arc;

use owlk8s_model::{Snapshot, TargetSnapshot};
use serde::{Deserialize, Serialize};

/// Which targets a sink gets: those that one entry of every list that is not empty agrees with.
///
/// What is not selected never enters the sink: neither its strings nor its counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Select {
    /// Kubernetes namespaces.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Workloads by name (`cart`), or by kind and name (`Deployment/cart`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<String>,
    /// Services; one that selects the target is enough.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
}

impl Select {
    /// Whether it takes every target.
    pub fn is_all(&self) -> bool {
        self.namespaces.is_empty() && self.workloads.is_empty() && self.services.is_empty()
    }

    /// Whether it takes this target.
    pub fn takes(&self, target: &TargetSnapshot) -> bool {
        let agrees = |list: &[String], with: &dyn Fn(&String) -> bool| {
            list.is_empty() || list.iter().any(with)
        };
        agrees(&self.namespaces, &|namespace| {
            *namespace == target.namespace
        }) && agrees(&self.services, &|service| target.services.contains(service))
            && agrees(&self.workloads, &|wanted| {
                target
                    .workload
                    .as_ref()
                    .is_some_and(|workload| match wanted.split_once('/') {
                        Some((kind, name)) => workload.kind == kind && workload.name == name,
                        None => workload.name == *wanted,
                    })
            })
    }

    /// The snapshot with the targets that it takes; the same one where it takes all.
    #[must_use]
    pub fn apply(&self, snapshot: &Arc<Snapshot>) -> Arc<Snapshot> {
        if self.is_all() {
            return Arc::clone(snapshot);
        }
        Arc::new(Snapshot {
            node: snapshot.node.clone(),
            window: snapshot.window,
            temporality: snapshot.temporality,
            targets_confirmed_at: snapshot.targets_confirmed_at,
            targets: snapshot
                .targets
                .iter()
                .filter(|target| self.takes(target))
                .cloned()
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sum::fixtures::{snapshot, target};
    use owlk8s_model::Workload;

    fn select(field: &str, values: &[&str]) -> Select {
        let values: Vec<String> = values.iter().map(|v| (*v).to_owned()).collect();
        match field {
            "namespaces" => Select {
                namespaces: values,
                ..Select::default()
            },
            "workloads" => Select {
                workloads: values,
                ..Select::default()
            },
            _ => Select {
                services: values,
                ..Select::default()
            },
        }
    }

    #[test]
    fn every_list_must_agree_and_one_entry_of_it_is_enough() {
        let mut cart = target("cart-0", 1);
        cart.namespace = "shop".to_owned();
        cart.services = vec!["cart".to_owned(), "front".to_owned()];
        cart.workload = Some(Workload {
            kind: "Deployment".to_owned(),
            name: "cart".to_owned(),
        });
        for (field, values, taken) in [
            ("namespaces", &["other", "shop"][..], true),
            ("namespaces", &["sho"], false),
            ("services", &["front"], true),
            ("services", &["fro"], false),
            ("workloads", &["cart"], true),
            ("workloads", &["Deployment/cart"], true),
            ("workloads", &["StatefulSet/cart"], false),
        ] {
            assert_eq!(
                select(field, values).takes(&cart),
                taken,
                "{field} {values:?}"
            );
        }
        let both = Select {
            services: vec!["other".to_owned()],
            ..select("namespaces", &["shop"])
        };
        assert!(!both.takes(&cart));
    }

    #[test]
    fn all_shares_the_snapshot_and_a_selection_leaves_no_string_of_others() {
        let whole = Arc::new(snapshot(1, vec![target("a", 1), target("b", 2)]));
        assert!(Arc::ptr_eq(&Select::default().apply(&whole), &whole));
        let none = select("namespaces", &["nowhere"]).apply(&whole);
        assert!(none.targets.is_empty());
        assert_eq!(none.window, whole.window);
    }
}

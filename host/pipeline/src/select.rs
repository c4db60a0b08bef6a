mod labels;

use owlk8s_model::TargetSnapshot;
use serde::{Deserialize, Serialize};

pub use labels::LabelSelector;

/// Which targets a sink gets: those that one entry of every list that is not empty agrees with.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Select {
    /// Kubernetes namespaces; `*` stands for any part of a name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Workloads by name (`cart`), or by kind and name (`Deployment/cart`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<String>,
    /// Services; one that selects the target is enough.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// Label selectors, as `kubectl get --selector` takes them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<LabelSelector>,
}

impl Select {
    /// Whether it takes this target.
    pub fn takes(&self, target: &TargetSnapshot) -> bool {
        agrees(&self.namespaces, |pattern| {
            matches(pattern, &target.namespace)
        }) && agrees(&self.services, |service| target.services.contains(service))
            && agrees(&self.labels, |selector| selector.takes(&target.labels))
            && agrees(&self.workloads, |wanted| {
                target
                    .workload
                    .as_ref()
                    .is_some_and(|workload| match wanted.split_once('/') {
                        Some((kind, name)) => workload.kind == kind && workload.name == name,
                        None => workload.name == *wanted,
                    })
            })
    }
}

fn agrees<T>(list: &[T], with: impl FnMut(&T) -> bool) -> bool {
    list.is_empty() || list.iter().any(with)
}

/// Whether `name` is `pattern`, in which `*` stands for any text, none included.
pub fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut left) = name.strip_prefix(head) else {
        return false;
    };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return left.ends_with(part);
        }
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sum::fixtures::target;
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
            "labels" => Select {
                labels: values.iter().map(|v| v.parse().unwrap()).collect(),
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
        cart.labels = [("team".to_owned(), "red".to_owned())].into();
        cart.services = vec!["cart".to_owned(), "front".to_owned()];
        cart.workload = Some(Workload {
            kind: "Deployment".to_owned(),
            name: "cart".to_owned(),
        });
        for (field, values, taken) in [
            ("namespaces", &["other", "shop"][..], true),
            ("namespaces", &["sho"], false),
            ("namespaces", &["sh*"], true),
            ("labels", &["team=red"], true),
            ("labels", &["team=blue", "team"], true),
            ("labels", &["team=blue"], false),
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
    fn star_stands_for_any_part_of_a_name() {
        for (pattern, name, matching) in [
            ("*", "", true),
            ("*", "shop", true),
            ("team-*", "team-a", true),
            ("team-*", "steam-a", false),
            ("*-prod", "a-prod", true),
            ("*-prod", "a-prod-2", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("a*a", "a", false),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, name), matching, "{pattern} {name}");
        }
    }
}

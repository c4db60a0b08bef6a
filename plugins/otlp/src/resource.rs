//! What is measured: a pod, in the attributes of OpenTelemetry's conventions for Kubernetes.
//! <https://opentelemetry.io/docs/specs/semconv/resource/k8s/>

use owlk8s_plugin::{Result, Snapshot, Target, Texts};

use crate::Config;
use crate::proto::{KeyValue, Resource};

/// The conventions that names here are of.
pub(crate) const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.37.0";

/// A pod label's attribute and its value for each target.
pub(crate) type Label = (String, Vec<String>);

/// The labels that the configuration asks for.
pub(crate) fn labels(config: &Config, snapshot: &Snapshot<'_>) -> Result<Vec<Label>> {
    let label = |name: &String| {
        let column = format!("label:{name}");
        match snapshot.column(&column) {
            Some(values) => Ok((format!("k8s.pod.label.{name}"), values)),
            None => Err(format!(
                "config key `labels`: the sink has no column {column:?} (add it to the sink's `columns`)"
            )
            .into()),
        }
    };
    config.labels.iter().map(label).collect()
}

/// A target's attributes; those without a value are left out.
///
/// `service.name` is the first of these that is known: the workload's name, the service's, the pod's, the namespace's.
/// `service.instance.id` is the target's id, which no other has.
pub(crate) fn of(labels: &[Label], target: &Target<'_>) -> Resource {
    let service = target.services().first().unwrap_or_default();
    let names = [
        target.workload_name(),
        service,
        target.pod(),
        target.namespace(),
    ];
    let service_name = names.into_iter().find(|name| !name.is_empty());
    let first = |texts: Texts<'_>| texts.first().unwrap_or_default().to_owned();
    let mut attributes = vec![
        (
            "service.name".to_owned(),
            service_name.unwrap_or_default().to_owned(),
        ),
        (
            "service.namespace".to_owned(),
            target.namespace().to_owned(),
        ),
        ("service.instance.id".to_owned(), target.id().to_owned()),
        (
            "k8s.namespace.name".to_owned(),
            target.namespace().to_owned(),
        ),
        ("k8s.pod.name".to_owned(), target.pod().to_owned()),
        ("k8s.pod.uid".to_owned(), target.uid().to_owned()),
        ("k8s.pod.ip".to_owned(), first(target.ips())),
        ("k8s.node.name".to_owned(), target.node().to_owned()),
        ("k8s.service.name".to_owned(), first(target.services())),
        (workload_key(target), target.workload_name().to_owned()),
    ];
    let of_labels = labels
        .iter()
        .map(|(key, values)| (key.clone(), values[target.index() as usize].clone()));
    attributes.extend(of_labels);
    Resource {
        attributes: attributes
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| KeyValue::string(key, value))
            .collect(),
    }
}

/// The conventions know some kinds by name.
fn workload_key(target: &Target<'_>) -> String {
    match target.workload_kind() {
        kind @ ("Deployment"
        | "StatefulSet"
        | "DaemonSet"
        | "ReplicaSet"
        | "Job"
        | "CronJob"
        | "ReplicationController") => format!("k8s.{}.name", kind.to_lowercase()),
        _ => "owlk8s.workload.name".to_owned(),
    }
}

use std::collections::BTreeMap;

use super::*;

fn pod(owner: Option<(&str, &str)>, hash: Option<&str>) -> Pod {
    let labels = hash.map(|hash| (TEMPLATE_HASH.to_owned(), hash.to_owned()));
    Pod {
        uid: "u".to_owned(),
        labels: labels.into_iter().collect::<BTreeMap<_, _>>(),
        ignored: false,
        ips: Vec::new(),
        host_network: false,
        finished: false,
        ending: false,
        created: None,
        owner: owner.map(|(kind, name)| owned_by(kind, name)),
    }
}

fn owned_by(kind: &str, name: &str) -> Owner {
    Owner {
        kind: kind.to_owned(),
        name: name.to_owned(),
        uid: format!("uid-{name}"),
    }
}

fn of(workloads: &Workloads, pod: &Pod) -> Option<String> {
    let workload = workloads.of("shop", "cart-0", pod)?;
    Some(format!("{}/{}", workload.kind, workload.name))
}

#[test]
fn names_tell_the_workload_of_most_pods() {
    for (owner, hash, workload) in [
        (None, None, "Pod/cart-0"),
        (Some(("Node", "n1")), None, "Pod/cart-0"),
        (
            Some(("ReplicaSet", "cart-7d9f")),
            Some("7d9f"),
            "Deployment/cart",
        ),
        (
            Some(("ReplicaSet", "a-b-7d9f")),
            Some("7d9f"),
            "Deployment/a-b",
        ),
        // The pods' names are cut at 63 characters, a ReplicaSet's is not.
        (
            Some((
                "ReplicaSet",
                "payments-reconciliation-worker-for-the-northern-region-7f9c6d5b84",
            )),
            Some("7f9c6d5b84"),
            "Deployment/payments-reconciliation-worker-for-the-northern-region",
        ),
        (Some(("CloneSet", "game")), Some("5c8f"), "CloneSet/game"),
        (Some(("StatefulSet", "db")), None, "StatefulSet/db"),
        (Some(("DaemonSet", "logs")), None, "DaemonSet/logs"),
        (
            Some(("ReplicationController", "old")),
            None,
            "ReplicationController/old",
        ),
        (Some(("Job", "nightly-29384756")), None, "CronJob/nightly"),
        (Some(("Workflow", "train")), None, "Workflow/train"),
    ] {
        let pod = pod(owner, hash);
        let workloads = Workloads::default();
        assert_eq!(of(&workloads, &pod).as_deref(), Some(workload));
        let key = ("shop".into(), "cart-0".into());
        let asked = workloads.questions([(&key, &pod)].into_iter());
        assert!(asked.is_empty(), "{asked:?}");
    }
}

#[test]
fn what_names_do_not_tell_is_asked_once() {
    for (kind, name, above, workload) in [
        (
            "ReplicaSet",
            "canary-5c",
            Some(("Rollout", "canary")),
            "Rollout/canary",
        ),
        ("ReplicaSet", "alone", None, "ReplicaSet/alone"),
        ("Job", "import", None, "Job/import"),
        (
            "Job",
            "step-1",
            Some(("Workflow", "train")),
            "Workflow/train",
        ),
    ] {
        let pod = pod(Some((kind, name)), None);
        let key = ("shop".into(), "cart-0".into());
        let pods = || [(&key, &pod)].into_iter();
        let mut workloads = Workloads::default();
        assert_eq!(of(&workloads, &pod), None);
        let asked = workloads.questions(pods());
        assert_eq!(asked.iter().map(|q| &*q.name).collect::<Vec<_>>(), [name]);
        workloads.learn(
            format!("uid-{name}"),
            above.map(|(kind, name)| owned_by(kind, name)),
        );
        assert_eq!(of(&workloads, &pod).as_deref(), Some(workload));
        assert!(workloads.questions(pods()).is_empty());
        workloads.retain(std::iter::empty());
        assert_eq!(of(&workloads, &pod), None, "forgotten with its last pod");
    }
}

#[test]
fn a_job_named_by_a_number_that_is_no_minute_is_asked_about() {
    for name in [
        "import-1",
        "import-123456789",
        "import-2938475x",
        "import-20261231",
    ] {
        assert_eq!(
            told_by_name(&owned_by("Job", name), &pod(None, None)),
            None,
            "{name}"
        );
    }
}

#[test]
fn a_replication_controller_of_openshift_tells_its_deployment_config() {
    let mut pod = pod(Some(("ReplicationController", "cart-3")), None);
    let mut of_config = |config: &str, deployment: &str| {
        for (label, value) in [("deploymentconfig", config), ("deployment", deployment)] {
            pod.labels.insert(label.to_owned(), value.to_owned());
        }
        of(&Workloads::default(), &pod)
    };
    assert_eq!(
        of_config("cart", "cart-3").as_deref(),
        Some("DeploymentConfig/cart")
    );
    assert_eq!(
        of_config("cart", "other-3").as_deref(),
        Some("ReplicationController/cart-3"),
        "labels that somebody else has set"
    );
}

//! Whose pod it is, as its users know it: the Deployment behind the ReplicaSet, the CronJob behind the Job.
//!
//! Mostly the names tell: a Deployment names its ReplicaSets by the hash that their pods carry as a label, a CronJob its
//! Jobs by the minute. Where they do not, the API server is asked once for the owner's metadata.

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;

use owlk8s_model::Workload;

use super::health::{ASKED, rule};
use super::objects::{Key, Owner, Pod};

/// The label that a Deployment puts on its pods, and the end of its ReplicaSets' names.
const TEMPLATE_HASH: &str = "pod-template-hash";
/// Minutes since 1970 that a CronJob's Job may be named by, from 2020 to 2055: no date in digits is among them.
const MINUTES: RangeInclusive<u32> = 26_297_280..=44_700_000;

/// An owner whose own owner is asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Question {
    pub(super) kind: Asked,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

/// Kinds that are asked for their owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Asked {
    ReplicaSet,
    Job,
}

impl Asked {
    /// The rule that grants asking.
    pub(super) fn rule(self) -> String {
        match self {
            Self::ReplicaSet => rule("apps", "replicasets", ASKED),
            Self::Job => rule("batch", "jobs", ASKED),
        }
    }
}

/// What was answered.
#[derive(Debug, Default)]
pub(super) struct Workloads {
    /// By the uid of who was asked about: its owner, or None where it has none.
    answers: HashMap<String, Option<Owner>>,
}

impl Workloads {
    /// The workload of a pod; None while the API server is being asked.
    pub(super) fn of(&self, namespace: &str, name: &str, pod: &Pod) -> Option<Workload> {
        let workload = |kind: &str, name: &str| {
            Some(Workload {
                kind: kind.to_owned(),
                name: name.to_owned(),
            })
        };
        let Some(owner) = &pod.owner else {
            return workload("Pod", name);
        };
        // A static pod, which the kubelet runs from a file.
        if owner.kind == "Node" {
            return workload("Pod", name);
        }
        if let Some((kind, name)) = told_by_name(owner, pod) {
            return workload(kind, name);
        }
        match question(namespace, pod) {
            None => workload(&owner.kind, &owner.name),
            Some(question) => match self.answers.get(&question.uid)? {
                Some(above) => workload(&above.kind, &above.name),
                None => workload(&owner.kind, &owner.name),
            },
        }
    }

    /// What must be asked, of these pods, and was not yet.
    pub(super) fn questions<'a>(
        &self,
        pods: impl Iterator<Item = (&'a Key, &'a Pod)>,
    ) -> BTreeSet<Question> {
        pods.filter_map(|((namespace, _), pod)| question(namespace, pod))
            .filter(|question| !self.answers.contains_key(&question.uid))
            .collect()
    }

    pub(super) fn learn(&mut self, uid: String, owner: Option<Owner>) {
        self.answers.insert(uid, owner);
    }

    /// Forgets whom no pod belongs to any more.
    pub(super) fn retain<'a>(&mut self, pods: impl Iterator<Item = (&'a Key, &'a Pod)>) {
        let owners: BTreeSet<&str> = pods
            .filter_map(|(_, pod)| Some(pod.owner.as_ref()?.uid.as_str()))
            .collect();
        self.answers.retain(|uid, _| owners.contains(uid.as_str()));
    }
}

/// Kind and name of the owner's owner, where the owner's name says it.
fn told_by_name<'a>(owner: &'a Owner, pod: &'a Pod) -> Option<(&'static str, &'a str)> {
    match owner.kind.as_str() {
        "ReplicaSet" => {
            let hash = pod.labels.get(TEMPLATE_HASH)?;
            let name = owner.name.strip_suffix(hash.as_str())?.strip_suffix('-')?;
            Some(("Deployment", name))
        }
        // OpenShift labels the pods of a DeploymentConfig with both names.
        "ReplicationController" => {
            let of_it = pod.labels.get("deployment") == Some(&owner.name);
            let name = pod.labels.get("deploymentconfig").filter(|_| of_it)?;
            Some(("DeploymentConfig", name))
        }
        "Job" => {
            let (name, minute) = owner.name.rsplit_once('-')?;
            let minute = minute.parse().ok()?;
            MINUTES.contains(&minute).then_some(("CronJob", name))
        }
        _ => None,
    }
}

fn question(namespace: &str, pod: &Pod) -> Option<Question> {
    let owner = pod.owner.as_ref()?;
    if told_by_name(owner, pod).is_some() {
        return None;
    }
    let kind = match owner.kind.as_str() {
        "ReplicaSet" => Asked::ReplicaSet,
        "Job" => Asked::Job,
        _ => return None,
    };
    Some(Question {
        kind,
        namespace: namespace.to_owned(),
        name: owner.name.clone(),
        uid: owner.uid.clone(),
    })
}

#[cfg(test)]
mod tests;

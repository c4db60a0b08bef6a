//! The cgroup of a pod, by its name.
//!
//! The tree is walked once for all who ask at the same time: a node of 250 pods has some thousand directories.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

use owlk8s_model::Target;

use crate::host::inhabitants::container_id;
use crate::kubernetes::STATIC_POD_UID;

/// Shorter names could be part of any other.
const SHORTEST: usize = 32;
/// Directories that are looked at: more than a node of 500 pods has.
const MOST: usize = 20_000;

/// The cgroups of pods and containers by what their names hold, as they were at one moment.
#[derive(Debug, Default)]
pub(super) struct Cgroups {
    roots: Vec<PathBuf>,
    by_key: HashMap<String, PathBuf>,
}

/// What the name of the target's cgroup holds: the pod's uid, of a static pod that which the kubelet knows it by, or the
/// container's id.
fn keys(target: &Target) -> impl Iterator<Item = &str> {
    let label = |name: &str| target.labels.get(name).map(String::as_str);
    [
        Some(target.uid.as_str()),
        label(STATIC_POD_UID),
        label("container.id"),
    ]
    .into_iter()
    .flatten()
    .filter(|key| key.len() >= SHORTEST)
}

impl Cgroups {
    /// Walks what is mounted, as the table in the file `mounts` says.
    pub(super) fn look(mounts: &Path) -> Self {
        let mounts = fs::read_to_string(mounts).unwrap_or_default();
        let roots: Vec<PathBuf> = roots(&mounts).map(PathBuf::from).collect();
        let mut by_key = HashMap::new();
        for root in &roots {
            gather(root, &mut by_key);
        }
        Self { roots, by_key }
    }

    /// The target's, nearest to the root; or why there is none.
    pub(super) fn of(&self, target: &Target) -> Result<PathBuf, String> {
        if keys(target).next().is_none() {
            return Err("it has neither a pod's uid nor a container's id to find it by".to_owned());
        }
        if self.roots.is_empty() {
            return Err("this machine has no cgroups of version 2".to_owned());
        }
        keys(target)
            .find_map(|key| self.by_key.get(key).cloned())
            .ok_or_else(|| {
                let roots: Vec<_> = self.roots.iter().map(|root| root.display().to_string()).collect();
                format!(
                    "none below {} has its id in its name (in a container, mount the node's /sys/fs/cgroup)",
                    roots.join(", ")
                )
            })
    }
}

/// Where cgroups of version 2 are mounted.
fn roots(mounts: &str) -> impl Iterator<Item = &str> {
    mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (path, kind) = (words.next()?, words.next()?);
        (kind == "cgroup2").then_some(path)
    })
}

/// All below `root`, those nearest to it first.
fn gather(root: &Path, by_key: &mut HashMap<String, PathBuf>) {
    let mut waiting = VecDeque::from([root.to_owned()]);
    let mut left = MOST;
    while let Some(directory) = waiting.pop_front() {
        let Ok(entries) = fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries.flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let name = entry.file_name();
            let name = name.to_string_lossy();
            for key in [pod_uid(&name), container_id(&name)].into_iter().flatten() {
                by_key.entry(key).or_insert_with(|| entry.path());
            }
            left -= 1;
            if left == 0 {
                return;
            }
            waiting.push_back(entry.path());
        }
    }
}

/// `kubepods-burstable-podUID.slice` with underscores in the uid, as the kubelet names it for systemd, or `podUID`.
fn pod_uid(name: &str) -> Option<String> {
    let (_, uid) = name
        .strip_suffix(".slice")
        .unwrap_or(name)
        .rsplit_once("pod")?;
    (uid.len() >= SHORTEST).then(|| uid.replace('_', "-"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const UID: &str = "0b5c1e0a-6f1d-4a53-9d2b-0c1f8f1f7a11";

    fn target(uid: &str, container: &str) -> Target {
        let labels = [("container.id".to_owned(), container.to_owned())];
        Target {
            id: "shop/cart".into(),
            pod: "cart".to_owned(),
            uid: uid.to_owned(),
            namespace: "shop".to_owned(),
            workload: None,
            services: Vec::new(),
            ips: Vec::new(),
            interface: None,
            labels: BTreeMap::from(labels),
        }
    }

    /// Below a fresh root that holds these directories.
    fn found(directories: &[&str], target: &Target) -> Result<String, String> {
        let root = tempfile::tempdir().unwrap();
        let tree = root.path().join("unified");
        for directory in directories {
            fs::create_dir_all(tree.join(directory)).unwrap();
        }
        let mounts = root.path().join("mounts");
        let table = format!(
            "proc /proc proc rw 0 0\nnone {} cgroup2 rw 0 0\n",
            tree.display()
        );
        fs::write(&mounts, table).unwrap();
        let path = Cgroups::look(&mounts).of(target)?;
        Ok(path.strip_prefix(&tree).unwrap().display().to_string())
    }

    #[test]
    fn cgroup_of_a_pod_is_found_as_either_driver_names_it_and_not_that_of_its_container() {
        let pod = target(UID, "");
        let underscored = UID.replace('-', "_");
        let systemd = format!(
            "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{underscored}.slice"
        );
        let below = format!("{systemd}/cri-containerd-{}.scope", "a".repeat(64));
        assert_eq!(found(&["system.slice", &below], &pod), Ok(systemd));
        let cgroupfs = format!("kubepods/burstable/pod{UID}");
        assert_eq!(
            found(&["kubepods/besteffort/pod1", &cgroupfs], &pod),
            Ok(cgroupfs)
        );
    }

    /// The kubelet knows a pod from a file by a hash of it, and tells the API server another uid.
    #[test]
    fn cgroup_of_a_static_pod_is_found_by_the_uid_that_the_kubelet_gave_it() {
        let hash = "5b4a8d1c0f2e3d4c5b6a79880716253f";
        let mut pod = target(UID, "");
        pod.labels
            .insert(STATIC_POD_UID.to_owned(), hash.to_owned());
        let slice =
            format!("kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{hash}.slice");
        let below = format!("{slice}/cri-containerd-{}.scope", "b".repeat(64));
        assert_eq!(found(&[&below], &pod), Ok(slice));
        let cgroupfs = format!("kubepods/burstable/pod{hash}");
        assert_eq!(found(&[&cgroupfs], &pod), Ok(cgroupfs));
    }

    #[test]
    fn cgroup_of_a_container_is_found_by_its_id() {
        let id = "c".repeat(64);
        let scope = format!("system.slice/docker-{id}.scope");
        assert_eq!(found(&[&scope], &target("", &id)), Ok(scope));
    }

    #[test]
    fn why_there_is_none_names_what_to_do() {
        let pod = target(UID, "");
        let none = found(&["system.slice"], &pod).unwrap_err();
        assert!(none.contains("mount the node's /sys/fs/cgroup"), "{none}");
        let unnamed = found(&["system.slice"], &target("", "")).unwrap_err();
        assert!(unnamed.contains("uid"), "{unnamed}");
        let nowhere = Cgroups::look(Path::new("/nonexistent"))
            .of(&pod)
            .unwrap_err();
        assert_eq!(nowhere, "this machine has no cgroups of version 2");
    }
}

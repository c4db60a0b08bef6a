//! The cgroup of a pod, by its name.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

use owlk8s_model::Target;

/// Shorter names could be part of any other.
const SHORTEST: usize = 32;
/// Directories that are looked at: more than a node of 500 pods has.
const MOST: usize = 20_000;

/// What the name of the target's cgroup holds: the pod's uid, with the underscores that systemd wants too, or the
/// container's id.
pub(super) fn keys(target: &Target) -> Vec<String> {
    let container = target.labels.get("container.id").cloned();
    [
        Some(target.uid.clone()),
        Some(target.uid.replace('-', "_")),
        container,
    ]
    .into_iter()
    .flatten()
    .filter(|key| key.len() >= SHORTEST)
    .collect()
}

/// The directory nearest to the root whose name holds one of `keys`; or why there is none.
pub(super) fn find(mounts: &Path, keys: &[String]) -> Result<PathBuf, String> {
    if keys.is_empty() {
        return Err("it has neither a pod's uid nor a container's id to find it by".to_owned());
    }
    let mounts = fs::read_to_string(mounts).unwrap_or_default();
    let roots: Vec<_> = roots(&mounts).collect();
    if roots.is_empty() {
        return Err("this machine has no cgroups of version 2".to_owned());
    }
    roots
        .iter()
        .find_map(|root| below(Path::new(root), keys))
        .ok_or_else(|| {
            format!(
                "none below {} has its id in its name (in a container, mount the node's /sys/fs/cgroup)",
                roots.join(", ")
            )
        })
}

/// Where cgroups of version 2 are mounted.
fn roots(mounts: &str) -> impl Iterator<Item = &str> {
    mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (path, kind) = (words.next()?, words.next()?);
        (kind == "cgroup2").then_some(path)
    })
}

fn below(root: &Path, keys: &[String]) -> Option<PathBuf> {
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
            if keys.iter().any(|key| name.contains(key.as_str())) {
                return Some(entry.path());
            }
            left = left.checked_sub(1)?;
            waiting.push_back(entry.path());
        }
    }
    None
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
        let path = find(&mounts, &keys(target))?;
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
        let nowhere = find(Path::new("/nonexistent"), &keys(&pod)).unwrap_err();
        assert_eq!(nowhere, "this machine has no cgroups of version 2");
    }
}

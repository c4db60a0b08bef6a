//! Who lives in which network namespace: read from `/run/netns`, `/proc` and the files of Docker and
//! podman, each as far as it is there and permitted.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::namespace::{identity, mounted};

/// Length of a container's id in hexadecimal digits, and of what people see of it.
const CONTAINER_ID: usize = 64;
const SHORT_ID: usize = 12;

/// What names a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inhabitant {
    /// File name below `/run/netns`.
    pub(crate) mounted_as: Option<String>,
    /// Container id, whole.
    pub(crate) container: Option<String>,
    /// What the container's engine calls it.
    pub(crate) container_name: Option<String>,
    /// Name and id of the first process.
    pub(crate) process: Option<String>,
}

impl Inhabitant {
    /// The best name there is.
    pub(crate) fn name(&self) -> Option<String> {
        let short = || self.container.as_ref().map(|id| id[..SHORT_ID].to_owned());
        self.container_name
            .clone()
            .or_else(|| self.mounted_as.clone())
            .or_else(short)
            .or_else(|| self.process.clone())
    }
}

/// Every namespace that can be seen, our own too, each with a file that stands for it.
pub(crate) fn inhabitants(root: &Path) -> Vec<(Inhabitant, PathBuf)> {
    let mut found: BTreeMap<(u64, u64), (Inhabitant, PathBuf)> = BTreeMap::new();
    for (name, path) in mounted(&root.join("run/netns")) {
        if let Some(identity) = identity(&path) {
            let who = Inhabitant {
                mounted_as: Some(name),
                ..Inhabitant::default()
            };
            found.entry(identity).or_insert((who, path));
        }
    }
    let podman = podman_names(root);
    for pid in pids(&root.join("proc")) {
        let directory = root.join("proc").join(pid.to_string());
        let path = directory.join("ns/net");
        let Some(identity) = identity(&path) else {
            continue;
        };
        let (who, _) = found
            .entry(identity)
            .or_insert_with(|| (Inhabitant::default(), path));
        // Processes come by id: the first in a namespace is the one it was made for, mostly.
        if who.process.is_none() {
            who.process = Some(format!(
                "{}-{pid}",
                read(&directory.join("comm")).trim_end()
            ));
            who.container = container_id(&read(&directory.join("cgroup")));
            who.container_name = who
                .container
                .as_ref()
                .and_then(|id| podman.get(id).cloned().or_else(|| docker_name(root, id)));
        }
    }
    found.into_values().collect()
}

fn pids(proc: &Path) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(proc) else {
        return Vec::new();
    };
    let mut pids: Vec<u32> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    pids
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The last run of exactly 64 hexadecimal digits: every engine puts the id into the cgroup's path.
pub(crate) fn container_id(cgroup: &str) -> Option<String> {
    let mut runs = cgroup.split(|c: char| !c.is_ascii_hexdigit());
    runs.rfind(|run| run.len() == CONTAINER_ID)
        .map(str::to_owned)
}

fn docker_name(root: &Path, id: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Container {
        #[serde(rename = "Name")]
        name: String,
    }
    let file = root
        .join("var/lib/docker/containers")
        .join(id)
        .join("config.v2.json");
    let container: Container = serde_json::from_str(&read(&file)).ok()?;
    Some(container.name.trim_start_matches('/').to_owned()).filter(|name| !name.is_empty())
}

fn podman_names(root: &Path) -> BTreeMap<String, String> {
    #[derive(Deserialize)]
    struct Container {
        id: String,
        #[serde(default)]
        names: Vec<String>,
    }
    let file = root.join("var/lib/containers/storage/overlay-containers/containers.json");
    let containers: Vec<Container> = serde_json::from_str(&read(&file)).unwrap_or_default();
    containers
        .into_iter()
        .filter_map(|c| Some((c.id, c.names.into_iter().next()?)))
        .collect()
}

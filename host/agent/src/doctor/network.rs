//! Which network plugin made this node's interfaces, by their names: a guess that tells what to expect of them.

use std::fs;
use std::path::Path;

use super::Check;

/// What interfaces of pods are called by whom.
const NAMES: [(&str, &str); 8] = [
    ("cali", "Calico"),
    ("lxc", "Cilium"),
    ("eni", "AWS VPC CNI"),
    ("gke", "GKE"),
    ("azv", "Azure CNI"),
    ("antrea", "Antrea"),
    ("ovn", "OVN-Kubernetes"),
    ("veth", "a veth"),
];

pub(super) fn check() -> Check {
    check_in(Path::new("/sys/class/net"))
}

pub(super) fn check_in(links: &Path) -> Check {
    let mut names: Vec<(String, Option<String>)> = fs::read_dir(links)
        .into_iter()
        .flatten()
        .flatten()
        .map(|link| {
            let master = fs::read_link(link.path().join("master")).ok();
            let master = master.and_then(|m| Some(m.file_name()?.to_string_lossy().into_owned()));
            (link.file_name().to_string_lossy().into_owned(), master)
        })
        .collect();
    names.sort();
    let mut kinds: Vec<(String, usize)> = Vec::new();
    for (name, master) in &names {
        let Some((_, maker)) = NAMES.iter().find(|(prefix, _)| name.starts_with(prefix)) else {
            continue;
        };
        let kind = match master {
            Some(bridge) => format!("{maker} on bridge {bridge}"),
            None => (*maker).to_owned(),
        };
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => kinds.push((kind, 1)),
        }
    }
    if kinds.is_empty() {
        return Check::warning("network", "no interface of a pod is in this network namespace").remedy(
            "run it in the node's network namespace (hostNetwork: true), or wait until a pod runs here",
        );
    }
    let found: Vec<String> = kinds
        .iter()
        .map(|(kind, count)| format!("{count} of {kind}"))
        .collect();
    Check::ok("network", found.join(", "))
}

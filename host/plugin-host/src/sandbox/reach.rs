use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::config::{Endpoint, SinkConfig, Size};

/// Directories in which others keep what is theirs: of a file directly in one of them, the file is
/// granted and not the directory. Of any other file to be read the directory is, so that a secret
/// that is replaced under its name (by a rename, or by the symbolic link of a Kubernetes volume) is read
/// again.
const SHARED: [&str; 16] = [
    "/",
    "/dev",
    "/etc",
    "/home",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/run/secrets/kubernetes.io/serviceaccount",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/var",
    "/var/run/secrets/kubernetes.io/serviceaccount",
];

/// Data of the process beside its guests: windows that wait, compiled code, stacks, buffers of endpoints.
const OWN_MEMORY: u64 = 2 << 30;

/// What a plugin process may reach outside itself, as its configuration names it: by endpoints, and for the
/// origins that are granted to exporters. The process is sealed with one, for good: a configuration whose
/// reach is not [covered](Reach::covers) by it needs a new process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    reads: BTreeSet<PathBuf>,
    writes: BTreeSet<PathBuf>,
    memory: u64,
    unix_sockets: bool,
}

impl Reach {
    /// What the endpoints of `sinks` name, those that are disabled left out.
    pub(crate) fn of(sinks: &[SinkConfig]) -> Self {
        let mut reach = Self {
            memory: OWN_MEMORY,
            ..Self::default()
        };
        for sink in sinks.iter().filter(|sink| sink.enabled) {
            reach.add(sink);
        }
        reach
    }

    /// Whether a process that was sealed with this one can run what `other` is for.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.reads.is_superset(&other.reads)
            && self.writes.is_superset(&other.writes)
            && self.memory >= other.memory
            && (self.unix_sockets || !other.unix_sockets)
    }

    /// Files and directories that are read.
    pub(crate) fn reads(&self) -> impl Iterator<Item = &Path> {
        self.reads.iter().map(PathBuf::as_path)
    }

    /// Files that are written; with them the directory that each is in, for its rotation.
    pub(crate) fn writes(&self) -> impl Iterator<Item = &Path> {
        self.writes.iter().map(PathBuf::as_path)
    }

    /// Whether nothing in it is meant from the directory that the agent was started in.
    pub(crate) fn is_absolute(&self) -> bool {
        self.reads().chain(self.writes()).all(Path::is_absolute)
    }

    /// Data of the process.
    pub(crate) fn memory(&self) -> Size {
        Size(self.memory)
    }

    /// Whether an endpoint is a socket of this host.
    pub(crate) fn unix_sockets(&self) -> bool {
        self.unix_sockets
    }

    fn add(&mut self, sink: &SinkConfig) {
        let paths = sink.paths();
        self.reads
            .extend(paths.read.iter().map(|file| to_read(file)));
        self.writes.extend(paths.write);
        let is_unix = |endpoint: &Endpoint| matches!(endpoint, Endpoint::Unix(_));
        self.unix_sockets |= sink.endpoints.values().any(is_unix);
        let calls = sink.filters.len() as u64 + 1;
        let guests = sink.limits.memory.0.saturating_mul(calls);
        self.memory = self
            .memory
            .saturating_add(guests)
            .saturating_add(sink.limits.output.0);
    }
}

/// What is granted for a file that is to be read.
fn to_read(file: &Path) -> PathBuf {
    match file.parent() {
        Some(dir) if !SHARED.iter().any(|shared| dir == Path::new(shared)) => dir.to_owned(),
        _ => file.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(endpoints: &str) -> Reach {
        let text = format!("name = \"a\"\nplugin = \"b\"\n{endpoints}");
        Reach::of(&[toml::from_str(&text).unwrap()])
    }

    fn http(more: &str) -> Reach {
        reach(&format!(
            "endpoints.x = {{ kind = \"http\", url = \"https://h/\", {more} }}"
        ))
    }

    #[test]
    fn secret_is_read_with_its_directory_unless_others_keep_theirs_there() {
        let reads = |reach: Reach| reach.reads().map(ToOwned::to_owned).collect::<Vec<_>>();
        for (file, granted) in [
            ("/etc/owlk8s/tokens/influx", "/etc/owlk8s/tokens"),
            ("/etc/ca.pem", "/etc/ca.pem"),
            ("/token", "/token"),
            (
                "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt",
                "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt",
            ),
        ] {
            assert_eq!(
                reads(http(&format!("bearer_token_file = {file:?}"))),
                [PathBuf::from(granted)]
            );
            assert_eq!(
                reads(http(&format!("ca_file = {file:?}"))),
                [PathBuf::from(granted)]
            );
        }
    }

    #[test]
    fn process_is_kept_while_its_grant_covers_the_new_configuration() {
        let (a, b) = (
            reach("endpoints.x = { kind = \"file\", path = \"/d/a\" }"),
            reach("endpoints.x = { kind = \"file\", path = \"/d/b\" }"),
        );
        assert!(a.covers(&a) && !a.covers(&b));
        assert!(a.covers(&reach("endpoints.x = { kind = \"stdout\" }")));
        assert!(!a.covers(&http("ca_file = \"/certs/ca.pem\"")));
        let more = "endpoints.x = { kind = \"stdout\" }\nlimits.memory = \"1GiB\"";
        assert!(!a.covers(&reach(more)) && reach(more).covers(&reach("")));
        assert!(a.covers(&reach("enabled = false\nlimits.memory = \"1TiB\"")));
    }
}

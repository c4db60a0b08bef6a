use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::FileTypeExt;
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
/// For sinks that are added later: a few of the usual size need no new process.
const LATER: u64 = 512 << 20;

/// What a plugin process may reach outside itself, as its configuration names it: by endpoints, and for the
/// origins that are granted to exporters. The process is sealed with one, for good: a configuration whose
/// reach is not [covered](Reach::covers) by it needs a new process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    reads: BTreeSet<PathBuf>,
    writes: BTreeSet<PathBuf>,
    /// What the guests of each sink may take, by its name.
    guests: BTreeMap<String, u64>,
    unix_sockets: bool,
}

impl Reach {
    /// What the endpoints of `sinks` name, those that are disabled left out. A sink may be there twice: as it
    /// runs, and as it shall.
    pub(crate) fn of(sinks: &[SinkConfig]) -> Self {
        let mut reach = Self::default();
        for sink in sinks.iter().filter(|sink| sink.enabled) {
            reach.add(sink);
        }
        reach
    }

    /// Whether a process that was sealed with this one can run what `other` is for.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let largest = other.guests.values().max().copied().unwrap_or(0);
        self.reads.is_superset(&other.reads)
            && other.writes().all(|file| self.may_write(file))
            && sum(&other.guests).saturating_add(largest) <= self.room()
            && (self.unix_sockets || !other.unix_sockets)
    }

    /// Itself, or beside another: what is granted is the directory.
    fn may_write(&self, file: &Path) -> bool {
        let beside = |granted: &PathBuf| granted.parent() == file.parent() && !is_special(granted);
        self.writes.contains(file) || !is_special(file) && self.writes.iter().any(beside)
    }

    /// For guests: each sink's next generation is built beside the one that runs.
    fn room(&self) -> u64 {
        sum(&self.guests).saturating_mul(2).saturating_add(LATER)
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
        Size(OWN_MEMORY.saturating_add(self.room()))
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
        let guests = guests.saturating_add(sink.limits.output.0);
        let most = self.guests.entry(sink.name.clone()).or_default();
        *most = guests.max(*most);
    }
}

fn sum(guests: &BTreeMap<String, u64>) -> u64 {
    guests.values().fold(0, |sum, one| sum.saturating_add(*one))
}

/// A device, pipe or socket: it is granted by itself, without its directory.
pub(super) fn is_special(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|there| {
        let kind = there.file_type();
        kind.is_char_device() || kind.is_fifo() || kind.is_socket()
    })
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
            reach("endpoints.x = { kind = \"file\", path = \"/e/a\" }"),
        );
        assert!(a.covers(&a) && !a.covers(&b));
        let beside = reach("endpoints.x = { kind = \"file\", path = \"/d/b\" }");
        assert!(a.covers(&beside), "the directory is granted");
        assert!(a.covers(&reach("endpoints.x = { kind = \"stdout\" }")));
        assert!(!a.covers(&http("ca_file = \"/certs/ca.pem\"")));
        let more = "endpoints.x = { kind = \"stdout\" }\nlimits.memory = \"1GiB\"";
        assert!(!a.covers(&reach(more)) && reach(more).covers(&reach("")));
        assert!(a.covers(&reach("enabled = false\nlimits.memory = \"1TiB\"")));
    }

    #[test]
    fn next_generation_finds_room_beside_the_one_that_runs() {
        let sink = |name: &str, more: &str| -> SinkConfig {
            toml::from_str(&format!("name = \"{name}\"\nplugin = \"b\"\n{more}")).unwrap()
        };
        let sealed = Reach::of(&[sink("a", "")]);
        let both = Reach::of(&[sink("a", ""), sink("a", "limits.log_lines = 3")]);
        assert!(sealed.covers(&both));
        assert!(sealed.covers(&Reach::of(&[sink("a", ""), sink("b", "")])));
        let large = sink("b", "limits.memory = \"512MiB\"");
        assert!(!sealed.covers(&Reach::of(&[sink("a", ""), large])));
    }
}

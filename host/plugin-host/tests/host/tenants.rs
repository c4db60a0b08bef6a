//! Two tenants on one node: nothing of the one reaches the other.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use owlk8s_model::{Snapshot, TargetSnapshot, Workload};
use owlk8s_plugin_host::{Ceiling, PluginHost};

use crate::support::{Host, options, start, target, window};

/// In every string of tenant A's targets, and nowhere else.
const MARK: &str = "tenant-a-7f3c";

const WINDOWS: u64 = 100;

/// The mark as it may stand in a configuration: each byte plus one.
fn plus_one() -> String {
    MARK.bytes().map(|byte| char::from(byte + 1)).collect()
}

fn of_tenant(namespace: &str, mark: &str, number: usize) -> TargetSnapshot {
    let mut target = target(&format!("{mark}-pod-{number}"), 3);
    target.namespace = namespace.to_owned();
    target.uid = format!("{mark}-uid-{number}");
    target.services = vec![format!("{mark}-service")];
    target.workload = Some(Workload {
        kind: "Deployment".to_owned(),
        name: format!("{mark}-workload"),
    });
    target.interface = format!("{mark}-veth");
    target.reason = format!("{mark} reason");
    target.hook_reason = format!("{mark} hook");
    target.labels = BTreeMap::from([
        ("team".to_owned(), format!("{mark}-team")),
        ("secret".to_owned(), format!("{mark}-secret")),
    ]);
    target
}

/// Ten targets of each tenant.
fn both(sequence: u64) -> Arc<Snapshot> {
    let mut snapshot = Arc::unwrap_or_clone(window(sequence, &[]));
    for number in 0..10 {
        snapshot.targets.push(of_tenant(MARK, MARK, number));
        snapshot.targets.push(of_tenant("tenant-b", "b", number));
    }
    snapshot.targets.sort_by(|a, b| a.id.cmp(&b.id));
    Arc::new(snapshot)
}

fn sink(name: &str, select: &str) -> String {
    format!(
        "[[sinks]]\nname = \"{name}\"\nplugin = \"{{scans-memory}}\"\nmode = \"every-window\"\nqueue = 1000\n{select}\n\
         columns = [\"label:team\"]\nconfig.plus_one = \"{}\"\nlimits.cpu = \"10s\"\n\
         endpoints.out = {{ kind = \"file\", path = \"{{dir}}/{name}\" }}\n",
        plus_one()
    )
}

async fn run(host: &Host, sinks: &[&str]) {
    for sequence in 1..=WINDOWS {
        host.host.offer(both(sequence));
        for sink in sinks {
            host.delivered(sink, sequence).await;
        }
    }
}

/// The lines of the file, one a window.
fn scans(host: &Host, name: &str) -> Vec<String> {
    let lines: Vec<String> = host.read(name).lines().map(str::to_owned).collect();
    assert_eq!(lines.len() as u64, WINDOWS);
    lines
}

fn field(line: &str, name: &str) -> u64 {
    let value = line
        .split(' ')
        .find_map(|field| field.strip_prefix(&format!("{name}=")));
    value.unwrap().parse().unwrap()
}

#[tokio::test]
async fn no_string_of_a_tenant_is_in_the_memory_of_the_others_instance() {
    let host = start(&format!(
        "{}{}{}",
        sink("a", &format!("select.namespaces = [\"{MARK}\"]")),
        sink("b", "select.namespaces = [\"tenant-b\"]"),
        sink("c", "select.labels = [\"team=b-team\"]"),
    ));
    run(&host, &["a", "b", "c"]).await;
    for (name, others) in [("b", 0), ("c", 0)] {
        for line in scans(&host, name) {
            assert_eq!(
                (
                    field(&line, "targets"),
                    field(&line, "rows"),
                    field(&line, "columns")
                ),
                (10, 10, 1),
                "{line}"
            );
            assert_eq!(field(&line, "found"), others, "{line}");
            assert!(field(&line, "scanned") > 1 << 20, "{line}");
        }
    }
    // The scan finds what is there.
    for line in scans(&host, "a") {
        assert!(field(&line, "found") >= 10 * 4, "{line}");
    }
}

/// Where only B has a sink, nothing of A is in the plugin process at all; so it is where a ceiling, not the
/// sink, keeps A out.
#[tokio::test]
async fn what_no_sink_may_see_is_nowhere_in_the_plugin_process() {
    let dir = tempfile::tempdir().unwrap();
    let mut bounded = options(&sink("b", ""), &dir);
    bounded.plugins.ceiling = toml::from_str::<Ceiling>("namespaces = [\"tenant-b\"]").unwrap();
    let host = Host {
        host: PluginHost::start(bounded).unwrap(),
        dir,
    };
    run(&host, &["b"]).await;
    let process = host.host.pid().unwrap();
    assert_eq!(in_process(process, MARK), 0);
    assert_eq!(
        in_process(process, "-secret"),
        0,
        "a label that is not granted"
    );
    assert!(
        in_process(process, "b-team") > 0,
        "the search finds what is there"
    );
}

/// How often `text` is in the memory of a process.
fn in_process(pid: u32, text: &str) -> usize {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut memory = std::fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut found = 0;
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (range, rights) = (fields.next().unwrap(), fields.next().unwrap());
        // The binary itself is not what it holds; the kernel's own pages cannot be read.
        if !rights.starts_with("rw") || line.ends_with("[vvar]") {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let [from, to] = [from, to].map(|hex| u64::from_str_radix(hex, 16).unwrap());
        found += in_range(&mut memory, from, to, text.as_bytes());
    }
    found
}

/// In pieces that overlap: a guest's reserved memory is large and mostly not there.
fn in_range(memory: &mut std::fs::File, from: u64, to: u64, text: &[u8]) -> usize {
    const PIECE: usize = 1 << 20;
    let mut piece = vec![0; PIECE + text.len() - 1];
    let mut found = 0;
    let mut at = from;
    while at < to {
        let wanted = piece.len().min(usize::try_from(to - at).unwrap());
        memory.seek(SeekFrom::Start(at)).unwrap();
        if memory.read_exact(&mut piece[..wanted]).is_ok() {
            found += piece[..wanted]
                .windows(text.len())
                .filter(|window| *window == text)
                .count();
        }
        at += PIECE as u64;
    }
    found
}

use std::time::{Duration, Instant};

use owlk8s_plugin_host::{PluginHost, Program, SinkState};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Host, PATIENCE, options, start};

fn kill(host: &Host) -> u32 {
    let pid = host.host.pid().unwrap();
    kill_process(
        Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(),
        Signal::KILL,
    )
    .unwrap();
    pid
}

async fn other_pid(host: &Host, old: u32) -> Duration {
    let began = Instant::now();
    while host.host.pid().is_none_or(|pid| pid == old) {
        assert!(began.elapsed() < PATIENCE, "it does not come back");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    began.elapsed()
}

const DELTA: &str = r#"
[[sinks]]
name = "delta"
plugin = "{good-echo}"
mode = "delta"
endpoints.out = { kind = "file", path = "{dir}/delta" }
[[sinks]]
name = "state"
plugin = "{keeps-state}"
mode = "every-window"
endpoints.out = { kind = "file", path = "{dir}/state" }
"#;

fn sum(lines: &str) -> u64 {
    lines
        .lines()
        .map(|line| line.rsplit_once('=').unwrap().1.parse::<u64>().unwrap())
        .sum()
}

#[tokio::test]
async fn killed_process_is_back_soon_and_no_count_is_lost() {
    let host = start(DELTA);
    host.offer(1, 100);
    host.delivered("delta", 1).await;
    host.delivered("state", 1).await;
    for round in 1..=3_u64 {
        let old = kill(&host);
        // Counted while nobody is there to take it.
        host.offer(round * 2, 100 + round * 20);
        let away = other_pid(&host, old).await;
        assert!(
            round > 1 || away < Duration::from_secs(2),
            "it was away for {away:?}"
        );
        host.offer(round * 2 + 1, 110 + round * 20);
        host.delivered("delta", round * 2 + 1).await;
        host.delivered("state", round * 2 + 1).await;
    }
    assert_eq!(sum(&host.read("delta")), 110 + 60, "{}", host.read("delta"));
    let calls: String = (1..=7).map(|n| format!("calls={n}\n")).collect();
    assert_eq!(
        host.read("state"),
        calls,
        "the plugin's state and every window survived"
    );
    let counters = host.sink("state").counters;
    assert_eq!(
        (
            counters.windows_delivered,
            counters.windows_dropped,
            host.host.restarts()
        ),
        (7, 0, 3)
    );
}

#[tokio::test]
async fn process_has_no_capability_no_environment_and_no_file_of_the_agent() {
    let host = start(DELTA);
    host.until("delta", |status| status.state == SinkState::Active)
        .await;
    let proc = format!("/proc/{}", host.host.pid().unwrap());
    let status = std::fs::read_to_string(format!("{proc}/status")).unwrap();
    for (field, value) in [
        ("CapInh", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("CapEff", "0000000000000000"),
        ("CapBnd", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("NoNewPrivs", "1"),
    ] {
        assert!(
            status
                .lines()
                .any(|line| line.split_whitespace().eq([&format!("{field}:"), value])),
            "{field} in\n{status}"
        );
    }
    for task in std::fs::read_dir(format!("{proc}/task")).unwrap() {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    }
    assert_eq!(std::fs::read(format!("{proc}/environ")).unwrap(), b"");
    let limits = std::fs::read_to_string(format!("{proc}/limits")).unwrap();
    assert!(
        limits
            .lines()
            .any(|line| line.starts_with("Max core file size        0                    0")),
        "{limits}"
    );
}

#[tokio::test]
async fn drain_delivers_what_waits_and_ends_the_process() {
    let host = start(DELTA);
    host.until("delta", |status| status.state == SinkState::Active)
        .await;
    let pid = host.host.pid().unwrap();
    host.offer(1, 42);
    let began = Instant::now();
    host.host.drain(Duration::from_secs(4)).await;
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    let delivered = std::fs::read_to_string(host.dir.path().join("delta")).unwrap();
    assert_eq!(delivered, "window=1 targets=1 requests=42\n");
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[tokio::test]
async fn drain_does_not_wait_for_a_plugin_that_never_ends() {
    let host = start(
        "[[sinks]]\nname = \"x\"\nplugin = \"{sleeps}\"\nlimits.wall = \"1h\"\nendpoints.out = { kind = \"stdout\" }\n",
    );
    host.until("x", |status| status.state == SinkState::Active)
        .await;
    host.offer(1, 1);
    let began = Instant::now();
    host.host.drain(Duration::from_secs(2)).await;
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn program_that_cannot_start_is_a_status_of_every_sink() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(DELTA, &dir);
    options.program = Program {
        path: "/nowhere/owlk8s".into(),
        args: Vec::new(),
        compiler_args: Vec::new(),
    };
    let host = Host {
        host: PluginHost::start(options).unwrap(),
        dir,
    };
    let status = host
        .until("delta", |status| !status.reason.is_empty())
        .await;
    assert_eq!(status.state, SinkState::Starting);
    let text =
        "cannot start /nowhere/owlk8s: No such file or directory (os error 2); it is started again";
    assert_eq!(status.reason, text);
}

#[tokio::test]
async fn process_ends_with_the_agents_end_of_the_connection() {
    let host = start(DELTA);
    host.until("delta", |status| status.state == SinkState::Active)
        .await;
    let proc = format!("/proc/{}/stat", host.host.pid().unwrap());
    // As when the agent is killed: its tasks are gone and the socket is closed.
    drop(host.host);
    let began = Instant::now();
    while std::fs::read_to_string(&proc).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(began.elapsed() < PATIENCE, "it lives on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A heap of another thread begins at a multiple of its size, and what it does not use yet is reserved behind it.
fn heaps_of_threads(maps: &str) -> usize {
    const SIZE: u64 = 64 << 20;
    let ranges: Vec<(u64, u64, bool)> = maps
        .lines()
        .filter_map(|line| {
            let (range, rest) = line.split_once(' ')?;
            let (from, to) = range.split_once('-')?;
            let number = |hex| u64::from_str_radix(hex, 16).ok();
            Some((number(from)?, number(to)?, rest.starts_with("---p")))
        })
        .collect();
    let pairs = ranges.windows(2);
    pairs
        .filter(|pair| {
            let [(from, to, closed), (next, end, reserved)] = pair else {
                return false;
            };
            from % SIZE == 0 && !closed && to == next && *reserved && *end == from + SIZE
        })
        .count()
}

#[tokio::test]
async fn plugin_process_has_one_heap_for_all_its_threads() {
    // This very process has several: so they are known where they are.
    let hold = || std::thread::spawn(|| std::hint::black_box(vec![1_u8; 1000])).join();
    (0..4).for_each(|_| drop(hold()));
    let own = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert!(heaps_of_threads(&own) > 0, "{own}");

    let host = start(DELTA);
    for sequence in 1..=5 {
        host.offer(sequence, sequence * 10);
        host.delivered("delta", sequence).await;
    }
    let pid = host.host.pid().unwrap();
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    assert_eq!(heaps_of_threads(&maps), 0, "{maps}");
}

/// KiB of `what` in the process's status.
fn kib(pid: u32, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn plugin_process_lets_go_what_only_its_start_needed() {
    let host = start(DELTA);
    host.offer(1, 10);
    host.delivered("delta", 1).await;
    let pid = host.host.pid().unwrap();
    let started = kib(pid, "RssFile:");
    let until = Instant::now() + Duration::from_secs(60);
    while kib(pid, "RssFile:") > started / 2 {
        assert!(
            Instant::now() < until,
            "{started} KiB of the program are still mapped"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    host.offer(2, 20);
    host.delivered("delta", 2).await;
}

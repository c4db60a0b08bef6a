//! The worst that a stranger's plugin can do is fail itself. Each guest of a table runs in the real plugin
//! process beside nine good sinks; these get every window, each once and in order, and the bad one is told
//! about in one clear message.

use std::time::Duration;

use owlk8s_plugin_host::{SinkState, SinkStatus};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::component::with_instances;
use crate::support::{Host, component, start_in};

/// Windows that each bad guest meets.
const WINDOWS: u64 = 6;
/// The agent's interval.
const INTERVAL: Duration = Duration::from_millis(100);
const GOOD: usize = 9;

/// One that is not good.
struct Bad {
    name: &'static str,
    /// Its sink without name and plugin.
    sink: &'static str,
    /// The plugin; its own name without.
    plugin: Option<&'static str>,
    /// Written as `bad.wasm` into the test's folder where no crate makes it.
    file: Option<Vec<u8>>,
    /// What a person reads, in its status.
    says: &'static str,
    end: End,
}

/// What becomes of its sink.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// It never starts.
    Failed,
    /// Its calls fail.
    Faults,
    /// It delivers all windows: what it does is borne.
    Delivers,
    /// It is asked by HTTP, and its calls fail.
    Asked,
}

/// Processor time is what stops it, however busy the machine is.
const SPIN: &str =
    "limits = { cpu = \"100ms\", wall = \"1h\" }\nendpoints.out = { kind = \"stderr\" }";
const PLAIN: &str = "endpoints.out = { kind = \"stderr\" }";
const SERVE: &str = "limits = { cpu = \"100ms\", wall = \"1h\" }\nendpoints.http = { kind = \"serve\", listen = \"127.0.0.1:0\" }";

fn bad(name: &'static str, sink: &'static str, end: End, says: &'static str) -> Bad {
    Bad {
        name,
        sink,
        plugin: None,
        file: None,
        says,
        end,
    }
}

impl Bad {
    fn of(mut self, plugin: &'static str) -> Self {
        self.plugin = Some(plugin);
        self
    }

    fn file(mut self, file: Vec<u8>) -> Self {
        self.file = Some(file);
        self
    }
}

fn guests() -> Vec<Bad> {
    use End::{Asked, Delivers, Failed, Faults};
    let echo = std::fs::read(component("good-echo")).unwrap();
    let cpu = "was stopped: it used the processor for 100ms (limits.cpu)";
    let huge = "limits = { memory = \"2GiB\" }\nendpoints.out = { kind = \"stderr\" }";
    let output = "made more output than 8MiB (limits.output)";
    let mut guests = vec![
        bad("spins", SPIN, Faults, cpu),
        bad("spins-in-validate", SPIN, Failed, cpu),
        bad("spins-in-respond", SERVE, Asked, cpu),
        bad("spins-in-export", "limits = { cpu = \"100ms\", wall = \"1h\" }", Faults, cpu),
        bad(
            "spins-in-filter",
            "filters = [\"{spins-in-filter}\"]\nlimits = { cpu = \"100ms\", wall = \"1h\" }\nendpoints.out = { kind = \"stderr\" }",
            Faults,
            cpu,
        )
        .of("{good-echo}"),
        bad("spins-at-start", SPIN, Failed, cpu),
        bad("recurses", PLAIN, Faults, "recursed deeper than its stack of 512KiB"),
        bad("allocates", PLAIN, Faults, "wanted more memory than 64MiB (limits.memory)"),
        bad("grows", PLAIN, Delivers, ""),
        bad(
            "many-payloads",
            "limits = { memory = \"256MiB\" }\nendpoints.out = { kind = \"stderr\" }",
            Faults,
            "made more output than 8MiB (limits.output)",
        ),
        bad(
            "some payloads too many",
            "config = { count = 1001 }\nendpoints.out = { kind = \"stderr\" }",
            Faults,
            "made more than 1000 payloads (limits.payloads)",
        )
        .of("{many-payloads}"),
        bad("floods-output", PLAIN, Faults, "made more output than 8MiB (limits.output)"),
        bad("many-handles", PLAIN, Faults, "held more than 10000 handles (limits.handles)"),
        bad("floods-host", PLAIN, Faults, "called the host more than 100000 times (limits.host_calls)"),
        bad("floods-log", PLAIN, Delivers, ""),
        bad("floods-stdout", PLAIN, Delivers, ""),
        bad("floods-state", PLAIN, Delivers, ""),
        bad("panics", PLAIN, Faults, "the panic of window "),
        bad("panics-later", PLAIN, Faults, "enough after 3 windows"),
        bad(
            "sleeps",
            "limits = { wall = \"200ms\" }\nendpoints.out = { kind = \"stderr\" }",
            Faults,
            "was stopped: it took 200ms (limits.wall)",
        ),
        bad(
            "polls-forever",
            "limits = { wall = \"200ms\" }\nendpoints.out = { kind = \"stderr\" }",
            Faults,
            "was stopped: it took 200ms (limits.wall)",
        ),
        bad(
            "filter-out-of-range",
            "filters = [\"{filter-out-of-range}\"]\nendpoints.out = { kind = \"stderr\" }",
            Faults,
            "keeps targets 4294967295, and the snapshot has 1",
        )
        .of("{good-echo}"),
        bad(
            "floods-renames",
            "filters = [\"{floods-renames}\"]\nendpoints.out = { kind = \"stderr\" }",
            Faults,
            "made more output than 8MiB (limits.output)",
        )
        .of("{good-echo}"),
        bad(
            "answers with status 99",
            "config = { status = 99 }\nendpoints.http = { kind = \"serve\", listen = \"127.0.0.1:0\" }",
            Asked,
            "answers with status 99, and 200 to 599 are legal",
        )
        .of("{bad-responses}"),
        bad("returns-a-gigabyte", huge, Faults, output),
        bad("returns-beyond-memory", PLAIN, Faults, "out of bounds"),
        bad("returns-a-huge-error", PLAIN, Failed, output),
        bad("returns-neither", PLAIN, Failed, "trapped: "),
        bad("returns-nowhere", PLAIN, Faults, "trapped: "),
        bad("logs-no-text", PLAIN, Faults, "trapped: "),
        bad("logs-beyond-memory", PLAIN, Faults, "trapped: "),
        bad("logs-60-megabytes", PLAIN, Faults, output),
        bad("forges-a-handle", PLAIN, Faults, "trapped: "),
        bad("keeps-the-snapshot", PLAIN, Faults, "trapped: "),
        bad(
            "grows-a-table",
            PLAIN,
            Faults,
            "wanted a table of more than 100000 elements (limits.table_elements)",
        ),
        bad(
            "of-another-version",
            PLAIN,
            Failed,
            "it imports `owlk8s:plugin/host@0.2.0`",
        ),
        bad("wrong-world", PLAIN, Failed, "is a component of another world"),
    ];
    let files: [(&str, Vec<u8>, &str); 7] = [
        ("an empty file", Vec::new(), "the file is empty"),
        (
            "a text",
            b"#!/bin/sh\n".to_vec(),
            "it does not begin with the WebAssembly magic number",
        ),
        (
            "a core module",
            b"\0asm\x01\0\0\0".to_vec(),
            "it is a core module",
        ),
        (
            "a component cut in two",
            echo[..echo.len() / 2].to_vec(),
            "does not compile",
        ),
        (
            "a component with a byte of its code changed",
            {
                let mut broken = echo.clone();
                let middle = broken.len() / 2;
                broken[middle..middle + 64].fill(0xff);
                broken
            },
            "does not compile",
        ),
        (
            "200 core instances and more",
            with_instances(echo, 300),
            "has more than 200 core instances (limits.instances)",
        ),
        (
            "2 GiB of zeros",
            Vec::new(), // a sparse file, made by the test
            "are over the limit of",
        ),
    ];
    guests.extend(
        files
            .into_iter()
            .map(|(name, file, says)| bad(name, PLAIN, Failed, says).file(file)),
    );
    guests
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worst_that_a_plugin_can_do_is_fail_itself() {
    let (mut table, mut failed) = (Vec::new(), Vec::new());
    for guest in guests() {
        let name = guest.name;
        // Each in a task of its own: what one shows does not hide the next.
        match tokio::spawn(async move { beside_nine(&guest).await }).await {
            Ok(row) => table.push(row),
            Err(_) => failed.push(name),
        }
    }
    println!(
        "| guest | end | message | windows of the nine | most behind |\n|---|---|---|---|---|"
    );
    for row in table {
        println!("{row}");
    }
    assert!(failed.is_empty(), "{failed:?}");
}

async fn beside_nine(guest: &Bad) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bad.wasm");
    let plugin = match (&guest.file, guest.plugin) {
        (Some(bytes), _) => {
            std::fs::write(&file, bytes).unwrap();
            if guest.name == "2 GiB of zeros" {
                std::fs::File::options()
                    .write(true)
                    .open(&file)
                    .unwrap()
                    .set_len(2 << 30)
                    .unwrap();
            }
            file.display().to_string()
        }
        (None, Some(plugin)) => plugin.to_owned(),
        (None, None) => format!("{{{}}}", guest.name),
    };
    let mut sinks = format!(
        "[[sinks]]\nname = \"bad\"\nplugin = \"{plugin}\"\nmode = \"every-window\"\n{}\n",
        guest.sink
    );
    for n in 0..GOOD {
        sinks += &format!(
            "[[sinks]]\nname = \"good-{n}\"\nplugin = \"{{good-echo}}\"\nmode = \"every-window\"\n\
             endpoints.out = {{ kind = \"file\", path = \"{{dir}}/good-{n}\" }}\n"
        );
    }
    let host = start_in(&sinks, dir);
    for n in 0..GOOD {
        host.until(&format!("good-{n}"), |status| {
            status.state == SinkState::Active
        })
        .await;
    }
    let started = |status: &SinkStatus| status.state != SinkState::Starting;
    host.until("bad", started).await;
    let asking = (guest.end == End::Asked).then(|| tokio::spawn(ask(host.sink("bad").listening)));
    let behind = offer_all(&host).await;
    let status = host.until("bad", |status| is_over(guest, status)).await;
    if let Some(asking) = asking {
        asking.abort();
    }
    for n in 0..GOOD {
        good(&host, n, guest.name);
    }
    assert_eq!(host.host.restarts(), 0, "{}: the process lives", guest.name);
    let message = message(&status);
    assert!(
        !message.contains('\n'),
        "{}: one line: {message}",
        guest.name
    );
    if guest.end != End::Delivers && guest.file.is_none() && guest.plugin.is_none() {
        assert!(message.contains(guest.name), "it is named: {message}");
    }
    format!(
        "| {} | {:?} | {message} | {GOOD} x {WINDOWS} of {WINDOWS} | {behind} |",
        guest.name, status.state
    )
}

/// How far the slowest good sink was behind when a window was offered, in windows.
async fn offer_all(host: &Host) -> u64 {
    let mut interval = tokio::time::interval(INTERVAL);
    let mut behind = 0;
    for sequence in 1..=WINDOWS {
        interval.tick().await;
        let good = (0..GOOD).map(|n| host.sink(&format!("good-{n}")).last_sequence);
        behind = behind.max(sequence - 1 - good.min().unwrap());
        host.offer(sequence, sequence * 10);
    }
    for n in 0..GOOD {
        host.delivered(&format!("good-{n}"), WINDOWS).await;
    }
    behind
}

fn is_over(guest: &Bad, status: &SinkStatus) -> bool {
    match guest.end {
        End::Delivers => status.last_sequence == WINDOWS && status.counters.plugin_faults == 0,
        End::Failed => status.state == SinkState::Failed && status.reason.contains(guest.says),
        End::Faults | End::Asked => {
            status.counters.plugin_faults > 0
                && status.counters.sink_faults == 0
                && status.last_error.contains(guest.says)
        }
    }
}

fn message(status: &SinkStatus) -> &str {
    if status.state == SinkState::Failed {
        &status.reason
    } else {
        &status.last_error
    }
}

/// All windows, each once, in order, none merged.
fn good(host: &Host, n: usize, beside: &str) {
    let name = format!("good-{n}");
    let lines: String = (1..=WINDOWS)
        .map(|window| format!("window={window} targets=1 requests={}\n", window * 10))
        .collect();
    assert_eq!(host.read(&name), lines, "{name} beside {beside}");
    let counters = host.sink(&name).counters;
    let expected = (WINDOWS, 0, 0, 0);
    let found = (
        counters.windows_delivered,
        counters.windows_dropped,
        counters.plugin_faults,
        counters.sink_faults,
    );
    assert_eq!(found, expected, "{name} beside {beside}");
}

/// Ask again and again.
async fn ask(listening: Vec<String>) {
    loop {
        if let Ok(mut stream) = tokio::net::TcpStream::connect(&listening[0]).await {
            let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
            let _ = stream.write_all(request).await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    }
}

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use owlk8s_plugin_host::{SinkState, SinkStatus};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Host, component, start, window};

/// A sink that writes a line for each window to a file of its name.
fn echo(name: &str, more: &str) -> String {
    format!(
        "[[sinks]]\nname = \"{name}\"\nplugin = \"{{good-echo}}\"\nmode = \"every-window\"\n\
         endpoints.out = {{ kind = \"file\", path = \"{{dir}}/{name}\" }}\n{more}\n"
    )
}

fn lines(sequences: impl IntoIterator<Item = u64>) -> String {
    sequences
        .into_iter()
        .map(|n| format!("window={n} targets=1 requests={n}\n"))
        .collect()
}

async fn generation(host: &Host, name: &str, generation: u64) -> SinkStatus {
    host.until(name, |status| status.generation >= generation)
        .await
}

async fn refused(host: &Host, name: &str) -> String {
    let status = host.until(name, |status| status.refused.is_some()).await;
    status.refused.unwrap().reason
}

/// Offers windows from `first` on, no faster than `name` takes them, until it is told to stop; the last.
async fn load(host: &Host, name: &str, first: u64, stop: &AtomicBool) -> u64 {
    let mut sequence = first;
    loop {
        host.offer(sequence, sequence);
        host.delivered(name, sequence.saturating_sub(3)).await;
        if stop.load(Ordering::Relaxed) {
            host.delivered(name, sequence).await;
            return sequence;
        }
        sequence += 1;
    }
}

#[tokio::test]
async fn swap_under_load_loses_no_window_and_repeats_none() {
    let host = start(&(echo("a", "") + &echo("still", "")));
    host.offer(1, 1);
    host.delivered("a", 1).await;
    let stop = AtomicBool::new(false);
    let swaps = async {
        for round in 1..=20 {
            host.reload(&(echo("a", &format!("limits.log_lines = {round}")) + &echo("still", "")));
            generation(&host, "a", round + 1).await;
        }
        stop.store(true, Ordering::Relaxed);
    };
    let (last, ()) = tokio::join!(load(&host, "a", 2, &stop), swaps);
    let status = host.sink("a");
    assert_eq!(host.read("a"), lines(1..=last), "each once, in order");
    assert_eq!(
        (status.generation, status.counters.windows_dropped),
        (21, 0)
    );
    assert_eq!(status.counters.windows_delivered, last);
    host.delivered("still", last).await;
    assert_eq!(host.read("still"), lines(1..=last));
    assert_eq!(host.sink("still").generation, 1, "it was not touched");
    assert_eq!(host.host.restarts(), 0);
    println!("{last} windows over 20 swaps, 0 lost");
}

#[tokio::test]
async fn generation_that_is_no_good_is_refused_and_the_one_before_runs_on() {
    let host = start(&echo("a", ""));
    host.offer(1, 1);
    host.delivered("a", 1).await;
    let other = |plugin: &str, more: &str| echo("a", more).replace("{good-echo}", plugin);
    for (sinks, expected) in [
        (
            other("/nowhere/x.wasm", ""),
            "cannot read plugin /nowhere/x.wasm",
        ),
        (
            other("{wrong-world}", ""),
            "is a component of another world",
        ),
        (
            other("{rejects-config}", "config = { word = \"now\" }"),
            "plugin rejects-config refuses its config: config key `word` must be \"please\"",
        ),
        (
            other("{panics}", ""),
            "dry run on window 1: plugin panics panicked: ",
        ),
        (
            other("{two-endpoints}", ""),
            "dry run on window 1: plugin two-endpoints sends to endpoint \"first\", and the sink has out",
        ),
        (
            echo("a", &format!("digest = \"sha256:{}\"", "0".repeat(64))),
            " is configured: it was replaced",
        ),
        (
            echo("a", "").replace("{dir}/a", "/nowhere/a"),
            "endpoints.out: ",
        ),
    ] {
        host.reload(&sinks);
        let reason = loop {
            let reason = refused(&host, "a").await;
            if reason.contains(expected) {
                break reason;
            }
            tokio::task::yield_now().await;
        };
        println!("{reason}");
        let status = host.sink("a");
        assert_eq!((status.state, status.generation), (SinkState::Active, 1));
        assert!(
            status.plugin.ends_with("good-echo.wasm"),
            "{}",
            status.plugin
        );
    }
    host.offer(2, 2);
    host.delivered("a", 2).await;
    assert_eq!(host.sink("a").counters.generations_refused, 7);
    // Back to what runs: nothing is wrong any more, and nothing was swapped.
    host.reload(&echo("a", ""));
    let status = host.until("a", |status| status.refused.is_none()).await;
    assert_eq!(status.generation, 1);
    host.offer(3, 3);
    host.delivered("a", 3).await;
    assert_eq!(host.read("a"), lines(1..=3));
}

#[tokio::test]
async fn component_that_was_not_pinned_to_this_digest_never_starts() {
    let zeros = "0".repeat(64);
    let host = start(&(echo("a", &format!("digest = \"sha256:{zeros}\"")) + &echo("b", "")));
    let status = host
        .until("a", |status| status.state == SinkState::Failed)
        .await;
    let found = host
        .until("b", |status| !status.chain.is_empty())
        .await
        .chain[0]
        .digest
        .clone();
    assert_eq!(
        status.reason,
        format!(
            "plugin {} has digest {found}, and sha256:{zeros} is configured: it was replaced (put the old file back, \
             or change `digest`)",
            component("good-echo")
        )
    );
    host.reload(&(echo("a", &format!("digest = \"{found}\"")) + &echo("b", "")));
    generation(&host, "a", 1).await;
    host.offer(1, 1);
    host.delivered("a", 1).await;
}

#[tokio::test]
async fn added_sinks_start_removed_ones_deliver_what_waits_and_go() {
    let host = start(&(echo("a", "") + &echo("b", "")));
    let pid = {
        host.until("b", |status| status.state == SinkState::Active)
            .await;
        host.host.pid()
    };
    host.offer(1, 1);
    // It may not have been delivered yet.
    host.reload(&(echo("a", "") + &echo("c", "")));
    host.until("c", |status| status.state == SinkState::Active)
        .await;
    let names = || -> Vec<String> {
        let status = host.host.status();
        status.into_iter().map(|sink| sink.name).collect()
    };
    while names() != ["a", "c"] {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(host.read("b"), lines([1]));
    host.offer(2, 2);
    host.delivered("a", 2).await;
    host.delivered("c", 2).await;
    assert_eq!((host.read("b"), host.read("c")), (lines([1]), lines([2])));
    // And it comes back as a new one.
    host.reload(&(echo("a", "") + &echo("b", "")));
    host.until("b", |status| status.state == SinkState::Active)
        .await;
    host.offer(3, 3);
    host.delivered("b", 3).await;
    assert_eq!(host.read("b"), lines([1, 3]));
    assert_eq!(host.host.pid(), pid, "all in one process");
}

#[tokio::test]
async fn disabled_sink_stops_and_goes_on_when_it_is_enabled() {
    let host = start(&echo("a", ""));
    host.offer(1, 1);
    host.delivered("a", 1).await;
    host.reload(&echo("a", "enabled = false"));
    host.until("a", |status| status.state == SinkState::Disabled)
        .await;
    host.reload(&echo("a", ""));
    host.until("a", |status| status.state == SinkState::Active)
        .await;
    host.offer(2, 2);
    let status = host.delivered("a", 2).await;
    assert_eq!(host.read("a"), lines(1..=2));
    assert_eq!(status.counters.windows_delivered, 2);
}

#[tokio::test]
async fn file_that_is_replaced_in_place_is_the_next_generation_and_keeps_the_state() {
    let mine = |sinks: &str| sinks.replace("{good-echo}", "{dir}/mine.wasm");
    let sinks = mine(&echo("a", ""));
    let dir = tempfile::tempdir().unwrap();
    let put = |dir: &Path, plugin: &str| {
        // As a careful tool does it: never half a file under the name.
        std::fs::copy(component(plugin), dir.join("new")).unwrap();
        std::fs::rename(dir.join("new"), dir.join("mine.wasm")).unwrap();
    };
    put(dir.path(), "keeps-state");
    let host = Host {
        host: owlk8s_plugin_host::PluginHost::start(crate::support::options(&sinks, &dir)).unwrap(),
        dir,
    };
    assert_eq!(
        host.host.plugin_files().into_iter().collect::<Vec<_>>(),
        [host.dir.path().join("mine.wasm")]
    );
    host.offer(1, 1);
    host.delivered("a", 1).await;
    // The same again: nothing happens.
    host.host.look_again();
    host.offer(2, 2);
    host.delivered("a", 2).await;
    assert_eq!(host.sink("a").generation, 1);

    put(host.dir.path(), "good-echo");
    host.host.look_again();
    generation(&host, "a", 2).await;
    host.offer(3, 3);
    host.delivered("a", 3).await;

    std::fs::write(host.dir.path().join("mine.wasm"), b"\0asm").unwrap();
    host.host.look_again();
    let reason = refused(&host, "a").await;
    assert!(
        reason.contains("mine.wasm is no WebAssembly component"),
        "{reason}"
    );
    host.offer(4, 4);
    host.delivered("a", 4).await;

    put(host.dir.path(), "keeps-state");
    host.host.look_again();
    generation(&host, "a", 3).await;
    host.offer(5, 5);
    host.delivered("a", 5).await;
    assert_eq!(
        host.read("a"),
        format!("calls=1\ncalls=2\n{}calls=3\n", lines(3..=4)),
        "the state outlives the generations, and no dry run counts"
    );
}

#[tokio::test]
async fn delta_goes_on_from_the_acknowledged_window_over_swaps_and_changes_of_mode() {
    let sink = |mode: &str, more: &str| echo("a", more).replace("every-window", mode);
    let host = start(&sink("latest", ""));
    host.offer(1, 10);
    host.delivered("a", 1).await;
    host.reload(&sink("delta", ""));
    generation(&host, "a", 2).await;
    host.offer(2, 15);
    host.delivered("a", 2).await;
    host.reload(&sink("delta", "limits.log_lines = 3"));
    generation(&host, "a", 3).await;
    host.offer(3, 35);
    host.delivered("a", 3).await;
    host.reload(&sink("every-window", ""));
    generation(&host, "a", 4).await;
    host.offer(4, 36);
    host.delivered("a", 4).await;
    let counts = [(1, 10), (2, 5), (3, 20), (4, 36)];
    let expected: String = counts
        .iter()
        .map(|(window, requests)| format!("window={window} targets=1 requests={requests}\n"))
        .collect();
    assert_eq!(host.read("a"), expected);
}

#[tokio::test]
async fn window_that_its_endpoint_did_not_take_goes_to_the_next_generation_s() {
    let away = echo("a", "").replace(
        "kind = \"file\", path = \"{dir}/a\"",
        "kind = \"http\", url = \"http://127.0.0.1:1/\"",
    );
    let host = start(&away.replace("{good-echo}", "{keeps-state}"));
    host.offer(1, 1);
    host.offer(2, 2);
    host.until("a", |status| status.state == SinkState::Backoff)
        .await;
    host.reload(&echo("a", "").replace("{good-echo}", "{keeps-state}"));
    host.delivered("a", 2).await;
    assert_eq!(
        host.read("a"),
        "calls=1\ncalls=2\n",
        "the window was made anew, as if it had not been tried"
    );
    assert_eq!(host.sink("a").counters.windows_dropped, 0);
}

#[tokio::test]
async fn what_was_refused_does_not_run_after_a_restart_of_the_process_either() {
    let host = start(&echo("a", ""));
    host.offer(1, 1);
    host.delivered("a", 1).await;
    host.reload(&echo("a", "").replace("{good-echo}", "{panics}"));
    refused(&host, "a").await;
    let pid = host.host.pid().unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    host.until("a", |status| status.state == SinkState::Starting)
        .await;
    host.until("a", |status| status.state == SinkState::Active)
        .await;
    host.offer(2, 2);
    host.delivered("a", 2).await;
    let reason = refused(&host, "a").await;
    assert!(reason.contains("plugin panics panicked"), "{reason}");
    let status = host.sink("a");
    assert_eq!((status.generation, status.counters.plugin_faults), (1, 0));
    assert_eq!(host.read("a"), lines(1..=2));
}

fn page(port: u16, more: &str) -> String {
    format!(
        "[[sinks]]\nname = \"page\"\nplugin = \"{{prometheus}}\"\n\
         endpoints.http = {{ kind = \"serve\", listen = \"127.0.0.1:{port}\" }}\n{more}\n"
    )
}

/// Status of one GET, over a connection of its own.
async fn get(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn listener_is_handed_over_without_a_refused_connection() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let host = start(&page(port, ""));
    host.offer(1, 5);
    host.delivered("page", 1).await;
    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let scrapes = async {
        while !stop.load(Ordering::Relaxed) {
            let status = get(port).await.expect("no connection is refused or reset");
            assert_eq!(status, "HTTP/1.1 200 OK");
            answered.fetch_add(1, Ordering::Relaxed);
        }
    };
    let swaps = async {
        for round in 1..=10_u64 {
            let buckets = format!("config = {{ buckets = [{round}.0] }}");
            host.reload(&page(port, &buckets));
            generation(&host, "page", round + 1).await;
            let seen = answered.load(Ordering::Relaxed);
            while answered.load(Ordering::Relaxed) < seen + 3 {
                tokio::task::yield_now().await;
            }
        }
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(scrapes, swaps);
    println!(
        "{} scrapes over 10 swaps, none refused",
        answered.load(Ordering::Relaxed)
    );
    assert_eq!(host.sink("page").counters.plugin_faults, 0);
}

#[tokio::test]
async fn sink_becomes_one_of_another_kind() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let host = start(&page(port, ""));
    host.offer(1, 1);
    host.delivered("page", 1).await;
    host.reload(&echo("page", ""));
    generation(&host, "page", 2).await;
    host.offer(2, 2);
    host.delivered("page", 2).await;
    assert_eq!(host.read("page"), lines([2]));
    assert!(get(port).await.is_err(), "its listener is closed");
    host.reload(&page(port, ""));
    generation(&host, "page", 3).await;
    host.offer(3, 3);
    host.delivered("page", 3).await;
    assert_eq!(get(port).await.unwrap(), "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn configuration_that_cannot_be_meant_changes_nothing() {
    let host = start(&echo("a", ""));
    host.offer(1, 1);
    host.delivered("a", 1).await;
    let bad = crate::support::options(&echo("a", "queue = 0"), &host.dir);
    let error = host.host.reload(bad).unwrap_err().to_string();
    assert_eq!(
        error,
        "sink a: queue: 0 windows is no queue; 1 is the least"
    );
    host.host.offer(Arc::clone(&window(2, &[("cart-0", 2)])));
    host.delivered("a", 2).await;
    assert_eq!(host.sink("a").generation, 1);
}

use std::time::{Duration, Instant};

use owlk8s_plugin_host::SinkState;

use crate::support::start;

fn sink(name: &str, endpoint: &str) -> String {
    format!(
        "[[sinks]]\nname = \"{name}\"\nplugin = \"{{{name}}}\"\nmode = \"every-window\"\nendpoints.out = {endpoint}\n"
    )
}

const FILE: &str = "{ kind = \"file\", path = \"{dir}/good\" }";
const NOWHERE: &str = "{ kind = \"file\", path = \"/dev/null\" }";

/// The other sinks' windows are on time and complete.
#[tokio::test]
async fn bad_plugins_delay_nobody_and_are_told_by_name() {
    let bad = ["spins", "allocates", "panics", "sleeps", "floods-output"];
    let mut sinks: String = bad.iter().map(|name| sink(name, NOWHERE)).collect();
    // On a busy machine two seconds may pass before one of processor time is used.
    sinks = sinks.replace(
        "name = \"spins\"",
        "name = \"spins\"\nlimits = { wall = \"1h\" }",
    );
    let host = start(&format!("{sinks}{}", sink("good-echo", FILE)));
    for name in bad.iter().chain(&["good-echo"]) {
        host.until(name, |status| status.state == SinkState::Active)
            .await;
    }
    let mut slowest = Duration::ZERO;
    for sequence in 1..=12 {
        let began = Instant::now();
        host.offer(sequence, sequence * 10);
        host.delivered("good-echo", sequence).await;
        slowest = slowest.max(began.elapsed());
    }
    assert!(
        slowest < Duration::from_secs(1),
        "a window of the good sink took {slowest:?}"
    );
    let lines: String = (1..=12)
        .map(|n| format!("window={n} targets=1 requests={}\n", n * 10))
        .collect();
    assert_eq!(host.read("good"), lines);
    let good = host.sink("good-echo");
    assert_eq!(
        (
            good.counters.windows_dropped,
            good.counters.plugin_faults,
            good.last_error.as_str()
        ),
        (0, 0, "")
    );
    for (name, said) in [
        (
            "spins",
            "plugin spins was stopped: it used the processor for 1s (limits.cpu)",
        ),
        (
            "sleeps",
            "plugin sleeps was stopped: it took 2s (limits.wall)",
        ),
        (
            "allocates",
            "plugin allocates wanted more memory than 64MiB (limits.memory)",
        ),
        ("panics", "plugin panics panicked: "),
        (
            "floods-output",
            "plugin floods-output made more output than 8MiB (limits.output)",
        ),
    ] {
        let status = host
            .until(name, |status| status.counters.plugin_faults > 0)
            .await;
        assert!(
            status.last_error.starts_with(said),
            "{name}: {}",
            status.last_error
        );
        assert_eq!(
            status.counters.sink_faults, 0,
            "{name}: the endpoint is not at fault"
        );
        assert_eq!(
            (status.counters.windows_delivered, host.host.restarts()),
            (0, 0)
        );
    }
}

#[tokio::test]
async fn plugin_that_faults_three_times_in_a_row_is_left_alone() {
    let host = start(&sink("panics", NOWHERE));
    for sequence in 1..=3 {
        host.offer(sequence, 1);
        host.until("panics", |status| status.counters.plugin_faults >= sequence)
            .await;
    }
    let status = host
        .until("panics", |status| status.state == SinkState::Backoff)
        .await;
    assert!(
        status.reason.contains("; it is called again in "),
        "{}",
        status.reason
    );
    host.offer(4, 1);
    host.offer(5, 1);
    host.until("panics", |status| status.counters.windows_dropped >= 3)
        .await;
    assert_eq!(host.sink("panics").counters.plugin_faults, 3);
}

#[tokio::test]
async fn flood_of_log_lines_is_cut_and_counted_and_the_window_arrives() {
    let host = start(&sink("floods-log", FILE));
    host.offer(1, 1);
    let status = host.delivered("floods-log", 1).await;
    assert_eq!(host.read("good"), "logged\n");
    assert_eq!(status.counters.log_lines_dropped, 10_000 - 50);
}

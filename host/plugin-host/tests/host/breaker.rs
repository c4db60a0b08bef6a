use owlk8s_plugin_host::{BreakerState, SinkState};

use crate::support::{Host, start};

/// Opens at the second fault, for a moment only.
fn sink(plugin: &str, quarantine: u32, endpoint: &str) -> String {
    format!(
        "[[sinks]]\nname = \"x\"\nplugin = \"{{{plugin}}}\"\nmode = \"every-window\"\n\
         breaker = {{ faults = 2, first = \"20ms\", max = \"50ms\", quarantine = {quarantine} }}\n\
         endpoints.out = {endpoint}\n"
    )
}

const FILE: &str = "{ kind = \"file\", path = \"{dir}/out\" }";

async fn faults(host: &Host, count: u64) {
    for sequence in 1..=count {
        host.offer(sequence, 1);
        host.until("x", |status| status.counters.plugin_faults >= sequence)
            .await;
    }
}

#[tokio::test]
async fn plugin_that_faults_after_each_wait_ends_in_quarantine_and_is_called_no_more() {
    let host = start(&sink("panics", 3, FILE));
    faults(&host, 4).await;
    let status = host
        .until("x", |status| status.state == SinkState::Quarantined)
        .await;
    assert_eq!(status.breaker.state, BreakerState::Quarantined);
    assert_eq!(status.breaker.openings, 3);
    assert!(
        status.reason.ends_with(
            "; it is called no more until it is loaded anew, after 2 waits that did not help (breaker.quarantine = 3)"
        ),
        "{}",
        status.reason
    );
    for sequence in 5..=70 {
        host.offer(sequence, 1);
        host.host.status();
        tokio::task::yield_now().await;
    }
    // The queue of 60 overflows: it is still looked after, and nothing of it is called.
    host.until("x", |status| status.counters.windows_dropped > 4)
        .await;
    assert_eq!(host.sink("x").counters.plugin_faults, 4);
}

#[tokio::test]
async fn quarantine_outlives_the_plugin_process() {
    let host = start(&sink("panics", 1, FILE));
    faults(&host, 2).await;
    host.until("x", |status| status.state == SinkState::Quarantined)
        .await;
    let pid = i32::try_from(host.host.pid().unwrap()).unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    host.until("x", |status| status.state == SinkState::Starting)
        .await;
    let again = host
        .until("x", |status| status.state == SinkState::Quarantined)
        .await;
    assert!(
        again.reason.contains("plugin panics panicked: "),
        "{}",
        again.reason
    );
    assert_eq!(again.counters.plugin_faults, 2);
}

#[tokio::test]
async fn success_after_a_wait_closes_the_breaker() {
    let config = "config = { panic_from = 2, panic_to = 4 }\n";
    let host = start(&(sink("panics-between", 12, FILE) + config));
    for sequence in 1..=3 {
        host.offer(sequence, 1);
        host.until("x", |status| {
            status.last_sequence + status.counters.plugin_faults >= sequence
        })
        .await;
    }
    let opened = host.until("x", |status| status.breaker.openings == 1).await;
    assert_ne!(opened.breaker.state, BreakerState::Closed);
    host.offer(4, 1);
    host.until("x", |status| status.breaker.openings == 2).await;
    host.offer(5, 1);
    let closed = host.delivered("x", 5).await;
    assert_eq!(closed.breaker.state, BreakerState::Closed);
    assert_eq!(closed.breaker.openings, 0);
    assert_eq!(closed.state, SinkState::Active);
    assert_eq!(closed.counters.plugin_faults, 3);
}

#[tokio::test]
async fn endpoint_that_is_away_never_opens_the_breaker() {
    let away = "{ kind = \"http\", url = \"http://127.0.0.1:1/\" }";
    let host = start(&sink("good-echo", 1, away));
    host.offer(1, 1);
    let status = host
        .until("x", |status| status.counters.sink_faults >= 3)
        .await;
    assert_eq!(status.breaker.state, BreakerState::Closed);
    assert_eq!(status.counters.plugin_faults, 0);
}

use owlk8s_plugin_host::{CrashReport, Limit, PluginKind, replay};

use crate::support::{Host, component, start, window};

fn sink(plugin: &str, more: &str) -> Host {
    start(&format!(
        "[[sinks]]\nname = \"x\"\nplugin = \"{{{plugin}}}\"\nmode = \"every-window\"\n{more}\n\
         endpoints.out = {{ kind = \"file\", path = \"{{dir}}/out\" }}\n"
    ))
}

async fn report(host: &Host) -> CrashReport {
    host.until("x", |status| status.counters.plugin_faults > 0)
        .await;
    let mut reports = Vec::new();
    host.until("x", |_| {
        reports = host.host.crashes("x");
        !reports.is_empty()
    })
    .await;
    reports.pop().unwrap()
}

/// What the replay says ends in the same place.
fn functions(report: &CrashReport) -> Vec<&str> {
    report
        .backtrace
        .iter()
        .map(|frame| frame.function.as_str())
        .collect()
}

#[tokio::test]
async fn panic_is_reported_with_its_place_and_without_the_clusters_names() {
    let host = sink(
        "panics-on-names",
        "config = { token = \"a-secret-that-is-no-config-of-it\" }",
    );
    host.host.offer(window(1, &[("checkout-0", 5)]));
    let report = report(&host).await;
    assert_eq!(
        (report.call.as_str(), report.window, report.times),
        ("format", 1, 1)
    );
    assert_eq!(report.kind, PluginKind::Formatter);
    assert_eq!(report.digest.len(), 71);
    assert!(
        functions(&report)
            .iter()
            .any(|name| name.contains("panic_fmt"))
            && functions(&report)
                .iter()
                .any(|name| name.contains("format")),
        "{}",
        report.text()
    );
    assert!(
        report.output.contains(" of 5 requests"),
        "{}",
        report.output
    );
    assert!(
        report.log[0].ends_with("-0 has 2 parts") || report.log[0].contains(" has 2 parts"),
        "{:?}",
        report.log
    );
    let whole = serde_json::to_string(&report).unwrap();
    for hidden in ["checkout", "shop", "10.77.0.11", "a-secret", "\"red\""] {
        assert!(!whole.contains(hidden), "{hidden} is in {whole}");
    }
    let snapshot = report.snapshot.as_ref().unwrap();
    assert_eq!(snapshot.targets[0].totals.requests, 5);
    assert_eq!(snapshot.targets[0].pod.split('-').count(), 2);
}

#[tokio::test]
async fn report_replays_the_trap_elsewhere() {
    let host = sink("panics-on-names", "");
    host.host
        .offer(window(1, &[("checkout", 5), ("front-end", 6)]));
    let report = report(&host).await;
    let json = serde_json::to_string(&report).unwrap();
    let read: CrashReport = serde_json::from_str(&json).unwrap();
    let path = component("panics-on-names");
    let again = replay(&read, path.as_ref(), "{}").await.unwrap();
    let again = again.report.unwrap();
    assert_eq!(functions(&again), functions(&report));
    assert!(again.output.contains(" of 6 requests"), "{}", again.output);
    let fine = replay(&read, component("good-echo").as_ref(), "{}")
        .await
        .unwrap();
    assert!(fine.report.is_none(), "another plugin survives it");
}

#[tokio::test]
async fn loop_is_reported_with_where_it_was() {
    let host = sink("spins", "limits = { cpu = \"50ms\", wall = \"1h\" }");
    host.offer(1, 1);
    let report = report(&host).await;
    assert_eq!(report.limit, Some(Limit::Cpu));
    assert!(
        functions(&report)
            .iter()
            .any(|name| name.contains("format")),
        "{}",
        report.text()
    );
}

#[tokio::test]
async fn crash_like_the_last_one_is_counted_and_another_one_is_kept_beside_it() {
    let host = sink("panics", "");
    for sequence in 1..=3 {
        host.offer(sequence, 1);
        host.until("x", |status| status.counters.plugin_faults >= sequence)
            .await;
    }
    host.until("x", |_| {
        let reports = host.host.crashes("x");
        reports.len() == 1 && reports[0].times == 3
    })
    .await;
    let report = &host.host.crashes("x")[0];
    assert!(report.last_at >= report.at);
    assert!(report.output.contains("the panic of window 1"));
    assert!(host.host.crashes("nobody").is_empty());
}

#[tokio::test]
async fn plugins_own_error_is_no_crash() {
    let host = sink("rejects-config", "config = { word = \"no\" }");
    host.until("x", |status| status.reason.contains("must be"))
        .await;
    assert!(host.host.crashes("x").is_empty());
}

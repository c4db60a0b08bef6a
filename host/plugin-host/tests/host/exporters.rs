use owlk8s_plugin_host::{PluginKind, SinkState};

use crate::support::{Host, start};

fn exporter(outcome: &str, mode: &str) -> Host {
    start(&format!(
        "[[sinks]]\nname = \"x\"\nplugin = \"{{exporter-outcomes}}\"\nmode = \"{mode}\"\nconfig = {{ outcome = \"{outcome}\" }}\n"
    ))
}

#[tokio::test]
async fn delivered_and_partial_windows_are_acknowledged() {
    let host = exporter("delivered", "latest");
    host.offer(1, 1);
    let status = host.delivered("x", 1).await;
    assert_eq!(
        (status.chain[0].kind, status.counters.sink_faults),
        (PluginKind::Exporter, 0)
    );
    let host = exporter("partial", "latest");
    host.offer(1, 1);
    let status = host.delivered("x", 1).await;
    assert_eq!(
        (status.counters.rows_rejected, status.counters.sink_faults),
        (7, 1)
    );
    assert_eq!(
        status.last_error,
        "plugin exporter-outcomes says: 7 rows were refused for good"
    );
}

#[tokio::test]
async fn window_that_is_to_be_tried_again_is_held_and_not_the_plugins_fault() {
    let host = exporter("retry", "every-window");
    host.offer(1, 1);
    let status = host
        .until("x", |status| status.counters.sink_faults == 2)
        .await;
    assert_eq!(
        (status.state, status.last_sequence),
        (SinkState::Backoff, 0)
    );
    assert_eq!(
        (
            status.counters.plugin_faults,
            status.counters.windows_dropped
        ),
        (0, 0)
    );
    assert!(
        status
            .reason
            .starts_with("plugin exporter-outcomes asks to try again later; next try in ")
    );
}

#[tokio::test]
async fn rejected_window_is_given_up_with_the_exporters_words() {
    let host = exporter("rejected", "every-window");
    host.offer(1, 1);
    let status = host
        .until("x", |status| status.counters.windows_dropped == 1)
        .await;
    assert_eq!(
        status.last_error,
        "plugin exporter-outcomes says: the window was rejected: window 1 is refused"
    );
    assert_eq!(
        (status.counters.sink_faults, status.counters.plugin_faults),
        (1, 0)
    );
}

#[tokio::test]
async fn exporter_takes_no_endpoints() {
    let host = start(
        "[[sinks]]\nname = \"x\"\nplugin = \"{exporter-outcomes}\"\nconfig = { outcome = \"retry\" }\nendpoints.out = { kind = \"stdout\" }",
    );
    let status = host
        .until("x", |status| status.state == SinkState::Failed)
        .await;
    let text = "endpoints.out: kind stdout does not fit: plugin exporter-outcomes is an exporter and sends by itself and takes \
                no endpoints";
    assert_eq!(status.reason, text);
}

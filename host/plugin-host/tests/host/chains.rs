use owlk8s_plugin_host::PluginKind;

use crate::support::{start, window};

#[tokio::test]
async fn formatter_sees_what_its_filters_leave_under_their_names() {
    let host = start(
        r#"
        [[sinks]]
        name = "json"
        plugin = "{json-log}"
        filters = ["{drop-idle}", { plugin = "{filter-first}" }]
        endpoints.out = { kind = "file", path = "{dir}/out" }
        "#,
    );
    host.host
        .offer(window(1, &[("busy-0", 0), ("busy-1", 7), ("busy-2", 9)]));
    let status = host.delivered("json", 1).await;
    let line: serde_json::Value = serde_json::from_str(host.read("out").trim()).unwrap();
    let expected = serde_json::json!({"pod": "first", "requests": 7});
    assert_eq!(
        serde_json::json!({"pod": line["podname"], "requests": line["metrics"]["requests"]}),
        expected,
        "{line}"
    );
    let kinds: Vec<PluginKind> = status.chain.iter().map(|plugin| plugin.kind).collect();
    assert_eq!(
        kinds,
        [
            PluginKind::Filter,
            PluginKind::Filter,
            PluginKind::Formatter
        ]
    );
    assert!(
        status
            .chain
            .iter()
            .all(|plugin| plugin.digest.len() == 71 && plugin.size_bytes > 1000)
    );
}

#[tokio::test]
async fn sink_gets_the_targets_that_it_selects_and_no_others() {
    let host = start(
        r#"
        [[sinks]]
        name = "none"
        plugin = "{good-echo}"
        select = { namespaces = ["other"] }
        endpoints.out = { kind = "file", path = "{dir}/none" }
        [[sinks]]
        name = "all"
        plugin = "{good-echo}"
        select = { namespaces = ["shop"], services = ["cart"] }
        endpoints.out = { kind = "file", path = "{dir}/all" }
        "#,
    );
    host.host.offer(window(1, &[("a", 1), ("b", 2)]));
    host.delivered("none", 1).await;
    host.delivered("all", 1).await;
    assert_eq!(host.read("none"), "window=1 targets=0 requests=0\n");
    assert_eq!(host.read("all"), "window=1 targets=2 requests=3\n");
}

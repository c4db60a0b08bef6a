//! What a plugin may do: manifest ∩ grant ∩ ceiling, as a sink meets it.

use owlk8s_plugin_host::{Ceiling, Manifest, PluginHost, SinkState};

use crate::support::{Host, component, options, start};

fn with_ceiling(sinks: &str, ceiling: &str) -> Host {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(sinks, &dir);
    options.plugins.ceiling = toml::from_str::<Ceiling>(ceiling).unwrap();
    Host {
        host: PluginHost::start(options).unwrap(),
        dir,
    }
}

/// A sink with an exporter that asks for HTTP to every origin.
fn exporter(fields: &str) -> String {
    format!(
        "[[sinks]]\nname = \"x\"\nplugin = \"{{sends-http}}\"\nconfig.url = \"http://127.0.0.1:9\"\n{fields}\n"
    )
}

async fn reason(host: &Host) -> String {
    host.until("x", |status| status.state == SinkState::Failed)
        .await
        .reason
}

#[tokio::test]
async fn shipped_plugins_have_manifests_and_schemas() {
    for name in ["simple-log", "json-log", "prometheus", "drop-idle"] {
        let bytes = std::fs::read(component(name)).unwrap();
        let manifest = Manifest::of_component(&bytes).unwrap().unwrap();
        assert_eq!(manifest.name, name);
        assert_eq!(manifest.version, env!("CARGO_PKG_VERSION"));
        assert!(!manifest.description.is_empty() && manifest.config.is_some());
        assert!(manifest.asks.http.is_empty());
    }
}

#[tokio::test]
async fn missing_grant_stops_the_sink_with_the_line_that_would_give_it() {
    let host = start(&exporter(""));
    assert_eq!(
        reason(&host).await,
        "plugin sends-http asks for HTTP to https://*:*, and the sink does not grant it: add grant.http = [\"the origin \
         that you mean\"]"
    );
    let status = host.sink("x");
    assert_eq!(status.chain, [], "no code of it ran");
}

#[tokio::test]
async fn ceiling_stops_what_a_grant_gives() {
    let grant = "grant.http = [\"a.example.com\", \"http://a.example.com\"]";
    let host = with_ceiling(
        &exporter(grant),
        "plugin.sends-http.http = [\"b.example.com\"]",
    );
    assert_eq!(
        reason(&host).await,
        "plugin sends-http asks for HTTP to https://*:*, the sink grants it, and [plugins.ceiling.plugin.sends-http] does \
         not allow it: add \"the origin that you mean\" to `http` there"
    );
}

#[tokio::test]
async fn status_shows_who_the_plugin_is_and_what_it_may_do() {
    let host = start(&exporter(
        "grant = { http = [\"a.example.com\", \"http://b:4318\"], private = true }",
    ));
    let status = host
        .until("x", |status| status.state == SinkState::Active)
        .await;
    let plugin = &status.chain[0];
    assert_eq!(plugin.manifest_name, "sends-http");
    assert_eq!(plugin.description, "Sends the requests of its config");
    let http: Vec<String> = plugin
        .authority
        .http
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(http, ["http://b:4318", "https://a.example.com:443"]);
    assert_eq!(plugin.authority.addresses, ["private"]);
}

#[tokio::test]
async fn config_is_held_against_the_schema_before_the_plugin_is_called() {
    for (config, why) in [
        (
            "unit = \"ms\"",
            "plugin simple-log refuses its config: config key `unit` is not known to it (it knows ",
        ),
        (
            "units = \"ns\"",
            "plugin simple-log refuses its config: config key `units`: value must be one of ",
        ),
    ] {
        let host = start(&format!(
            "[[sinks]]\nname = \"x\"\nplugin = \"{{simple-log}}\"\nconfig = {{ {config} }}\nendpoints.out = {{ kind = \"stdout\" }}\n"
        ));
        let reason = reason(&host).await;
        assert!(reason.starts_with(why), "{reason}");
    }
}

const LOOKS: &str = "[[sinks]]\nname = \"looks\"\nplugin = \"{looks-around}\"\nconfig.url = \"http://127.0.0.1:9/\"\n\
    grant = { http = [\"http://127.0.0.1:9\"], loopback = true }\n\
    endpoints.out = { kind = \"file\", path = \"{dir}/out\" }\n";

/// What a formatter finds around it in window `sequence`.
async fn found(sequence: u64) -> (Vec<String>, String) {
    let host = start(LOOKS);
    host.offer(sequence, 1);
    let status = host.delivered("looks", sequence).await;
    let found = host.read("out").lines().map(str::to_owned).collect();
    (found, status.last_denial)
}

#[tokio::test]
async fn formatter_finds_nothing_but_what_its_window_fixes() {
    let (one, denial) = found(7).await;
    assert_eq!(found(7).await.0, one, "the same window, the same bytes");
    let (other, _) = found(8).await;
    let value = |found: &[String], what: &str| {
        let line = found
            .iter()
            .find_map(|line| line.strip_prefix(&format!("{what}=")));
        line.unwrap().to_owned()
    };
    for what in ["random", "again", "insecure", "seed", "wall"] {
        assert_ne!(
            value(&one, what),
            value(&other, what),
            "{what} of another window"
        );
    }
    assert_ne!(value(&one, "random"), value(&one, "again"));
    assert_eq!(value(&one, "wall"), "1800000007s", "the window's end");
    for (what, expected) in [("elapsed", "1µs"), ("variables", "0"), ("arguments", "0")] {
        assert_eq!(value(&one, what), expected, "{what}");
    }
    assert_ne!(value(&one, "file"), "there");
    assert_ne!(value(&one, "tcp"), "there");
    assert_eq!(
        value(&one, "http"),
        "request denied: ErrorCode::HttpRequestDenied"
    );
    assert_eq!(
        denial,
        "plugin looks-around: HTTP request denied: to http://127.0.0.1:9: a formatter has no network, only an exporter \
         has (deliver through an endpoint of kind http)"
    );
}

#[tokio::test]
async fn component_for_another_version_of_wasi_http_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("newer.wasm");
    let mut bytes = std::fs::read(component("sends-http")).unwrap();
    let (old, new) = (b"wasi:http/types@0.2.", b"wasi:http/types@0.3.");
    let places: Vec<usize> = (0..bytes.len() - old.len())
        .filter(|at| bytes[*at..].starts_with(old))
        .collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at..at + new.len()].copy_from_slice(new);
    }
    std::fs::write(&path, bytes).unwrap();
    let host = start(&format!(
        "[[sinks]]\nname = \"x\"\nplugin = {:?}\n",
        path.display().to_string()
    ));
    let reason = reason(&host).await;
    assert!(
        reason.contains(
            "newer.wasm is a component of another world: it imports `wasi:http/types@0.3."
        ) && reason.contains(
            "and an exporter gets owlk8s:plugin/host, owlk8s:plugin/snapshots 0.1.0 and WASI 0.2"
        ),
        "{reason}"
    );
}

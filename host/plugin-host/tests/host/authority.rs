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

/// A sink with an exporter that asks for HTTP to every origin; the component is in `dir`.
fn exporter(dir: &tempfile::TempDir, fields: &str) -> String {
    let json = r#"{"manifest": 1, "name": "Asker", "version": "1.2.3", "description": "Asks", "asks": {"http": ["*:*", "http://*:*"]}}"#;
    let bytes = std::fs::read(component("exporter-outcomes")).unwrap();
    let bytes = Manifest::parse(json.as_bytes())
        .unwrap()
        .set(&bytes)
        .unwrap();
    let path = dir.path().join("asker.wasm");
    std::fs::write(&path, bytes).unwrap();
    format!(
        "[[sinks]]\nname = \"x\"\nplugin = {:?}\nconfig.outcome = \"delivered\"\n{fields}\n",
        path.display().to_string()
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
    let dir = tempfile::tempdir().unwrap();
    let host = start(&exporter(&dir, ""));
    assert_eq!(
        reason(&host).await,
        "plugin asker asks for HTTP to https://*:*, and the sink does not grant it: add grant.http = [\"the origin \
         that you mean\"]"
    );
    let status = host.sink("x");
    assert_eq!(status.chain, [], "no code of it ran");
}

#[tokio::test]
async fn ceiling_stops_what_a_grant_gives() {
    let grant = "grant.http = [\"a.example.com\", \"http://a.example.com\"]";
    let dir = tempfile::tempdir().unwrap();
    let host = with_ceiling(
        &exporter(&dir, grant),
        "plugin.asker.http = [\"b.example.com\"]",
    );
    assert_eq!(
        reason(&host).await,
        "plugin asker asks for HTTP to https://*:*, the sink grants it, and [plugins.ceiling.plugin.asker] does \
         not allow it: add \"the origin that you mean\" to `http` there"
    );
}

#[tokio::test]
async fn status_shows_who_the_plugin_is_and_what_it_may_do() {
    let dir = tempfile::tempdir().unwrap();
    let host = start(&exporter(
        &dir,
        "grant = { http = [\"a.example.com\", \"http://b:4318\"], private = true }",
    ));
    let status = host
        .until("x", |status| status.state == SinkState::Active)
        .await;
    let plugin = &status.chain[0];
    assert_eq!(
        (
            &*plugin.manifest_name,
            &*plugin.version,
            &*plugin.description
        ),
        ("Asker", "1.2.3", "Asks")
    );
    let http: Vec<String> = plugin
        .authority
        .http
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(http, ["http://b:4318", "https://a.example.com:443"]);
    assert_eq!(plugin.authority.addresses, ["private"]);
}

const LOOKS: &str = "[[sinks]]\nname = \"looks\"\nplugin = \"{looks-around}\"\n\
    endpoints.out = { kind = \"file\", path = \"{dir}/out\" }\n";

/// What a formatter finds around it in window `sequence`.
async fn found(sequence: u64) -> Vec<String> {
    let host = start(LOOKS);
    host.offer(sequence, 1);
    host.delivered("looks", sequence).await;
    host.read("out").lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn formatter_finds_nothing_but_what_its_window_fixes() {
    let one = found(7).await;
    assert_eq!(found(7).await, one, "the same window, the same bytes");
    let other = found(8).await;
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
}

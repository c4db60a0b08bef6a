use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct File {
    sinks: Vec<SinkConfig>,
}

fn parse(text: &str) -> Result<Vec<SinkConfig>, String> {
    toml::from_str::<File>(text)
        .map(|file| file.sinks)
        .map_err(|error| error.to_string())
}

const WHOLE: &str = r#"
[[sinks]]
name = "log"
plugin = "simple-log"
filters = ["drop-idle", { plugin = "./mine.wasm", config = { keep = 3 } }]
mode = "every-window"
queue = 5
select = { namespaces = ["shop"], services = ["cart"] }
columns = ["label:team"]
endpoints.out = { kind = "stdout" }
endpoints.push = { kind = "http", url = "https://sink.example/v1", bearer_token_env = "TOKEN", timeout = "3s" }
endpoints.page = { kind = "serve", listen = "127.0.0.1:9466", path = "/metrics" }
endpoints.file = { kind = "file", path = "/var/log/owlk8s.log" }
config = { units = "ms" }
limits = { memory = "32MiB", wall = "500ms" }
"#;

#[test]
fn every_field_is_read_and_survives_the_way_to_the_plugin_process() {
    let sinks = parse(WHOLE).expect("parses");
    assert_eq!(check(&sinks), []);
    let sink = &sinks[0];
    assert_eq!(sink.limits.memory, Size(32 << 20));
    assert_eq!(json(&sink.config), r#"{"units":"ms"}"#);
    assert_eq!(json(&sink.filters[1].config()), r#"{"keep":3}"#);
    assert_eq!(sink.wanted_env().collect::<Vec<_>>(), ["TOKEN"]);
    let json = serde_json::to_string(sink).expect("serialises");
    assert_eq!(
        &serde_json::from_str::<SinkConfig>(&json).expect("parses again"),
        sink
    );
    let text = toml::to_string(sink).expect("serialises as TOML");
    assert_eq!(
        &toml::from_str::<SinkConfig>(&text).expect("parses again"),
        sink,
        "{text}"
    );
}

#[test]
fn unknown_keys_are_errors_everywhere() {
    let sink = "[[sinks]]\nname = \"a\"\nplugin = \"p\"\n";
    for line in [
        "colour = 1",
        "select = { pods = [] }",
        "limits = { memroy = 1 }",
        "endpoints.out = { kind = \"stdout\", path = \"x\" }",
        "endpoints.out = { kind = \"http\", url = \"http://h\", retries = 1 }",
        "endpoints.out = { kind = \"carrier-pigeon\" }",
        "filters = [{ plugin = \"f\", cfg = {} }]",
        "mode = \"newest\"",
    ] {
        assert!(
            parse(&format!("{sink}{line}\n")).is_err(),
            "{line} was taken"
        );
    }
}

#[test]
fn each_mistake_has_one_message_that_names_sink_field_and_remedy() {
    let sink = "[[sinks]]\nname = \"a\"\nplugin = \"p\"\n";
    for (line, expected) in [
        (
            "queue = 0",
            "sink a: queue: 0 windows is no queue; 1 is the least",
        ),
        (
            "columns = [\"team\"]",
            "sink a: columns[0]: \"team\" is no column; write `label:NAME`",
        ),
        (
            "endpoints.x = { kind = \"http\", url = \"h:80/x\" }",
            "sink a: endpoints.x.url: \"h:80/x\" is no URL: invalid format",
        ),
        (
            "endpoints.x = { kind = \"http\", url = \"ftp://h\" }",
            "sink a: endpoints.x.url: \"ftp://h\" must begin with http:// or https:// and a host",
        ),
        (
            "endpoints.x = { kind = \"http\", url = \"http://u:p@h\" }",
            "sink a: endpoints.x.url: holds a user or password; use headers, bearer_token_file or bearer_token_env",
        ),
        (
            "endpoints.x = { kind = \"serve\", listen = \"[::1]:1\", path = \"x\" }",
            "sink a: endpoints.x.path: \"x\" must begin with `/`, like `/metrics`",
        ),
        (
            "grant.http = [{ to = \"a\", client_cert_file = \"c\" }]",
            "sink a: grant.http[0]: client_cert_file and client_key_file belong together; set both",
        ),
        (
            "grant.http = [\"b\", { to = \"http://a\", ca_file = \"c\" }]",
            "sink a: grant.http[1]: http://a:80 goes without TLS, and certificates are set for it; write https",
        ),
        (
            "grant.http = [{ to = \"a\", headers = { \"a b\" = \"c\" } }]",
            "sink a: grant.http[0].headers: \"a b\" is no HTTP header field with a legal value",
        ),
        (
            "grant.read_timeout = \"0s\"",
            "sink a: grant.read_timeout: 0 lets no request through",
        ),
        (
            "digest = \"sha256:ABC\"",
            "sink a: digest: \"sha256:ABC\" is no digest; write \"sha256:\" and what `sha256sum` prints for the component",
        ),
        (
            "limits.memory = 1",
            "sink a: limits.memory: 1B is too little; 1MiB is the least",
        ),
        (
            "limits.cpu = \"0s\"",
            "sink a: limits.cpu: 0 lets no plugin run; the default is 1s",
        ),
    ] {
        let sinks = parse(&format!("{sink}{line}\n")).expect(line);
        let errors: Vec<String> = check(&sinks).iter().map(ToString::to_string).collect();
        assert_eq!(errors, [expected], "{line}");
    }
}

#[test]
fn two_sinks_cannot_share_a_name_or_a_listener() {
    let sink = "[[sinks]]\nname = \"a\"\nplugin = \"p\"\nendpoints.x = { kind = \"serve\", listen = \"127.0.0.1:9\" }\n";
    let errors: Vec<String> = check(&parse(&sink.repeat(2)).expect("parses"))
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        errors,
        [
            "sink a: name: another sink has the same name; names must differ",
            "sink a: endpoints.x.listen: sink a listens on 127.0.0.1:9 already; choose another port",
        ]
    );
}

#[test]
fn each_mistake_in_the_plugins_table_names_field_and_remedy() {
    let sinks = parse(
        "[[sinks]]\nname = \"a\"\nplugin = \"p\"\nfilters = [\"f\", \"g\"]\n\
         [[sinks]]\nname = \"b\"\nplugin = \"p\"\nenabled = false\n",
    )
    .expect("parses");
    for (line, expected) in [
        (
            "cache_dir = \"cache\"",
            "[plugins]: cache_dir: \"cache\" is relative; write a path that begins with `/`, or \"\" to keep nothing",
        ),
        (
            "compile_time = \"0s\"",
            "[plugins]: compile_time: 0 lets no plugin compile; the default is 1m",
        ),
        (
            "compile_memory = \"1MiB\"",
            "[plugins]: compile_memory: 1MiB is too little; 64MiB is the least",
        ),
        (
            "ceiling.plugin.x.plugin.y.http = []",
            "[plugins]: ceiling.plugin.x.plugin: a plugin's ceiling has no ceilings below it; write them beside it",
        ),
        (
            "max = 2",
            "[plugins]: max: the sinks have 3 plugins and filters, and 2 may run; raise max, or disable sinks",
        ),
    ] {
        let plugins: PluginsConfig = toml::from_str(line).expect(line);
        let errors: Vec<String> = plugins
            .check(&sinks)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(errors, [expected], "{line}");
    }
    let nothing_kept: PluginsConfig =
        toml::from_str("cache_dir = \"\"\nstate_dir = \"\"\nmax = 3").expect("parses");
    assert_eq!(nothing_kept.check(&sinks), []);
    assert_eq!(
        (nothing_kept.cache_dir(), nothing_kept.state_dir()),
        (None, None)
    );
    assert!(toml::from_str::<PluginsConfig>("cash_dir = \"\"").is_err());
}

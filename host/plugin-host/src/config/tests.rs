use std::path::PathBuf;

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
endpoints.basic = { kind = "http", url = "https://h", basic = { user = "owl", password = { file = "/s/password" } }, headers = { x = "y", x-key = { env = "KEY" } }, compression = "zstd", ca_file = "/t/ca", client_cert_file = "/t/cert", client_key_file = "/t/key" }
endpoints.page = { kind = "serve", listen = "127.0.0.1:9466", path = "/metrics", cert_file = "/t/s-cert", key_file = "/t/s-key", connections = 9, idle = "5s" }
endpoints.file = { kind = "file", path = "/var/log/owlk8s.log", permissions = "0600", rotate_size = "1MiB", rotate_after = "1day", keep = 3, gzip = true }
endpoints.udp = { kind = "udp", address = "statsd:8125", datagram = 512 }
endpoints.tcp = { kind = "tcp", address = "[::1]:2003", tls = true, ca_file = "/t/ca" }
endpoints.unix = { kind = "unix", path = "/run/dsd.socket", socket = "datagram" }
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
    assert_eq!(sink.wanted_env().collect::<Vec<_>>(), ["KEY", "TOKEN"]);
    let names = |paths: &std::collections::BTreeSet<PathBuf>| {
        let names = paths.iter().map(|path| path.display().to_string());
        names.collect::<Vec<_>>().join(" ")
    };
    let paths = sink.paths();
    assert_eq!(
        names(&paths.read),
        "/s/password /t/ca /t/cert /t/key /t/s-cert /t/s-key"
    );
    assert_eq!(names(&paths.write), "/run/dsd.socket /var/log/owlk8s.log");
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
        "endpoints.out = { kind = \"file\", path = \"x\", rotate = 1 }",
        "endpoints.out = { kind = \"file\", path = \"x\", permissions = \"rw\" }",
        "endpoints.out = { kind = \"udp\", address = \"h:1\", tls = true }",
        "endpoints.out = { kind = \"http\", url = \"http://h\", headers = { a = { vault = \"x\" } } }",
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
            "sink a: endpoints.x.url: holds a user or password; use basic, headers, bearer_token_file or bearer_token_env, which take secrets from a file or the environment",
        ),
        (
            "endpoints.x = { kind = \"http\", url = \"http://u:p w@h/\" }",
            "sink a: endpoints.x.url: holds a user or password; use basic, headers, bearer_token_file or bearer_token_env, which take secrets from a file or the environment",
        ),
        (
            "endpoints.x = { kind = \"http\", url = \"http://h/write?db=x&u=me&p=hunter2\" }",
            "sink a: endpoints.x.url: holds a secret in its parameter \"p\"; use basic, headers, bearer_token_file or bearer_token_env, which take secrets from a file or the environment",
        ),
        (
            "endpoints.x = { kind = \"http\", url = \"http://h\", headers = { X-Api-Key = \"hunter2\" } }",
            "sink a: endpoints.x.headers: \"X-Api-Key\" holds a secret in the configuration itself; write { file = \"...\" } or { env = \"...\" }",
        ),
        (
            "endpoints.x = { kind = \"http\", url = \"http://h\", headers = { x = \"a\\r\\nhost: b\" } }",
            "sink a: endpoints.x.headers: \"x\" is no HTTP header field with a legal value",
        ),
        (
            "endpoints.x = { kind = \"http\", url = \"http://h\", headers = { Host = \"b\" } }",
            "sink a: endpoints.x.headers: \"Host\" is the connection's own and cannot be set",
        ),
        (
            "endpoints.x = { kind = \"http\", url = \"http://h\", bearer_token_env = \"T\", basic = { user = \"u\", password = { env = \"P\" } } }",
            "sink a: endpoints.x: has both bearer_token_env and basic; keep one",
        ),
        (
            "endpoints.x = { kind = \"http\", url = \"https://h\", client_key_file = \"k\" }",
            "sink a: endpoints.x: has client_key_file and no client_cert_file; give both or none",
        ),
        (
            "endpoints.x = { kind = \"serve\", listen = \"[::1]:1\", cert_file = \"c\" }",
            "sink a: endpoints.x: has cert_file and no key_file; give both or none",
        ),
        (
            "endpoints.x = { kind = \"udp\", address = \"statsd\" }",
            "sink a: endpoints.x.address: \"statsd\" must be HOST:PORT, such as \"127.0.0.1:8125\"",
        ),
        (
            "endpoints.x = { kind = \"udp\", address = \"h:1\", datagram = 9 }",
            "sink a: endpoints.x.datagram: must be 64 to 65507 bytes, and is 9",
        ),
        (
            "endpoints.x = { kind = \"tcp\", address = \"h:1\", ca_file = \"c\" }",
            "sink a: endpoints.x.ca_file: has no use without TLS; add tls = true",
        ),
        (
            "endpoints.x = { kind = \"file\", path = \"/x\", rotate_after = \"0s\" }",
            "sink a: endpoints.x.rotate_after: 0 would rotate before each payload; leave it out for files of any age",
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

#[test]
fn two_endpoints_cannot_share_a_file_but_a_device() {
    let sink = |name: &str, path: &str| {
        format!(
            "[[sinks]]\nname = \"{name}\"\nplugin = \"p\"\nendpoints.x = {{ kind = \"file\", path = \"{path}\" }}\n"
        )
    };
    let errors = |path: &str| {
        let text = sink("a", path) + &sink("b", path);
        let errors = check(&parse(&text).expect("parses"));
        errors.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        errors("/var/log/x"),
        [
            "sink b: endpoints.x.path: sink a writes /var/log/x already: each would rotate it away from the other; choose another file"
        ]
    );
    assert_eq!(errors("/dev/null"), [""; 0]);
}

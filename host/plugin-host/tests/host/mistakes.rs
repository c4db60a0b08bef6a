use owlk8s_plugin_host::{PluginHost, SinkState, StartError};

use crate::support::{component, options, start};

const GOOD: &str = r#"
[[sinks]]
name = "good"
plugin = "{good-echo}"
endpoints.out = { kind = "file", path = "{dir}/good" }
"#;

/// The sink fails with this reason, and the good one beside it runs.
async fn fails(fields: &str, reason: &str) {
    let host = start(&format!("{GOOD}[[sinks]]\nname = \"bad\"\n{fields}\n"));
    std::fs::write(host.dir.path().join("unused"), "").unwrap();
    let status = host
        .until("bad", |status| status.state == SinkState::Failed)
        .await;
    let reason = reason.replace("{dir}", &host.dir.path().display().to_string());
    assert!(
        status.reason.contains(&reason),
        "\n   got: {}\nwanted: {reason}",
        status.reason
    );
    host.offer(1, 3);
    host.delivered("good", 1).await;
    assert_eq!(host.read("good"), "window=1 targets=1 requests=3\n");
}

const OUT: &str = "endpoints.out = { kind = \"stdout\" }";

#[tokio::test]
async fn plugin_that_is_nowhere() {
    let text = "plugin no-such-plugin is not among the plugins in {dir}, ";
    fails(&format!("plugin = \"no-such-plugin\"\n{OUT}"), text).await;
    let text = "cannot read plugin ./no-such-plugin.wasm: No such file or directory (os error 2) (give a path";
    fails(&format!("plugin = \"./no-such-plugin.wasm\"\n{OUT}"), text).await;
}

#[tokio::test]
async fn file_that_is_no_component() {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes, what) in [
        (
            "core",
            &b"\0asm\x01\0\0\0"[..],
            "it is a core module (build it for wasm32-wasip2, or wrap it by",
        ),
        (
            "text",
            b"(component)",
            "it is WebAssembly text (convert it by `wasm-tools parse`)",
        ),
        (
            "elf",
            b"\x7fELF",
            "it does not begin with the WebAssembly magic number",
        ),
        ("empty", b"", "the file is empty"),
    ] {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let text = format!(
            "plugin {} is no WebAssembly component: {what}",
            path.display()
        );
        fails(
            &format!("plugin = {:?}\n{OUT}", path.display().to_string()),
            &text,
        )
        .await;
    }
}

#[tokio::test]
async fn component_that_is_cut_short() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cut.wasm");
    let whole = std::fs::read(component("good-echo")).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let text = format!("plugin {} does not compile: ", path.display());
    fails(
        &format!("plugin = {:?}\n{OUT}", path.display().to_string()),
        &text,
    )
    .await;
}

#[tokio::test]
async fn component_of_another_world() {
    let text = "wrong-world.wasm is a component of another world: it exports `greet`, and a plugin exports `validate` and \
                one of `filter`, `format`, `respond`, `export` (owlk8s:plugin@0.1.0)";
    fails(&format!("plugin = \"{{wrong-world}}\"\n{OUT}"), text).await;
}

#[tokio::test]
async fn plugins_in_each_others_place() {
    let text = "drop-idle.wasm is a component of another world: it is a filter, and a sink needs a formatter, responder or \
                exporter (name it under `filters`)";
    fails(&format!("plugin = \"{{drop-idle}}\"\n{OUT}"), text).await;
    let text =
        "good-echo.wasm is a component of another world: it is a formatter, and a filter is needed";
    fails(
        &format!("plugin = \"{{good-echo}}\"\nfilters = [\"{{good-echo}}\"]\n{OUT}"),
        text,
    )
    .await;
}

#[tokio::test]
async fn config_that_the_plugin_refuses() {
    let text = "plugin rejects-config refuses its config: config key `word` must be \"please\"";
    fails(&format!("plugin = \"{{rejects-config}}\"\n{OUT}"), text).await;
    let host = start(
        "[[sinks]]\nname = \"x\"\nplugin = \"{rejects-config}\"\nconfig = { word = \"please\" }\nendpoints.out = { kind = \"stdout\" }",
    );
    host.until("x", |status| status.state == SinkState::Active)
        .await;
}

#[tokio::test]
async fn endpoints_that_do_not_fit() {
    let serve = "{ kind = \"serve\", listen = \"127.0.0.1:0\" }";
    let text = "endpoints.page: kind serve does not fit: plugin good-echo is a formatter and delivers to endpoints of kind";
    fails(
        &format!("plugin = \"{{good-echo}}\"\nendpoints.page = {serve}"),
        text,
    )
    .await;
    let text = "endpoints.out: kind stdout does not fit: plugin prometheus is a responder and is answered through";
    fails(&format!("plugin = \"{{prometheus}}\"\n{OUT}"), text).await;
    let text = "endpoints: there is none: plugin good-echo is a formatter";
    fails("plugin = \"{good-echo}\"", text).await;
    let text = "endpoints.out: cannot open /nowhere/x for writing: No such file or directory";
    fails(
        "plugin = \"{good-echo}\"\nendpoints.out = { kind = \"file\", path = \"/nowhere/x\" }",
        text,
    )
    .await;
    let text =
        "endpoints.out: bearer_token_env: the agent has no environment variable NO_SUCH_TOKEN";
    let http =
        "{ kind = \"http\", url = \"http://127.0.0.1:1\", bearer_token_env = \"NO_SUCH_TOKEN\" }";
    fails(
        &format!("plugin = \"{{good-echo}}\"\nendpoints.out = {http}"),
        text,
    )
    .await;
}

#[tokio::test]
async fn taken_port_is_told_and_taken_up_when_it_is_free() {
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap();
    let host = start(&format!(
        "{GOOD}[[sinks]]\nname = \"page\"\nplugin = \"{{prometheus}}\"\nendpoints.http = {{ kind = \"serve\", listen = \"{address}\" }}"
    ));
    let status = host
        .until("page", |status| status.state == SinkState::Failed)
        .await;
    let text = format!("endpoints.http: cannot listen on {address}: Address already in use");
    assert!(status.reason.starts_with(&text), "{}", status.reason);
    host.offer(1, 1);
    host.delivered("good", 1).await;
    drop(held);
    let status = host
        .until("page", |status| status.state == SinkState::Active)
        .await;
    assert_eq!(status.listening, [address.to_string()]);
}

#[tokio::test]
async fn unknown_endpoint_in_a_payload_is_the_plugins_fault() {
    let host = start(
        "[[sinks]]\nname = \"x\"\nplugin = \"{good-echo}\"\nendpoints.output = { kind = \"stdout\" }",
    );
    host.offer(1, 1);
    let status = host
        .until("x", |status| status.counters.plugin_faults == 1)
        .await;
    let text = "plugin good-echo sends to endpoint \"out\", and the sink has output (name it under `endpoints`)";
    assert_eq!(status.last_error, text);
}

#[tokio::test]
async fn sinks_that_cannot_be_meant_do_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let error = PluginHost::start(options(&format!("{GOOD}{GOOD}"), &dir))
        .err()
        .unwrap();
    assert!(matches!(&error, StartError::Config(errors) if errors.len() == 2));
    assert_eq!(
        error.to_string(),
        format!(
            "sink good: name: another sink has the same name; names must differ\n\
             sink good: endpoints.out.path: sink good writes {}/good already: each would rotate it away from the \
             other; choose another file",
            dir.path().display()
        )
    );
}

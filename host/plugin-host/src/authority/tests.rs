use super::*;

/// A sink, as its table in the file, and a ceiling, as `[plugins.ceiling]` there.
fn sink(fields: &str) -> SinkConfig {
    toml::from_str(&format!(
        "name = \"s\"\nplugin = \"/p/acme.wasm\"\n{fields}"
    ))
    .unwrap()
}

fn ceiling(fields: &str) -> Ceiling {
    toml::from_str(fields).unwrap()
}

fn of(
    kind: PluginKind,
    asks: Option<&str>,
    sink: &SinkConfig,
    ceiling: &Ceiling,
) -> Result<Decision, String> {
    let manifest = asks.map(|asks| {
        Manifest::parse(format!(r#"{{"manifest": 1, "name": "acme", "asks": {asks}}}"#).as_bytes())
            .unwrap()
    });
    let asker = Asker {
        plugin: "acme",
        kind,
        manifest: manifest.as_ref(),
        config: &sink.config,
    };
    decide(&asker, sink, ceiling)
}

const A: &str = r#"{"http": ["a.example.com"]}"#;

/// Manifest ∩ grant ∩ ceiling, for an exporter: what it may do, or why the sink does not start.
#[test]
fn authority_is_where_manifest_grant_and_ceiling_meet() {
    for (asks, grant, above, expected) in [
        // Nothing asked, nothing got.
        (
            None,
            "",
            "",
            Ok("http: none; addresses beside public ones: none; columns: none"),
        ),
        (
            None,
            "grant.http = [\"a.example.com\"]",
            "",
            Ok("http: none; addresses beside public ones: none; columns: none"),
        ),
        (
            Some("{}"),
            "grant.http = [\"a.example.com\"]\ncolumns = [\"label:team\"]",
            "",
            Ok("http: none; addresses beside public ones: none; columns: none"),
        ),
        // Asked and granted.
        (
            Some(A),
            "grant.http = [\"a.example.com\"]",
            "",
            Ok(
                "http: https://a.example.com:443; addresses beside public ones: none; columns: none",
            ),
        ),
        (
            Some(A),
            "grant.http = [\"*\", \"b.example.com\"]",
            "",
            Ok(
                "http: https://a.example.com:443; addresses beside public ones: none; columns: none",
            ),
        ),
        (
            Some(r#"{"http": ["*"]}"#),
            "grant = { http = [\"a\", \"b\"], private = true }",
            "",
            Ok(
                "http: https://a:443, https://b:443; addresses beside public ones: private; columns: none",
            ),
        ),
        (
            Some(r#"{"columns": ["label:*"]}"#),
            "columns = [\"label:team\"]",
            "",
            Ok("http: none; addresses beside public ones: none; columns: label:team"),
        ),
        (
            Some(r#"{"http": ["config:url"]}"#),
            "config.url = \"http://c:4318/v1\"\ngrant.http = [\"http://c:*\"]",
            "",
            Ok("http: http://c:4318; addresses beside public ones: none; columns: none"),
        ),
        (
            Some(r#"{"http": ["config:url"]}"#),
            "",
            "",
            Ok("http: none; addresses beside public ones: none; columns: none"),
        ),
        // The ceiling narrows.
        (
            Some(r#"{"http": ["*"]}"#),
            "grant.http = [\"*.example.com\", \"x.org\"]",
            "http = [\"a.example.com\"]",
            Ok(
                "http: https://a.example.com:443; addresses beside public ones: none; columns: none",
            ),
        ),
        (
            Some(r#"{"http": ["*"]}"#),
            "grant.http = [\"*.example.com\"]",
            "plugin.acme.http = [\"b.example.com\"]\nplugin.other.http = []",
            Ok(
                "http: https://b.example.com:443; addresses beside public ones: none; columns: none",
            ),
        ),
        // Not granted.
        (
            Some(A),
            "",
            "",
            Err(
                "plugin acme asks for HTTP to https://a.example.com:443, and the sink does not grant it: add grant.http = [\"https://a.example.com:443\"]",
            ),
        ),
        (
            Some(A),
            "grant.http = [\"http://a.example.com\"]",
            "",
            Err(
                "plugin acme asks for HTTP to https://a.example.com:443, and the sink does not grant it: add grant.http = [\"https://a.example.com:443\"]",
            ),
        ),
        (
            Some(r#"{"http": ["config:url"]}"#),
            "config.url = \"http://c:4318/v1\"",
            "",
            Err(
                "plugin acme asks for HTTP to http://c:4318 (its config key `url`), and the sink does not grant it: add grant.http = [\"http://c:4318\"]",
            ),
        ),
        (
            Some(r#"{"http": ["config:url"]}"#),
            "config.url = \"c:4318\"",
            "",
            Err(
                "plugin acme sends where its config says, and config key `url`: must begin with http:// or https:// and a host",
            ),
        ),
        (
            Some(r#"{"http": ["*"]}"#),
            "",
            "",
            Err(
                "plugin acme asks for HTTP to https://*:443, and the sink does not grant it: add grant.http = [\"the origin that you mean\"]",
            ),
        ),
        (
            Some(r#"{"columns": ["label:team"]}"#),
            "columns = [\"label:app\"]",
            "",
            Err(
                "plugin acme asks for column label:team, and the sink does not grant it: add columns = [\"label:team\"]",
            ),
        ),
        (
            Some(r#"{"memory": "128MiB"}"#),
            "",
            "",
            Err(
                "plugin acme asks for 128MiB of memory, and limits.memory of the sink is 64MiB: set limits.memory = \"128MiB\"",
            ),
        ),
        (
            Some(r#"{"state": "1MiB"}"#),
            "",
            "",
            Err(
                "plugin acme asks for 1MiB of state, and limits.state of the sink is 64KiB: set limits.state = \"1MiB\"",
            ),
        ),
        // Granted, and over the ceiling.
        (
            Some(A),
            "grant.http = [\"a.example.com\"]",
            "http = [\"b.example.com\"]",
            Err(
                "plugin acme asks for HTTP to https://a.example.com:443, the sink grants it, and [plugins.ceiling] does not allow it: add \"https://a.example.com:443\" to `http` there",
            ),
        ),
        (
            Some(A),
            "grant.http = [\"a.example.com\"]",
            "plugin.acme.http = []",
            Err(
                "plugin acme asks for HTTP to https://a.example.com:443, the sink grants it, and [plugins.ceiling.plugin.acme] does not allow it: add \"https://a.example.com:443\" to `http` there",
            ),
        ),
        (
            Some(A),
            "grant = { http = [\"a.example.com\"], private = true }",
            "private = false",
            Err(
                "grant.private is true, and [plugins.ceiling] has private = false: change one of them",
            ),
        ),
        (
            None,
            "columns = [\"label:team\"]",
            "columns = [\"label:app*\"]",
            Err(
                "columns: [plugins.ceiling] does not allow \"label:team\": add it to `columns` there, or take it out",
            ),
        ),
        (
            None,
            "select.namespaces = [\"a\", \"b\"]",
            "plugin.acme.namespaces = [\"a\"]",
            Err(
                "select.namespaces: [plugins.ceiling.plugin.acme] does not allow \"b\": add it to `namespaces` there, or take it out",
            ),
        ),
        (
            None,
            "limits.memory = \"128MiB\"",
            "memory = \"64MiB\"",
            Err(
                "limits.memory is 128MiB, and [plugins.ceiling] allows 64MiB: lower it, or raise `memory` there",
            ),
        ),
    ] {
        let decided = of(PluginKind::Exporter, asks, &sink(grant), &ceiling(above));
        assert_eq!(
            decided.map(|decision| decision.authority.text()),
            expected.map(str::to_owned).map_err(str::to_owned),
            "asks {asks:?}, grant {grant:?}, ceiling {above:?}"
        );
    }
}

#[test]
fn only_exporters_have_a_network() {
    let granted = sink("grant = { http = [\"a.example.com\"], private = true }");
    for kind in [
        PluginKind::Formatter,
        PluginKind::Filter,
        PluginKind::Responder,
    ] {
        let error = of(kind, Some(A), &granted, &Ceiling::default()).unwrap_err();
        assert!(
            error.starts_with("plugin acme asks for HTTP to https://a.example.com:443, and a ")
                && error.contains(kind.name()),
            "{error}"
        );
        let nothing = of(kind, None, &granted, &Ceiling::default()).unwrap();
        assert_eq!(nothing.authority, Authority::default());
    }
}

#[test]
fn what_has_no_effect_is_told() {
    let wide =
        sink("columns = [\"label:team\"]\ngrant.http = [\"a.example.com\", \"b.example.com\"]");
    let notices = |asks| {
        of(PluginKind::Exporter, asks, &wide, &Ceiling::default())
            .unwrap()
            .notices
    };
    assert_eq!(
        notices(Some(A)),
        [
            "grant.http[1]: https://b.example.com:443 has no effect: plugin acme does not ask for it in its manifest",
            "columns: \"label:team\" has no effect: plugin acme does not ask for it in its manifest",
        ]
    );
    let without = notices(None);
    assert_eq!(without.len(), 3);
    assert!(
        without
            .iter()
            .all(|notice| notice.contains("has no manifest, so it asks for nothing")),
        "{without:?}"
    );
}

#[test]
fn view_is_the_selection_within_every_ceiling_with_the_labels_that_all_allow() {
    let chain = sink(
        "filters = [\"drop-idle\"]\nselect.namespaces = [\"a\"]\ncolumns = [\"label:team\", \"label:secret\"]",
    );
    let above = ceiling(
        "columns = [\"label:*\"]\nnamespaces = [\"*\"]\nplugin.drop-idle.namespaces = [\"a\"]\n\
         plugin.acme.columns = [\"label:team\"]\nplugin.other.namespaces = []",
    );
    let view = view(&chain, &above);
    assert_eq!(view.select, chain.select);
    assert_eq!(view.within, [["*"], ["a"]]);
    assert_eq!(view.labels.iter().collect::<Vec<_>>(), ["team"]);
}

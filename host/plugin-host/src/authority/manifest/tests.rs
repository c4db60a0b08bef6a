use super::*;

/// An empty component, and one with a module that carries `inner` each.
fn component(inner: &[&str]) -> Vec<u8> {
    let mut component = wasm_encoder::Component::new();
    for json in inner {
        let mut module = wasm_encoder::Module::new();
        module.section(&CustomSection {
            name: SECTION.into(),
            data: json.as_bytes().into(),
        });
        component.section(&wasm_encoder::ModuleSection(&module));
    }
    component.finish()
}

fn json(name: &str) -> String {
    format!(r#"{{"manifest": 1, "name": "{name}"}}"#)
}

fn name(component: &[u8]) -> Option<String> {
    Manifest::of_component(component)
        .unwrap()
        .map(|manifest| manifest.name)
}

#[test]
fn manifest_is_found_in_a_module_and_what_is_set_behind_counts() {
    assert_eq!(name(&component(&[])), None);
    let carried = component(&[&json("carried"), &json("carried")]);
    assert_eq!(name(&carried).as_deref(), Some("carried"));
    let mut set = carried;
    for wanted in ["first", "second"] {
        set = Manifest::parse(json(wanted).as_bytes())
            .unwrap()
            .set(&set)
            .unwrap();
        assert_eq!(name(&set).as_deref(), Some(wanted));
    }
}

#[test]
fn modules_that_disagree_are_refused() {
    let error = Manifest::of_component(&component(&[&json("a"), &json("b")])).unwrap_err();
    assert!(matches!(error, ManifestError::Several), "{error}");
}

#[test]
fn what_is_cut_short_is_an_error_at_every_length() {
    let whole = Manifest::parse(json("x").as_bytes())
        .unwrap()
        .set(&component(&[&json("y")]))
        .unwrap();
    for length in 0..whole.len() {
        // A cut between two sections leaves a component; it must not be another plugin's manifest.
        if let Ok(Some(manifest)) = Manifest::of_component(&whole[..length]) {
            assert_eq!(manifest.name, "y", "cut at {length}");
        }
    }
}

#[test]
fn each_mistake_is_told() {
    let long = format!(r#"{{"manifest": 1, "name": "{}"}}"#, "x".repeat(300));
    let many = format!(
        r#"{{"manifest": 1, "name": "x", "asks": {{"http": [{}]}}}}"#,
        vec!["\"a\""; 33].join(",")
    );
    for (json, why) in [
        ("{", "EOF while parsing"),
        (r#"{"name": "x"}"#, "missing field `manifest`"),
        (r#"{"manifest": 1}"#, "missing field `name`"),
        (
            r#"{"manifest": 2, "name": "x"}"#,
            "`manifest` is 2, and this version of owlk8s reads 1",
        ),
        (r#"{"manifest": 1, "name": ""}"#, "`name` is empty"),
        (
            r#"{"manifest": 1, "name": "a\nb"}"#,
            "`name` is longer than 200 bytes or has control characters",
        ),
        (long.as_str(), "`name` is longer than 200 bytes"),
        (
            r#"{"manifest": 1, "name": "x", "ask": {}}"#,
            "unknown field `ask`",
        ),
        (
            r#"{"manifest": 1, "name": "x", "asks": {"http": ["ftp://x"]}}"#,
            "the scheme \"ftp\" is not http or https",
        ),
        (
            r#"{"manifest": 1, "name": "x", "asks": {"http": ["config:"]}}"#,
            "names no key",
        ),
        (
            r#"{"manifest": 1, "name": "x", "asks": {"columns": ["team"]}}"#,
            "\"team\" in `asks.columns` is no column",
        ),
        (
            many.as_str(),
            "`asks.http` has 33 entries, and 32 are the most",
        ),
    ] {
        let error = Manifest::parse(json.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(why), "{json}: {error}");
    }
    let error = Manifest::parse(&vec![b' '; SECTION_MAX + 1]).unwrap_err();
    assert!(matches!(error, ManifestError::TooLarge(_)));
}

#[test]
fn ask_from_the_config_is_the_origin_of_its_url() {
    let config: PluginConfig = serde_json::from_str(
        r#"{"url": "http://collector:4318/v1/metrics", "backend": {"url": "https://x/"}, "n": 1, "no": "x"}"#,
    )
    .unwrap();
    let resolve = |key: &str| {
        HttpAsk::try_from(format!("config:{key}"))
            .unwrap()
            .resolve(&config)
            .map(|origin| origin.map(|origin| origin.to_string()))
    };
    assert_eq!(resolve("url"), Ok(Some("http://collector:4318".to_owned())));
    assert_eq!(resolve("backend.url"), Ok(Some("https://x:443".to_owned())));
    assert_eq!(resolve("absent"), Ok(None));
    assert_eq!(resolve("backend.absent"), Ok(None));
    assert_eq!(
        resolve("n"),
        Err("config key `n`: a URL is needed, as a string".to_owned())
    );
    assert_eq!(
        resolve("no"),
        Err("config key `no`: must begin with http:// or https:// and a host".to_owned())
    );
}

use super::*;

const NO_ENV: Env<'static> = &|_| None;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse("owlk8s.toml", text, NO_ENV)
}

fn refused(text: &str) -> String {
    parse(text).expect_err("must be refused").to_string()
}

#[test]
fn an_empty_file_is_the_defaults() {
    let config = parse("").unwrap();
    assert_eq!(config.interval, Duration::from_secs(10));
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:9465");
    assert_eq!(
        (config.probe.targets, config.probe.connections),
        (512, 65_536)
    );
    assert!(!config.probe.include_probes && !config.probe.client);
    assert_eq!(config.node, host_name());
}

#[test]
fn the_node_is_the_file_s_then_node_name_then_the_seed_s_nodename() {
    let both = |name: &str| match name {
        "NODE_NAME" => Some("from-env".to_owned()),
        "nodename" => Some("from-the-seed".to_owned()),
        _ => None,
    };
    let seed = |name: &str| (name == "nodename").then(|| "from-the-seed".to_owned());
    let node = |text: &str, env: Env<'_>| Config::parse("f", text, env).unwrap().node;
    assert_eq!(node("node = \"typed\"", &both), "typed");
    assert_eq!(node("", &both), "from-env");
    assert_eq!(node("", &seed), "from-the-seed");
}

#[test]
fn debug_is_the_seed_s_word_for_it() {
    assert!(debug(&|name| (name == "debug").then(|| "true".to_owned())));
    assert!(!debug(&|name| (name == "debug").then(|| "1".to_owned())));
    assert!(!debug(NO_ENV));
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_what_was_meant() {
    assert_eq!(
        refused("node = \"a\"\nintervall = \"1s\"\n"),
        "owlk8s.toml:2: unknown key \"intervall\", did you mean \"interval\"? \
         (known here: node, interval, log, plugin_dirs, admin, probe, discovery, plugins, sinks)"
    );
    assert_eq!(
        refused("\n[admin]\nport = 80\n"),
        "owlk8s.toml:3: unknown key \"port\" (known here: listen)"
    );
}

#[test]
fn a_bad_duration_says_how_to_write_one() {
    let wants = "a duration from \"100ms\" to \"1h\", such as \"500ms\", \"10s\" or \"1m30s\"";
    for typed in ["10 parsecs", "10", "", "1ms", "2h", "-1s"] {
        assert_eq!(
            refused(&format!("# one\ninterval = \"{typed}\"")),
            format!("owlk8s.toml:2: interval = \"{typed}\" is not {wants}")
        );
    }
}

#[test]
fn a_bad_address_says_how_to_write_one() {
    assert_eq!(
        refused("[admin]\nlisten = \"localhost\""),
        "owlk8s.toml:2: listen = \"localhost\" is not an address with a port, such as \"127.0.0.1:9465\" or \"[::1]:9465\""
    );
}

#[test]
fn a_size_out_of_bounds_says_the_bounds() {
    assert_eq!(
        refused("[probe]\nconnections = 10"),
        "owlk8s.toml:2: connections = 10 is not a number from 1024 to 1048576"
    );
    assert_eq!(
        refused("[probe]\ntargets = -1"),
        "owlk8s.toml:2: targets = -1 is not a number from 1 to 16384"
    );
}

#[test]
fn two_sinks_of_one_name_are_refused_at_the_second() {
    let text = "\
[[sinks]]
name = \"log\"
plugin = \"simple-log\"
endpoints.out = { kind = \"stdout\" }

[[sinks]]
name = \"log\"
plugin = \"json-log\"
endpoints.out = { kind = \"stdout\" }
";
    assert_eq!(
        refused(text),
        "owlk8s.toml:6: sink \"log\" is there already, in line 1: give each [[sinks]] a name of its own"
    );
}

#[test]
fn a_value_of_another_type_is_shown_with_its_line() {
    let refused = refused("[admin]\nlisten = 9465");
    assert!(
        refused.starts_with("owlk8s.toml:2: invalid type: integer `9465`"),
        "{refused}"
    );
    assert!(refused.ends_with("in `listen = 9465`"), "{refused}");
}

#[test]
fn text_that_is_no_toml_is_shown_with_its_line() {
    let refused = refused("node = \"a\"\ninterval : 10\n");
    assert!(refused.starts_with("owlk8s.toml:2: "), "{refused}");
    assert_eq!(refused.lines().count(), 1, "{refused}");
}

#[test]
fn a_sink_without_a_plugin_is_told_which_key_is_missing() {
    let refused = refused("[[sinks]]\nname = \"log\"\n");
    assert!(
        refused.starts_with("owlk8s.toml:1: key \"plugin\" is missing"),
        "{refused}"
    );
}

#[test]
fn what_config_prints_is_a_configuration_that_means_the_same() {
    let text = "\
interval = \"1500ms\"
[discovery.static]
targets = [{ pod = \"cart-0\", namespace = \"shop\", workload = \"Deployment/cart\", services = [\"cart\"],
             ips = [\"10.77.0.11\", \"fd77::b\"], interface = \"vhp1\" }]
[[sinks]]
name = \"log\"
plugin = \"simple-log\"
mode = \"latest\"
select = { namespaces = [\"shop\"] }
endpoints.out = { kind = \"stdout\" }
config = { units = \"ms\" }
";
    let printed = toml::to_string_pretty(&parse(text).unwrap()).unwrap();
    let again = toml::to_string_pretty(&parse(&printed).expect(&printed)).unwrap();
    assert_eq!(printed, again);
    assert!(printed.contains("interval = \"1s 500ms\""), "{printed}");
}

#[test]
fn the_printed_defaults_can_be_added_to() {
    let printed = toml::to_string_pretty(&parse("").unwrap()).unwrap();
    let more = "[[sinks]]\nname = \"log\"\nplugin = \"simple-log\"\n[discovery.host]\n";
    parse(&format!("{printed}\n{more}")).unwrap_or_else(|error| panic!("{error}\n{printed}"));
}

/// Fenced blocks of TOML, in order.
fn samples(markdown: &str) -> Vec<String> {
    let mut samples: Vec<String> = Vec::new();
    let mut inside = false;
    for line in markdown.lines() {
        match (inside, line.trim()) {
            (false, "```toml") => {
                samples.push(String::new());
                inside = true;
            }
            (true, "```") => inside = false,
            (true, _) => *samples.last_mut().unwrap() += &format!("{line}\n"),
            (false, _) => {}
        }
    }
    samples
}

#[test]
fn every_sample_of_the_readme_is_a_configuration() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let samples = samples(&std::fs::read_to_string(readme).unwrap());
    assert!(!samples.is_empty(), "the README shows no configuration");
    let file = tempfile::NamedTempFile::new().unwrap();
    for sample in samples {
        // A sample of one table is a configuration with something to watch beside it.
        let watches = sample.contains("[discovery");
        let text = if watches {
            sample
        } else {
            sample + "\n[discovery.host]\n"
        };
        std::fs::write(file.path(), &text).unwrap();
        Config::load(file.path(), NO_ENV)
            .map_err(|error| format!("{error}\n{text}"))
            .unwrap();
    }
}

#[test]
fn the_way_to_the_api_server_is_the_environment_s() {
    let around = |variables: &[(&str, &str)]| {
        let env = |name: &str| {
            let found = variables.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Config::parse("f", "", &env).unwrap().around
    };
    let pod = |host| {
        let port = ("KUBERNETES_SERVICE_PORT", "443");
        around(&[("KUBERNETES_SERVICE_HOST", host), port]).kubernetes_service
    };
    assert_eq!(pod("10.96.0.1").as_deref(), Some("10.96.0.1:443"));
    assert_eq!(pod("fd00::1").as_deref(), Some("[fd00::1]:443"));
    assert_eq!(around(&[]).kubernetes_service, None);
    let home = tempfile::tempdir().unwrap();
    let home_path = home.path().to_str().unwrap();
    let kubeconfig = |variables: &[(&str, &str)]| around(variables).kubeconfig;
    assert_eq!(kubeconfig(&[("HOME", home_path)]), None);
    std::fs::create_dir(home.path().join(".kube")).unwrap();
    std::fs::write(home.path().join(".kube/config"), "").unwrap();
    assert_eq!(
        kubeconfig(&[("HOME", home_path)]),
        Some(home.path().join(".kube/config"))
    );
    assert_eq!(
        kubeconfig(&[("HOME", home_path), ("KUBECONFIG", ":/a:/b")]),
        Some("/a".into())
    );
}

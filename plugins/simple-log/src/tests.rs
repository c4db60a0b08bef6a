use owlk8s_plugin::testing::SnapshotData;
use owlk8s_plugin::{Formatter, Snapshot, config};
use owlk8s_plugin_golden::{assert_golden, snapshot, ten_thousand_rows};

use super::SimpleLog;

fn format(config: &str, data: &SnapshotData) -> String {
    let config = config::parse(config).unwrap();
    SimpleLog::validate(&config).unwrap();
    let mut payloads = SimpleLog::format(&config, &Snapshot::new(data)).unwrap();
    let payload = payloads.pop().unwrap();
    assert_eq!((payload.endpoint.as_str(), payloads.len()), ("out", 0));
    String::from_utf8(payload.body).unwrap()
}

#[test]
fn output_is_golden() {
    for (style, config) in [
        ("lines", "{}"),
        ("lines-ms", r#"{"units": "ms"}"#),
        ("table", r#"{"style": "table", "units": "ms"}"#),
        ("table-s", r#"{"style": "table", "units": "s"}"#),
    ] {
        for name in ["empty", "shop", "odd-names"] {
            assert_golden(
                format!("golden/{name}.{style}.txt"),
                &format(config, &snapshot(name)),
            );
        }
    }
}

#[test]
fn a_pod_is_one_line_whatever_its_name() {
    for data in [snapshot("odd-names"), ten_thousand_rows()] {
        let text = format("{}", &data);
        assert_eq!(text.lines().count(), data.targets.len());
        assert!(!text.replace('\n', "").contains(char::is_control));
    }
}

#[test]
fn only_a_table_can_clear_the_terminal() {
    let text = format(r#"{"style": "table", "clear": true}"#, &snapshot("shop"));
    assert!(text.starts_with("\x1b[H\x1b[J"));
    let config = config::parse(r#"{"clear": true}"#).unwrap();
    let error = SimpleLog::validate(&config).unwrap_err().to_string();
    assert_eq!(error, "config key `clear` needs `style = \"table\"`");
}

#[test]
fn an_unknown_unit_names_the_key_and_the_units() {
    let error = config::parse::<super::Config>(r#"{"units": "ns"}"#).err();
    assert_eq!(
        error.as_deref(),
        Some("config key `units`: unknown variant `ns`, expected one of `us`, `ms`, `s`")
    );
}

use owlk8s_plugin::records::Temporality;
use owlk8s_plugin::testing::SnapshotData;
use owlk8s_plugin::{Formatter, Snapshot, config, state};
use owlk8s_plugin_golden::{assert_golden, snapshot, ten_thousand_rows};

use super::SimpleLog;

fn format(config: &str, data: &SnapshotData) -> String {
    state::set(&[]).unwrap();
    format_next(config, data)
}

/// As the window after the one before.
fn format_next(config: &str, data: &SnapshotData) -> String {
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

/// The cell in this column of the table's row for `shop/cart-0`.
fn cart(table: &str, column: &str) -> String {
    let row = |line: &str| {
        line.split("  ")
            .filter(|cell| !cell.is_empty())
            .map(|c| c.trim().to_owned())
            .collect()
    };
    let lines: Vec<Vec<String>> = table.lines().map(row).collect();
    let at = lines[0]
        .iter()
        .position(|heading| heading == column)
        .unwrap();
    lines
        .iter()
        .find(|cells| cells[0] == "shop/cart-0")
        .unwrap()[at]
        .clone()
}

#[test]
fn rate_is_what_came_since_the_window_before() {
    let table = r#"{"style": "table"}"#;
    let mut data = snapshot("shop");
    assert_eq!(cart(&format(table, &data), "REQ/S"), "-");
    data.totals[0].requests += 25;
    data.window.end_unix_ns += 10_000_000_000;
    assert_eq!(cart(&format_next(table, &data), "REQ/S"), "2.5");
    assert_eq!(
        cart(&format_next(table, &data), "REQ/S"),
        "-",
        "no time has passed"
    );
    data.temporality = Temporality::Delta;
    data.window.start_unix_ns = data.window.end_unix_ns - 2_000_000_000;
    assert_eq!(cart(&format(table, &data), "REQ/S"), "512.5");
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

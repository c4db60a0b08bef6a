use std::io::{Read, Write};
use std::process::{Command, Stdio};

use flate2::read::GzDecoder;
use owlk8s_plugin::records::Temporality;
use owlk8s_plugin::testing::SnapshotData;
use owlk8s_plugin::{Request, Responder, Response, Snapshot, config};
use owlk8s_plugin_golden::{assert_golden, snapshot, ten_thousand_rows};

use super::{Config, Prometheus};

fn request(method: &str, target: &str) -> Request {
    Request {
        method: method.to_owned(),
        target: target.to_owned(),
        headers: Vec::new(),
    }
}

fn respond(config: &str, request: &Request, data: &SnapshotData) -> Response {
    let config = config::parse(config).unwrap();
    Prometheus::validate(&config).unwrap();
    Prometheus::respond(&config, request, &Snapshot::new(data)).unwrap()
}

fn page(config: &str, data: &SnapshotData) -> String {
    let response = respond(config, &request("GET", "/metrics?x=1"), data);
    assert_eq!(response.status, 200);
    assert_eq!(
        response.headers[0].1,
        "text/plain; version=0.0.4; charset=utf-8"
    );
    String::from_utf8(response.body).unwrap()
}

#[test]
fn output_is_golden() {
    let small = r#"{"buckets": [0.005, 0.1, 1], "services": "all", "client": false, "include_probes": true}"#;
    for (style, config) in [("default", "{}"), ("small", small)] {
        for name in ["empty", "shop", "odd-names"] {
            assert_golden(
                format!("golden/{name}.{style}.prom"),
                &page(config, &snapshot(name)),
            );
        }
    }
}

#[test]
fn gzip_is_the_same_page_and_fits_the_output_limit() {
    let data = ten_thousand_rows();
    let mut request = request("GET", "/metrics");
    request
        .headers
        .push(("accept-encoding".to_owned(), "br, GZIP;q=0.9".to_owned()));
    let response = respond("{}", &request, &data);
    assert!(
        response
            .headers
            .contains(&("content-encoding".to_owned(), "gzip".to_owned()))
    );
    assert!(
        response.body.len() < 4 << 20,
        "{} bytes",
        response.body.len()
    );
    let mut unpacked = String::new();
    GzDecoder::new(response.body.as_slice())
        .read_to_string(&mut unpacked)
        .unwrap();
    assert_eq!(unpacked, page("{}", &data));
}

#[test]
fn gzip_is_sent_only_to_who_takes_it() {
    for (list, taken) in [
        ("gzip", true),
        ("gzip;q=0", false),
        ("deflate, gzip; q=0.1", true),
        ("br", false),
        ("", false),
    ] {
        let mut request = request("GET", "/metrics");
        request
            .headers
            .push(("accept-encoding".to_owned(), list.to_owned()));
        let compressed = respond("{}", &request, &snapshot("empty"))
            .headers
            .iter()
            .any(|(name, _)| name == "content-encoding");
        assert_eq!(compressed, taken, "{list:?}");
    }
}

#[test]
fn promtool_accepts_every_page() {
    for data in [
        snapshot("empty"),
        snapshot("shop"),
        snapshot("odd-names"),
        ten_thousand_rows(),
    ] {
        let mut promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("promtool is missing: install the Debian package `prometheus`");
        promtool
            .stdin
            .take()
            .unwrap()
            .write_all(page("{}", &data).as_bytes())
            .unwrap();
        let output = promtool.wait_with_output().unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && said.is_empty(),
            "{}: {said}",
            output.status
        );
    }
}

#[test]
fn no_series_is_on_a_page_twice() {
    let mut data = snapshot("shop");
    let successor = records_named_like(&data, 0, "a-new-uid");
    data.targets.push(successor);
    data.totals.push(data.totals[0].clone());
    for data in [data, snapshot("odd-names"), ten_thousand_rows()] {
        let page = page("{}", &data);
        let mut series: Vec<_> = page
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(name_of)
            .collect();
        let all = series.len();
        series.sort_unstable();
        series.dedup();
        assert_eq!(series.len(), all);
    }
}

fn records_named_like(
    data: &SnapshotData,
    index: usize,
    id: &str,
) -> owlk8s_plugin::records::Target {
    owlk8s_plugin::records::Target {
        id: id.to_owned(),
        ..data.targets[index].clone()
    }
}

/// A sample's line without its value.
fn name_of(line: &str) -> Option<&str> {
    line.rsplit_once(' ').map(|(name, _)| name)
}

#[test]
fn methods_outside_opentelemetry_are_one_series() {
    let page = page("{}", &snapshot("shop"));
    let others: Vec<_> = page
        .lines()
        .filter(|line| line.contains("_count{") && line.contains("_OTHER"))
        .collect();
    assert_eq!(others.len(), 1, "{others:?}");
    assert!(others[0].ends_with(" 8"), "{others:?}");
}

#[test]
fn the_page_agrees_with_the_totals() {
    let data = snapshot("shop");
    let page = page("{}", &data);
    let answered: u64 = page
        .lines()
        .filter(|line| line.starts_with("http_server_request_duration_seconds_count{"))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
        .sum();
    assert_eq!(
        answered,
        data.totals.iter().map(|total| total.requests).sum::<u64>()
    );
}

#[test]
fn a_bucket_never_exceeds_the_count() {
    let mut data = snapshot("shop");
    data.rows[0].count -= 1;
    let page = page(r#"{"buckets": [60]}"#, &data);
    assert!(page.contains("le=\"60\"} 899\n") && !page.contains("le=\"60\"} 900\n"));
}

#[test]
fn differences_are_refused_with_the_remedy() {
    let data = SnapshotData {
        temporality: Temporality::Delta,
        ..snapshot("shop")
    };
    let error = Prometheus::respond(
        &Config::default(),
        &request("GET", "/metrics"),
        &Snapshot::new(&data),
    )
    .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("set the sink's `mode` to \"latest\""),
        "{error}"
    );
}

#[test]
fn other_paths_and_methods_are_told_where_to_go() {
    let data = snapshot("empty");
    let response = respond(r#"{"path": "/m"}"#, &request("GET", "/metrics"), &data);
    assert_eq!(
        (response.status, response.body.as_slice()),
        (404, &b"metrics are at /m\n"[..])
    );
    assert_eq!(
        respond("{}", &request("POST", "/metrics"), &data).status,
        405
    );
}

#[test]
fn a_bad_config_names_the_key() {
    for (config, message) in [
        (
            r#"{"buckets": [1, 1]}"#,
            "config key `buckets` must rise from bound to bound",
        ),
        (
            r#"{"buckets": [0, 1]}"#,
            "config key `buckets`: 0 is not above 0 and up to 60 seconds",
        ),
        (
            r#"{"buckets": [1, 61]}"#,
            "config key `buckets`: 61 is not above 0 and up to 60 seconds",
        ),
        (
            r#"{"path": "metrics"}"#,
            "config key `path` must begin with a slash, and is \"metrics\"",
        ),
    ] {
        let config = config::parse(config).unwrap();
        assert_eq!(
            Prometheus::validate(&config).unwrap_err().to_string(),
            message
        );
    }
}

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use flate2::read::GzDecoder;
use owlk8s_plugin::records::Temporality;
use owlk8s_plugin::testing::SnapshotData;
use owlk8s_plugin::{Request, Responder, Response, Snapshot, config};
use owlk8s_plugin_golden::{
    assert_golden, assert_golden_digest, snapshot, ten_thousand_rows, thousand_targets,
};
use prost::Message;

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

/// The page in the format of this `Accept`.
fn page_as(accept: &str, config: &str, data: &SnapshotData) -> Response {
    let mut request = request("GET", "/metrics?x=1");
    request
        .headers
        .push(("accept".to_owned(), accept.to_owned()));
    let response = respond(config, &request, data);
    assert_eq!(response.status, 200);
    response
}

fn page(config: &str, data: &SnapshotData) -> String {
    let response = page_as("*/*", config, data);
    assert_eq!(
        response.headers[0].1,
        "text/plain; version=0.0.4; charset=utf-8"
    );
    String::from_utf8(response.body).unwrap()
}

fn open_metrics(config: &str, data: &SnapshotData) -> String {
    let response = page_as("application/openmetrics-text; version=1.0.0", config, data);
    assert_eq!(
        response.headers[0].1,
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    String::from_utf8(response.body).unwrap()
}

const SMALL: &str =
    r#"{"buckets": [0.005, 0.1, 1], "services": "all", "client": false, "include_probes": true}"#;

#[test]
fn output_is_golden() {
    for (style, config) in [("default", "{}"), ("small", SMALL)] {
        for name in ["empty", "shop", "odd-names"] {
            assert_golden(
                format!("golden/{name}.{style}.prom"),
                &page(config, &snapshot(name)),
            );
        }
    }
    for name in ["empty", "shop", "odd-names"] {
        assert_golden(
            format!("golden/{name}.openmetrics"),
            &open_metrics(SMALL, &snapshot(name)),
        );
    }
    assert_golden_digest(
        "golden/thousand.prom.digest",
        &page("{}", &thousand_targets()),
    );
    assert_golden_digest(
        "golden/thousand.openmetrics.digest",
        &open_metrics("{}", &thousand_targets()),
    );
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
fn promtool_accepts_every_page() {
    for data in [
        snapshot("empty"),
        snapshot("shop"),
        snapshot("odd-names"),
        ten_thousand_rows(),
        thousand_targets(),
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

/// As far as it is read here; the official file has more.
mod client {
    use prost::Message;

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct MetricFamily {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(int32, tag = "3")]
        pub(super) kind: i32,
        #[prost(message, repeated, tag = "4")]
        pub(super) metric: Vec<Metric>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Metric {
        #[prost(message, repeated, tag = "1")]
        pub(super) label: Vec<Label>,
        #[prost(message, optional, tag = "2")]
        pub(super) gauge: Option<Number>,
        #[prost(message, optional, tag = "3")]
        pub(super) counter: Option<Number>,
        #[prost(message, optional, tag = "7")]
        pub(super) histogram: Option<crate::exposition::Histogram>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Label {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(string, tag = "2")]
        pub(super) value: String,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Number {
        #[prost(double, tag = "1")]
        pub(super) value: f64,
    }
}

fn families(config: &str, data: &SnapshotData) -> Vec<client::MetricFamily> {
    let accept = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
    let response = page_as(accept, config, data);
    assert!(
        response.headers[0]
            .1
            .starts_with("application/vnd.google.protobuf; proto=")
    );
    let mut bytes = response.body.as_slice();
    let mut families = Vec::new();
    while !bytes.is_empty() {
        families.push(client::MetricFamily::decode_length_delimited(&mut bytes).unwrap());
    }
    families
}

/// All samples of a protobuf page as the text format writes them, but for labels, which are never escaped.
fn samples(families: &[client::MetricFamily]) -> Vec<(String, f64)> {
    let mut samples = Vec::new();
    for family in families {
        for metric in &family.metric {
            let labels: Vec<_> = metric
                .label
                .iter()
                .map(|label| format!("{}={:?}", label.name, label.value))
                .collect();
            let labels = labels.join(",");
            let number = metric.gauge.as_ref().or(metric.counter.as_ref());
            if let Some(number) = number {
                samples.push((format!("{}{{{labels}}}", family.name), number.value));
            }
            if let Some(histogram) = &metric.histogram {
                let count = histogram.sample_count as f64;
                samples.push((format!("{}_count{{{labels}}}", family.name), count));
                samples.push((
                    format!("{}_sum{{{labels}}}", family.name),
                    histogram.sample_sum,
                ));
                for bucket in &histogram.bucket {
                    let series = format!(
                        "{}_bucket{{{labels},le=\"{}\"}}",
                        family.name, bucket.upper_bound
                    );
                    samples.push((series, bucket.cumulative_count as f64));
                }
            }
        }
    }
    samples
}

#[test]
fn protobuf_has_the_samples_of_the_text_page() {
    for data in [snapshot("empty"), snapshot("shop"), thousand_targets()] {
        let text = page("{}", &data);
        let mut expected: Vec<(String, f64)> = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.contains("le=\"+Inf\""))
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(|(series, value)| match series.contains('{') {
                true => (series.to_owned(), value.parse().unwrap()),
                false => (format!("{series}{{}}"), value.parse().unwrap()),
            })
            .collect();
        let mut samples = samples(&families("{}", &data));
        let by_name = |a: &(String, f64), b: &(String, f64)| a.0.cmp(&b.0);
        expected.sort_by(by_name);
        samples.sort_by(by_name);
        assert_eq!(samples, expected);
    }
}

#[test]
fn native_histograms_hold_every_request_and_can_be_left_out() {
    let data = snapshot("shop");
    let histograms = |config: &str| -> Vec<_> {
        families(config, &data)
            .into_iter()
            .flat_map(|family| family.metric)
            .filter_map(|metric| metric.histogram)
            .collect()
    };
    for histogram in histograms("{}") {
        assert_eq!(histogram.schema, Some(3));
        let spanned: u32 = histogram.positive_span.iter().map(|span| span.length).sum();
        assert_eq!(spanned as usize, histogram.positive_delta.len());
        let (mut count, mut sum) = (0, 0);
        for delta in histogram.positive_delta {
            count += delta;
            sum += count;
        }
        assert_eq!(sum as u64, histogram.sample_count);
    }
    for histogram in histograms(r#"{"native_histograms": false}"#) {
        assert_eq!((histogram.schema, histogram.zero_threshold), (None, None));
        assert_eq!(histogram.positive_span.len(), 0);
    }
}

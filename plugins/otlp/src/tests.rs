//! The judge is the official protobuf definitions' crate; a golden file is their JSON, laid out for reading.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, ExponentialHistogramDataPoint, Metric, ResourceMetrics, metric::Data,
    number_data_point,
};
use owlk8s_plugin::records::Temporality;
use owlk8s_plugin::testing::SnapshotData;
use owlk8s_plugin::{Formatter, Payload, Snapshot, config};
use owlk8s_plugin_golden::{assert_golden, assert_golden_digest, snapshot, thousand_targets};
use prost::Message;

use super::Otlp;

fn payloads(config: &str, data: &SnapshotData) -> Vec<Payload> {
    let config = config::parse(config).unwrap();
    Otlp::validate(&config).unwrap();
    Otlp::format(&config, &Snapshot::new(data)).unwrap()
}

/// As the official definitions read it, which must be the same from both encodings.
fn read(data: &SnapshotData) -> ExportMetricsServiceRequest {
    let bytes = payloads("{}", data).remove(0);
    assert_eq!(
        (bytes.endpoint.as_str(), bytes.content_type.as_str()),
        ("out", "application/x-protobuf")
    );
    let json = payloads(r#"{"encoding": "json"}"#, data).remove(0);
    assert_eq!(json.content_type, "application/json");
    let mut value = serde_json::from_slice(&json.body).unwrap();
    numbers(&mut value);
    let of_json: ExportMetricsServiceRequest = serde_json::from_value(value).unwrap();
    let of_bytes = ExportMetricsServiceRequest::decode(bytes.body.as_slice()).unwrap();
    assert_eq!(of_json, of_bytes);
    of_bytes
}

/// The crate reads these only as numbers, though the mapping says that they are strings, and misses fields of an
/// exponential histogram that may be left out.
fn numbers(value: &mut serde_json::Value) {
    use serde_json::Value::{Array, Object, String};
    let number = |value: &mut serde_json::Value| {
        let String(text) = &*value else {
            panic!("a 64-bit integer is a string in JSON, and this is {value}");
        };
        *value = text.parse::<i64>().unwrap().into();
    };
    match value {
        Array(values) => values.iter_mut().for_each(numbers),
        Object(fields) => {
            if fields.contains_key("positive") {
                for name in ["startTimeUnixNano", "timeUnixNano"] {
                    fields.get_mut(name).map(number);
                }
                fields.insert("exemplars".to_owned(), Array(Vec::new()));
                fields.insert("flags".to_owned(), 0.into());
                fields.insert("zeroThreshold".to_owned(), 0.0.into());
            }
            for (name, value) in fields {
                match (name.as_str(), value) {
                    ("asInt" | "count" | "zeroCount", value) => number(value),
                    ("bucketCounts", Array(values)) => values.iter_mut().for_each(number),
                    (_, value) => numbers(value),
                }
            }
        }
        _ => {}
    }
}

/// The metrics of this name, with their resource.
fn named<'r>(
    request: &'r ExportMetricsServiceRequest,
    name: &str,
) -> Vec<(&'r ResourceMetrics, &'r Metric)> {
    let all = request
        .resource_metrics
        .iter()
        .flat_map(|resource| resource.scope_metrics.iter().map(move |s| (resource, s)));
    all.flat_map(|(resource, scope)| scope.metrics.iter().map(move |m| (resource, m)))
        .filter(|(_, metric)| metric.name == name)
        .collect()
}

/// All points of an exponential histogram, which must have this temporality.
fn points(
    metric: &Metric,
    temporality: AggregationTemporality,
) -> &[ExponentialHistogramDataPoint] {
    match &metric.data {
        Some(Data::ExponentialHistogram(histogram)) => {
            assert_eq!(histogram.aggregation_temporality, temporality as i32);
            &histogram.data_points
        }
        other => panic!("{other:?}"),
    }
}

fn attribute(attributes: &[KeyValue], key: &str) -> String {
    let mut values = attributes.iter().filter(|pair| pair.key == key);
    let value = values.next().and_then(|pair| pair.value.clone());
    assert!(values.next().is_none(), "{key} twice");
    match value.and_then(|value| value.value) {
        None => String::new(),
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(other) => panic!("{other:?}"),
    }
}

#[test]
fn output_is_golden() {
    let labels = r#"{"encoding": "json", "labels": ["team"]}"#;
    for (name, config) in [("shop", labels), ("odd-names", r#"{"encoding": "json"}"#)] {
        let payload = payloads(config, &snapshot(name)).remove(0);
        let value: serde_json::Value = serde_json::from_slice(&payload.body).unwrap();
        let text = serde_json::to_string_pretty(&value).unwrap() + "\n";
        assert_golden(format!("golden/{name}.json"), &text);
    }
    let payload = payloads(r#"{"encoding": "json"}"#, &thousand_targets()).remove(0);
    let text = String::from_utf8(payload.body).unwrap();
    assert_golden_digest(
        "golden/thousand.json.digest",
        &text.replace("},{\"resource\"", "},\n{\"resource\""),
    );
}

#[test]
fn no_target_is_no_request() {
    assert_eq!(payloads("{}", &snapshot("empty")).len(), 0);
}

#[test]
fn a_resource_is_one_pod_by_the_conventions_names() {
    let request = read(&snapshot("shop"));
    assert_eq!(request.resource_metrics.len(), 4);
    let of = |pod: &str, key: &str| {
        let attributes = request
            .resource_metrics
            .iter()
            .map(|resource| &resource.resource.as_ref().unwrap().attributes)
            .find(|attributes| attribute(attributes, "k8s.pod.name") == pod);
        attribute(attributes.unwrap(), key)
    };
    for (key, value) in [
        ("service.name", "cart"),
        ("service.namespace", "shop"),
        (
            "service.instance.id",
            "1f0d6c2e-5a35-4d0b-9b8e-0d4b9c1d0001",
        ),
        ("k8s.namespace.name", "shop"),
        ("k8s.pod.uid", "1f0d6c2e-5a35-4d0b-9b8e-0d4b9c1d0001"),
        ("k8s.pod.ip", "10.244.1.17"),
        ("k8s.node.name", "worker-1"),
        ("k8s.service.name", "cart"),
        ("k8s.statefulset.name", "cart"),
        ("k8s.deployment.name", ""),
    ] {
        assert_eq!(of("cart-0", key), value, "{key}");
    }
    assert_eq!(of("pay-1", "k8s.deployment.name"), "pay");
    assert_eq!(of("search-2", "service.name"), "search-2");
}

#[test]
fn durations_are_the_snapshot_s_buckets_under_the_conventions_attributes() {
    let data = snapshot("shop");
    let request = read(&data);
    let (_, metric) = named(&request, "http.server.request.duration")[0];
    assert_eq!(metric.unit, "s");
    let points = points(metric, AggregationTemporality::Cumulative);
    let point = |status: &str, version: &str| {
        let is = |point: &&ExponentialHistogramDataPoint| {
            attribute(&point.attributes, "http.response.status_code") == status
                && attribute(&point.attributes, "network.protocol.version") == version
        };
        points.iter().find(is).unwrap()
    };
    let ok = point("200", "1.1");
    assert_eq!((ok.count, ok.scale, ok.sum), (900, 3, Some(3.78)));
    let buckets = ok.positive.as_ref().unwrap();
    assert_eq!((buckets.offset, buckets.bucket_counts.len()), (-64, 8));
    assert_eq!(attribute(&ok.attributes, "error.type"), "");
    assert_eq!(attribute(&point("404", "1.1").attributes, "error.type"), "");
    assert_eq!(
        attribute(&point("500", "1.1").attributes, "error.type"),
        "500"
    );
    assert_eq!(point("200", "2").count, 50);
    let all: u64 = points.iter().map(|point| point.count).sum();
    assert_eq!(all, data.totals[0].requests, "probes are left out");
}

#[test]
fn every_point_counts_from_where_the_window_counts_from() {
    let since = 1_795_416_000_000_000_000;
    let mut data = snapshot("shop");
    for (temporality, expected, start) in [
        (
            Temporality::Cumulative,
            AggregationTemporality::Cumulative,
            since,
        ),
        (
            Temporality::Delta,
            AggregationTemporality::Delta,
            data.window.start_unix_ns,
        ),
    ] {
        data.temporality = temporality;
        let request = read(&data);
        for (_, metric) in named(&request, "http.server.request.duration") {
            for point in points(metric, expected) {
                assert_eq!(point.start_time_unix_nano, start);
                assert_eq!(point.time_unix_nano, data.window.end_unix_ns);
            }
        }
        for (_, metric) in named(&request, "owlk8s.requests.answered") {
            let Some(Data::Sum(sum)) = &metric.data else {
                panic!("{metric:?}");
            };
            assert_eq!(sum.aggregation_temporality, expected as i32);
            assert!(sum.is_monotonic);
            assert_eq!(sum.data_points[0].start_time_unix_nano, start);
        }
    }
}

#[test]
fn the_audit_holds_in_each_resource() {
    let data = snapshot("shop");
    let request = read(&data);
    for (resource, expected) in request.resource_metrics.iter().zip(&data.totals) {
        let value = |name: &str| -> i64 {
            let metrics = &resource.scope_metrics[0].metrics;
            let Some(metric) = metrics.iter().find(|metric| metric.name == name) else {
                return 0;
            };
            let points = match &metric.data {
                Some(Data::Sum(sum)) => &sum.data_points,
                Some(Data::Gauge(gauge)) => &gauge.data_points,
                other => panic!("{other:?}"),
            };
            let value = |point: &opentelemetry_proto::tonic::metrics::v1::NumberDataPoint| {
                match point.value {
                    Some(number_data_point::Value::AsInt(value)) => value,
                    ref other => panic!("{other:?}"),
                }
            };
            points.iter().map(value).sum()
        };
        let parts = ["answered", "aborted", "in_flight", "lost"]
            .map(|part| value(&format!("owlk8s.requests.{part}")));
        assert_eq!(value("owlk8s.requests.seen"), parts.iter().sum::<i64>());
        assert_eq!(value("owlk8s.requests.seen"), expected.seen as i64);
    }
}

#[test]
fn a_label_that_the_sink_was_not_granted_names_the_remedy() {
    let mut data = snapshot("shop");
    data.columns.clear();
    let config = config::parse(r#"{"labels": ["team"]}"#).unwrap();
    let error = Otlp::format(&config, &Snapshot::new(&data)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "config key `labels`: the sink has no column \"label:team\" (add it to the sink's `columns`)"
    );
}

#[test]
fn a_thousand_targets_are_all_there() {
    let data = thousand_targets();
    let request = read(&data);
    let all: u64 = named(&request, "http.server.request.duration")
        .iter()
        .flat_map(|(_, metric)| points(metric, AggregationTemporality::Cumulative))
        .map(|point| point.count)
        .sum();
    assert_eq!(
        all,
        data.totals.iter().map(|total| total.requests).sum::<u64>()
    );
}

//! `io.prometheus.client`: the messages that are used of it, with the official names and numbers.
//! <https://github.com/prometheus/client_model/blob/master/io/prometheus/client/metrics.proto>
//!
//! A family stands behind its length, so it is built whole before it joins the page; a series in it is some
//! 500 bytes.

use owlk8s_plugin::semconv::Durations;
use owlk8s_plugin::{Bounds, Histogram as Buckets};
use prost::Message;
use prost::encoding::{encode_varint, message, string, uint64};

use super::{Kind, Labels, Value};

/// What is below it is no duration: `prometheus.DefNativeHistogramZeroThreshold`. It also says that a histogram
/// without a single request is a native one.
const ZERO_THRESHOLD: f64 = 2.938_735_877_055_719e-39;
/// Empty buckets inside a span, at most: two of them are shorter than a new span.
const GAP_MAX: usize = 2;

#[derive(Clone, PartialEq, Message)]
struct LabelPair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// A gauge or a counter.
#[derive(Clone, PartialEq, Message)]
struct Number {
    #[prost(double, tag = "1")]
    value: f64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Bucket {
    #[prost(uint64, tag = "1")]
    pub(crate) cumulative_count: u64,
    #[prost(double, tag = "2")]
    pub(crate) upper_bound: f64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct BucketSpan {
    /// Empty buckets since the last span; of the first, its first index.
    #[prost(sint32, tag = "1")]
    pub(crate) offset: i32,
    #[prost(uint32, tag = "2")]
    pub(crate) length: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Histogram {
    #[prost(uint64, tag = "1")]
    pub(crate) sample_count: u64,
    #[prost(double, tag = "2")]
    pub(crate) sample_sum: f64,
    #[prost(message, repeated, tag = "3")]
    pub(crate) bucket: Vec<Bucket>,
    #[prost(sint32, optional, tag = "5")]
    pub(crate) schema: Option<i32>,
    #[prost(double, optional, tag = "6")]
    pub(crate) zero_threshold: Option<f64>,
    #[prost(message, repeated, tag = "12")]
    pub(crate) positive_span: Vec<BucketSpan>,
    /// Each count's difference to the one before it.
    #[prost(sint64, repeated, tag = "13")]
    pub(crate) positive_delta: Vec<i64>,
    #[prost(message, optional, tag = "15")]
    created_timestamp: Option<Timestamp>,
}

/// Field numbers of `Metric`, of `MetricFamily`, and the values of `MetricType`.
mod number {
    pub(super) const METRIC_LABEL: u32 = 1;
    pub(super) const METRIC_GAUGE: u32 = 2;
    pub(super) const METRIC_COUNTER: u32 = 3;
    pub(super) const METRIC_HISTOGRAM: u32 = 7;
    pub(super) const FAMILY_NAME: u32 = 1;
    pub(super) const FAMILY_HELP: u32 = 2;
    pub(super) const FAMILY_TYPE: u32 = 3;
    pub(super) const FAMILY_METRIC: u32 = 4;
    pub(super) const COUNTER: u64 = 0;
    pub(super) const GAUGE: u64 = 1;
    pub(super) const HISTOGRAM: u64 = 4;
}

/// Appends one label of a `Metric`.
pub(super) fn label(bytes: &mut Vec<u8>, name: &str, value: &str) {
    let (name, value) = (name.to_owned(), value.to_owned());
    message::encode(number::METRIC_LABEL, &LabelPair { name, value }, bytes);
}

/// A `MetricFamily` that is being written.
pub(super) struct Open(Vec<u8>);

impl Open {
    /// There is no info: one is a gauge, as in text.
    pub(super) fn new(name: &str, kind: Kind, help: &str) -> Self {
        let kind = match kind {
            Kind::Counter => number::COUNTER,
            Kind::Gauge | Kind::Info => number::GAUGE,
            Kind::Histogram => number::HISTOGRAM,
        };
        let mut bytes = Vec::new();
        string::encode(number::FAMILY_NAME, &name.to_owned(), &mut bytes);
        string::encode(number::FAMILY_HELP, &help.to_owned(), &mut bytes);
        uint64::encode(number::FAMILY_TYPE, &kind, &mut bytes);
        Self(bytes)
    }

    pub(super) fn sample(&mut self, kind: Kind, labels: &Labels, value: Value) {
        let number = match kind {
            Kind::Counter => number::METRIC_COUNTER,
            _ => number::METRIC_GAUGE,
        };
        let value = match value {
            Value::Integer(value) => value as f64,
            Value::Float(value) => value,
            Value::Nanoseconds(value) => value as f64 / 1e9,
        };
        self.metric(labels, number, &Number { value });
    }

    pub(super) fn histogram(
        &mut self,
        labels: &Labels,
        bounds: &Bounds,
        native: bool,
        since_unix_ns: u64,
        durations: &Durations,
    ) {
        let histogram = Histogram::of(bounds, native, since_unix_ns, durations);
        self.metric(labels, number::METRIC_HISTOGRAM, &histogram);
    }

    /// Labels are encoded already: fields of a message may stand one behind the other.
    fn metric(&mut self, labels: &Labels, number: u32, value: &impl Message) {
        let mut metric = labels.bytes().to_vec();
        message::encode(number, value, &mut metric);
        prost::encoding::encode_key(
            number::FAMILY_METRIC,
            prost::encoding::WireType::LengthDelimited,
            &mut self.0,
        );
        encode_varint(metric.len() as u64, &mut self.0);
        self.0.extend_from_slice(&metric);
    }

    /// Appends it to the page, behind its length.
    pub(super) fn finish(self, page: &mut Vec<u8>) {
        encode_varint(self.0.len() as u64, page);
        page.extend_from_slice(&self.0);
    }
}

impl Histogram {
    /// Its count is that of its buckets: a server refuses a native histogram in which they differ.
    fn of(bounds: &Bounds, native: bool, since_unix_ns: u64, durations: &Durations) -> Self {
        let latency = &durations.latency;
        let classic = bounds.seconds().iter().zip(latency.cumulative(bounds));
        let (positive_span, positive_delta) = if native {
            spans(latency)
        } else {
            (Vec::new(), Vec::new())
        };
        Self {
            sample_count: latency.count(),
            sample_sum: durations.sum_ns as f64 / 1e9,
            bucket: classic
                .map(|(&upper_bound, cumulative_count)| Bucket {
                    cumulative_count,
                    upper_bound,
                })
                .collect(),
            schema: native.then_some(latency.scale),
            zero_threshold: native.then_some(ZERO_THRESHOLD),
            positive_span,
            positive_delta,
            created_timestamp: Some(Timestamp {
                seconds: (since_unix_ns / 1_000_000_000) as i64,
                nanos: (since_unix_ns % 1_000_000_000) as i32,
            }),
        }
    }
}

/// Prometheus numbers a bucket by its upper bound, OpenTelemetry by its lower: one more.
fn spans(latency: &Buckets) -> (Vec<BucketSpan>, Vec<i64>) {
    let (mut spans, mut deltas): (Vec<BucketSpan>, Vec<i64>) = Default::default();
    let (mut before, mut empty) = (0_i64, latency.offset + 1);
    let mut waiting = 0;
    for &count in &latency.counts {
        if count == 0 {
            waiting += 1;
            continue;
        }
        match spans.last_mut() {
            Some(span) if waiting <= GAP_MAX => {
                for _ in 0..waiting {
                    deltas.push(-before);
                    before = 0;
                }
                span.length += waiting as u32 + 1;
            }
            _ => {
                empty += waiting as i32;
                spans.push(BucketSpan {
                    offset: empty,
                    length: 1,
                });
                empty = 0;
            }
        }
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        deltas.push(count - before);
        (before, waiting) = (count, 0);
    }
    (spans, deltas)
}

#[cfg(test)]
mod tests {
    use super::{Buckets, spans};

    /// Index and count of every bucket, as a server reads spans and deltas.
    fn read(buckets: &Buckets) -> Vec<(i32, i64)> {
        let (spans, deltas) = spans(buckets);
        let (mut index, mut count, mut deltas) = (0, 0, deltas.into_iter());
        let mut read = Vec::new();
        for span in spans {
            index += span.offset;
            for _ in 0..span.length {
                count += deltas.next().unwrap();
                read.push((index, count));
                index += 1;
            }
        }
        assert_eq!(deltas.next(), None);
        read
    }

    fn buckets(offset: i32, counts: &[u64]) -> Buckets {
        Buckets {
            scale: 3,
            offset,
            counts: counts.to_vec(),
        }
    }

    #[test]
    fn every_count_is_under_the_index_of_its_upper_bound() {
        // (2^(-8/8), 2^(-7/8)] is bucket -7 of Prometheus.
        assert_eq!(read(&buckets(-8, &[5])), [(-7, 5)]);
        assert_eq!(
            read(&buckets(-3, &[0, 4, 0, 0, 7, 1])),
            [(-1, 4), (0, 0), (1, 0), (2, 7), (3, 1)]
        );
        assert_eq!(
            read(&buckets(0, &[2, 0, 0, 0, 9, 0, 0, 0, 0, 3, 0])),
            [(1, 2), (5, 9), (10, 3)]
        );
        assert_eq!(read(&buckets(0, &[])), []);
    }
}

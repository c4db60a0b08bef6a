//! Which format and coding a scraper takes best: its `Accept` and `Accept-Encoding` (RFC 9110, 12.5).

use owlk8s_plugin::Request;

/// How a page is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Format {
    /// Version 0.0.4: <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>
    Text,
    /// Version 1.0: <https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md>
    OpenMetrics,
    /// `io.prometheus.client.MetricFamily`, each with its length before it: the only one with native histograms.
    /// <https://github.com/prometheus/client_model/blob/master/io/prometheus/client/metrics.proto>
    Protobuf,
}

impl Format {
    /// The one that `request` weighs highest, the first of equals; text where it asks for none of them.
    pub(crate) fn accepted(request: &Request) -> Self {
        let mut best = (0.0, Self::Text);
        for offer in offers(request, "accept") {
            if let Some(format) = Self::of(&offer).filter(|_| offer.weight > best.0) {
                best = (offer.weight, format);
            }
        }
        best.1
    }

    fn of(offer: &Offer<'_>) -> Option<Self> {
        let is = |name, value: &str| {
            offer
                .parameter(name)
                .is_none_or(|has| has.eq_ignore_ascii_case(value))
        };
        match offer.name.to_ascii_lowercase().as_str() {
            "application/vnd.google.protobuf" => (offer.parameter("proto")
                == Some("io.prometheus.client.MetricFamily")
                && offer.parameter("encoding") == Some("delimited"))
            .then_some(Self::Protobuf),
            "application/openmetrics-text" => is("version", "1.0.0").then_some(Self::OpenMetrics),
            "text/plain" => is("version", "0.0.4").then_some(Self::Text),
            "text/*" | "*/*" => Some(Self::Text),
            _ => None,
        }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }
}

/// Whether the scraper takes gzip.
pub(crate) fn accepts_gzip(request: &Request) -> bool {
    offers(request, "accept-encoding")
        .any(|offer| offer.name.eq_ignore_ascii_case("gzip") && offer.weight > 0.0)
}

/// One element of a list such as `gzip;q=0.5, br`.
struct Offer<'r> {
    name: &'r str,
    weight: f64,
    parameters: &'r str,
}

impl<'r> Offer<'r> {
    fn parse(text: &'r str) -> Self {
        let (name, parameters) = text.split_once(';').unwrap_or((text, ""));
        let mut offer = Self {
            name: name.trim(),
            weight: 1.0,
            parameters,
        };
        if let Some(weight) = offer.parameter("q") {
            offer.weight = weight.parse().unwrap_or(0.0);
        }
        offer
    }

    fn parameter(&self, name: &str) -> Option<&'r str> {
        let pairs = self
            .parameters
            .split(';')
            .filter_map(|pair| pair.split_once('='));
        pairs
            .map(|(key, value)| (key.trim(), value.trim().trim_matches('"')))
            .find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
    }
}

fn offers<'r>(request: &'r Request, header: &str) -> impl Iterator<Item = Offer<'r>> {
    request
        .headers
        .iter()
        .filter(move |(name, _)| name == header)
        .flat_map(|(_, list)| list.split(','))
        .map(Offer::parse)
}

#[cfg(test)]
mod tests {
    use super::{Format, accepts_gzip};
    use owlk8s_plugin::Request;

    fn request(header: &str, value: &str) -> Request {
        Request {
            method: "GET".to_owned(),
            target: "/metrics".to_owned(),
            headers: vec![(header.to_owned(), value.to_owned())],
        }
    }

    #[test]
    fn the_format_is_the_one_that_weighs_most() {
        for (accept, format) in [
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/html, application/json", Format::Text),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("application/openmetrics-text; version=0.0.1", Format::Text),
            (
                "text/plain;q=0.5, application/openmetrics-text;version=\"1.0.0\";q=0.4",
                Format::Text,
            ),
            // Prometheus 2.42 without and with native histograms, and 3.x.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
                 application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::Protobuf,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                 application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,\
                 text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                Format::Protobuf,
            ),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text",
                Format::Text,
            ),
        ] {
            assert_eq!(
                Format::accepted(&request("accept", accept)),
                format,
                "{accept:?}"
            );
        }
    }

    #[test]
    fn gzip_is_taken_where_its_weight_is_above_nothing() {
        for (list, taken) in [
            ("gzip", true),
            ("gzip;q=0", false),
            ("deflate, GZIP; q=0.1", true),
            ("br", false),
            ("", false),
        ] {
            assert_eq!(
                accepts_gzip(&request("accept-encoding", list)),
                taken,
                "{list:?}"
            );
        }
    }
}

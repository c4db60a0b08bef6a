//! `http_server_request_duration_seconds` and its client twin.

use owlk8s_plugin::semconv::exchanges;
use owlk8s_plugin::{Row, Target};

use crate::Config;
use crate::exposition::{Buckets, Exposition, Family, Kind};
use crate::labels::Labelled;

pub(crate) fn expose(page: &mut Exposition, config: &Config, targets: &[Labelled<'_>]) {
    let buckets = page.buckets(&config.buckets);
    let help = "Duration of HTTP requests that the pod answered, first byte of the request to first byte of the answer.";
    let mut family = page.family(
        "http_server_request_duration_seconds",
        Kind::Histogram,
        help,
    );
    write(&mut family, config, &buckets, targets, |row| !row.client);
    if config.client {
        let help = "Duration of HTTP requests that the pod sent, first byte of the request to first byte of the answer.";
        let mut family = page.family(
            "http_client_request_duration_seconds",
            Kind::Histogram,
            help,
        );
        write(&mut family, config, &buckets, targets, |row| row.client);
    }
}

fn write(
    family: &mut Family<'_>,
    config: &Config,
    buckets: &Buckets,
    targets: &[Labelled<'_>],
    wanted: impl Fn(&Row<'_>) -> bool,
) {
    let mut series = family.labels();
    for Labelled { target, labels } in targets {
        let rows =
            Target::rows(target).filter(|row| wanted(row) && (config.include_probes || !row.probe));
        for (exchange, durations) in exchanges(rows) {
            series
                .begin(labels)
                .push("http_request_method", exchange.method)
                .push_code("http_response_status_code", exchange.status)
                .push("network_protocol_version", exchange.version);
            family.histogram(
                &series,
                buckets,
                config.native_histograms,
                target.since_unix_ns(),
                &durations,
            );
        }
    }
}

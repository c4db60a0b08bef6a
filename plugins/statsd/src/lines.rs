//! The lines of a window. Targets that have the same names once those are StatsD's, as a pod and its successor
//! do, are one: gauges of the same name would overwrite each other.

use std::collections::BTreeMap;
use std::fmt::Write;

use owlk8s_plugin::records::Total;
use owlk8s_plugin::{Histogram, Snapshot};

use crate::name::Name;
use crate::{Config, Durations};

const QUANTILES: [(&str, f64); 3] = [
    ("duration_p50", 0.5),
    ("duration_p90", 0.9),
    ("duration_p99", 0.99),
];

pub(crate) fn of(config: &Config, snapshot: &Snapshot<'_>) -> String {
    let mut targets: BTreeMap<Name, (Total, Histogram)> = BTreeMap::new();
    for target in snapshot.targets() {
        let sum = targets
            .entry(Name::of(config, &target))
            .or_insert_with(|| (Total::none(), Histogram::default()));
        sum.0.add(target.total());
        if config.durations != Durations::None {
            sum.1.add(&target.latency());
        }
    }
    let mut lines = String::new();
    for (name, (total, latency)) in &targets {
        write(&mut lines, name, total);
        match config.durations {
            Durations::Gauges => write_quantiles(&mut lines, name, latency),
            Durations::Timers => write_timers(&mut lines, name, latency),
            Durations::None => {}
        }
    }
    lines
}

fn write(lines: &mut String, name: &Name, total: &Total) {
    for (metric, count) in [
        ("requests", total.requests),
        ("err4", total.err4),
        ("err5", total.err5),
        ("aborted", total.aborted),
        ("lost", total.lost()),
    ] {
        if count > 0 {
            line(lines, name, metric, format_args!("{count}|c"));
        }
    }
    line(
        lines,
        name,
        "in_flight",
        format_args!("{}|g", total.in_flight),
    );
    line(
        lines,
        name,
        "coverage",
        format_args!("{}|g", total.coverage),
    );
}

/// Milliseconds, as timers are.
fn write_quantiles(lines: &mut String, name: &Name, latency: &Histogram) {
    for (metric, q) in QUANTILES {
        if let Some(duration) = latency.quantile(q) {
            let ms = duration.as_secs_f64() * 1e3;
            line(lines, name, metric, format_args!("{ms:.3}|g"));
        }
    }
}

/// A bucket's middle, sampled at one of its count.
fn write_timers(lines: &mut String, name: &Name, latency: &Histogram) {
    for (seconds, count) in latency.middles() {
        let ms = seconds * 1e3;
        match count {
            1 => line(lines, name, "duration", format_args!("{ms:.3}|ms")),
            _ => {
                let rate = 1.0 / count as f64;
                line(lines, name, "duration", format_args!("{ms:.3}|ms|@{rate}"));
            }
        }
    }
}

fn line(lines: &mut String, name: &Name, metric: &str, value: std::fmt::Arguments<'_>) {
    let _ = writeln!(lines, "{}{metric}:{value}{}", name.before, name.behind);
}

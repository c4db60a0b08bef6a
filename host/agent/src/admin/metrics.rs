//! `/metrics`: how the agent itself is doing, in the Prometheus text format 0.0.4. What it counts of
//! the pods is the `prometheus` plugin's to show.

use std::fmt::{Display, Write as _};
use std::sync::atomic::Ordering;
use std::time::Duration;

use owlk8s_discover::ApiRequests;
use owlk8s_model::{Snapshot, Status};
use owlk8s_plugin_host::{BreakerState, SinkCounters, SinkState, SinkStatus};

use crate::plugins::Plugins;
use crate::reader::Cost;
use crate::reload::Tally;

pub(super) fn render(
    latest: Option<&Snapshot>,
    cost: &Cost,
    plugins: &Plugins,
    api_requests: Option<&ApiRequests>,
    reloads: &Tally,
    up: Duration,
) -> String {
    let mut page = Page::default();
    page.family("owlk8s_build_info", "gauge", "The running version.");
    page.sample(
        "owlk8s_build_info",
        &[("version", env!("CARGO_PKG_VERSION"))],
        1,
    );
    page.family("owlk8s_uptime_seconds", "gauge", "Since the agent's start.");
    page.sample("owlk8s_uptime_seconds", &[], up.as_secs_f64());
    page.family(
        "owlk8s_windows_total",
        "counter",
        "Windows closed and offered to the sinks.",
    );
    page.sample(
        "owlk8s_windows_total",
        &[],
        latest.map_or(0, |s| s.window.sequence),
    );
    page.family(
        "owlk8s_read_duration_seconds",
        "summary",
        "Reading all counters out of the kernel.",
    );
    let nanos = cost.nanos.load(Ordering::Relaxed);
    page.sample(
        "owlk8s_read_duration_seconds_sum",
        &[],
        Duration::from_nanos(nanos).as_secs_f64(),
    );
    page.sample(
        "owlk8s_read_duration_seconds_count",
        &[],
        cost.reads.load(Ordering::Relaxed),
    );
    page.family(
        "owlk8s_connections",
        "gauge",
        "Connections followed in the kernel, when last swept.",
    );
    page.sample(
        "owlk8s_connections",
        &[],
        cost.connections.load(Ordering::Relaxed),
    );
    if let Some(latest) = latest {
        targets(&mut page, latest);
    }
    if let Some(requests) = api_requests {
        kubernetes(&mut page, requests);
    }
    reloaded(&mut page, reloads);
    page.family(
        "owlk8s_plugin_process_up",
        "gauge",
        "Whether the plugin process runs.",
    );
    page.sample("owlk8s_plugin_process_up", &[], u8::from(plugins.is_up()));
    page.family(
        "owlk8s_plugin_process_restarts_total",
        "counter",
        "Restarts of the plugin process.",
    );
    page.sample(
        "owlk8s_plugin_process_restarts_total",
        &[],
        plugins.restarts(),
    );
    sandbox(&mut page, plugins);
    sinks(&mut page, &plugins.status());
    page.0
}

fn sandbox(page: &mut Page, plugins: &Plugins) {
    if let Some(sandbox) = plugins.sandbox() {
        page.family(
            "owlk8s_plugin_process_landlock_abi",
            "gauge",
            "ABI of the landlock that guards files from the plugin process, 0 where the kernel has none.",
        );
        page.sample("owlk8s_plugin_process_landlock_abi", &[], sandbox.landlock);
    }
    page.family(
        "owlk8s_plugin_components_total",
        "counter",
        "Components that were loaded, by result: compiled, cached (compiled before), refused.",
    );
    let loads = plugins.loads();
    for (result, count) in [
        ("compiled", loads.compiled),
        ("cached", loads.cached),
        ("refused", loads.refused),
    ] {
        page.sample(
            "owlk8s_plugin_components_total",
            &[("result", result)],
            count,
        );
    }
}

fn reloaded(page: &mut Page, reloads: &Tally) {
    page.family(
        "owlk8s_config_reloads_total",
        "counter",
        "Changed configuration files since the start, by what became of them.",
    );
    for (result, count) in reloads.counts() {
        page.sample("owlk8s_config_reloads_total", &[("result", result)], count);
    }
    page.family(
        "owlk8s_config_last_reload_successful",
        "gauge",
        "Whether the configuration file as it is now was taken.",
    );
    page.sample(
        "owlk8s_config_last_reload_successful",
        &[],
        u8::from(reloads.is_successful()),
    );
    page.family(
        "owlk8s_config_last_reload_success_timestamp_seconds",
        "gauge",
        "When a configuration file was last taken, the start included.",
    );
    page.sample(
        "owlk8s_config_last_reload_success_timestamp_seconds",
        &[],
        reloads.succeeded_at(),
    );
    page.family(
        "owlk8s_config_keys_needing_restart",
        "gauge",
        "Changed keys of the configuration that wait for a restart.",
    );
    page.sample("owlk8s_config_keys_needing_restart", &[], reloads.waiting());
}

fn kubernetes(page: &mut Page, requests: &ApiRequests) {
    page.family(
        "owlk8s_kubernetes_requests_total",
        "counter",
        "Requests to the Kubernetes API server by verb, resource and status, 0 for no answer.",
    );
    for (asked, count) in requests.counts() {
        let labels = [
            ("verb", asked.verb),
            ("resource", &asked.resource),
            ("status", &asked.status.to_string()),
        ];
        page.sample("owlk8s_kubernetes_requests_total", &labels, count);
    }
}

fn targets(page: &mut Page, latest: &Snapshot) {
    page.family("owlk8s_targets", "gauge", "Targets by status.");
    for (status, name) in [
        (Status::Active, "active"),
        (Status::Waiting, "waiting"),
        (Status::Degraded, "degraded"),
        (Status::Failed, "failed"),
    ] {
        let count = latest.targets.iter().filter(|t| t.status == status).count();
        page.sample("owlk8s_targets", &[("status", name)], count);
    }
    page.family(
        "owlk8s_targets_confirmed_timestamp_seconds",
        "gauge",
        "When the source of targets last confirmed them.",
    );
    let confirmed = Duration::from_nanos(latest.targets_confirmed_at.0).as_secs_f64();
    page.sample("owlk8s_targets_confirmed_timestamp_seconds", &[], confirmed);
    page.family(
        "owlk8s_losses_total",
        "counter",
        "Requests or messages seen and not counted, by reason.",
    );
    for target in &latest.targets {
        for (reason, count) in target.totals.losses.iter().filter(|(_, count)| **count > 0) {
            let labels = [
                ("namespace", target.namespace.as_str()),
                ("pod", &target.pod),
                ("reason", reason),
            ];
            page.sample("owlk8s_losses_total", &labels, count);
        }
    }
    page.family(
        "owlk8s_coverage_ratio",
        "gauge",
        "Share of what was seen that is counted, aborted or in flight.",
    );
    for target in &latest.targets {
        let labels = [
            ("namespace", target.namespace.as_str()),
            ("pod", &target.pod),
        ];
        page.sample("owlk8s_coverage_ratio", &labels, target.totals.coverage);
    }
}

/// One counter of [`SinkCounters`] as a family.
type SinkFamily = (&'static str, &'static str, fn(&SinkCounters) -> u64);

const SINK_COUNTERS: [SinkFamily; 13] = [
    ("windows_delivered", "Windows that arrived.", |c| {
        c.windows_delivered
    }),
    (
        "gaps",
        "Windows that arrived with a gap before them: the agent had not been running.",
        |c| c.gaps,
    ),
    (
        "windows_merged",
        "Windows whose counts arrived with those of a later one.",
        |c| c.windows_merged,
    ),
    (
        "generations_refused",
        "Configurations and plugins' files that were refused while an older generation ran on.",
        |c| c.generations_refused,
    ),
    ("windows_dropped", "Windows that never arrived.", |c| {
        c.windows_dropped
    }),
    (
        "plugin_faults",
        "Calls that ended by a trap, a limit or the plugin's own error.",
        |c| c.plugin_faults,
    ),
    (
        "faults",
        "Deliveries that the endpoint failed or refused.",
        |c| c.sink_faults,
    ),
    ("bytes_delivered", "Payload bytes that arrived.", |c| {
        c.bytes_delivered
    }),
    (
        "payloads_refused",
        "Payloads that an endpoint refused for good.",
        |c| c.payloads_refused,
    ),
    (
        "lines_left_out",
        "Lines of payloads that no datagram of the endpoint holds.",
        |c| c.lines_left_out,
    ),
    (
        "rows_rejected",
        "Rows that a backend refused for good.",
        |c| c.rows_rejected,
    ),
    (
        "requests_served",
        "Requests answered by the responder.",
        |c| c.requests_served,
    ),
    (
        "log_lines_dropped",
        "Log lines over the plugin's limit.",
        |c| c.log_lines_dropped,
    ),
];

const BREAKER_STATES: [(BreakerState, &str); 4] = [
    (BreakerState::Closed, "closed"),
    (BreakerState::Open, "open"),
    (BreakerState::HalfOpen, "half-open"),
    (BreakerState::Quarantined, "quarantined"),
];

fn sinks(page: &mut Page, sinks: &[SinkStatus]) {
    if sinks.is_empty() {
        return;
    }
    page.family(
        "owlk8s_sink_active",
        "gauge",
        "Whether the sink takes windows.",
    );
    for sink in sinks {
        page.sample(
            "owlk8s_sink_active",
            &[("sink", &sink.name)],
            u8::from(sink.state == SinkState::Active),
        );
    }
    page.family(
        "owlk8s_sink_last_window",
        "gauge",
        "Sequence of the last window that arrived.",
    );
    for sink in sinks {
        page.sample(
            "owlk8s_sink_last_window",
            &[("sink", &sink.name)],
            sink.last_sequence,
        );
    }
    page.family(
        "owlk8s_sink_limits_exceeded_total",
        "counter",
        "How often the sink's plugins crossed a limit.",
    );
    for sink in sinks {
        for (limit, times) in &sink.limits_exceeded {
            let labels = [("sink", sink.name.as_str()), ("limit", limit.name())];
            page.sample("owlk8s_sink_limits_exceeded_total", &labels, times);
        }
    }
    page.family(
        "owlk8s_sink_breaker_state",
        "gauge",
        "1 for the state of the breaker of the sink's plugins.",
    );
    for sink in sinks {
        for (state, name) in BREAKER_STATES {
            page.sample(
                "owlk8s_sink_breaker_state",
                &[("sink", &sink.name), ("state", name)],
                u8::from(sink.breaker.state == state),
            );
        }
    }
    page.family(
        "owlk8s_sink_generation",
        "gauge",
        "How many generations of the sink have run.",
    );
    for sink in sinks {
        page.sample(
            "owlk8s_sink_generation",
            &[("sink", &sink.name)],
            sink.generation,
        );
    }
    page.family(
        "owlk8s_sink_refused",
        "gauge",
        "Whether the newest generation was refused, and an older one runs.",
    );
    for sink in sinks {
        page.sample(
            "owlk8s_sink_refused",
            &[("sink", &sink.name)],
            u8::from(sink.refused.is_some()),
        );
    }
    sink_times(page, sinks);
    for (name, help, read) in SINK_COUNTERS {
        let name = format!("owlk8s_sink_{name}_total");
        page.family(&name, "counter", help);
        for sink in sinks {
            page.sample(&name, &[("sink", &sink.name)], read(&sink.counters));
        }
    }
}

/// Of one sink, with the time of each.
fn sink_times(page: &mut Page, sinks: &[SinkStatus]) {
    let seconds = |ns: u64| Duration::from_nanos(ns).as_secs_f64();
    page.family(
        "owlk8s_sink_cpu_seconds_total",
        "counter",
        "Processor time of the calls of the sink's plugins.",
    );
    for sink in sinks {
        let cpu = seconds(sink.counters.cpu_ns);
        page.sample(
            "owlk8s_sink_cpu_seconds_total",
            &[("sink", &sink.name)],
            cpu,
        );
    }
    page.family(
        "owlk8s_sink_call_duration_seconds",
        "summary",
        "Elapsed time of the calls of the sink's plugins.",
    );
    for sink in sinks {
        let (labels, wall) = (
            [("sink", sink.name.as_str())],
            seconds(sink.counters.wall_ns),
        );
        page.sample("owlk8s_sink_call_duration_seconds_sum", &labels, wall);
        let calls = sink.counters.calls;
        page.sample("owlk8s_sink_call_duration_seconds_count", &labels, calls);
    }
    for (name, help, read) in SINK_TIMES {
        page.family(name, "gauge", help);
        for sink in sinks {
            if let Some(at) = read(sink) {
                page.sample(name, &[("sink", &sink.name)], seconds(at));
            }
        }
    }
}

/// Something that happened last at a time.
type SinkTime = (&'static str, &'static str, fn(&SinkStatus) -> Option<u64>);

const SINK_TIMES: [SinkTime; 2] = [
    (
        "owlk8s_sink_last_success_timestamp_seconds",
        "When a window arrived last.",
        |sink| sink.last_success_unix_ns,
    ),
    (
        "owlk8s_sink_last_error_timestamp_seconds",
        "When plugin or endpoint failed last.",
        |sink| sink.last_error_unix_ns,
    ),
];

/// Text under construction.
#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            let text = text
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            let _ = write!(
                self.0,
                "{}{label}=\"{text}\"",
                if at == 0 { '{' } else { ',' }
            );
        }
        let _ = writeln!(
            self.0,
            "{} {value}",
            if labels.is_empty() { "" } else { "}" }
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_escaped_and_never_rewritten() {
        let mut page = Page::default();
        page.sample("x", &[("pod", "a-b\"c\\d\ne"), ("reason", "hole")], 3);
        assert_eq!(page.0, "x{pod=\"a-b\\\"c\\\\d\\ne\",reason=\"hole\"} 3\n");
    }
}

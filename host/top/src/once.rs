//! The table for a pipe: plain text, or values for a machine; and what is wrong, which live and plain have alike.

use owlk8s_model::TargetSnapshot;
use serde::Serialize;

use crate::ask::Ask;
use crate::seen::Health;
use crate::table::{self, Row, pod_name};
use crate::{Column, Group, Model, Order, Sink, words};

/// What a person should know before any number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trouble {
    #[serde(skip)]
    pub(crate) health: Health,
    /// `blind`, `failed`, `degraded`, `waiting`, or `sink`.
    pub word: String,
    /// Of the target, with its namespace; or of the sink.
    pub name: String,
    /// Why, and the remedy where there is one.
    pub reason: String,
}

/// Two answers of the agent, `pause` being called between them.
///
/// # Errors
/// What the agent's answer failed by.
pub fn once(ask: &mut Ask, pause: impl FnOnce()) -> Result<Model, String> {
    let mut model = Model::new(ask()?);
    pause();
    model.take(ask()?);
    Ok(model)
}

/// The worst first: targets that cannot be read or not wholly, and among the failed the sinks.
#[must_use]
pub fn troubles(model: &Model) -> Vec<Trouble> {
    let targets = &model.seen.snapshot.targets;
    let of = |health: Health| {
        let troubled = move |target: &&TargetSnapshot| Health::of(target) == health;
        let targets = targets.iter().filter(troubled).map(move |target| Trouble {
            health,
            word: health.word().to_owned(),
            name: words::clean(&full_name(target)),
            // The word is there already.
            reason: words::clean(target.reason.trim_start_matches("blind: ")),
        });
        let failed = health == Health::Failed;
        let sinks = model.seen.sinks.iter().filter(move |_| failed);
        targets.chain(sinks.filter_map(of_sink))
    };
    Health::TROUBLED.into_iter().flat_map(of).collect()
}

fn of_sink(sink: &Sink) -> Option<Trouble> {
    let reason = sink.trouble()?;
    let state = match sink.state.as_str() {
        "active" => String::new(),
        state => format!("{state}: "),
    };
    Some(Trouble {
        health: Health::Failed,
        word: "sink".to_owned(),
        name: words::clean(&sink.name),
        reason: words::clean(&format!("{state}{reason}")),
    })
}

pub(crate) fn failing(model: &Model) -> usize {
    let sinks = model.seen.sinks.iter();
    sinks.filter(|sink| sink.trouble().is_some()).count()
}

fn full_name(target: &TargetSnapshot) -> String {
    match target.namespace.as_str() {
        "" => pod_name(target).to_owned(),
        namespace => format!("{namespace}/{}", pod_name(target)),
    }
}

/// One line a row under a line of titles; a cell is one word, but for the status, which is the last.
#[must_use]
pub fn plain(model: &Model, order: &Order) -> String {
    let (rows, _) = table::rows(model, order);
    let title = match order.group {
        Group::Services => "SERVICE",
        Group::Workloads => "WORKLOAD",
        Group::Pods => "POD",
        Group::Namespaces => "NAMESPACE",
    };
    let with_namespace = order.group != Group::Namespaces;
    let mut lines = vec![titles(title, with_namespace)];
    lines.extend(rows.iter().map(|row| cells(row, with_namespace)));
    aligned(&lines)
}

fn titles(title: &str, with_namespace: bool) -> Vec<String> {
    let namespace = with_namespace.then_some("NAMESPACE");
    let columns = Column::ALL[1..].iter().map(|column| column.title());
    let before = namespace.into_iter().chain([title, "PODS"]);
    before.chain(columns).map(str::to_owned).collect()
}

fn cells(row: &Row, with_namespace: bool) -> Vec<String> {
    let word = |text: &str| match text {
        "" => words::NONE.to_owned(),
        text => text.replace(' ', "_"),
    };
    let namespace = with_namespace.then(|| word(&row.namespace));
    let columns = Column::ALL[1..].iter().map(|&column| row.cell(column));
    let before = namespace
        .into_iter()
        .chain([word(&row.name), row.targets.len().to_string()]);
    before.chain(columns).collect()
}

/// Names to the left, numbers to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines[0].len();
    let width = |at: usize| {
        let widths = lines.iter().map(|cells| cells[at].chars().count());
        widths.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let names = columns - Column::ALL.len();
    let mut text = String::new();
    for cells in lines {
        for (at, (cell, &width)) in cells.iter().zip(&widths).enumerate() {
            match at {
                _ if at + 1 == columns => text += cell,
                _ if at < names => text += &format!("{cell:<width$}  "),
                _ => text += &format!("{cell:>width$}  "),
            }
        }
        text += "\n";
    }
    text
}

/// For a machine. Times are seconds, shares of 1; `null` is what has no value.
#[derive(Serialize)]
pub struct Document {
    node: String,
    /// Between the agent's two answers: the rates are of this time.
    seconds: Option<f64>,
    group: &'static str,
    rows: Vec<DocumentRow>,
    troubles: Vec<Trouble>,
    sinks: Vec<Sink>,
}

#[derive(Serialize)]
struct DocumentRow {
    name: String,
    namespace: String,
    pods: usize,
    requests_per_second: Option<f64>,
    server_error_ratio: Option<f64>,
    client_error_ratio: Option<f64>,
    p50_seconds: Option<f64>,
    p90_seconds: Option<f64>,
    p99_seconds: Option<f64>,
    in_flight: Option<f64>,
    coverage: Option<f64>,
    status: &'static str,
    reason: String,
}

impl Document {
    /// The rows of the table, and all that is wrong.
    #[must_use]
    pub fn new(model: &Model, order: &Order) -> Self {
        let (rows, _) = table::rows(model, order);
        Self {
            node: model.seen.snapshot.node.clone(),
            seconds: model.seconds,
            group: order.group.name(),
            rows: rows.iter().map(DocumentRow::new).collect(),
            troubles: troubles(model),
            sinks: model.seen.sinks.clone(),
        }
    }
}

impl DocumentRow {
    fn new(row: &Row) -> Self {
        Self {
            name: row.name.clone(),
            namespace: row.namespace.clone(),
            pods: row.targets.len(),
            requests_per_second: row.value(Column::Rate),
            server_error_ratio: row.value(Column::Errors),
            client_error_ratio: row.value(Column::Refused),
            p50_seconds: row.value(Column::P50),
            p90_seconds: row.value(Column::P90),
            p99_seconds: row.value(Column::P99),
            in_flight: row.value(Column::InFlight),
            coverage: row.coverage(),
            status: row.health.0.word(),
            reason: row.reason.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use owlk8s_model::Status;

    use super::*;
    use crate::Seen;
    use crate::testing::{answer, sink, target};

    fn asked(mut answers: VecDeque<Result<Seen, String>>) -> Ask {
        Box::new(move || answers.pop_front().unwrap())
    }

    fn model() -> Model {
        let targets = |times: u64| {
            vec![
                target("cart").requests(100 * times),
                target("pay")
                    .requests(times)
                    .failures(times)
                    .namespace("money"),
                target("hidden").blind(),
                target("late").status(Status::Waiting, "its interface is\nnot there yet"),
            ]
        };
        let mut second = answer(12, targets(2));
        second
            .sinks
            .push(sink("influx", "backoff", "connection refused"));
        let mut ask = asked([Ok(answer(10, targets(1))), Ok(second)].into());
        once(&mut ask, || {}).unwrap()
    }

    #[test]
    fn plain_rows_are_words_in_columns() {
        let plain = plain(&model(), &Order::default());
        let wanted = "\
NAMESPACE  SERVICE  PODS  REQ/S    5XX  4XX     P50     P90     P99  IN-FLIGHT  COVERAGE  STATUS
shop       cart        1   50.0     0%   0%  4.08ms  4.22ms  4.26ms          0      100%  active
money      pay         1   1.00  50.0%   0%  4.26ms  67.0ms  68.0ms          0      100%  active
shop       hidden      1      -      -    -       -       -       -          -     0.00%  blind
shop       late        1      -      -    -       -       -       -          -         -  waiting
";
        assert_eq!(plain, wanted);
    }

    #[test]
    fn what_is_wrong_is_told_the_worst_first_and_moves_no_cursor() {
        let told: Vec<String> = troubles(&model())
            .into_iter()
            .map(|trouble| format!("{} {}: {}", trouble.word, trouble.name, trouble.reason))
            .collect();
        assert_eq!(
            told,
            [
                "blind shop/hidden-0: vh1 is bypassed: CAP_SYS_ADMIN is missing",
                "sink influx: backoff: connection refused",
                "waiting shop/late-0: its interface is not there yet",
            ]
        );
    }

    #[test]
    fn a_sink_whose_last_delivery_failed_is_told_of_also_while_it_is_active() {
        let mut failing = sink("influx", "active", "");
        failing.last_error = "503".to_owned();
        (failing.last_success_unix_ns, failing.last_error_unix_ns) = (Some(5), Some(7));
        assert_eq!(failing.trouble(), Some("503"));
        failing.last_success_unix_ns = Some(9);
        assert_eq!(failing.trouble(), None);
        assert_eq!(sink("off", "disabled", "switched off").trouble(), None);
        assert_eq!(sink("x", "quarantined", "traps").trouble(), Some("traps"));
    }

    #[test]
    fn a_machine_reads_null_where_there_is_no_value() {
        let document = serde_json::to_value(Document::new(&model(), &Order::default())).unwrap();
        assert_eq!(document["seconds"], 2.0);
        assert_eq!(document["rows"][0]["requests_per_second"], 50.0);
        assert_eq!(document["rows"][2]["status"], "blind");
        assert!(document["rows"][2]["requests_per_second"].is_null());
        assert_eq!(document["troubles"][1]["word"], "sink");
    }

    #[test]
    fn an_agent_that_does_not_answer_is_the_error() {
        let mut ask = asked([Err("no agent answers".to_owned())].into());
        assert_eq!(once(&mut ask, || {}).unwrap_err(), "no agent answers");
    }
}

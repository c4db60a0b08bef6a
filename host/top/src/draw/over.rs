//! What is over the table: the keys, and all about one row.

use std::collections::BTreeMap;

use owlk8s_model::{Direction, TargetSnapshot};
use ratatui::Frame;
use ratatui::layout::Constraint;
use ratatui::style::Stylize as _;
use ratatui::text::{Line, Text};
use ratatui::widgets::{Block, Clear, Padding, Paragraph, Wrap};

use super::targets::row_of;
use super::tone;
use crate::app::{App, Over};
use crate::seen::Health;
use crate::table::{pod_name, workload};
use crate::{Model, words};

/// Of the rows by method and status, the most frequent.
const CODES: usize = 20;

const HELP: &[(&str, &str)] = &[
    ("q, Ctrl-C", "quit"),
    (
        "1 2 3 4, g",
        "rows are services, workloads, pods, namespaces",
    ),
    ("5", "the sinks, and what is wrong with them"),
    ("< >", "sort by the column beside (also ← →)"),
    ("t n e l", "sort by rate, name, 5xx, p99"),
    ("r", "turn the order"),
    (
        "/",
        "filter: words of names, namespaces, workloads, statuses; Esc clears",
    ),
    ("j k, ↓ ↑", "choose a row; PgDn, PgUp, Home, End"),
    ("Enter", "all about the chosen row"),
    ("p, Space", "pause, and go on"),
    ("R", "ask the agent now"),
    ("", ""),
    (
        "REQ/S",
        "answers a second, between the agent's last two answers",
    ),
    ("5XX, 4XX", "their share of the answers"),
    (
        "P50 P90 P99",
        "from a request's first byte to the answer's first byte",
    ),
    (
        "COVERAGE",
        "of what was seen since discovery, what was counted",
    ),
    (
        "blind",
        "its packets cannot be read: no number, never a zero",
    ),
];

pub(super) fn help(frame: &mut Frame<'_>) {
    let line = |(keys, what): &(&'static str, &'static str)| {
        Line::from(vec![format!("{keys:12} ").bold(), (*what).into()])
    };
    let lines: Vec<Line<'static>> = HELP.iter().map(line).collect();
    popup(frame, "Keys and columns", Text::from(lines), 76, 0);
}

pub(super) fn detail(frame: &mut Frame<'_>, app: &mut App, key: &str, scrolled: u16) {
    let row = row_of(app, key);
    let Some((model, row)) = app.model().zip(row) else {
        popup(frame, key, Text::from("It is not there any more."), 60, 0);
        return;
    };
    let targets: Vec<&TargetSnapshot> = model
        .targets()
        .map(|(target, _)| target)
        .filter(|target| row.targets.contains(&target.id))
        .collect();
    let mut lines = Vec::new();
    for target in &targets {
        lines.extend(about(target));
    }
    lines.push(Line::default());
    lines.extend(codes(model, &targets));
    let scrolled = popup(frame, &row.name, Text::from(lines), 100, scrolled);
    app.over = Over::Detail(key.to_owned(), scrolled);
}

/// One target.
fn about(target: &TargetSnapshot) -> Vec<Line<'static>> {
    let health = Health::of(target);
    let name = format!("{}/{}", target.namespace, pod_name(target));
    let ips: Vec<String> = target.ips.iter().map(ToString::to_string).collect();
    let totals = &target.totals;
    let lost: u64 = totals.losses.values().sum();
    let mut lines = vec![
        Line::from(vec![
            words::clean(&name).bold(),
            "  ".into(),
            ratatui::text::Span::styled(health.word(), tone(health).bold()),
        ]),
        entry("workload", &workload(target)),
        entry("services", &target.services.join(", ")),
        entry("addresses", &ips.join(", ")),
        entry(
            "interface",
            &format!("{} {}", target.interface, target.hook_reason),
        ),
        entry(
            "counted",
            &format!(
                "{} answered, {} aborted, {} in flight, {lost} lost of {} seen",
                totals.requests, totals.aborted, totals.in_flight, totals.seen
            ),
        ),
    ];
    lines.extend(
        totals
            .losses
            .iter()
            .map(|(why, count)| entry("lost", &format!("{count} {why}"))),
    );
    if !target.reason.is_empty() {
        let reason = words::clean(&target.reason);
        lines.insert(1, Line::styled(format!("  {reason}"), tone(health)));
    }
    lines
}

fn entry(label: &'static str, value: &str) -> Line<'static> {
    Line::from(vec![
        ratatui::text::Span::styled(format!("  {label:10} "), super::quiet()),
        words::clean(value).into(),
    ])
}

/// Of all its targets, since discovery.
fn codes(model: &Model, targets: &[&TargetSnapshot]) -> Vec<Line<'static>> {
    let mut counts: BTreeMap<(&str, &str, u16, &str), u64> = BTreeMap::new();
    for row in targets.iter().flat_map(|target| &target.rows) {
        let side = match (row.probe, row.direction) {
            (true, _) => "kubelet probe",
            (false, Direction::Client) => "sent by the pod",
            (false, Direction::Server) => "answered",
        };
        let key = (side, &*row.method.0, row.status, row.protocol.version());
        *counts.entry(key).or_default() += row.count;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    let title = format!("since discovery, at {}", model.seen.snapshot.node);
    let mut lines = vec![Line::styled(words::clean(&title), super::quiet())];
    lines.extend(
        counts
            .into_iter()
            .take(CODES)
            .map(|((side, method, status, version), count)| {
                Line::from(format!(
                    "{count:>12}  {method:8} {status}  HTTP/{version:4} {side}"
                ))
            }),
    );
    lines
}

/// In the middle of the screen, as large as what is in it; how far it could be scrolled.
fn popup(
    frame: &mut Frame<'_>,
    title: &str,
    text: Text<'static>,
    width: u16,
    scrolled: u16,
) -> u16 {
    let whole = frame.area();
    let width = width.min(whole.width.saturating_sub(2));
    let block = Block::bordered()
        .title(format!(" {} ", words::clean(title)).bold())
        .title_bottom(Line::from(" Esc closes, j k scroll ").right_aligned())
        .padding(Padding::horizontal(1));
    // Between words, lines break a little before the end.
    let inner = usize::from(width.saturating_sub(4)).max(1);
    let broken = |line: &Line<'_>| match line.width() {
        short if short <= inner => 1,
        long => long.div_ceil((inner * 9 / 10).max(1)),
    };
    let lines: usize = text.lines.iter().map(broken).sum();
    let paragraph = Paragraph::new(text).wrap(Wrap { trim: false }).block(block);
    let needed = u16::try_from(lines + 2).unwrap_or(u16::MAX);
    let height = needed.min(whole.height);
    let area = whole.centered(Constraint::Length(width), Constraint::Length(height));
    let scrolled = scrolled.min(needed - height);
    frame.render_widget(Clear, area);
    frame.render_widget(paragraph.scroll((scrolled, 0)), area);
    scrolled
}

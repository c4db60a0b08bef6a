//! The table of sinks.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Style, Stylize as _};
use ratatui::text::Text;
use ratatui::widgets::{Cell, Row, Table};

use crate::app::App;
use crate::{Sink, words};

const TITLES: [&str; 8] = [
    "SINK",
    "PLUGIN",
    "STATE",
    "DELIVERED",
    "DROPPED",
    "FAULTS",
    "LAST",
    "WHAT IS WRONG",
];

pub(super) fn draw(frame: &mut Frame<'_>, app: &mut App, area: Rect) {
    let Some(model) = app.model() else { return };
    let filter = app.order.filter.to_lowercase();
    let mut sinks: Vec<&Sink> = model.seen.sinks.iter().collect();
    sinks.retain(|sink| {
        let text = format!("{} {} {}", sink.name, sink.plugin, sink.state).to_lowercase();
        filter.split_whitespace().all(|word| text.contains(word))
    });
    let now = model.seen.snapshot.window.end.0;
    let rows = sinks.iter().map(|sink| line(sink, now));
    let widths = [
        Constraint::Max(24),
        Constraint::Max(18),
        Constraint::Length(11),
        Constraint::Length(9),
        Constraint::Length(7),
        Constraint::Length(6),
        Constraint::Length(5),
        Constraint::Fill(1),
    ];
    let title = |(at, title): (usize, &&'static str)| {
        Cell::from(match at {
            3..=6 => Text::from(*title).right_aligned(),
            _ => Text::from(*title),
        })
    };
    let header = Row::new(TITLES.iter().enumerate().map(title)).style(Style::new().bold().cyan());
    frame.render_widget(Table::new(rows, widths).header(header), area);
    if model.seen.sinks.is_empty() && area.height > 2 {
        let at = Rect {
            y: area.y + 2,
            height: 1,
            ..area
        };
        let text =
            " The configuration has no sink: nothing leaves this agent but by its admin endpoints.";
        frame.render_widget(Text::from(text).style(super::quiet()), at);
    }
}

fn line(sink: &Sink, now: u64) -> Row<'static> {
    let trouble = sink.trouble();
    let state = match trouble {
        None => Style::new(),
        Some(_) => Style::new().red().bold(),
    };
    let last = sink.last_success_unix_ns.map_or_else(
        || words::NONE.to_owned(),
        |at| words::age(now.saturating_sub(at) / 1_000_000_000),
    );
    let number = |value: u64| Cell::from(Text::from(value.to_string()).right_aligned());
    let counters = sink.counters;
    Row::new([
        Cell::from(words::clean(&sink.name)).bold(),
        Cell::from(words::clean(sink.plugin_name())),
        Cell::from(words::clean(&sink.state)).style(state),
        number(counters.windows_delivered),
        number(counters.windows_dropped),
        number(counters.plugin_faults + counters.sink_faults),
        Cell::from(Text::from(last).right_aligned()),
        Cell::from(words::clean(trouble.unwrap_or_default())),
    ])
}

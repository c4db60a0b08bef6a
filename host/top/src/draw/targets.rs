//! The table of targets.

use std::time::Instant;

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Rect};
use ratatui::style::{Modifier, Style, Stylize as _};
use ratatui::text::Text;
use ratatui::widgets::{Cell, Row, Table};

use super::{quiet, tone};
use crate::app::App;
use crate::table::{self, Row as Group};
use crate::{Column, Group as By, words};

/// A name that is longer is cut off.
const NAME_MIN: u16 = 18;
const NAME_MAX: u16 = 48;
const NAMESPACE: u16 = 14;
const TREND_MIN: u16 = 10;
const SPACING: u16 = 1;

/// What goes first where the screen is narrow.
const DISPENSABLE: [Part; 9] = [
    Part::Pods,
    Part::Column(Column::InFlight),
    Part::Column(Column::P50),
    Part::Trend,
    Part::Namespace,
    Part::Column(Column::Refused),
    Part::Column(Column::P90),
    Part::Column(Column::Coverage),
    Part::Column(Column::P99),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Namespace,
    Pods,
    Column(Column),
    Trend,
}

impl Part {
    fn width(self) -> u16 {
        match self {
            Self::Namespace => NAMESPACE,
            Self::Pods => 4,
            Self::Trend => TREND_MIN,
            Self::Column(Column::Name) => NAME_MIN,
            Self::Column(Column::Rate) => 8,
            Self::Column(Column::InFlight) => 10,
            Self::Column(Column::Coverage) => 9,
            Self::Column(Column::Status) => 11,
            Self::Column(_) => 7,
        }
    }
}

pub(super) fn draw(frame: &mut Frame<'_>, app: &mut App, area: Rect, now: Instant) {
    app.page = usize::from(area.height.saturating_sub(2));
    let (rows, all) = app.rows();
    let parts = parts(area.width, app.order.group);
    let (name, trend) = widths(area.width, &parts, &rows);
    let constraints = parts.iter().map(|part| match part {
        Part::Column(Column::Name) => Constraint::Length(name),
        Part::Trend => Constraint::Length(trend),
        part => Constraint::Length(part.width()),
    });
    let shown = rows
        .iter()
        .map(|row| line(app, row, &parts, usize::from(trend)));
    let mut table = Table::new(shown, constraints)
        .header(header(app, &parts, rows.len(), all))
        .column_spacing(SPACING)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    if !app.is_live(now) && !app.is_paused() {
        table = table.style(quiet());
    }
    let empty = rows.is_empty();
    frame.render_stateful_widget(table, area, &mut app.table);
    if empty && area.height > 2 {
        let at = Rect {
            y: area.y + 2,
            height: 1,
            ..area
        };
        frame.render_widget(Text::from(nothing(all)).style(quiet()), at);
    }
}

fn nothing(all: usize) -> String {
    match all {
        0 => " The agent has no target yet.".to_owned(),
        _ => format!(" None of {all} has what the filter asks for; Esc clears it."),
    }
}

/// Those that there is room for, from left to right.
fn parts(width: u16, group: By) -> Vec<Part> {
    let mut parts = vec![Part::Column(Column::Name)];
    if group != By::Namespaces {
        parts.push(Part::Namespace);
    }
    if group != By::Pods {
        parts.push(Part::Pods);
    }
    parts.extend(Column::ALL[1..].iter().copied().map(Part::Column));
    parts.push(Part::Trend);
    for part in DISPENSABLE {
        if taken(&parts) <= width {
            break;
        }
        parts.retain(|&one| one != part);
    }
    parts
}

fn taken(parts: &[Part]) -> u16 {
    parts.iter().map(|part| part.width() + SPACING).sum::<u16>() - SPACING
}

/// Of the name, and of the trend: the room that is left is for the longest name, then for the past.
fn widths(width: u16, parts: &[Part], rows: &[Group]) -> (u16, u16) {
    let left = width.saturating_sub(taken(parts));
    let longest = rows.iter().map(|row| row.name.chars().count()).max();
    let longest = u16::try_from(longest.unwrap_or(0)).unwrap_or(NAME_MAX);
    let more = longest.min(NAME_MAX).saturating_sub(NAME_MIN).min(left);
    let most = u16::try_from(crate::WINDOWS).unwrap_or(u16::MAX);
    (NAME_MIN + more, (TREND_MIN + left - more).min(most))
}

fn header(app: &App, parts: &[Part], shown: usize, all: usize) -> Row<'static> {
    let cell = |part: &Part| {
        let (title, sorted) = match part {
            Part::Namespace => ("NAMESPACE".to_owned(), false),
            Part::Pods => ("PODS".to_owned(), false),
            Part::Trend => (" TREND".to_owned(), false),
            Part::Column(Column::Name) => {
                let count = match shown == all {
                    true => all.to_string(),
                    false => format!("{shown} of {all}"),
                };
                (
                    format!("{} ({count})", app.order.group.name().to_uppercase()),
                    app.order.sort == Column::Name,
                )
            }
            Part::Column(column) => (column.title().to_owned(), app.order.sort == *column),
        };
        let arrow = match (sorted, app.order.falling) {
            (false, _) => "",
            (true, true) => "▼",
            (true, false) => "▲",
        };
        let text = Text::from(format!("{title}{arrow}")).alignment(alignment(*part));
        Cell::from(if sorted {
            text.bold().underlined()
        } else {
            text
        })
    };
    Row::new(parts.iter().map(cell)).style(Style::new().bold().cyan())
}

fn alignment(part: Part) -> Alignment {
    match part {
        Part::Namespace | Part::Trend | Part::Column(Column::Name | Column::Status) => {
            Alignment::Left
        }
        _ => Alignment::Right,
    }
}

fn line(app: &App, row: &Group, parts: &[Part], trend: usize) -> Row<'static> {
    let cell = |part: &Part| {
        let text = match part {
            Part::Namespace => row.namespace.clone(),
            Part::Pods => row.targets.len().to_string(),
            Part::Column(column) => row.cell(*column),
            // A row of zeros would look like one.
            Part::Trend if !row.is_read() => String::new(),
            Part::Trend => app
                .model()
                .map(|model| words::spark(&model.trend(row.targets.iter()), trend))
                .unwrap_or_default(),
        };
        Cell::from(Text::from(text).alignment(alignment(*part))).style(style(row, *part))
    };
    Row::new(parts.iter().map(cell))
}

fn style(row: &Group, part: Part) -> Style {
    let counts = &row.counts;
    match part {
        Part::Namespace | Part::Pods => quiet(),
        Part::Trend => Style::new().green(),
        Part::Column(Column::Name) => Style::new().bold(),
        Part::Column(Column::Errors) if counts.err5 > 0 && row.is_read() => Style::new().red(),
        Part::Column(Column::Refused) if counts.err4 > 0 && row.is_read() => Style::new().yellow(),
        Part::Column(Column::Coverage) if row.coverage().is_some_and(|c| c < 1.0) => {
            Style::new().yellow()
        }
        Part::Column(Column::Status) => tone(row.health.0),
        Part::Column(_) => Style::new(),
    }
}

/// Of the row with this key, where it is still there.
pub(super) fn row_of(app: &App, key: &str) -> Option<Group> {
    let order = crate::Order {
        filter: String::new(),
        ..app.order.clone()
    };
    let rows = table::rows(app.model()?, &order).0;
    rows.into_iter().find(|row| row.key == key)
}

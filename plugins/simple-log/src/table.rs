//! The table that a terminal shows: a heading, a row for each pod, a sentence below for each that is
//! not read whole, and an empty line.

use std::fmt::Write;
use std::time::Duration;

use owlk8s_plugin::{Snapshot, Target, records};
use unicode_width::UnicodeWidthStr;

use crate::rate::Rates;
use crate::{Units, printable};

/// Cursor home, erase below: the terminal's scroll-back stays.
const CLEAR: &str = "\x1b[H\x1b[J";

/// Names are left-aligned, numbers right-aligned.
const HEADINGS: [(&str, Align); 11] = [
    ("POD", Align::Left),
    ("WORKLOAD", Align::Left),
    ("SERVICES", Align::Left),
    ("REQUESTS", Align::Right),
    ("REQ/S", Align::Right),
    ("4XX", Align::Right),
    ("5XX", Align::Right),
    ("IN FLIGHT", Align::Right),
    ("P50", Align::Right),
    ("P99", Align::Right),
    ("STATUS", Align::Left),
];

#[derive(Clone, Copy)]
enum Align {
    Left,
    Right,
}

pub(crate) fn format(units: Units, clear: bool, snapshot: &Snapshot<'_>) -> String {
    let rates = Rates::of(snapshot);
    let heading = HEADINGS.map(|(name, _)| name.to_owned());
    let rows: Vec<_> = std::iter::once(heading)
        .chain(
            snapshot
                .targets()
                .map(|target| cells(units, &rates, &target)),
        )
        .collect();
    let widths = std::array::from_fn(|column| {
        rows.iter()
            .map(|row| row[column].width())
            .max()
            .unwrap_or(0)
    });
    let mut text = if clear {
        CLEAR.to_owned()
    } else {
        String::new()
    };
    for row in &rows {
        write_row(&mut text, row, widths);
    }
    for target in snapshot
        .targets()
        .filter(|target| !target.reason().is_empty())
    {
        let _ = writeln!(
            text,
            "{}: {}",
            printable(&target.full_name()),
            printable(target.reason())
        );
    }
    if !clear {
        text.push('\n');
    }
    text
}

fn cells(units: Units, rates: &Rates, target: &Target<'_>) -> [String; HEADINGS.len()] {
    let (total, latency) = (target.total(), target.latency());
    let quantile = |q| {
        latency
            .quantile(q)
            .map_or_else(|| "-".to_owned(), |d: Duration| units.show(d))
    };
    [
        printable(&target.full_name()),
        printable(&target.workload()),
        printable(&target.services().join(",")),
        total.requests.to_string(),
        rates
            .per_second(target)
            .map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}")),
        total.err4.to_string(),
        total.err5.to_string(),
        total.in_flight.to_string(),
        quantile(0.5),
        quantile(0.99),
        status(target.status(), total),
    ]
}

/// The status, with the share of requests that could be counted where that is not all.
fn status(status: records::Status, total: &records::Total) -> String {
    if total.coverage < 1.0 {
        format!("{} ({:.2}% counted)", status.name(), total.coverage * 100.0)
    } else {
        status.name().to_owned()
    }
}

fn write_row(text: &mut String, row: &[String; HEADINGS.len()], widths: [usize; HEADINGS.len()]) {
    let start = text.len();
    for ((cell, width), (_, align)) in row.iter().zip(widths).zip(HEADINGS) {
        let gap = " ".repeat(width - cell.width());
        let _ = match align {
            Align::Left => write!(text, "{cell}{gap}  "),
            Align::Right => write!(text, "{gap}{cell}  "),
        };
    }
    text.truncate(start + text[start..].trim_end().len());
    text.push('\n');
}

//! From [`App`] to the screen. Colours are the terminal's own sixteen, and nothing is said by colour alone.

mod over;
mod sinks;
mod targets;
#[cfg(test)]
mod tests;

use std::time::Instant;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span};

use crate::app::{App, Over};
use crate::counts::Counts;
use crate::once::Trouble;
use crate::seen::Health;
use crate::{Model, once, words};

/// Of the screen's lines, for what is wrong.
const TROUBLES: u16 = 4;

/// A whole screen.
pub(crate) fn draw(frame: &mut Frame<'_>, app: &mut App, now: Instant) {
    let troubles = app.model().map(once::troubles).unwrap_or_default();
    let room = (frame.area().height / TROUBLES).max(2);
    let gone = u16::from(app.trouble.is_some());
    let wrong = u16::try_from(troubles.len()).unwrap_or(u16::MAX).min(room);
    let lines = [1, gone, 1, wrong].map(Constraint::Length);
    let [head, loss, sums, wrong] = Layout::vertical(lines).areas(top(frame.area()));
    let used = 2 + gone + wrong.height;
    let [_, body, foot] = Layout::vertical([
        Constraint::Length(used),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());

    frame.render_widget(head_line(app, now), head);
    frame.render_widget(loss_line(app, now), loss);
    if let Some(model) = app.model() {
        frame.render_widget(sums_line(model), sums);
        frame.render_widget(
            ratatui::text::Text::from(trouble_lines(&troubles, wrong)),
            wrong,
        );
    }
    match (app.model().is_some(), app.sinks) {
        (false, _) => {}
        (true, true) => sinks::draw(frame, app, body),
        (true, false) => targets::draw(frame, app, body, now),
    }
    frame.render_widget(foot_line(app, foot.width), foot);
    if app.typing {
        let at = "filter: ".len() + Span::raw(app.order.filter.as_str()).width();
        let x = u16::try_from(at)
            .unwrap_or(u16::MAX)
            .min(foot.width.saturating_sub(1));
        frame.set_cursor_position((foot.x + x, foot.y));
    }
    match app.over.clone() {
        Over::Nothing => {}
        Over::Help => over::help(frame),
        Over::Detail(key, line) => over::detail(frame, app, &key, line),
    }
}

/// All but the last line, which is the foot's.
fn top(area: Rect) -> Rect {
    Rect {
        height: area.height.saturating_sub(1),
        ..area
    }
}

pub(crate) fn quiet() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

pub(crate) fn tone(health: Health) -> Style {
    match health {
        Health::Active => Style::new(),
        Health::Waiting | Health::Degraded => Style::new().fg(Color::Yellow),
        Health::Failed | Health::Blind => Style::new().fg(Color::Red),
    }
}

fn head_line(app: &App, now: Instant) -> Line<'static> {
    let mut line = Line::from("owlk8s top ".bold());
    let Some(model) = app.model() else {
        line.push_span(format!(
            "{} ",
            words::clean("waiting for the agent's first answer")
        ));
        return line;
    };
    line.push_span(format!(" {}  ", words::clean(&model.seen.snapshot.node)).cyan());
    let age = app.age(now).unwrap_or_default().as_secs();
    line.push_span(match (app.is_live(now), app.is_paused()) {
        (true, _) => " LIVE ".black().on_green(),
        (false, true) => " PAUSED ".black().on_yellow(),
        (false, false) => " OLD ".white().on_red(),
    });
    line.push_span(format!(" {} ago", words::age(age)));
    let basis = match model.seconds {
        Some(seconds) => format!(", rates of the last {seconds:.1}s"),
        None => ", means since discovery".to_owned(),
    };
    line.push_span(Span::styled(basis, quiet()));
    line
}

/// Only where the agent does not answer.
fn loss_line(app: &App, now: Instant) -> Line<'static> {
    let Some(trouble) = &app.trouble else {
        return Line::default();
    };
    let old = match app.model().is_some() {
        true => "what is below is old; ",
        false => "",
    };
    let text = format!(
        " No answer for {}: {old}asked again in {}s. {}",
        words::age(trouble.lasts(now).as_secs()),
        trouble.pause(now).as_secs_f64().ceil(),
        words::clean(&trouble.why),
    );
    Line::styled(text, Style::new().fg(Color::White).bg(Color::Red))
}

fn sums_line(model: &Model) -> Line<'static> {
    let mut sum = Counts::default();
    let mut all = Counts::default();
    let (mut rate, mut active, mut blind) = (0.0, 0, 0);
    for (target, counted) in model.targets() {
        sum.add(&counted.counts);
        all.add(&counted.since_discovery);
        rate += counted.rate();
        active += usize::from(Health::of(target) == Health::Active);
        blind += usize::from(target.blind);
    }
    let targets = model.seen.snapshot.targets.len();
    let whole = all.coverage();
    let warned = |text: String, warn: bool| match warn {
        true => text.yellow().bold(),
        false => text.bold(),
    };
    let err5 = sum.share(sum.err5);
    let mut line = Line::default();
    let mut item = |label: &'static str, value: Span<'static>| {
        if !line.spans.is_empty() {
            line.push_span("  ");
        }
        line.push_span(Span::styled(label, quiet()));
        line.push_span(value);
    };
    item(
        "targets ",
        warned(format!("{active}/{targets}"), active < targets),
    );
    if blind > 0 {
        item("blind ", blind.to_string().red().bold());
    }
    item("req/s ", words::rate(rate).bold());
    let errors = words::share(err5);
    item(
        "5xx ",
        if sum.err5 > 0 {
            errors.red().bold()
        } else {
            errors.bold()
        },
    );
    for (label, q) in [("p50 ", 0.5), ("p90 ", 0.9), ("p99 ", 0.99)] {
        item(label, words::time(sum.quantile(q)).bold());
    }
    item("in flight ", sum.in_flight.to_string().bold());
    item("coverage ", warned(words::coverage(whole), whole < 1.0));
    let (sinks, failing) = (model.seen.sinks.len(), once::failing(model));
    let text = match failing {
        0 => sinks.to_string().bold(),
        _ => format!("{sinks}, {failing} failing").red().bold(),
    };
    item("sinks ", text);
    line
}

fn trouble_lines(troubles: &[Trouble], area: Rect) -> Vec<Line<'static>> {
    let room = usize::from(area.height);
    let shown = match troubles.len() > room {
        true => room.saturating_sub(1),
        false => room,
    };
    let line = |trouble: &Trouble| {
        Line::from(vec![
            Span::styled(format!(" {:9}", trouble.word), tone(trouble.health).bold()),
            format!("{} ", trouble.name).bold(),
            Span::raw(trouble.reason.clone()),
        ])
    };
    let mut lines: Vec<Line<'static>> = troubles.iter().take(shown).map(line).collect();
    if troubles.len() > room {
        let more = format!(
            " and {} more: filter by / and blind, failed, degraded or waiting",
            troubles.len() - shown
        );
        lines.push(Line::styled(more, quiet()));
    }
    lines
}

/// Keys, as many as there is room for; while a filter is typed, that.
fn foot_line(app: &App, width: u16) -> Line<'static> {
    if app.typing {
        return Line::from(vec![
            "filter: ".bold(),
            app.order.filter.clone().into(),
            Span::styled("   Enter keeps it, Esc clears it", quiet()),
        ]);
    }
    const KEYS: [(&str, &str); 9] = [
        ("q", "quit"),
        ("?", "help"),
        ("/", "filter"),
        ("<>", "sort"),
        ("r", "turn"),
        ("g", "group"),
        ("⏎", "details"),
        ("p", "pause"),
        ("5", "sinks"),
    ];
    let mut line = Line::default();
    if !app.order.filter.is_empty() {
        line.push_span(
            format!(" filter: {} (Esc) ", app.order.filter)
                .black()
                .on_yellow(),
        );
    }
    for (key, what) in KEYS {
        let room = usize::from(width).saturating_sub(line.width());
        if key.chars().count() + what.len() + 3 > room {
            break;
        }
        line.push_span(format!(" {key} ").reversed());
        line.push_span(format!("{what} "));
    }
    line
}

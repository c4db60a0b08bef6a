//! A terminal's screen as HTML, with the colours of a dark terminal.

use vt100::{Cell, Color, Screen};

/// Pixels of a cell; DejaVu Sans Mono at 14 pixels.
const CELL: (f64, u32) = (8.43, 17);
const MARGIN: u32 = 12;
const GROUND: &str = "#16191f";
const INK: &str = "#d5d9e0";
/// The terminal's sixteen.
const COLOURS: [&str; 16] = [
    "#16191f", "#e5606b", "#7fc77f", "#dcb35c", "#6a9fe0", "#c08ad6", "#5fbcc9", "#d5d9e0",
    "#6b7280", "#ff7b86", "#9be39b", "#f5cf7d", "#8bbcff", "#dba6f0", "#7fdbe8", "#ffffff",
];

/// The page, and how large it is.
pub(crate) fn drawn(screen: &Screen) -> (String, u32, u32) {
    let (rows, columns) = screen.size();
    let width = (f64::from(columns) * CELL.0).ceil() as u32 + 2 * MARGIN;
    let height = u32::from(rows) * CELL.1 + 2 * MARGIN;
    let lines: Vec<String> = (0..rows).map(|row| line(screen, row, columns)).collect();
    let html = format!(
        "<!doctype html><meta charset=utf-8><style>body{{margin:0;background:{GROUND}}}\
         pre{{margin:{MARGIN}px;color:{INK};font:14px/{}px 'DejaVu Sans Mono',monospace}}</style><pre>{}</pre>",
        CELL.1,
        lines.join("\n")
    );
    (html, width, height)
}

fn line(screen: &Screen, row: u16, columns: u16) -> String {
    let cells = (0..columns).filter_map(|column| screen.cell(row, column));
    let mut line = String::new();
    let mut style = String::new();
    for cell in cells.filter(|cell| !cell.is_wide_continuation()) {
        let wanted = style_of(cell);
        if wanted != style {
            line += if style.is_empty() { "" } else { "</span>" };
            if !wanted.is_empty() {
                line += &format!("<span style=\"{wanted}\">");
            }
            style = wanted;
        }
        line += match cell.contents() {
            "" => " ",
            "<" => "&lt;",
            "&" => "&amp;",
            text => text,
        };
    }
    line += if style.is_empty() { "" } else { "</span>" };
    line
}

fn style_of(cell: &Cell) -> String {
    let (mut ink, mut ground) = (colour(cell.fgcolor(), INK), colour(cell.bgcolor(), GROUND));
    if cell.inverse() {
        std::mem::swap(&mut ink, &mut ground);
    }
    let mut style = String::new();
    let mut say = |when: bool, what: &str| {
        if when {
            style += what;
        }
    };
    say(ink != INK, &format!("color:{ink};"));
    say(ground != GROUND, &format!("background:{ground};"));
    say(cell.bold(), "font-weight:bold;");
    say(cell.dim(), "opacity:.65;");
    say(cell.underline(), "text-decoration:underline;");
    style
}

fn colour(colour: Color, default: &str) -> String {
    match colour {
        Color::Default => default.to_owned(),
        Color::Idx(index) => COLOURS[usize::from(index) % COLOURS.len()].to_owned(),
        Color::Rgb(r, g, b) => format!("#{r:02x}{g:02x}{b:02x}"),
    }
}

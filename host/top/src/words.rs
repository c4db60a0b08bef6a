//! Numbers and names as they are shown: short, without a space, so that a column is one word.

/// For what has no value.
pub(crate) const NONE: &str = "-";

fn digits(value: f64) -> String {
    match value {
        _ if value >= 99.95 => format!("{value:.0}"),
        _ if value >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A second.
pub(crate) fn rate(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        _ if value >= 10_000.0 => format!("{}k", digits(value / 1000.0)),
        _ => digits(value),
    }
}

pub(crate) fn share(value: Option<f64>) -> String {
    match value {
        None => NONE.to_owned(),
        Some(0.0) => "0%".to_owned(),
        Some(value) if value < 0.0001 => "<0.01%".to_owned(),
        Some(value) => format!("{}%", digits(value * 100.0)),
    }
}

pub(crate) fn time(seconds: Option<f64>) -> String {
    match seconds {
        None => NONE.to_owned(),
        Some(seconds) if seconds < 0.000_999_5 => format!("{}µs", digits(seconds * 1e6)),
        Some(seconds) if seconds < 0.9995 => format!("{}ms", digits(seconds * 1e3)),
        Some(seconds) => format!("{}s", digits(seconds)),
    }
}

/// Rounded down: what is not whole never looks whole.
pub(crate) fn coverage(value: f64) -> String {
    match value {
        1.0 => "100%".to_owned(),
        _ => format!("{:.2}%", (value * 10_000.0).floor() / 100.0),
    }
}

/// How long ago, in the largest unit that says enough.
pub(crate) fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        _ => format!("{}h", seconds / 3600),
    }
}

/// What comes from elsewhere moves no cursor.
pub(crate) fn clean(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(clean).collect()
}

/// A row of bars, the newest at the right.
pub(crate) fn spark(values: &[f64], width: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let values = &values[values.len().saturating_sub(width)..];
    let most = values.iter().copied().fold(0.0, f64::max);
    let bar = |value: &f64| match most {
        0.0 => BARS[0],
        _ => BARS[((value / most * 7.0).round() as usize).min(7)],
    };
    let bars: String = values.iter().map(bar).collect();
    format!("{bars:>width$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_words() {
        assert_eq!(
            [0.0, 0.5, 12.34, 99.96, 4321.0, 12_345.0].map(rate),
            ["0", "0.50", "12.3", "100", "4321", "12.3k"]
        );
        assert_eq!(
            [None, Some(0.0), Some(0.00001), Some(0.5), Some(1.0)].map(share),
            ["-", "0%", "<0.01%", "50.0%", "100%"]
        );
        assert_eq!(
            [None, Some(42e-6), Some(0.0042), Some(0.9999), Some(2.5)].map(time),
            ["-", "42.0µs", "4.20ms", "1.00s", "2.50s"]
        );
        assert_eq!([0, 119, 120, 7200].map(age), ["0s", "119s", "2m", "2h"]);
    }

    #[test]
    fn what_is_not_whole_never_looks_whole() {
        assert_eq!(
            [1.0, 0.999_999, 0.5, 0.0].map(coverage),
            ["100%", "99.99%", "50.00%", "0.00%"]
        );
    }

    #[test]
    fn bars_are_as_high_as_their_share_of_the_highest() {
        assert_eq!(spark(&[0.0, 3.5, 7.0], 5), "  ▁▅█");
        assert_eq!(spark(&[9.0, 0.0, 0.0], 2), "▁▁");
        assert_eq!(spark(&[], 3), "   ");
    }

    #[test]
    fn control_characters_are_blanks() {
        assert_eq!(clean("a\u{1b}[2Jb\nc"), "a [2Jb c");
    }
}

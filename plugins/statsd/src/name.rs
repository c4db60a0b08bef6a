//! A target's names as StatsD can hold them.

use owlk8s_plugin::Target;

use crate::{Config, PART_MAX, Tags};

/// What stands before and behind a metric's own name: `owlk8s.shop.cart.cart-0.` and nothing, or `owlk8s.` and
/// `|#namespace:shop,...`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) before: String,
    pub(crate) behind: String,
}

impl Name {
    pub(crate) fn of(config: &Config, target: &Target<'_>) -> Self {
        let mut before = config.prefix.clone();
        if !before.is_empty() {
            before.push('.');
        }
        let mut behind = String::new();
        match config.tags {
            Tags::None => {
                for part in [target.namespace(), target.workload_name(), target.pod()] {
                    before.push_str(&plain(part));
                    before.push('.');
                }
            }
            Tags::DogStatsD => {
                let service = target.services().first().unwrap_or_default();
                for (key, value) in [
                    ("namespace", target.namespace()),
                    ("workload", target.workload_name()),
                    ("pod", target.pod()),
                    ("service", service),
                    ("node", target.node()),
                ] {
                    if value.is_empty() {
                        continue;
                    }
                    behind.push_str(if behind.is_empty() { "|#" } else { "," });
                    behind.push_str(key);
                    behind.push(':');
                    behind.push_str(&tag(value));
                }
            }
        }
        Self { before, behind }
    }
}

/// What stands for itself in a name.
pub(crate) fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

/// A part of a name, in which a dot would begin the next: what is not plain becomes `_`, and so does nothing.
fn plain(part: &str) -> String {
    if part.is_empty() {
        return "_".to_owned();
    }
    part.chars()
        .map(|c| if is_plain(c) { c } else { '_' })
        .take(PART_MAX)
        .collect()
}

/// A tag's value: what ends it in the protocol becomes `_`.
fn tag(value: &str) -> String {
    let mut text = String::new();
    for c in value.chars() {
        let c = match c {
            ',' | '|' | '#' | ' ' => '_',
            c if c.is_control() => '_',
            c => c,
        };
        if text.len() + c.len_utf8() > PART_MAX {
            break;
        }
        text.push(c);
    }
    text
}

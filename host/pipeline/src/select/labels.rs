//! Label selectors in the form of `kubectl get --selector`: `team=red,tier in (front, back),!canary`.
//! <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors>

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Requirements on a target's labels, all of which must hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LabelSelector {
    text: String,
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Requirement {
    key: String,
    test: Test,
}

/// As in Kubernetes, a target without the label passes those that say what it must not be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Test {
    Exists,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
}

impl LabelSelector {
    /// Whether a target with these labels is meant.
    pub fn takes(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            match &requirement.test {
                Test::Exists => value.is_some(),
                Test::Absent => value.is_none(),
                Test::In(values) => value.is_some_and(|value| values.contains(value)),
                Test::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            }
        })
    }
}

impl FromStr for LabelSelector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let requirements = split(text)
            .into_iter()
            .map(|part| {
                Requirement::parse(part).ok_or_else(|| {
                    format!(
                        "{text:?} is no label selector: {:?} is none of `key`, `!key`, `key=value`, `key!=value`, \
                         `key in (a, b)`, `key notin (a, b)`",
                        part.trim()
                    )
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            text: text.to_owned(),
            requirements,
        })
    }
}

impl TryFrom<String> for LabelSelector {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<LabelSelector> for String {
    fn from(selector: LabelSelector) -> Self {
        selector.text
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// At the commas that are not in parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .collect()
}

impl Requirement {
    fn parse(part: &str) -> Option<Self> {
        let part = part.trim();
        let (key, test) = if let Some((key, value)) = part.split_once("!=") {
            (key, Test::NotIn(vec![value_of(value)?]))
        } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
            (key, Test::In(vec![value_of(value)?]))
        } else if let Some((head, values)) = part.split_once('(') {
            let values = values
                .strip_suffix(')')?
                .split(',')
                .map(value_of)
                .collect::<Option<Vec<_>>>()?;
            match head.trim().rsplit_once(char::is_whitespace)? {
                (key, "in") => (key, Test::In(values)),
                (key, "notin") => (key, Test::NotIn(values)),
                _ => return None,
            }
        } else if let Some(key) = part.strip_prefix('!') {
            (key, Test::Absent)
        } else {
            (part, Test::Exists)
        };
        let key = key.trim();
        (!key.is_empty() && key.chars().all(|c| plain(c) || c == '/')).then(|| Self {
            key: key.to_owned(),
            test,
        })
    }
}

/// A label's value may be empty.
fn value_of(text: &str) -> Option<String> {
    let value = text.trim();
    value.chars().all(plain).then(|| value.to_owned())
}

fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_mean_what_they_mean_to_kubectl() {
        let labels = BTreeMap::from(
            [("team", "red"), ("app.kubernetes.io/tier", "front")]
                .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        for (selector, taken) in [
            ("team=red", true),
            ("team==red", true),
            ("team = blue", false),
            ("team!=blue", true),
            ("team!=red", false),
            ("owner!=red", true),
            ("team", true),
            ("owner", false),
            ("!owner", true),
            ("!team", false),
            ("app.kubernetes.io/tier in (back, front)", true),
            ("team in (blue,green)", false),
            ("team notin (blue)", true),
            ("owner notin (blue)", true),
            ("owner in (blue)", false),
            ("team=red,!canary", true),
            ("team=red,canary", false),
            ("team in (red, blue), app.kubernetes.io/tier=front", true),
            ("team=", false),
        ] {
            let parsed: LabelSelector = selector.parse().unwrap();
            assert_eq!(parsed.takes(&labels), taken, "{selector}");
            assert_eq!(parsed.to_string(), selector);
        }
    }

    #[test]
    fn what_is_no_selector_is_told_with_the_part_that_is_none() {
        for (text, part) in [
            ("", "\"\""),
            ("team=red,", "\"\""),
            ("team is red", "\"team is red\""),
            ("team in red", "\"team in red\""),
            ("team in (red", "\"team in (red\""),
            ("te am=red", "\"te am=red\""),
            ("a=b=c", "\"a=b=c\""),
        ] {
            let error = text.parse::<LabelSelector>().unwrap_err();
            assert!(
                error.contains(&format!("{part} is none of")),
                "{text}: {error}"
            );
        }
    }
}

//! Label selectors: `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b,c)`, `a`, `!a`, joined by commas.
//!
//! As in Kubernetes, `!=` and `notin` are also true of an object without that label. The numeric `<` and `>` are
//! refused: no API of the resources here uses them.

use crate::failure::Failure;
use crate::object::Object;

/// Requirements that must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Labels(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    label: String,
    operator: Operator,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operator {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
}

impl Labels {
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        split(text)
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(Requirement::parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn match_object(&self, object: &Object) -> bool {
        self.match_by(|label| object.label(label))
    }

    fn match_by<'a>(&self, value_of: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|requirement| {
            let value = value_of(&requirement.label);
            let among =
                |values: &[String]| value.is_some_and(|value| values.iter().any(|v| v == value));
            match &requirement.operator {
                Operator::In(values) => among(values),
                Operator::NotIn(values) => !among(values),
                Operator::Exists => value.is_some(),
                Operator::Absent => value.is_none(),
            }
        })
    }
}

/// At commas that stand outside parentheses.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_i32;
    text.split(move |c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    })
}

impl Requirement {
    fn parse(text: &str) -> Result<Self, Failure> {
        let (label, operator) = Self::parts(text)
            .filter(|(label, _)| is_label(label))
            .ok_or_else(|| {
                Failure::bad_request(format!("unable to parse requirement: found {text:?}"))
            })?;
        Ok(Self {
            label: label.to_owned(),
            operator,
        })
    }

    fn parts(text: &str) -> Option<(&str, Operator)> {
        let one = |value: &str| {
            let value = value.trim();
            (value.is_empty() || is_label(value)).then(|| vec![value.to_owned()])
        };
        if let Some(label) = text.strip_prefix('!') {
            return Some((label.trim(), Operator::Absent));
        }
        if let Some((label, value)) = text.split_once("!=") {
            return Some((label.trim(), Operator::NotIn(one(value)?)));
        }
        if let Some((label, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
            return Some((label.trim(), Operator::In(one(value)?)));
        }
        let Some((label, rest)) = text.split_once(char::is_whitespace) else {
            return Some((text, Operator::Exists));
        };
        let rest = rest.trim_start();
        let (values, is_in) = rest
            .strip_prefix("notin")
            .map(|values| (values, false))
            .or_else(|| rest.strip_prefix("in").map(|values| (values, true)))?;
        let values = values.trim().strip_prefix('(')?.strip_suffix(')')?;
        let values = values
            .split(',')
            .map(|value| one(value)?.pop())
            .collect::<Option<_>>()?;
        let operator = if is_in { Operator::In } else { Operator::NotIn };
        Some((label, operator(values)))
    }
}

fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(selector: &str, labels: &[(&'static str, &'static str)]) -> bool {
        Labels::parse(selector).unwrap().match_by(|name| {
            labels
                .iter()
                .find(|(label, _)| *label == name)
                .map(|(_, value)| *value)
        })
    }

    #[test]
    fn each_operator_means_what_it_means_in_kubernetes() {
        let cart = &[("app", "cart"), ("tier", "web")];
        for yes in [
            "",
            "app",
            "app=cart",
            "app==cart",
            "app = cart",
            "app!=user",
            "!owner",
            "owner!=me",
            "app in (user, cart)",
            "app notin (user)",
            "owner notin (me,you)",
            "app=cart,tier in (web,db),!x",
        ] {
            assert!(holds(yes, cart), "{yes}");
        }
        for no in [
            "!app",
            "app=user",
            "app!=cart",
            "owner",
            "app in (user)",
            "owner in (me)",
            "app notin (cart,user)",
            "app=cart,tier=db",
            "app=",
        ] {
            assert!(!holds(no, cart), "{no}");
        }
    }

    #[test]
    fn nonsense_is_a_bad_request() {
        for text in ["a in b", "a in (b", "=b", "a=b c", "a>1", "a or b", "!"] {
            assert_eq!(Labels::parse(text).unwrap_err().code, 400, "{text}");
        }
    }
}

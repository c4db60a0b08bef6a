use std::collections::BTreeMap;

use owlk8s_plugin::{Result, Row, Snapshot, Target};
use serde::Deserialize;
use wildmatch::WildMatch;

/// A text in which `*` stands for any characters and `?` for one.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(from = "String")]
pub(crate) struct Glob(WildMatch);

impl From<String> for Glob {
    fn from(text: String) -> Self {
        Self(WildMatch::new(&text))
    }
}

impl Glob {
    fn matches(&self, text: &str) -> bool {
        self.0.matches(text)
    }
}

/// All fields that are there must match.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TargetRule {
    namespace: Option<Glob>,
    pod: Option<Glob>,
    /// `Deployment/cart`; without a slash, the name alone.
    workload: Option<Glob>,
    /// One of the target's.
    service: Option<Glob>,
    node: Option<Glob>,
    /// `active`, `waiting`, `degraded` or `failed`.
    status: Option<Glob>,
    /// By name; a target without the label has the empty value.
    labels: BTreeMap<String, Glob>,
}

/// Values of the labels that rules look at, by label and target.
pub(crate) struct Columns(BTreeMap<String, Vec<String>>);

impl Columns {
    /// Fails where the sink was not granted one.
    pub(crate) fn of<'r>(
        snapshot: &Snapshot<'_>,
        rules: impl Iterator<Item = &'r TargetRule>,
    ) -> Result<Self> {
        let mut columns = BTreeMap::new();
        for label in rules.flat_map(|rule| rule.labels.keys()) {
            let name = format!("label:{label}");
            let Some(values) = snapshot.column(&name) else {
                return Err(format!(
                    "a rule looks at label {label:?}, and the sink has no column {name:?} (add it to the sink's `columns`)"
                )
                .into());
            };
            columns.insert(label.clone(), values);
        }
        Ok(Self(columns))
    }
}

impl TargetRule {
    pub(crate) fn matches(&self, target: &Target<'_>, Columns(columns): &Columns) -> bool {
        let is =
            |glob: &Option<Glob>, text: &str| glob.as_ref().is_none_or(|glob| glob.matches(text));
        let workload =
            |glob: &Glob| glob.matches(&target.workload()) || glob.matches(target.workload_name());
        let service = |glob: &Glob| {
            target
                .services()
                .iter()
                .any(|service| glob.matches(service))
        };
        is(&self.namespace, target.namespace())
            && is(&self.pod, target.pod())
            && is(&self.node, target.node())
            && is(&self.status, target.status().name())
            && self.workload.as_ref().is_none_or(workload)
            && self.service.as_ref().is_none_or(service)
            && self.labels.iter().all(|(label, glob)| {
                let values = columns.get(label);
                let value = values.and_then(|values| values.get(target.index() as usize));
                value.is_some_and(|value| glob.matches(value))
            })
    }

    /// A rule without a field would match everything, which nobody writes on purpose.
    pub(crate) fn check(&self) -> std::result::Result<(), &'static str> {
        let fields = [
            &self.namespace,
            &self.pod,
            &self.workload,
            &self.service,
            &self.node,
            &self.status,
        ];
        match fields.iter().all(|field| field.is_none()) && self.labels.is_empty() {
            true => Err(
                "a rule needs a field: `namespace`, `pod`, `workload`, `service`, `node`, `status` or `labels`",
            ),
            false => Ok(()),
        }
    }
}

/// All fields that are there must match.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RowRule {
    method: Option<Glob>,
    /// `404`, or `4*`.
    status: Option<Glob>,
    /// `http/1.0`, `http/1.1` or `http/2`.
    protocol: Option<Glob>,
    /// Whether the pod asked instead of answering.
    client: Option<bool>,
    /// Whether it is a kubelet probe.
    probe: Option<bool>,
}

impl RowRule {
    pub(crate) fn matches(&self, row: &Row<'_>) -> bool {
        let is =
            |glob: &Option<Glob>, text: &str| glob.as_ref().is_none_or(|glob| glob.matches(text));
        is(&self.method, row.method())
            && is(&self.status, &row.status.to_string())
            && is(&self.protocol, row.protocol())
            && self.client.is_none_or(|client| client == row.client)
            && self.probe.is_none_or(|probe| probe == row.probe)
    }

    pub(crate) fn check(&self) -> std::result::Result<(), &'static str> {
        let globs = [&self.method, &self.status, &self.protocol];
        let flags = [self.client, self.probe];
        match globs.iter().all(|glob| glob.is_none()) && flags.iter().all(Option::is_none) {
            true => {
                Err("a rule needs a field: `method`, `status`, `protocol`, `client` or `probe`")
            }
            false => Ok(()),
        }
    }
}

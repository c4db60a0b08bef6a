//! The rows: targets put together by what the user groups by, filtered and sorted.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use owlk8s_model::{TargetId, TargetSnapshot};

use crate::Model;
use crate::counts::Counts;
use crate::model::Counted;
use crate::seen::Health;
use crate::words;

/// What a row is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Group {
    /// A target counts in each of its services.
    #[default]
    Services,
    /// `Deployment/cart`.
    Workloads,
    /// A target each.
    Pods,
    /// Of Kubernetes.
    Namespaces,
}

impl Group {
    /// In the order of the keys 1 to 4.
    pub const ALL: [Self; 4] = [
        Self::Services,
        Self::Workloads,
        Self::Pods,
        Self::Namespaces,
    ];

    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Services => "services",
            Self::Workloads => "workloads",
            Self::Pods => "pods",
            Self::Namespaces => "namespaces",
        }
    }
}

/// What the rows are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Column {
    /// Rises at first; all others fall.
    Name,
    /// Answers a second.
    #[default]
    Rate,
    /// Share of 5xx.
    Errors,
    /// Share of 4xx.
    Refused,
    /// The median.
    P50,
    /// Nine of ten.
    P90,
    /// All but one of a hundred.
    P99,
    /// Begun and not answered.
    InFlight,
    /// Share of what was seen that was counted.
    Coverage,
    /// The worst falls first.
    Status,
}

impl Column {
    /// From left to right.
    pub const ALL: [Self; 10] = [
        Self::Name,
        Self::Rate,
        Self::Errors,
        Self::Refused,
        Self::P50,
        Self::P90,
        Self::P99,
        Self::InFlight,
        Self::Coverage,
        Self::Status,
    ];

    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Rate => "rate",
            Self::Errors => "5xx",
            Self::Refused => "4xx",
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P99 => "p99",
            Self::InFlight => "in-flight",
            Self::Coverage => "coverage",
            Self::Status => "status",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Name => "NAME",
            Self::Rate => "REQ/S",
            Self::Errors => "5XX",
            Self::Refused => "4XX",
            Self::P50 => "P50",
            Self::P90 => "P90",
            Self::P99 => "P99",
            Self::InFlight => "IN-FLIGHT",
            Self::Coverage => "COVERAGE",
            Self::Status => "STATUS",
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Group {
    type Err = String;

    fn from_str(typed: &str) -> Result<Self, String> {
        one_of(&Self::ALL, Self::name, typed)
    }
}

impl FromStr for Column {
    type Err = String;

    fn from_str(typed: &str) -> Result<Self, String> {
        one_of(&Self::ALL, Self::name, typed)
    }
}

fn one_of<T: Copy>(all: &[T], name: fn(T) -> &'static str, typed: &str) -> Result<T, String> {
    let found = all.iter().copied().find(|&one| name(one) == typed);
    found.ok_or_else(|| {
        let names: Vec<&str> = all.iter().copied().map(name).collect();
        format!("it is one of {}", names.join(", "))
    })
}

/// Which rows there are, and in what order.
#[derive(Clone, Debug)]
pub struct Order {
    /// What a row is.
    pub group: Group,
    /// What they are sorted by.
    pub sort: Column,
    /// The largest first.
    pub falling: bool,
    /// Words that a row must all have, whatever their case.
    pub filter: String,
}

impl Default for Order {
    fn default() -> Self {
        Self {
            group: Group::default(),
            sort: Column::default(),
            falling: true,
            filter: String::new(),
        }
    }
}

impl Order {
    /// By this column, the most telling first; a second time the other way.
    pub fn sort_by(&mut self, column: Column) {
        self.falling = if self.sort == column {
            !self.falling
        } else {
            column != Column::Name
        };
        self.sort = column;
    }
}

/// Some targets together.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Of this row and of no other of its group.
    pub(crate) key: String,
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) targets: Vec<TargetId>,
    pub(crate) rate: f64,
    pub(crate) counts: Counts,
    since_discovery: Counts,
    /// The worst of its targets, and how many are that.
    pub(crate) health: (Health, usize),
    /// Whether one of its targets has numbers.
    is_read: bool,
    /// Of the first of those.
    pub(crate) reason: String,
    /// What a filter looks at, in small letters.
    text: String,
}

impl Row {
    fn new(key: String, name: &str, namespace: &str) -> Self {
        Self {
            key,
            name: words::clean(name),
            namespace: words::clean(namespace),
            targets: Vec::new(),
            rate: 0.0,
            counts: Counts::default(),
            since_discovery: Counts::default(),
            health: (Health::Active, 0),
            is_read: false,
            reason: String::new(),
            text: String::new(),
        }
    }

    fn add(&mut self, target: &TargetSnapshot, counted: &Counted) {
        self.targets.push(target.id.clone());
        self.rate += counted.rate();
        self.counts.add(&counted.counts);
        self.since_discovery.add(&counted.since_discovery);
        let health = Health::of(target);
        self.is_read |= health.is_read();
        match health.cmp(&self.health.0) {
            Ordering::Less => {}
            Ordering::Equal => self.health.1 += 1,
            Ordering::Greater => {
                self.health = (health, 1);
                self.reason = words::clean(&target.reason);
            }
        }
        let words = [&target.pod, &target.namespace].into_iter();
        for word in words.chain(&target.services) {
            self.text += &word.to_lowercase();
            self.text += " ";
        }
        self.text += &workload(target).to_lowercase();
        self.text += " ";
        self.text += health.word();
        self.text += " ";
    }

    /// Its numbers mean something.
    pub(crate) fn is_read(&self) -> bool {
        self.is_read
    }

    /// Since discovery, as the agent audits it; of a blind one nothing is covered.
    pub(crate) fn coverage(&self) -> Option<f64> {
        match self.health.0 {
            Health::Blind => Some(0.0),
            _ => self.is_read.then(|| self.since_discovery.coverage()),
        }
    }

    pub(crate) fn status(&self) -> String {
        match self.health {
            (health, count) if health != Health::Active && self.targets.len() > 1 => {
                format!("{count} {}", health.word())
            }
            (health, _) => health.word().to_owned(),
        }
    }

    /// What a number column says and sorts by; what has no value is last, whichever way it goes.
    pub(crate) fn value(&self, column: Column) -> Option<f64> {
        if !self.is_read && !matches!(column, Column::Coverage | Column::Status) {
            return None;
        }
        let counts = &self.counts;
        match column {
            Column::Name => None,
            Column::Rate => Some(self.rate),
            Column::Errors => counts.share(counts.err5),
            Column::Refused => counts.share(counts.err4),
            Column::P50 => counts.quantile(0.5),
            Column::P90 => counts.quantile(0.9),
            Column::P99 => counts.quantile(0.99),
            Column::InFlight => Some(counts.in_flight as f64),
            Column::Coverage => self.coverage(),
            Column::Status => Some(f64::from(self.health.0 as u8)),
        }
    }

    /// As it is shown, without its name.
    pub(crate) fn cell(&self, column: Column) -> String {
        let value = self.value(column);
        match column {
            Column::Name => self.name.clone(),
            Column::Rate => value.map_or_else(|| words::NONE.to_owned(), words::rate),
            Column::Errors | Column::Refused => words::share(value),
            Column::P50 | Column::P90 | Column::P99 => words::time(value),
            Column::InFlight => value.map_or_else(|| words::NONE.to_owned(), |n| n.to_string()),
            Column::Coverage => value.map_or_else(|| words::NONE.to_owned(), words::coverage),
            Column::Status => self.status(),
        }
    }

    fn compare(&self, other: &Self, order: &Order) -> Ordering {
        let turned = |ordering: Ordering| match order.falling {
            true => ordering.reverse(),
            false => ordering,
        };
        let by_name = || (&self.name, &self.key).cmp(&(&other.name, &other.key));
        let ordering = match (self.value(order.sort), other.value(order.sort)) {
            (Some(a), Some(b)) => turned(a.total_cmp(&b)),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) if order.sort == Column::Name => turned(by_name()),
            (None, None) => Ordering::Equal,
        };
        ordering.then_with(by_name)
    }
}

/// `Deployment/cart`, or nothing where it is not known.
pub(crate) fn workload(target: &TargetSnapshot) -> String {
    match &target.workload {
        Some(workload) => format!("{}/{}", workload.kind, workload.name),
        None => String::new(),
    }
}

/// The name of the pod, or what the target has in its place.
pub(crate) fn pod_name(target: &TargetSnapshot) -> &str {
    match target.pod.as_str() {
        "" => &target.id.0,
        pod => pod,
    }
}

/// The rows that are shown, and how many there are without the filter.
pub(crate) fn rows(model: &Model, order: &Order) -> (Vec<Row>, usize) {
    let mut made: BTreeMap<String, Row> = BTreeMap::new();
    for (target, counted) in model.targets() {
        for (name, namespace) in places(target, order.group) {
            let (key, name) = match &name {
                Some(name) => (format!("{namespace}/{name}"), name.as_str()),
                None => (format!("{namespace}//{}", target.id), pod_name(target)),
            };
            let row = made
                .entry(key)
                .or_insert_with_key(|key| Row::new(key.clone(), name, namespace));
            row.add(target, counted);
        }
    }
    let all = made.len();
    let wanted = order.filter.to_lowercase();
    let mut rows: Vec<Row> = made.into_values().collect();
    rows.retain(|row| {
        let name = row.name.to_lowercase();
        wanted
            .split_whitespace()
            .all(|word| row.text.contains(word) || name.contains(word))
    });
    rows.sort_by(|a, b| a.compare(b, order));
    (rows, all)
}

/// Name and namespace of the rows that a target counts in; no name where it stays alone.
fn places(target: &TargetSnapshot, group: Group) -> Vec<(Option<String>, &str)> {
    let namespace = target.namespace.as_str();
    match group {
        Group::Pods => vec![(None, namespace)],
        Group::Namespaces if namespace.is_empty() => vec![(Some(words::NONE.to_owned()), "")],
        Group::Namespaces => vec![(Some(namespace.to_owned()), "")],
        Group::Workloads => {
            let known = target.workload.is_some();
            vec![(known.then(|| workload(target)), namespace)]
        }
        Group::Services if target.services.is_empty() => vec![(None, namespace)],
        Group::Services => {
            let services = target.services.iter();
            services
                .map(|service| (Some(service.clone()), namespace))
                .collect()
        }
    }
}

#[cfg(test)]
mod tests;

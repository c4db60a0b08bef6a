//! What each sink may see, as frames: sinks with equal views share one. So a window costs one cut, one
//! encoding and one copy for each *different* view, and what a sink may not see is in no frame of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use owlk8s_model::Snapshot;
use owlk8s_pipeline::View;

use crate::authority::{Ceiling, view};
use crate::config::SinkConfig;
use crate::frames::Base;

/// The views of the sinks that run, with the names of the sinks that have them.
#[derive(Debug)]
pub(super) struct Views(BTreeMap<View, Vec<String>>);

impl Views {
    pub(super) fn of(sinks: &[SinkConfig], ceiling: &Ceiling) -> Self {
        let mut views: BTreeMap<View, Vec<String>> = BTreeMap::new();
        for sink in sinks.iter().filter(|sink| sink.enabled) {
            views
                .entry(view(sink, ceiling))
                .or_default()
                .push(sink.name.clone());
        }
        Self(views)
    }

    /// For each group of sinks what it may see. Made one after the other: only one copy is held at a time.
    pub(super) fn cut(
        &self,
        snapshot: &Snapshot,
    ) -> impl Iterator<Item = (Vec<String>, Arc<Snapshot>)> {
        self.0
            .iter()
            .map(move |(view, sinks)| (sinks.clone(), view.cut(snapshot)))
    }

    /// What its sink may see of it; none where that does not run.
    pub(super) fn cut_base(&self, base: Base) -> Option<Base> {
        let (view, _) = self
            .0
            .iter()
            .find(|(_, sinks)| sinks.contains(&base.sink))?;
        let departed = base.departed.iter();
        let departed =
            departed.filter_map(|(sequence, target)| Some((*sequence, view.cut_one(target)?)));
        Some(Base {
            acknowledged: base.acknowledged.as_ref().map(|base| view.cut(base)),
            departed: departed.collect(),
            ..base
        })
    }
}

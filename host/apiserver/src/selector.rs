//! Which objects a list or a watch is about: a namespace, labels and fields.

mod fields;
mod labels;

pub(crate) use fields::Fields;
pub(crate) use labels::Labels;

use crate::object::Object;

/// All that a request selects by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selector {
    /// `None`: the whole cluster.
    pub(crate) namespace: Option<String>,
    pub(crate) labels: Labels,
    pub(crate) fields: Fields,
}

impl Selector {
    pub(crate) fn matches(&self, object: &Object) -> bool {
        self.namespace
            .as_deref()
            .is_none_or(|namespace| *object.key.namespace == *namespace)
            && self.fields.match_object(object)
            && self.labels.match_object(object)
    }

    /// Whether it selects by labels or fields: then no `remainingItemCount` is told.
    pub(crate) fn is_selective(&self) -> bool {
        !self.labels.is_empty() || !self.fields.is_empty()
    }
}

//! What is to be watched and where: the target set, with the place of each target's packets.

use std::collections::BTreeMap;
use std::sync::Arc;

use owlk8s_model::{TargetId, TargetSet};
use owlk8s_probe::{Beyond, Place};

/// One moment's answer of discovery and interface look-up together.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub(crate) set: Arc<TargetSet>,
    /// Of those targets that were looked up at least once.
    pub(crate) places: BTreeMap<TargetId, Place>,
    /// Where else, of those whose place is bypassed or not found; see [`owlk8s_probe::Wanted::beyond`].
    pub(crate) beyond: BTreeMap<TargetId, Vec<Result<Beyond, String>>>,
}

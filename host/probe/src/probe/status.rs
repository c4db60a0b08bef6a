//! What is asked of the probe, and what it says of each target.

use std::os::fd::OwnedFd;

use owlk8s_model::{Hook, TargetId, TargetReading};

use super::{Link, Watched};
use crate::load::Maps;
use crate::read::RowReader;
use crate::{ProbeError, sys};

/// A network interface of this network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name, for people.
    pub name: String,
    /// Its index, for the kernel.
    pub index: u32,
}

impl Interface {
    /// Looks up the index.
    pub fn named(name: &str) -> Result<Self, ProbeError> {
        match sys::interface_index(name) {
            Ok(index) => Ok(Self {
                name: name.to_owned(),
                index,
            }),
            Err(source) => Err(ProbeError::FindInterface {
                interface: name.to_owned(),
                source,
            }),
        }
    }
}

/// A target that shall be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Who it is.
    pub target: TargetId,
    /// Where it is.
    pub place: Place,
}

/// Where a target can be watched, as far as its source knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On this interface.
    On(Interface),
    /// Not known yet, and why. A target that is attached stays so, and keeps its counts.
    Waiting(String),
    /// Not to be known until a person acts, and why. A target that is attached stays so, and keeps its counts.
    Failed(String),
}

/// What a [`crate::Probe::reconcile`] did, for a log: unchanged targets are not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Newly attached, or moved to another interface.
    pub attached: Vec<TargetId>,
    /// No longer wanted.
    pub detached: Vec<TargetId>,
    /// Not attached for a new reason.
    pub refused: Vec<(TargetId, String)>,
}

impl Changes {
    /// Whether all is as it was.
    pub fn is_empty(&self) -> bool {
        self.attached.is_empty() && self.detached.is_empty() && self.refused.is_empty()
    }
}

impl Link {
    pub(super) fn reason(&self) -> Option<&String> {
        match self {
            Self::Attached { .. } => None,
            Self::Waiting(why) | Self::Failed(why) => Some(why),
        }
    }

    pub(super) fn into_socket(self) -> Option<OwnedFd> {
        match self {
            Self::Attached { socket, .. } => socket,
            Self::Waiting(_) | Self::Failed(_) => None,
        }
    }
}

pub(super) fn reading(watched: &Watched, maps: &Maps, reader: &mut RowReader) -> TargetReading {
    match (&watched.link, watched.slots) {
        (Link::Attached { interface, .. }, Some(slots)) => {
            let (rows, grpc) = reader.rows(maps, slots);
            TargetReading::Active {
                interface: interface.name.clone(),
                hook: Hook::HostVeth,
                // After the rows: what is answered has started, so requests in flight are never negative.
                counters: crate::read::counters(maps.slots.element(slots.server)),
                rows,
                grpc,
            }
        }
        (Link::Failed(why), _) => TargetReading::Failed(why.clone()),
        (Link::Waiting(why), _) => TargetReading::Waiting(why.clone()),
        (Link::Attached { .. }, None) => TargetReading::Waiting("has no slot yet".to_owned()),
    }
}

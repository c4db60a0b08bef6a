//! What is asked of the probe, and what it says of each target.

use std::mem::take;
use std::path::PathBuf;
use std::sync::Arc;

use owlk8s_model::{Hook, TargetId, TargetReading};

use super::{Attached, Link, Spot, Watched};
use crate::judge::Noted;
use crate::load::Maps;
use crate::read::RowReader;
use crate::slots::SlotPair;
use crate::{ProbeError, sys};

/// A network interface of this network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name, for people.
    pub name: Arc<str>,
    /// Its index, for the kernel.
    pub index: u32,
}

impl Interface {
    /// Looks up the index.
    pub fn named(name: &str) -> Result<Self, ProbeError> {
        match sys::interface_index(name) {
            Ok(index) => Ok(Self {
                name: name.into(),
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
    /// Where else it can be read, the better first; or why not there. Taken where `place` turns out to be blind, or is
    /// [`Place::Waiting`]; nothing need be said before.
    pub beyond: Vec<Result<Beyond, String>>,
}

/// A place that is no interface of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beyond {
    /// In the pod's network namespace; needs CAP_SYS_ADMIN to enter it.
    Inside(Inside),
    /// On the pod's cgroup; needs CAP_NET_ADMIN and cgroups of version 2.
    Cgroup(Cgroup),
}

/// An interface inside a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inside {
    /// The pod's end of its link.
    pub interface: Interface,
    /// A file that stands for its network namespace, for as long as the pod lives.
    pub path: PathBuf,
    /// Of this file: another namespace may come under the same name.
    pub inode: u64,
}

/// A cgroup that holds all of a pod, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// Its directory.
    pub path: PathBuf,
}

/// Where a target can be watched, as far as its source knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On this interface.
    On(Interface),
    /// Not known yet, and why. A target that is attached stays so, and keeps its counts; one that is not may be read
    /// at [`Wanted::beyond`] meanwhile.
    Waiting(String),
    /// Not to be known until a person acts, and why. A target that is attached stays so, and keeps its counts.
    Failed(String),
}

/// What a [`crate::Probe::reconcile`] did, for a log: unchanged targets are not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Newly attached, or moved to another interface.
    pub attached: Vec<TargetId>,
    /// Of these, the ones that are read at another place than before because that was blind, with the reason.
    pub moved: Vec<(TargetId, Hook, String)>,
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
            Self::Attached(_) => None,
            Self::Waiting(why) | Self::Failed(why) => Some(why),
        }
    }

    pub(super) fn attached(&self) -> Option<&Attached> {
        match self {
            Self::Attached(attached) => Some(attached),
            Self::Waiting(_) | Self::Failed(_) => None,
        }
    }
}

impl Attached {
    /// The same from now on, with what shows whether it sees all.
    fn look(&mut self, maps: &Maps, slots: SlotPair) {
        if self.spot == Spot::Outside && !self.held.is_empty() {
            let noted = Noted::of(maps.slots.element(slots.server));
            self.judge.look(noted, || sys::passed(&self.interface.name));
        }
    }

    /// Why what is counted here is not what there is, and what would help.
    pub(super) fn blind(&self) -> Option<String> {
        let why = self.judge.blind()?;
        let name = &self.interface.name;
        let refused = if self.refused.is_empty() {
            "no other place to read is known yet".to_owned()
        } else {
            self.refused.join("; ")
        };
        Some(format!("{name} is bypassed ({why}); {refused}"))
    }
}

/// Into the memory of an earlier reading.
pub(super) fn read(
    watched: &mut Watched,
    maps: &Maps,
    reader: &mut RowReader,
    reading: &mut TargetReading,
) {
    *reading = match (&mut watched.link, watched.slots) {
        (Link::Attached(attached), Some(slots)) => {
            attached.look(maps, slots);
            let (mut rows, mut grpc) = match reading {
                TargetReading::Active { rows, grpc, .. } => (take(rows), take(grpc)),
                _ => Default::default(),
            };
            reader.read(maps, slots, &mut rows, &mut grpc);
            TargetReading::Active {
                interface: attached.interface.name.clone(),
                hook: attached.spot.hook(),
                hook_reason: attached.reason.clone(),
                blind: attached.blind(),
                // After the rows: what is answered has started, so requests in flight are never negative.
                counters: crate::read::counters(maps.slots.element(slots.server)),
                rows,
                grpc,
            }
        }
        (Link::Failed(why), _) => TargetReading::Failed(why.clone()),
        (Link::Waiting(why), _) => TargetReading::Waiting(why.clone()),
        (Link::Attached(_), None) => TargetReading::Waiting("has no slot yet".to_owned()),
    };
}

//! Which targets are watched, by which socket and in which slots.
//!
//! A slot belongs to a target for as long as it is wanted, whatever happens to its interface: counts go on when a veth
//! is replaced. It is given to another target only when nothing in the kernel names it any more.

mod release;
mod status;

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};

use aya::Ebpf;
use aya::programs::{ProgramError, SocketFilter, SocketFilterError};
use owlk8s_ebpf_abi::TargetEntry;
use owlk8s_model::{Reading, TargetId, UnixNanos};

use crate::error::text;
use crate::load::{self, Maps, Options};
use crate::read::RowReader;
use crate::slots::{SlotPair, SlotPool};
use crate::{ProbeError, sys};

pub use status::{Changes, Interface, Place, Wanted};

/// The loaded kernel program and everything that it watches. Dropping it detaches all.
pub struct Probe {
    ebpf: Ebpf,
    pub(crate) maps: Maps,
    pool: SlotPool,
    options: Options,
    watched: BTreeMap<TargetId, Watched>,
    /// Whom each interface counts for.
    owners: BTreeMap<u32, TargetId>,
    pub(crate) reader: RowReader,
}

/// A target that was asked for.
struct Watched {
    /// None until it was attached once.
    slots: Option<SlotPair>,
    link: Link,
}

/// How a target is reached now.
enum Link {
    Attached {
        interface: Interface,
        /// None where packets come from a test.
        socket: Option<OwnedFd>,
    },
    Waiting(String),
    Failed(String),
}

impl Probe {
    /// Loads the kernel program with room for 512 targets.
    pub fn load() -> Result<Self, ProbeError> {
        Self::load_with(Options::default())
    }

    /// Loads the kernel program with the room that `options` say.
    pub fn load_with(options: Options) -> Result<Self, ProbeError> {
        let (ebpf, maps) = load::load(&options)?;
        Ok(Self {
            ebpf,
            maps,
            pool: SlotPool::new(options.targets, options.count_client),
            options,
            watched: BTreeMap::new(),
            owners: BTreeMap::new(),
            reader: RowReader::default(),
        })
    }

    /// Counts for `target` what passes `interface` from now on.
    ///
    /// A target that is watched already moves to this interface and keeps its counts.
    pub fn attach(&mut self, target: TargetId, interface: Interface) -> Result<(), ProbeError> {
        if self.is_on(&target, &interface) {
            return Ok(());
        }
        self.unlink(std::slice::from_ref(&target))?;
        self.link(&target, interface)
    }

    /// Stops counting for `target` and forgets its counts. Takes about 11 ms: the kernel waits for packets under way.
    pub fn detach(&mut self, target: &TargetId) -> Result<(), ProbeError> {
        self.detach_all(std::slice::from_ref(target))
    }

    /// As [`Probe::detach`] for many, in little more time than for one.
    pub fn detach_all(&mut self, targets: &[TargetId]) -> Result<(), ProbeError> {
        let unlinked = self.unlink(targets);
        let slots: Vec<SlotPair> = targets
            .iter()
            .filter_map(|target| self.watched.remove(target))
            .filter_map(|gone| gone.slots)
            .collect();
        unlinked.and(self.release(&slots))
    }

    /// Makes the watched targets those of `wanted`, each once: detaches and attaches by difference.
    ///
    /// What cannot be attached becomes that target's status in the next [`Reading`] and is tried again at the next
    /// call. An error is returned only when the kernel's tables themselves cannot be written.
    pub fn reconcile(&mut self, wanted: Vec<Wanted>) -> Result<Changes, ProbeError> {
        let wanted: BTreeMap<TargetId, Place> = wanted
            .into_iter()
            .map(|wanted| (wanted.target, wanted.place))
            .collect();
        let detached = self
            .watched
            .keys()
            .filter(|target| !wanted.contains_key(*target))
            .cloned()
            .collect();
        let mut changes = Changes {
            detached,
            ..Changes::default()
        };

        let moving: Vec<TargetId> = self
            .watched
            .keys()
            .filter(|target| self.must_leave(target, wanted.get(*target)))
            .cloned()
            .collect();
        let unlinked = self.unlink(&moving);
        unlinked.and(self.detach_all(&changes.detached))?;

        for (target, place) in wanted {
            self.settle(target, place, &mut changes);
        }
        Ok(changes)
    }

    /// All counters now, as of `at`.
    pub fn read(&mut self, at: UnixNanos) -> Result<Reading, ProbeError> {
        self.reader.refresh(&self.maps)?;
        // In their order, which spares the new map a search for each.
        let targets = self.watched.iter().map(|(target, watched)| {
            let reading = status::reading(watched, &self.maps, &mut self.reader);
            (target.clone(), reading)
        });
        let targets = targets.collect();
        Ok(Reading { at, targets })
    }

    /// The targets that are counted for now, with their interfaces.
    pub fn attached(&self) -> impl Iterator<Item = (&TargetId, &Interface)> {
        self.watched
            .iter()
            .filter_map(|(target, watched)| match &watched.link {
                Link::Attached { interface, .. } => Some((target, interface)),
                Link::Waiting(_) | Link::Failed(_) => None,
            })
    }

    /// Whether `target` is attached to `interface`, and that is still there.
    fn is_on(&self, target: &TargetId, interface: &Interface) -> bool {
        let link = self.watched.get(target).map(|watched| &watched.link);
        matches!(link, Some(Link::Attached { interface: now, .. }) if now.index == interface.index)
            && !self.interface_is_gone(target)
    }

    fn interface_is_gone(&self, target: &TargetId) -> bool {
        match self.watched.get(target).map(|watched| &watched.link) {
            Some(Link::Attached {
                socket: Some(socket),
                ..
            }) => {
                matches!(sys::bound_interface(socket.as_fd()), Ok(None))
            }
            _ => false,
        }
    }

    /// Whether the present link must be given up before the targets find their places.
    fn must_leave(&self, target: &TargetId, place: Option<&Place>) -> bool {
        match place {
            None => true,
            Some(Place::On(interface)) => !self.is_on(target, interface),
            Some(Place::Waiting(_) | Place::Failed(_)) => self.interface_is_gone(target),
        }
    }

    fn settle(&mut self, target: TargetId, place: Place, changes: &mut Changes) {
        let attached = matches!(
            self.watched.get(&target),
            Some(Watched {
                link: Link::Attached { .. },
                ..
            })
        );
        let link = match place {
            // Already there, or where it is now is good enough until a better place is known.
            _ if attached => return,
            Place::Waiting(why) => Link::Waiting(why),
            Place::Failed(why) => Link::Failed(why),
            Place::On(interface) => match self.link(&target, interface) {
                Ok(()) => {
                    changes.attached.push(target);
                    return;
                }
                Err(error) if error.is_transient() => Link::Waiting(text(&error)),
                Err(error) => Link::Failed(text(&error)),
            },
        };
        if let Link::Waiting(why) | Link::Failed(why) = &link {
            let known = self
                .watched
                .get(&target)
                .is_some_and(|watched| watched.link.reason() == Some(why));
            if !known {
                changes.refused.push((target.clone(), why.clone()));
            }
        }
        self.watched
            .entry(target)
            .or_insert(Watched {
                slots: None,
                link: Link::Waiting(String::new()),
            })
            .link = link;
    }

    /// Table first, then socket: no packet is seen that could not be placed.
    fn link(&mut self, target: &TargetId, interface: Interface) -> Result<(), ProbeError> {
        let slots = self.enter(target, &interface)?;
        match self.open_socket(&interface) {
            Ok(socket) => {
                self.keep(
                    target,
                    slots,
                    Link::Attached {
                        interface,
                        socket: Some(socket),
                    },
                );
                Ok(())
            }
            Err(error) => {
                self.owners.remove(&interface.index);
                let removed = self.maps.targets.remove(interface.index);
                // A slot that was made for this attempt has seen no packet.
                if self
                    .watched
                    .get(target)
                    .is_none_or(|watched| watched.slots.is_none())
                {
                    self.pool.give_back(slots);
                }
                removed?;
                Err(error)
            }
        }
    }

    /// Enters the interface into the kernel's table, with the target's slots.
    fn enter(&mut self, target: &TargetId, interface: &Interface) -> Result<SlotPair, ProbeError> {
        if let Some(owner) = self.owners.get(&interface.index) {
            return Err(ProbeError::InterfaceTaken {
                interface: interface.name.clone(),
                owner: owner.clone(),
            });
        }
        let before = self.watched.get(target).and_then(|watched| watched.slots);
        let slots = match before {
            Some(slots) => slots,
            None => self.pool.take().ok_or(ProbeError::TargetsFull {
                limit: self.options.targets,
            })?,
        };
        let entry = TargetEntry {
            slot: slots.server,
            client_slot: slots.client,
            interface: interface.index,
            flags: 0,
        };
        if let Err(error) = self.maps.targets.insert(&entry) {
            if before.is_none() {
                self.pool.give_back(slots);
            }
            return Err(error);
        }
        self.owners.insert(interface.index, target.clone());
        Ok(slots)
    }

    fn keep(&mut self, target: &TargetId, slots: SlotPair, link: Link) {
        self.watched.insert(
            target.clone(),
            Watched {
                slots: Some(slots),
                link,
            },
        );
    }

    fn open_socket(&self, interface: &Interface) -> Result<OwnedFd, ProbeError> {
        let name = || interface.name.clone();
        let socket = sys::open_packet_socket().map_err(|source| ProbeError::OpenSocket {
            interface: name(),
            remedy: load::socket_remedy(&source),
            source,
        })?;
        self.filter()?
            .attach(&socket)
            .map_err(|error| ProbeError::AttachFilter {
                interface: name(),
                source: match error {
                    ProgramError::SocketFilterError(SocketFilterError::SetsockoptError {
                        io_error,
                        ..
                    }) => io_error,
                    other => std::io::Error::other(other),
                },
            })?;
        sys::bind_to_interface(socket.as_fd(), interface.index).map_err(|source| {
            ProbeError::BindInterface {
                interface: name(),
                index: interface.index,
                source,
            }
        })?;
        Ok(socket)
    }

    fn filter(&self) -> Result<&SocketFilter, ProbeError> {
        load::program(&self.ebpf, load::PROGRAM)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let sockets = std::mem::take(&mut self.watched)
            .into_values()
            .filter_map(|watched| watched.link.into_socket());
        release::close_together(sockets.collect());
    }
}

#[cfg(feature = "test-run")]
impl Probe {
    /// Watches an interface whose packets a test makes: no socket.
    pub(crate) fn attach_without_socket(
        &mut self,
        target: &TargetId,
        interface: Interface,
    ) -> Result<(), ProbeError> {
        let slots = self.enter(target, &interface)?;
        self.keep(
            target,
            slots,
            Link::Attached {
                interface,
                socket: None,
            },
        );
        Ok(())
    }

    pub(crate) fn load_program(&mut self, name: &'static str) -> Result<(), ProbeError> {
        load::load_program(&mut self.ebpf, name)
    }

    pub(crate) fn program(&self, name: &'static str) -> Result<&SocketFilter, ProbeError> {
        load::program(&self.ebpf, name)
    }
}

//! Which targets are watched, by which socket and in which slots.
//!
//! A slot belongs to a target for as long as it is wanted, whatever happens to its interface: counts go on when a veth
//! is replaced. It is given to another target only when nothing in the kernel names it any more.
//!
//! A target is read on its interface of the node first. Where that turns out to be blind ([`crate::judge`]), or is not
//! known, it moves to the first place of [`Wanted::beyond`] that is permitted, and its counts go on; what comes later on
//! this node goes there at once. Where none is permitted it stays, and its status says what would help.

mod beyond;
mod release;
mod status;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use aya::Ebpf;
#[cfg(feature = "test-run")]
use aya::programs::SocketFilter;
use owlk8s_ebpf_abi::{BEYOND, TargetEntry};
use owlk8s_model::{Reading, TargetId, TargetReading, UnixNanos};

use crate::error::text;
use crate::judge::{Judge, Noted};
use crate::load::{self, Maps, Options};
use crate::read::RowReader;
use crate::slots::{SlotPair, SlotPool};
use crate::sys::Callee;
use crate::{ProbeError, sys};

use beyond::{Program, Spot};
pub use status::{Beyond, Cgroup, Changes, Inside, Interface, Place, Wanted};

/// The loaded kernel program and everything that it watches. Dropping it detaches all.
pub struct Probe {
    ebpf: Ebpf,
    pub(crate) maps: Maps,
    pool: SlotPool,
    options: Options,
    watched: BTreeMap<TargetId, Watched>,
    /// Whom each name in the kernel's table counts for.
    owners: BTreeMap<u32, TargetId>,
    /// What sockets carry instead of the program, where they do not take one of its size.
    stand_in: Option<StandIn>,
    inside: Program,
    cgroup: Program,
    /// Why interfaces of this node are not to be relied on, once one was found blind and another place not.
    bypassed: Option<String>,
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
    Attached(Box<Attached>),
    Waiting(String),
    Failed(String),
}

/// A place that is read.
struct Attached {
    /// The node's end of the pod's link; where that is not known, the one that is read.
    interface: Interface,
    spot: Spot,
    /// In the kernel's table.
    name: u32,
    /// What holds it; nothing where packets come from a test.
    held: Vec<OwnedFd>,
    /// Why here and at no better place; empty on an interface of the node.
    reason: String,
    /// Why at no other place, though this one is blind.
    refused: Vec<String>,
    judge: Judge,
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
            stand_in: None,
            inside: Program::new(load::PROGRAM_INSIDE),
            cgroup: Program::new(load::PROGRAM_CGROUP),
            bypassed: None,
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
        let wanted: BTreeMap<TargetId, Wanted> = wanted
            .into_iter()
            .map(|wanted| (wanted.target.clone(), wanted))
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
            .filter(|target| self.must_leave(target, wanted.get(*target).map(|w| &w.place)))
            .cloned()
            .collect();
        let unlinked = self.unlink(&moving);
        unlinked.and(self.detach_all(&changes.detached))?;

        let mut left = Vec::new();
        for (target, wanted) in wanted {
            left.extend(self.settle(target, wanted, &mut changes));
        }
        self.leave(left)?;
        Ok(changes)
    }

    /// All counters now, as of `at`.
    pub fn read(&mut self, at: UnixNanos) -> Result<Reading, ProbeError> {
        let mut reading = Reading::default();
        self.read_into(at, &mut reading)?;
        Ok(reading)
    }

    /// [`Self::read`] into the memory of an earlier reading, of which nothing else is left; after an error it is as it was.
    pub fn read_into(&mut self, at: UnixNanos, reading: &mut Reading) -> Result<(), ProbeError> {
        self.reader.refresh(&self.maps)?;
        let Reading { at: as_of, targets } = reading;
        *as_of = at;
        targets.truncate(self.watched.len());
        for (place, (target, watched)) in self.watched.iter_mut().enumerate() {
            if place == targets.len() {
                targets.push((target.clone(), TargetReading::Waiting(String::new())));
            }
            let (named, reading) = &mut targets[place];
            if !Arc::ptr_eq(&named.0, &target.0) {
                *named = target.clone();
            }
            status::read(watched, &self.maps, &mut self.reader, reading);
        }
        Ok(())
    }

    /// The targets that are counted for now, with their interfaces.
    pub fn attached(&self) -> impl Iterator<Item = (&TargetId, &Interface)> {
        self.watched
            .iter()
            .filter_map(|(target, watched)| Some((target, &watched.link.attached()?.interface)))
    }

    /// Whether `target` is attached to `interface`, and that is still there.
    fn is_on(&self, target: &TargetId, interface: &Interface) -> bool {
        self.attached_at(target).is_some_and(|at| {
            at.spot == Spot::Outside && at.interface.index == interface.index && !at.is_gone()
        })
    }

    fn attached_at(&self, target: &TargetId) -> Option<&Attached> {
        self.watched.get(target)?.link.attached()
    }

    /// Whether the present link must be given up before the targets find their places.
    fn must_leave(&self, target: &TargetId, place: Option<&Place>) -> bool {
        match (place, self.attached_at(target)) {
            (None, _) => true,
            (_, None) => false,
            (Some(Place::On(interface)), Some(at)) if at.spot == Spot::Outside => {
                !self.is_on(target, interface)
            }
            (Some(_), Some(at)) => at.is_gone(),
        }
    }

    /// Brings a target to its place. Returns that which it moved from, to be let go.
    fn settle(
        &mut self,
        target: TargetId,
        wanted: Wanted,
        changes: &mut Changes,
    ) -> Option<Attached> {
        let Wanted { place, beyond, .. } = wanted;
        if let Some(at) = self.attached_at(&target) {
            // Where it is now is good enough, unless it is known to be blind.
            let why = at.judge.blind()?;
            let why = format!("{} is bypassed: {why}", at.interface.name);
            return self.leave_blind(target, &beyond, &why, changes);
        }
        let link = match place {
            Place::On(interface) => match self.link_anew(&target, interface, &beyond) {
                Ok(()) => {
                    changes.attached.push(target);
                    return None;
                }
                Err(error) if error.is_transient() => Link::Waiting(text(&error)),
                Err(error) => Link::Failed(text(&error)),
            },
            Place::Waiting(why) => match self.link_beyond(&target, None, &beyond, &why) {
                Ok(_) => {
                    changes.attached.push(target);
                    return None;
                }
                Err(refused) => Link::Waiting(beyond::reason(&why, &refused)),
            },
            Place::Failed(why) => Link::Failed(why),
        };
        self.note_refusal(target, link, changes);
        None
    }

    /// A blind place is left for one beyond it, if any is permitted.
    fn leave_blind(
        &mut self,
        target: TargetId,
        beyond: &[Result<Beyond, String>],
        why: &str,
        changes: &mut Changes,
    ) -> Option<Attached> {
        let outside = self.attached_at(&target)?.interface.clone();
        match self.link_beyond(&target, Some(&outside), beyond, why) {
            Ok(left) => {
                self.bypassed = Some(why.to_owned());
                let at = self.attached_at(&target)?;
                changes
                    .moved
                    .push((target.clone(), at.spot.hook(), at.reason.clone()));
                changes.attached.push(target);
                left
            }
            Err(refused) => {
                if let Some(Link::Attached(at)) = self
                    .watched
                    .get_mut(&target)
                    .map(|watched| &mut watched.link)
                    && at.refused != refused
                {
                    at.refused = refused;
                    changes
                        .refused
                        .extend(at.blind().map(|blind| (target, blind)));
                }
                None
            }
        }
    }

    /// On its interface; or at once beyond it, where those of this node are known to be bypassed.
    fn link_anew(
        &mut self,
        target: &TargetId,
        interface: Interface,
        beyond: &[Result<Beyond, String>],
    ) -> Result<(), ProbeError> {
        if let Some(why) = self.bypassed.clone()
            && self
                .link_beyond(target, Some(&interface), beyond, &why)
                .is_ok()
        {
            return Ok(());
        }
        self.link(target, interface)
    }

    fn note_refusal(&mut self, target: TargetId, link: Link, changes: &mut Changes) {
        if let Some(why) = link.reason() {
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
        let (slots, name) = self.enter(target, Some(&interface), 0)?;
        match self.open_socket(&interface) {
            Ok(socket) => {
                self.keep_outside(target, slots, interface, vec![socket]);
                Ok(())
            }
            Err(error) => {
                self.enter_no_more(target, slots, name)?;
                Err(error)
            }
        }
    }

    /// Enters the target's slots into the kernel's table, under the interface or else under a name of their own; the
    /// name too.
    fn enter(
        &mut self,
        target: &TargetId,
        interface: Option<&Interface>,
        flags: u32,
    ) -> Result<(SlotPair, u32), ProbeError> {
        if let Some(interface) = interface
            && let Some(owner) = self.owners.get(&interface.index)
        {
            return Err(ProbeError::InterfaceTaken {
                interface: interface.name.to_string(),
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
        let name = interface.map_or(BEYOND | slots.server, |interface| interface.index);
        let entry = TargetEntry {
            slot: slots.server,
            client_slot: slots.client,
            interface: name,
            flags,
        };
        if let Err(error) = self.maps.targets.insert(&entry) {
            if before.is_none() {
                self.pool.give_back(slots);
            }
            return Err(error);
        }
        self.owners.insert(name, target.clone());
        Ok((slots, name))
    }

    /// Takes back an entry whose place could not be attached.
    fn enter_no_more(
        &mut self,
        target: &TargetId,
        slots: SlotPair,
        name: u32,
    ) -> Result<(), ProbeError> {
        self.owners.remove(&name);
        let removed = self.maps.targets.remove(name);
        // A slot that was made for this attempt has seen no packet.
        if self
            .watched
            .get(target)
            .is_none_or(|watched| watched.slots.is_none())
        {
            self.pool.give_back(slots);
        }
        removed
    }

    fn keep_outside(
        &mut self,
        target: &TargetId,
        slots: SlotPair,
        interface: Interface,
        held: Vec<OwnedFd>,
    ) {
        let attached = Attached {
            name: interface.index,
            interface,
            spot: Spot::Outside,
            held,
            reason: String::new(),
            refused: Vec::new(),
            judge: Judge::new(Noted::of(self.maps.slots.element(slots.server))),
        };
        self.keep(target, slots, attached);
    }

    /// The link before, too.
    fn keep(&mut self, target: &TargetId, slots: SlotPair, attached: Attached) -> Option<Link> {
        let watched = Watched {
            slots: Some(slots),
            link: Link::Attached(Box::new(attached)),
        };
        let before = self.watched.insert(target.clone(), watched)?;
        Some(before.link)
    }

    fn open_socket(&mut self, interface: &Interface) -> Result<OwnedFd, ProbeError> {
        let name = || interface.name.to_string();
        let socket = sys::open_packet_socket().map_err(|source| ProbeError::OpenSocket {
            interface: name(),
            remedy: load::socket_remedy(&source),
            source,
        })?;
        self.carry(&socket)
            .map_err(|source| ProbeError::AttachFilter {
                interface: name(),
                source,
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

    /// Puts the program on the socket; or what stands in for it, where the kernel has no room for its size: before
    /// Linux 6.8 `net.core.optmem_max`, which a socket's program counts against, was 20 KiB, and is still where somebody
    /// has set it so.
    fn carry(&mut self, socket: &OwnedFd) -> io::Result<()> {
        let program = load::program_fd(&self.ebpf, load::PROGRAM).map_err(io::Error::other)?;
        if self.stand_in.is_none() {
            match sys::attach_program(socket.as_fd(), program.as_fd()) {
                Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {}
                other => return other,
            }
            self.stand_in = Some(StandIn::of(program.as_fd())?);
        }
        let stand_in = self.stand_in.as_ref().map(|stand_in| stand_in.stub.as_fd());
        stand_in.map_or(Ok(()), |stub| sys::attach_program(socket.as_fd(), stub))
    }
}

/// A program of a few instructions that calls the big one.
struct StandIn {
    stub: OwnedFd,
    /// The stub calls nothing once this is dropped.
    _callee: Callee,
}

impl StandIn {
    fn of(program: BorrowedFd<'_>) -> io::Result<Self> {
        let callee = Callee::new()?;
        callee.set(program)?;
        Ok(Self {
            stub: callee.nameless_stub()?,
            _callee: callee,
        })
    }
}

impl Attached {
    fn is_gone(&self) -> bool {
        let unbound = |socket: &OwnedFd| matches!(sys::bound_interface(socket.as_fd()), Ok(None));
        match self.spot {
            Spot::Cgroup { .. } => self.spot.has_ended(),
            Spot::Outside | Spot::Inside { .. } => {
                self.held.iter().any(unbound) || self.spot.has_ended()
            }
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let held = std::mem::take(&mut self.watched)
            .into_values()
            .filter_map(|watched| match watched.link {
                Link::Attached(attached) => Some(attached.held),
                Link::Waiting(_) | Link::Failed(_) => None,
            });
        release::close_together(held.flatten().collect());
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
        let (slots, _) = self.enter(target, Some(&interface), 0)?;
        self.keep_outside(target, slots, interface, Vec::new());
        Ok(())
    }

    pub(crate) fn load_program(&mut self, name: &'static str) -> Result<(), ProbeError> {
        load::load_program(&mut self.ebpf, name)
    }

    pub(crate) fn program(&self, name: &'static str) -> Result<&SocketFilter, ProbeError> {
        load::program(&self.ebpf, name)
    }
}

//! Places that are no interface of the node: inside a pod, and on its cgroup.
//!
//! Each has a stub that names the target and calls the big program, which is loaded when the first place of its kind
//! was found permitted: a node where none is needed pays for none.

use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use owlk8s_ebpf_abi::target_flag;
use owlk8s_model::{Hook, TargetId};

use super::status::{Beyond, Cgroup, Inside};
use super::{Attached, Interface, Link, Probe};
use crate::error::text;
use crate::judge::Judge;
use crate::sys::{Callee, StubKind};
use crate::{ProbeError, load, sys};

/// Where a target is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Spot {
    /// On an interface of the node.
    Outside,
    /// In the namespace that this file stood for.
    Inside { path: PathBuf, inode: u64 },
    /// On this cgroup.
    Cgroup { path: PathBuf },
}

impl Spot {
    pub(super) fn hook(&self) -> Hook {
        match self {
            Self::Outside => Hook::HostVeth,
            Self::Inside { .. } => Hook::PodNamespace,
            Self::Cgroup { .. } => Hook::CgroupSkb,
        }
    }

    /// For people.
    pub(super) fn name(&self, interface: &Interface) -> String {
        match self {
            Self::Outside => format!("interface {}", interface.name),
            Self::Inside { path, .. } => format!("network namespace {}", path.display()),
            Self::Cgroup { path } => format!("cgroup {}", path.display()),
        }
    }

    /// Whether the pod has left it. What holds a namespace must let go then, or it would be there for ever.
    pub(super) fn has_ended(&self) -> bool {
        match self {
            Self::Outside => false,
            Self::Inside { path, inode } => !sys::is_namespace(path, *inode),
            Self::Cgroup { path } => !path.is_dir(),
        }
    }
}

impl From<&Beyond> for Spot {
    fn from(beyond: &Beyond) -> Self {
        match beyond {
            Beyond::Inside(Inside { path, inode, .. }) => Self::Inside {
                path: path.clone(),
                inode: *inode,
            },
            Beyond::Cgroup(Cgroup { path }) => Self::Cgroup { path: path.clone() },
        }
    }
}

/// A big program that is loaded when it is first needed.
pub(super) struct Program {
    name: &'static str,
    callee: Option<Callee>,
    loaded: bool,
    refused: Option<String>,
}

impl Program {
    pub(super) const fn new(name: &'static str) -> Self {
        Self {
            name,
            callee: None,
            loaded: false,
            refused: None,
        }
    }
}

impl Probe {
    /// Attaches `target` to the first of `beyond` that is permitted, beside where it is; its counts go on. The place
    /// that it has left is returned, to be let go. Err: why none can be used.
    pub(super) fn link_beyond(
        &mut self,
        target: &TargetId,
        outside: Option<&Interface>,
        beyond: &[Result<Beyond, String>],
        why: &str,
    ) -> Result<Option<Attached>, Vec<String>> {
        let mut refused = Vec::new();
        for place in beyond {
            let linked = match place {
                Ok(place) => self
                    .link_to(target, outside, place, reason(why, &refused))
                    .map_err(|error| text(&error)),
                Err(why_not) => Err(why_not.clone()),
            };
            match linked {
                Ok(left) => return Ok(left),
                Err(why_not) => refused.push(why_not),
            }
        }
        Err(refused)
    }

    fn link_to(
        &mut self,
        target: &TargetId,
        outside: Option<&Interface>,
        place: &Beyond,
        reason: String,
    ) -> Result<Option<Attached>, ProbeError> {
        let spot = Spot::from(place);
        let interface = match (outside, place) {
            (Some(outside), _) => outside.clone(),
            (None, Beyond::Inside(inside)) => inside.interface.clone(),
            (None, Beyond::Cgroup(_)) => Interface {
                name: "".into(),
                index: 0,
            },
        };
        if let Some(owner) = self.owner_of(&spot, target) {
            return Err(ProbeError::InterfaceTaken {
                interface: spot.name(&interface),
                owner,
            });
        }
        let flags = match place {
            Beyond::Inside(_) => target_flag::INSIDE,
            // Its stubs tell the direction.
            Beyond::Cgroup(_) => 0,
        };
        let (slots, name) = self.enter(target, None, flags)?;
        let held = match self.hold(place, name) {
            Ok(held) => held,
            Err(error) => {
                self.enter_no_more(target, slots, name)?;
                return Err(error);
            }
        };
        let attached = Attached {
            interface,
            spot,
            name,
            held,
            reason,
            refused: Vec::new(),
            judge: Judge::default(),
        };
        let before = self.keep(target, slots, attached);
        Ok(match before {
            Some(Link::Attached(attached)) => Some(*attached),
            _ => None,
        })
    }

    /// Who is read there, other than `target`.
    fn owner_of(&self, spot: &Spot, target: &TargetId) -> Option<TargetId> {
        let (owner, _) = self.watched.iter().find(|(id, watched)| {
            let at = watched.link.attached().map(|attached| &attached.spot);
            at == Some(spot) && *id != target
        })?;
        Some(owner.clone())
    }

    fn hold(&mut self, place: &Beyond, name: u32) -> Result<Vec<OwnedFd>, ProbeError> {
        match place {
            Beyond::Inside(inside) => self.hold_socket(inside, name),
            Beyond::Cgroup(cgroup) => self.hold_cgroup(cgroup, name),
        }
    }

    fn hold_socket(&mut self, inside: &Inside, name: u32) -> Result<Vec<OwnedFd>, ProbeError> {
        let entering = |source| ProbeError::EnterNamespace {
            path: inside.path.display().to_string(),
            remedy: load::namespace_remedy(&source),
            source,
        };
        let called = || format!("{} in {}", inside.interface.name, inside.path.display());
        // A socket belongs to the namespace that it was opened in, whoever binds it.
        let socket = sys::inside(&inside.path, inside.inode, sys::open_packet_socket)
            .map_err(entering)?
            .map_err(|source| ProbeError::OpenSocket {
                interface: called(),
                remedy: load::socket_remedy(&source),
                source,
            })?;
        let stub = self.inside.stub(StubKind::Socket, name, called())?;
        self.inside.call(&mut self.ebpf)?;
        sys::attach_program(socket.as_fd(), stub.as_fd()).map_err(|source| {
            ProbeError::AttachFilter {
                interface: called(),
                source,
            }
        })?;
        sys::bind_to_interface(socket.as_fd(), inside.interface.index).map_err(|source| {
            ProbeError::BindInterface {
                interface: called(),
                index: inside.interface.index,
                source,
            }
        })?;
        Ok(vec![socket])
    }

    fn hold_cgroup(&mut self, cgroup: &Cgroup, name: u32) -> Result<Vec<OwnedFd>, ProbeError> {
        let refused = |source| ProbeError::AttachCgroup {
            path: cgroup.path.display().to_string(),
            remedy: load::cgroup_remedy(&source),
            source,
        };
        let directory = File::open(&cgroup.path).map_err(refused)?;
        let mut held = Vec::new();
        for kind in [StubKind::CgroupIngress, StubKind::CgroupEgress] {
            let place = || format!("cgroup {}", cgroup.path.display());
            let stub = self.cgroup.stub(kind, name, place())?;
            held.push(
                sys::attach_to_cgroup(stub.as_fd(), kind, directory.as_fd()).map_err(refused)?,
            );
        }
        self.cgroup.call(&mut self.ebpf)?;
        Ok(held)
    }
}

impl Program {
    fn stub(&mut self, kind: StubKind, name: u32, place: String) -> Result<OwnedFd, ProbeError> {
        let program = self.name;
        let refused = |source| ProbeError::LoadStub {
            remedy: load::program_remedy(&source, ""),
            place,
            program,
            source,
        };
        let callee = match self.callee.take() {
            Some(callee) => Ok(callee),
            None => Callee::new(),
        };
        let stub = callee.and_then(|callee| self.callee.insert(callee).stub(kind, name));
        stub.map_err(refused)
    }

    /// Lets the stubs call the big program.
    fn call(&mut self, ebpf: &mut aya::Ebpf) -> Result<(), ProbeError> {
        if let Some(reason) = &self.refused {
            let reason = reason.clone();
            return Err(ProbeError::Refused { reason });
        }
        let Some(callee) = self.callee.as_ref().filter(|_| !self.loaded) else {
            return Ok(());
        };
        let program = self.name;
        let set = load::load_program(ebpf, program).and_then(|()| {
            let fd = load::program_fd(ebpf, program)?;
            callee
                .set(fd.as_fd())
                .map_err(|source| ProbeError::LoadProgram {
                    program,
                    remedy: load::program_remedy(&source, ""),
                    log: String::new(),
                    source,
                })
        });
        // What its verifier refuses once it refuses again, and takes a long time to find it out; memory may be had later.
        self.refused = set
            .as_ref()
            .err()
            .filter(|error| !error.is_transient())
            .map(text);
        self.loaded = set.is_ok();
        set
    }
}

/// What is wrong with the first place, and with those after it.
pub(super) fn reason(why: &str, refused: &[String]) -> String {
    let mut reason = why.to_owned();
    for why_not in refused {
        reason.push_str("; ");
        reason.push_str(why_not);
    }
    reason
}

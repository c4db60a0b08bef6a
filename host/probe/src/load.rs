//! The kernel program and its maps: from the embedded object to descriptors, or to an error that says what to change.

mod refusal;

use std::os::fd::AsFd as _;

use aya::maps::{Map, MapData};
use aya::programs::{Program, ProgramError, ProgramFd};
use aya::{Ebpf, EbpfError, EbpfLoader};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
use owlk8s_ebpf_abi::{
    ABI_VERSION, Conn, ConnKey, Edge, METHODS, Row, RowKey, Slot, Stash, StashKey, StreamKey,
    StreamValue, method_key, method_key_huffman,
};

use crate::ProbeError;
use crate::slots::SlotPool;
use crate::sys::{self, KernelMap, MappedArray, Plain};
use crate::targets::TargetTable;

pub(crate) use refusal::{
    of_cgroup as cgroup_remedy, of_namespace as namespace_remedy, of_program as program_remedy,
    of_socket as socket_remedy,
};

/// Counts what passes an interface.
pub(crate) const PROGRAM: &str = "red";
/// Counts what passes inside a pod's namespace, called by the target's stub.
pub(crate) const PROGRAM_INSIDE: &str = "red_beyond";
/// Counts what a cgroup's sockets get and send, called by the target's stubs.
pub(crate) const PROGRAM_CGROUP: &str = "red_cgroup";

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/owlk8s-red"));

/// How much room to make; the kernel's memory follows `rows`, and `connections` as they are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Most targets at once; each takes a file descriptor, for which the process's limit is raised where it may be.
    pub targets: u32,
    /// Most combinations of target, protocol, method and status (960 bytes each).
    pub rows: u32,
    /// Most connections at once over all targets (1 KiB each, when used).
    pub connections: u32,
    /// Count what the targets ask of others, too.
    pub count_client: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            targets: 512,
            rows: 4096,
            connections: 65_536,
            count_client: false,
        }
    }
}

/// The maps that the host writes or reads.
pub(crate) struct Maps {
    pub(crate) targets: TargetTable,
    pub(crate) slots: MappedArray<Slot>,
    pub(crate) rows: MappedArray<Row>,
    pub(crate) row_index: KernelMap<RowKey, u32>,
    pub(crate) free_rows: KernelMap<(), u32>,
    pub(crate) connections: KernelMap<ConnKey, Conn>,
    pub(crate) edges: KernelMap<ConnKey, Edge>,
    pub(crate) stash: KernelMap<StashKey, Stash>,
    pub(crate) streams: KernelMap<StreamKey, StreamValue>,
}

/// Loads the embedded program and makes its maps ready: methods by name, every row free.
pub(crate) fn load(options: &Options) -> Result<(Ebpf, Maps), ProbeError> {
    check_abi_version(OBJECT)?;
    check_room(options)?;
    sys::raise_memlock();
    sys::allow_descriptors(options.targets);
    let slots = SlotPool::elements(options.targets, options.count_client);
    let mut ebpf = EbpfLoader::new()
        // While a target moves it has two names.
        .map_max_entries("TARGETS", options.targets * 2)
        .map_max_entries("SLOTS", slots)
        .map_max_entries("ROWS", options.rows)
        .map_max_entries("ROW_INDEX", options.rows)
        .map_max_entries("FREE_ROWS", options.rows)
        .map_max_entries("CONNS", options.connections)
        .load(OBJECT)
        .map_err(refused_object)?;
    load_program(&mut ebpf, PROGRAM)?;
    let maps = Maps {
        targets: TargetTable::new(open(&ebpf, "TARGETS")?, open(&ebpf, "NEAR")?),
        slots: map_memory(&ebpf, "SLOTS", slots)?,
        rows: map_memory(&ebpf, "ROWS", options.rows)?,
        row_index: open(&ebpf, "ROW_INDEX")?,
        free_rows: open(&ebpf, "FREE_ROWS")?,
        connections: open(&ebpf, "CONNS")?,
        edges: open(&ebpf, "EDGES")?,
        stash: open(&ebpf, "STASH")?,
        streams: open(&ebpf, "STREAMS")?,
    };
    name_methods(&open(&ebpf, "METHODS")?)?;
    for row in 0..options.rows {
        maps.free_rows.push(&row)?;
    }
    Ok((ebpf, maps))
}

/// One of the object's programs.
#[cfg(feature = "test-run")]
pub(crate) fn program<'a>(
    ebpf: &'a Ebpf,
    name: &'static str,
) -> Result<&'a aya::programs::SocketFilter, ProbeError> {
    let program = ebpf.program(name).ok_or_else(|| no_program(name))?;
    program
        .try_into()
        .map_err(|_: ProgramError| no_program(name))
}

/// The descriptor of a loaded program.
pub(crate) fn program_fd<'a>(
    ebpf: &'a Ebpf,
    name: &'static str,
) -> Result<&'a ProgramFd, ProbeError> {
    let fd = match ebpf.program(name) {
        Some(Program::SocketFilter(program)) => program.fd(),
        Some(Program::CgroupSkb(program)) => program.fd(),
        _ => return Err(no_program(name)),
    };
    fd.map_err(|error| ProbeError::ReadObject {
        reason: error.to_string(),
    })
}

/// The kernel refuses a map without room, and in no clear words.
fn check_room(options: &Options) -> Result<(), ProbeError> {
    let Options {
        targets,
        rows,
        connections,
        count_client: _,
    } = *options;
    let rooms = [
        ("targets", targets, 65_535),
        ("rows", rows, 1 << 22),
        ("connections", connections, 1 << 22),
    ];
    match rooms
        .into_iter()
        .find(|&(_, room, most)| room == 0 || room > most)
    {
        None => Ok(()),
        Some((option, room, most)) => Err(ProbeError::Room { option, room, most }),
    }
}

/// Puts one of the object's programs into the kernel.
pub(crate) fn load_program(ebpf: &mut Ebpf, name: &'static str) -> Result<(), ProbeError> {
    let loaded = match ebpf.program_mut(name) {
        Some(Program::SocketFilter(program)) => program.load(),
        Some(Program::CgroupSkb(program)) => program.load(),
        _ => return Err(no_program(name)),
    };
    match loaded {
        // It is, and what was to follow was refused.
        Err(ProgramError::AlreadyLoaded) => Ok(()),
        loaded => loaded.map_err(|error| refused_program(name, error)),
    }
}

fn refused_program(name: &'static str, error: ProgramError) -> ProbeError {
    match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => {
            let log = verifier_log.to_string();
            let remedy = refusal::of_program(&io_error, &log);
            ProbeError::LoadProgram {
                program: name,
                log: refusal::last_lines(&log, &remedy),
                remedy,
                source: io_error,
            }
        }
        other => ProbeError::ReadObject {
            reason: other.to_string(),
        },
    }
}

fn no_program(name: &str) -> ProbeError {
    ProbeError::ReadObject {
        reason: format!("it has no program {name}"),
    }
}

fn refused_object(error: EbpfError) -> ProbeError {
    match error {
        EbpfError::MapError(aya::maps::MapError::CreateError { name, io_error }) => {
            ProbeError::CreateMap {
                remedy: refusal::of_map(&io_error),
                map: name,
                source: io_error,
            }
        }
        other => ProbeError::ReadObject {
            reason: refusal::chain(&other),
        },
    }
}

/// The object says by itself which layouts it was built with.
fn check_abi_version(object: &[u8]) -> Result<(), ProbeError> {
    let unreadable = |reason: String| ProbeError::ReadObject { reason };
    let file = object::File::parse(object).map_err(|error| unreadable(error.to_string()))?;
    let missing = || unreadable("it names no ABI_VERSION".to_owned());
    let symbol = file.symbol_by_name("ABI_VERSION").ok_or_else(missing)?;
    let section = symbol
        .section_index()
        .and_then(|index| file.section_by_index(index).ok())
        .and_then(|section| section.data().ok())
        .ok_or_else(missing)?;
    let found = usize::try_from(symbol.address())
        .ok()
        .and_then(|at| section.get(at..)?.first_chunk::<4>())
        .map(|bytes| u32::from_le_bytes(*bytes))
        .ok_or_else(missing)?;
    if found == ABI_VERSION {
        Ok(())
    } else {
        Err(ProbeError::AbiVersion {
            found,
            expected: ABI_VERSION,
        })
    }
}

fn open<K: Plain, V: Plain>(
    ebpf: &Ebpf,
    name: &'static str,
) -> Result<KernelMap<K, V>, ProbeError> {
    let (data, entries) = checked(ebpf, name, size_of::<K>(), size_of::<V>())?;
    let fd = data
        .fd()
        .as_fd()
        .try_clone_to_owned()
        .map_err(|source| ProbeError::ReadMap { map: name, source })?;
    Ok(KernelMap::new(fd, name, entries))
}

fn map_memory<T>(
    ebpf: &Ebpf,
    name: &'static str,
    elements: u32,
) -> Result<MappedArray<T>, ProbeError> {
    let (data, entries) = checked(ebpf, name, size_of::<u32>(), size_of::<T>())?;
    if entries != elements {
        let problem = format!("has {entries} elements, not {elements}");
        return Err(ProbeError::MapLayout { map: name, problem });
    }
    MappedArray::new(data.fd().as_fd(), elements)
        .map_err(|source| ProbeError::MapMemory { map: name, source })
}

/// The map, when its sizes are those that the host was compiled with; and its number of elements.
fn checked<'a>(
    ebpf: &'a Ebpf,
    name: &'static str,
    key: usize,
    value: usize,
) -> Result<(&'a MapData, u32), ProbeError> {
    let wrong = |problem: String| ProbeError::MapLayout { map: name, problem };
    let data = match ebpf.map(name) {
        Some(Map::Array(data) | Map::HashMap(data) | Map::LruHashMap(data) | Map::Queue(data)) => {
            data
        }
        Some(_) => return Err(wrong("is of another type".to_owned())),
        None => return Err(wrong("is missing".to_owned())),
    };
    let info = data
        .info()
        .map_err(|error| wrong(format!("cannot be asked for its sizes: {error}")))?;
    let found = (info.key_size() as usize, info.value_size() as usize);
    if found != (key, value) {
        return Err(wrong(format!(
            "has keys and values of {found:?} bytes, not {:?}",
            (key, value)
        )));
    }
    Ok((data, info.max_entries()))
}

fn name_methods(map: &KernelMap<[u8; 16], u8>) -> Result<(), ProbeError> {
    for (number, method) in METHODS.iter().enumerate() {
        let Ok(number) = u8::try_from(number) else {
            continue;
        };
        // As HTTP/1 writes it, and as HPACK may.
        for key in [method_key(method), method_key_huffman(method)]
            .into_iter()
            .flatten()
        {
            map.insert(&key, &number)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod stack;
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_of_another_abi_version_is_refused() {
        let mut object = OBJECT.to_vec();
        assert!(check_abi_version(&object).is_ok());
        let at = {
            let file = object::File::parse(&*object).unwrap();
            let symbol = file.symbol_by_name("ABI_VERSION").unwrap();
            let section = file
                .section_by_index(symbol.section_index().unwrap())
                .unwrap();
            (section.file_range().unwrap().0 + symbol.address()) as usize
        };
        object[at] ^= 0x55;
        let error = check_abi_version(&object).unwrap_err();
        assert!(
            matches!(
                error,
                ProbeError::AbiVersion {
                    expected: ABI_VERSION,
                    ..
                }
            ),
            "{error}"
        );
        assert!(error.to_string().contains("make build"));
    }

    #[test]
    fn no_room_is_refused_by_name() {
        let error = check_room(&Options {
            rows: 0,
            ..Options::default()
        })
        .unwrap_err();
        assert_eq!(error.to_string(), "room for 0 rows: must be 1 to 4194304");
        assert!(check_room(&Options::default()).is_ok());
    }

    #[test]
    fn no_object_at_all_is_refused() {
        let error = check_abi_version(b"#!/bin/sh").unwrap_err();
        assert!(matches!(error, ProbeError::ReadObject { .. }), "{error}");
    }
}

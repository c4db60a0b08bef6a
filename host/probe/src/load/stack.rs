//! The stack that the kernel program takes, as its verifier adds it up: 512 bytes for all frames of a chain of calls. Kernels
//! before 6.8 count each frame in steps of 32 bytes, later ones in steps of 16, so one that this kernel accepts may be
//! refused by theirs.

use std::collections::{BTreeMap, BTreeSet};

use object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget};
use object::{SectionKind, SymbolKind};

/// `MAX_BPF_STACK`.
const STACK: i32 = 512;
/// What kernels before 6.8 round a frame up to.
const STEP: i32 = 32;

const FRAME_POINTER: u8 = 10;
const CALL: u8 = 0x85;
const LOAD_WIDE: u8 = 0x18;
const MOVE: u8 = 0xbf;
const ADD: u8 = 0x07;
/// The source register of a call to a function, not to a helper.
const PSEUDO_CALL: u8 = 1;
/// Between a copy of the frame pointer and what is added to it.
const NEAR: usize = 12;

struct Insn {
    code: u8,
    dst: u8,
    src: u8,
    offset: i16,
    imm: i32,
}

/// Where a function begins.
type At = (usize, u64);

struct Function {
    name: String,
    stack: i32,
    calls: BTreeSet<At>,
}

fn insns(code: &[u8]) -> Vec<Insn> {
    let one = |bytes: &[u8]| Insn {
        code: bytes[0],
        dst: bytes[1] & 15,
        src: bytes[1] >> 4,
        offset: i16::from_le_bytes([bytes[2], bytes[3]]),
        imm: i32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    };
    code.chunks_exact(8).map(one).collect()
}

/// The lowest byte of its frame that an instruction is after.
fn lowest(insns: &[Insn]) -> i32 {
    let [insn, next @ ..] = insns else { return 0 };
    match insn.code & 7 {
        // Loads, and stores.
        1 if insn.src == FRAME_POINTER => i32::from(insn.offset),
        2 | 3 if insn.dst == FRAME_POINTER => i32::from(insn.offset),
        _ if insn.code == MOVE && insn.src == FRAME_POINTER => {
            let mut near = next.iter().take(NEAR);
            let added = near.find(|next| next.code == ADD && next.dst == insn.dst);
            added.map_or(0, |added| added.imm)
        }
        _ => 0,
    }
}

/// The function that the instruction at `index` calls, or makes a pointer to.
fn callee(
    file: &object::File<'_>,
    (section, index): (usize, usize),
    insn: &Insn,
    moved: Option<&RelocationTarget>,
) -> Option<At> {
    let calls = insn.code == CALL && insn.src == PSEUDO_CALL;
    if !calls && insn.code != LOAD_WIDE {
        return None;
    }
    let Some(RelocationTarget::Symbol(symbol)) = moved else {
        // From the one behind it.
        let begin = index as i64 + 1 + i64::from(insn.imm);
        return calls.then_some((section, begin as u64 * 8));
    };
    let symbol = file.symbol_by_index(*symbol).unwrap();
    let begin = match (symbol.kind(), calls) {
        // A call counts instructions from the one behind it, a pointer bytes.
        (SymbolKind::Section, true) => (i64::from(insn.imm) + 1) as u64 * 8,
        (SymbolKind::Section, false) => insn.imm as u64,
        _ => symbol.address(),
    };
    Some((symbol.section_index()?.0, begin))
}

fn functions(object: &[u8]) -> BTreeMap<At, Function> {
    let file = object::File::parse(object).unwrap();
    let mut functions = BTreeMap::new();
    for section in file.sections().filter(|s| s.kind() == SectionKind::Text) {
        let here = section.index().0;
        let insns = insns(section.data().unwrap());
        let moved: BTreeMap<u64, RelocationTarget> = section
            .relocations()
            .map(|(at, relocation)| (at, relocation.target()))
            .collect();
        let begins = file
            .symbols()
            .filter(|symbol| symbol.kind() == SymbolKind::Text)
            .filter(|symbol| symbol.section_index() == Some(section.index()));
        for symbol in begins {
            let first = symbol.address() as usize / 8;
            let body = &insns[first..first + symbol.size() as usize / 8];
            let lowest = (0..body.len()).map(|at| lowest(&body[at..])).min();
            let to = |(index, insn): (usize, &Insn)| {
                callee(&file, (here, index), insn, moved.get(&(index as u64 * 8)))
            };
            let function = Function {
                name: symbol.name().unwrap().to_owned(),
                stack: -lowest.unwrap_or(0).min(0),
                calls: (first..).zip(body).filter_map(to).collect(),
            };
            functions.insert((here, symbol.address()), function);
        }
    }
    functions
}

/// The chain of calls from here that takes the most, and what.
fn deepest(functions: &BTreeMap<At, Function>, from: At) -> (i32, Vec<String>) {
    // What a pointer leads to may be data.
    let Some(function) = functions.get(&from) else {
        return (0, Vec::new());
    };
    let further = function.calls.iter().map(|&to| deepest(functions, to));
    let (below, mut chain) = further.max().unwrap_or_default();
    chain.insert(0, format!("{} ({})", function.name, function.stack));
    let frame = (function.stack.max(1) + STEP - 1) / STEP * STEP;
    (frame + below, chain)
}

#[test]
fn no_chain_of_calls_takes_more_stack_than_kernels_before_6_8_leave() {
    let functions = functions(super::OBJECT);
    let programs = functions.iter().filter(|(_, function)| {
        [super::PROGRAM, super::PROGRAM_INSIDE, super::PROGRAM_CGROUP]
            .contains(&function.name.as_str())
    });
    let deepest: Vec<_> = programs.map(|(&at, _)| deepest(&functions, at)).collect();
    assert_eq!(deepest.len(), 3);
    for (stack, chain) in deepest {
        assert!(chain.len() > 3, "calls are followed: {chain:?}");
        assert!(stack <= STACK, "{stack} bytes: {chain:#?}");
    }
}

use serde::{Deserialize, Serialize};
use wasmtime::WasmBacktrace;

use crate::guest::printable;

/// Of one function's or file's name: generic Rust names are long, and a guest chooses its own.
const NAME_MAX: usize = 300;

/// One function of a guest's stack when it trapped, the innermost first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrashFrame {
    /// Its name, demangled; `function N` where the component does not tell.
    pub function: String,
    /// Source file, where the component has debug information.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub file: String,
    /// Line of the file; 0 where it is not known.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub line: u32,
    /// Bytes from the beginning of its core module.
    pub offset: u64,
}

fn is_zero(line: &u32) -> bool {
    *line == 0
}

/// The stack that an error tells of; empty where the guest did not trap by itself.
pub(super) fn backtrace(error: &wasmtime::Error) -> Vec<CrashFrame> {
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else {
        return Vec::new();
    };
    let frame = |frame: &wasmtime::FrameInfo| {
        let offset = frame.module_offset().unwrap_or_default() as u64;
        let index = || format!("function {}", frame.func_index());
        // Functions that were inlined into it come first.
        let mut frames: Vec<CrashFrame> = frame
            .symbols()
            .iter()
            .map(|symbol| CrashFrame {
                function: symbol.name().map_or_else(index, readable),
                file: printable(symbol.file().unwrap_or_default(), NAME_MAX),
                line: symbol.line().unwrap_or_default(),
                offset,
            })
            .collect();
        if frames.is_empty() {
            frames.push(CrashFrame {
                function: frame.func_name().map_or_else(index, readable),
                file: String::new(),
                line: 0,
                offset,
            });
        }
        frames
    };
    trace.frames().iter().flat_map(frame).collect()
}

fn readable(name: &str) -> String {
    printable(&format!("{:#}", rustc_demangle::demangle(name)), NAME_MAX)
}

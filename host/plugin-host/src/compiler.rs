//! The compile child: one component from its standard input to machine code on its standard output, and
//! nothing else. A component is a stranger's bytes and a compiler is a large program, so it runs in a process
//! that has no file, no socket, and a bounded time and memory, and ends with the component.
//!
//! ```text
//!  agent: order and component in a file of memory --stdin--> compile child --stdout--> file that the agent
//!         gave it: named, kept and handed on by the agent alone          --stderr--> one line, where it fails
//! ```

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;

use thiserror::Error;

use crate::agent::chain;
use crate::config::Size;
use crate::engine;
use crate::frames::{self, CompileOrder, FrameError, ORDER_MAX};
use crate::sandbox::{self, SandboxError};

/// Why there is no machine code.
#[derive(Debug, Error)]
enum CompileError {
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error("cannot read its order: it is started by `owlk8s run`, not by hand")]
    Order(#[source] FrameError),
    #[error("cannot read the component")]
    Read(#[source] io::Error),
    /// The compiler's own words, with all their causes.
    #[error("{0:#}")]
    Compile(wasmtime::Error),
    #[error("cannot write what it made")]
    Write(#[source] io::Error),
}

/// The main of the compile child, which the agent starts from its own binary.
pub fn compile_process() -> ExitCode {
    match compile() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = io::stderr().write_all(chain(&error).as_bytes());
            ExitCode::FAILURE
        }
    }
}

fn compile() -> Result<(), CompileError> {
    sandbox::enter()?;
    // Not `Stdin`, which reads ahead.
    let mut input = file(io::stdin().as_fd()).map_err(CompileError::Read)?;
    let mut output = file(io::stdout().as_fd()).map_err(CompileError::Write)?;
    let order: CompileOrder =
        frames::read_blocking(&mut input, ORDER_MAX).map_err(CompileError::Order)?;
    sandbox::seal_compiler(order.user, order.time, Size(order.memory))?;
    let mut component = Vec::new();
    input
        .read_to_end(&mut component)
        .map_err(CompileError::Read)?;
    let code = engine::of_plugins()
        .and_then(|engine| engine.precompile_component(&component))
        .map_err(CompileError::Compile)?;
    output.write_all(&code).map_err(CompileError::Write)
}

fn file(fd: impl AsFd) -> io::Result<File> {
    Ok(File::from(fd.as_fd().try_clone_to_owned()?))
}

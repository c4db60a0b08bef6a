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
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use thiserror::Error;

use crate::agent::{chain, shipped_name};
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

/// Compiles components for all nodes that this binary may run on, into files of `folder` as an image holds them in
/// `/usr/lib/owlk8s/compiled`. In this process and without its fences: for components of one's own.
pub fn precompile(components: &[PathBuf], folder: &Path) -> Result<(), PrecompileError> {
    let engine = engine::of_images().map_err(PrecompileError::Engine)?;
    for component in components {
        let failed = |source| PrecompileError::Component {
            path: component.clone(),
            source,
        };
        let bytes = std::fs::read(component).map_err(|error| failed(error.into()))?;
        let code = engine.precompile_component(&bytes).map_err(failed)?;
        let kept =
            shipped_name(&bytes, &code).and_then(|name| std::fs::write(folder.join(name), &code));
        kept.map_err(|source| PrecompileError::Write {
            folder: folder.to_owned(),
            source,
        })?;
    }
    Ok(())
}

/// Why there is no code for an image.
#[derive(Debug, Error)]
pub enum PrecompileError {
    /// The compiler does not know this machine.
    #[error("cannot make a compiler for this machine: {0:#}")]
    Engine(wasmtime::Error),
    /// It cannot be read, or is no component.
    #[error("cannot compile {}: {source:#}", path.display())]
    Component {
        /// As given.
        path: PathBuf,
        /// All its causes.
        source: wasmtime::Error,
    },
    /// No room, or not ours.
    #[error("cannot write into {}", folder.display())]
    Write {
        /// As given.
        folder: PathBuf,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
}

fn file(fd: impl AsFd) -> io::Result<File> {
    Ok(File::from(fd.as_fd().try_clone_to_owned()?))
}

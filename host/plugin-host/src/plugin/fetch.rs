//! Where the plugin process has its components from: it opens no file and compiles nothing, it asks the
//! agent, and gets machine code that the compile child made. A process of a person's own, which replays a crash
//! or measures, does both by itself.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{LoadError, check_header};
use crate::agent::ARTIFACT_MAX;
use crate::engine;
use crate::frames::{self, Artifact, FETCH_MAX, FETCHED_MAX, Fetch, Fetched, rights};

/// Where components come from.
#[derive(Clone, Debug)]
pub(crate) enum Fetcher {
    /// The agent is asked over this connection.
    Agent(Arc<OwnedFd>),
    /// They are read and compiled in this process.
    Here,
}

/// A component as the agent knows it, and its machine code; empty where that is damaged.
pub(crate) struct Machine {
    pub(crate) artifact: Artifact,
    pub(crate) component: Vec<u8>,
    pub(crate) code: Vec<u8>,
}

impl Fetcher {
    pub(crate) fn new(control: OwnedFd) -> Self {
        Self::Agent(Arc::new(control))
    }

    /// Blocks for as long as the compiler takes. The error says what a person has to do.
    pub(crate) fn fetch(&self, fetch: &Fetch) -> Result<Machine, String> {
        let control = match self {
            Self::Agent(control) => control,
            Self::Here => return compile_here(&fetch.reference),
        };
        let handed = ask(control, fetch).map_err(|error| {
            let plugin = &fetch.reference;
            format!("the agent does not hand over plugin {plugin}: {error}")
        })??;
        let path = &handed.artifact.path;
        let fail = |error| format!("cannot read plugin {path}: {error}");
        let component = read(handed.component).map_err(fail)?;
        if format!("sha256:{:x}", Sha256::digest(&component)) != handed.artifact.digest {
            return Err(format!(
                "cannot read plugin {path}: it was replaced while it was read"
            ));
        }
        let mut code = read(handed.code).map_err(fail)?;
        // What is looked at here is what runs: nobody can change it any more.
        if format!("{:x}", Sha256::digest(&code)) != handed.artifact.code_digest {
            code.clear();
        }
        Ok(Machine {
            artifact: handed.artifact,
            component,
            code,
        })
    }
}

fn ask(control: &OwnedFd, fetch: &Fetch) -> io::Result<Result<Handed, String>> {
    let (mut ours, theirs) = UnixStream::pair()?;
    rights::send(control, Some(theirs.as_fd()))?;
    drop(theirs);
    frames::write_blocking(&mut ours, fetch, FETCH_MAX).map_err(io::Error::other)?;
    let (code, component) = (rights::receive(&ours)?, rights::receive(&ours)?);
    let fetched = frames::read_blocking(&mut ours, FETCHED_MAX).map_err(io::Error::other)?;
    match (fetched, code, component) {
        (Fetched::Ready(artifact), Some(code), Some(component)) => Ok(Ok(Handed {
            artifact,
            code,
            component,
        })),
        (Fetched::Refused(why), ..) => Ok(Err(why)),
        (Fetched::Ready(_), ..) => Err(io::Error::other("it sent no file")),
    }
}

/// The component in the file `path`.
fn compile_here(path: &str) -> Result<Machine, String> {
    let component = std::fs::read(path).map_err(|error| {
        let (path, problem) = (path.to_owned(), error.to_string());
        LoadError::Read { path, problem }.to_string()
    })?;
    check_header(path, &component).map_err(|error| error.to_string())?;
    let code = engine::of_plugins()
        .and_then(|engine| engine.precompile_component(&component))
        .map_err(|error| {
            let (path, problem) = (path.to_owned(), format!("{error:#}"));
            LoadError::Compile { path, problem }.to_string()
        })?;
    Ok(Machine {
        artifact: Artifact {
            path: path.to_owned(),
            digest: format!("sha256:{:x}", Sha256::digest(&component)),
            size_bytes: component.len() as u64,
            code_digest: format!("{:x}", Sha256::digest(&code)),
        },
        component,
        code,
    })
}

/// What the agent handed over.
struct Handed {
    artifact: Artifact,
    code: OwnedFd,
    component: OwnedFd,
}

fn read(file: OwnedFd) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::from(file)
        .take(ARTIFACT_MAX.0)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

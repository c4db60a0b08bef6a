//! Where the plugin process has its components from: it opens no file and compiles nothing, it asks the
//! agent, and gets machine code that the compile child made.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::agent::ARTIFACT_MAX;
use crate::frames::{self, Artifact, FETCH_MAX, FETCHED_MAX, Fetch, Fetched, rights};

/// The connection over which the agent is asked.
#[derive(Clone, Debug)]
pub(crate) struct Fetcher(Arc<OwnedFd>);

/// A component as the agent knows it, and its machine code; empty where that is damaged.
pub(crate) struct Machine {
    pub(crate) artifact: Artifact,
    pub(crate) component: Vec<u8>,
    pub(crate) code: Vec<u8>,
}

impl Fetcher {
    pub(crate) fn new(control: OwnedFd) -> Self {
        Self(Arc::new(control))
    }

    /// Blocks for as long as the compiler takes. The error says what a person has to do.
    pub(crate) fn fetch(&self, fetch: &Fetch) -> Result<Machine, String> {
        let handed = self.ask(fetch).map_err(|error| {
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

    fn ask(&self, fetch: &Fetch) -> io::Result<Result<Handed, String>> {
        let (mut ours, theirs) = UnixStream::pair()?;
        rights::send(&self.0, Some(theirs.as_fd()))?;
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

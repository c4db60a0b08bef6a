//! A compile child, from its start to what it made.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{MemfdFlags, memfd_create};

use super::blocking;
use super::cache::{Cache, Made};
use super::component::Component;
use crate::agent::process::{Ended, Process};
use crate::agent::{Program, chain};
use crate::config::{PluginsConfig, Size};
use crate::frames::{CompileOrder, Fetch, ORDER_MAX, write_blocking};
use crate::guest::printable;

pub(crate) use crate::sandbox::ARTIFACT_MAX;

/// Of what it complains.
const COMPLAINT_MAX: usize = 2 << 10;
/// Elapsed time for each of processor time: it is behind everybody else at the processor.
const PATIENCE: u32 = 30;
/// Times that one that was killed by somebody is started again.
const TRIES: usize = 3;

/// Why there is no code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It is the component: the next time is the same.
    OfComponent(String),
    /// Something was in the way.
    OfTheMoment(String),
}

impl Failure {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::OfComponent(text) | Self::OfTheMoment(text) => text,
        }
    }
}

/// How compile children are started.
#[derive(Debug)]
pub(super) struct Compiler {
    program: Program,
    order: CompileOrder,
    component_size: Size,
}

impl Compiler {
    pub(super) fn new(program: &Program, config: &PluginsConfig) -> Self {
        Self {
            program: program.clone(),
            order: CompileOrder {
                user: config.user,
                time: config.compile_time,
                memory: config.compile_memory.0,
            },
            component_size: config.component_size,
        }
    }

    /// The binary that compiles.
    pub(super) fn program(&self) -> &Path {
        &self.program.path
    }

    /// Compile it. Dropped before its end, the child is killed.
    pub(super) async fn compile(
        &self,
        fetch: &Fetch,
        component: &Component,
        cache: &Cache,
    ) -> Result<Made, Failure> {
        let mut killed = Failure::OfTheMoment(String::new());
        for _ in 0..TRIES {
            let input = self.input(fetch, component).await?;
            let made = cache
                .make()
                .map_err(moment("cannot make a file for its code"))?;
            let output = made
                .file()
                .try_clone()
                .map_err(moment("cannot make a file for its code"))?;
            match self.run(input, output).await? {
                End::Done => return Ok(made),
                End::Refused(why) => return Err(Failure::OfComponent(why)),
                End::Killed => {
                    killed = Failure::OfTheMoment(format!(
                        "its compiler was killed {TRIES} times (is the node short of memory?)"
                    ));
                }
            }
        }
        Err(killed)
    }

    /// The order and the component, in a file of memory that is read from its beginning.
    async fn input(&self, fetch: &Fetch, component: &Component) -> Result<File, Failure> {
        let (fetch, max, order) = (fetch.clone(), self.component_size, self.order);
        let component = component.clone();
        let write = move || {
            let file = memfd_create("component", MemfdFlags::CLOEXEC).map_err(io::Error::from);
            let mut file = File::from(file.map_err(|error| error.to_string())?);
            write_blocking(&mut file, &order, ORDER_MAX).map_err(|error| chain(&error))?;
            component
                .copy(&fetch, max, &mut file)
                .map_err(|error| error.to_string())?;
            file.seek(SeekFrom::Start(0))
                .map_err(|error| error.to_string())?;
            Ok(file)
        };
        blocking(write)
            .await
            .and_then(|written| written)
            .map_err(Failure::OfTheMoment)
    }

    async fn run(&self, input: File, output: File) -> Result<End, Failure> {
        let mut command = Command::new(&self.program.path);
        command
            .args(&self.program.compiler_args)
            .stdin(Stdio::from(input))
            .stdout(Stdio::from(output))
            .stderr(Stdio::piped());
        let mut child = Process::spawn(command)
            .map(Killed)
            .map_err(|error| Failure::OfTheMoment(chain(&error)))?;
        let wall = self.order.time.saturating_mul(PATIENCE);
        match tokio::time::timeout(wall, child.0.exited()).await {
            Ok(Ok(ended)) => Ok(judge(&ended, &self.order)),
            Ok(Err(error)) => Err(moment("cannot follow its compiler")(error)),
            Err(_) => Ok(End::Refused(format!(
                "it did not compile within {wall:?} ({PATIENCE} times plugins.compile_time)"
            ))),
        }
    }
}

/// A child that is killed when nobody waits for it any more.
struct Killed(Process);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill();
    }
}

/// How a compile child ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Done,
    Refused(String),
    /// By somebody, or for want of memory on the node.
    Killed,
}

/// What its end says of the component.
fn judge(ended: &Ended, order: &CompileOrder) -> End {
    let status = ended.status;
    let complaint = String::from_utf8_lossy(&ended.complaint);
    let complaint = printable(complaint.trim(), COMPLAINT_MAX);
    // Of the compiler's allocations, and of its libraries' memory maps.
    let starved = ["memory allocation of", "Cannot allocate memory"]
        .iter()
        .any(|sign| complaint.contains(sign));
    let (time, memory) = (order.time, Size(order.memory));
    End::Refused(match status.signal() {
        _ if status.success() => return End::Done,
        Some(libc::SIGKILL | libc::SIGTERM | libc::SIGINT | libc::SIGHUP) => return End::Killed,
        Some(libc::SIGXCPU) => format!(
            "it takes more than {time:?} of processor time to compile (plugins.compile_time)"
        ),
        Some(libc::SIGXFSZ) => format!("its code is larger than {ARTIFACT_MAX}"),
        _ if starved => {
            format!("it takes more than {memory} of memory to compile (plugins.compile_memory)")
        }
        Some(libc::SIGSYS) => {
            "its compiler asked the kernel for what a compiler has no use for (report this with the component)"
                .to_owned()
        }
        Some(signal) => {
            format!("its compiler crashed by signal {signal} (report this with the component)")
        }
        None if complaint.is_empty() => format!("its compiler ended with {status}"),
        None => complaint,
    })
}

fn moment(what: &'static str) -> impl Fn(io::Error) -> Failure {
    move |error| Failure::OfTheMoment(format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::process::ExitStatus;
    use std::time::Duration;

    use super::*;

    fn end(wait_status: i32, complaint: &str) -> End {
        let order = CompileOrder {
            user: 0,
            time: Duration::from_secs(60),
            memory: 1 << 30,
        };
        let ended = Ended {
            status: ExitStatus::from_raw(wait_status),
            complaint: complaint.into(),
        };
        judge(&ended, &order)
    }

    #[test]
    fn each_end_of_a_compiler_names_the_limit_and_its_line() {
        let refused = |end: End| match end {
            End::Refused(why) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(end(0, ""), End::Done);
        assert_eq!(end(libc::SIGKILL, ""), End::Killed);
        assert_eq!(
            refused(end(libc::SIGXCPU, "")),
            "it takes more than 60s of processor time to compile (plugins.compile_time)"
        );
        let memory = "it takes more than 1GiB of memory to compile (plugins.compile_memory)";
        assert_eq!(
            refused(end(libc::SIGABRT, "memory allocation of 99 bytes failed")),
            memory
        );
        let text = "mmap failed: Cannot allocate memory (os error 12)";
        assert_eq!(refused(end(1 << 8, text)), memory);
        assert_eq!(refused(end(1 << 8, "unexpected end")), "unexpected end");
        assert!(refused(end(libc::SIGSEGV, "")).contains("crashed by signal 11"));
    }
}

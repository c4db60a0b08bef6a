//! One run of a machine: from the start of the emulator to its end, or to the time limit.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::Check;
use super::kernels::Kernel;
use super::report::ended;
use crate::run::human;
use crate::workspace::path;

const MEMORY: &str = "3G";
const PROCESSORS: &str = "2";
/// For all checks of a kernel together. One that hangs is ended before by the machine itself.
const LIMIT: Duration = Duration::from_secs(90 * 60);
const POLL: Duration = Duration::from_millis(500);

/// What the checks say.
pub(super) fn log(release: &str) -> PathBuf {
    path("target/vm").join(format!("{release}.log"))
}

/// What the kernel says.
fn kernel_log(release: &str) -> PathBuf {
    path("target/vm").join(format!("{release}.kernel.log"))
}

/// Boots it and gives all that was said; a line for each check that has ended.
pub(super) fn run(kernel: &Kernel, image: &Path, checks: &[Check]) -> Result<String> {
    let (said, complaints) = (log(&kernel.release), path("target/vm/qemu.log"));
    for file in [&said, &kernel_log(&kernel.release)] {
        File::create(file).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let errors = File::create(&complaints)
        .with_context(|| format!("cannot write {}", complaints.display()))?;
    let mut machine = emulator(kernel, image)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors)
        .spawn()
        .context("cannot start qemu-system-x86_64")?;
    let outcome = follow(&mut machine, &said, checks.len());
    // It has ended, or it is to.
    let _ = machine.kill();
    let status = machine.wait().context("cannot wait for the emulator")?;
    outcome?;
    if !status.success() {
        bail!(
            "the emulator ended with {status}: {}",
            fs::read_to_string(&complaints).unwrap_or_default().trim()
        );
    }
    let text = fs::read(&said).with_context(|| format!("cannot read {}", said.display()))?;
    let text = String::from_utf8_lossy(&text).replace('\r', "");
    if text.is_empty() {
        bail!(
            "Linux {} did not come up; what it said: {}",
            kernel.release,
            kernel_log(&kernel.release).display()
        );
    }
    Ok(text)
}

fn emulator(kernel: &Kernel, image: &Path) -> Command {
    let mut machine = Command::new("qemu-system-x86_64");
    let line = |file: PathBuf| format!("file:{}", file.display());
    machine
        .args(["-accel", "tcg,thread=multi", "-cpu", "max"])
        .args(["-m", MEMORY, "-smp", PROCESSORS])
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(image)
        .args(["-append", "console=ttyS1 panic=-1 loglevel=4"])
        .args([
            "-display",
            "none",
            "-no-reboot",
            "-nic",
            "none",
            "-monitor",
            "none",
        ])
        .args(["-serial", &line(log(&kernel.release))])
        .args(["-serial", &line(kernel_log(&kernel.release))]);
    machine
}

/// Until it has ended; what ends of its checks is told.
fn follow(machine: &mut Child, said: &Path, checks: usize) -> Result<()> {
    let began = Instant::now();
    let mut told = 0;
    loop {
        let over = machine
            .try_wait()
            .context("cannot wait for the emulator")?
            .is_some();
        let text = fs::read(said).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let done: Vec<_> = text.lines().filter_map(ended).collect();
        for (code, name) in done.iter().skip(told) {
            let verdict = if *code == 0 { "passed" } else { "FAILED" };
            eprintln!("    {verdict}  {name} (after {})", human(began.elapsed()));
        }
        told = done.len();
        if over {
            return Ok(());
        }
        if began.elapsed() > LIMIT {
            bail!(
                "the machine was ended after {}: {told} of {checks} checks had ended",
                human(LIMIT)
            );
        }
        std::thread::sleep(POLL);
    }
}

//! Runs commands and says what is going on: a line before each long step (what, why, about how long), a sign of life
//! while a quiet one lasts, the end of its log when it fails. All of it goes to stderr: stdout belongs to what is built.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often a quiet command is looked after, and how often it is reported to be still at work.
const POLL: Duration = Duration::from_millis(100);
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// Announces a step.
pub(crate) fn announce(what: &str) {
    eprintln!("==> {what}");
}

/// Seconds as a person reads them: `8.2 s`, `3 min 05 s`.
pub(crate) fn human(elapsed: Duration) -> String {
    match elapsed.as_secs() {
        0..60 => format!("{:.1} s", elapsed.as_secs_f64()),
        seconds => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

/// Runs a command whose own output is progress enough.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start `{}`", spelled(command)))?;
    check(command, status)
}

/// Runs a command with its output in `log`; on failure the end of the log is shown.
pub(crate) fn run_logged(command: &mut Command, log: &Path) -> Result<()> {
    run_silently(command, log).inspect_err(|_| show_end_of(log))
}

/// Runs a command with its output in `log`; its failure is the caller's to tell.
pub(crate) fn run_silently(command: &mut Command, log: &Path) -> Result<()> {
    if let Some(dir) = log.parent() {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let errors = file
        .try_clone()
        .with_context(|| format!("cannot write {}", log.display()))?;
    command.stdin(Stdio::null()).stdout(file).stderr(errors);
    let status = wait_with_signs_of_life(command)?;
    check(command, status)
}

/// The standard output of a command that answers at once, or nothing when it is not there or fails.
pub(crate) fn answer(command: &mut Command) -> Option<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn wait_with_signs_of_life(command: &mut Command) -> Result<ExitStatus> {
    let started = Instant::now();
    let mut said = started;
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start `{}`", spelled(command)))?;
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for a command")? {
            return Ok(status);
        }
        if said.elapsed() >= SIGN_OF_LIFE {
            said = Instant::now();
            eprintln!("    still at it after {}", human(started.elapsed()));
        }
        std::thread::sleep(POLL);
    }
}

fn check(command: &Command, status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("`{}` failed ({status})", spelled(command));
    }
    Ok(())
}

fn show_end_of(log: &Path) {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    for line in &lines[lines.len().saturating_sub(30)..] {
        eprintln!("    {line}");
    }
    eprintln!("    (the whole log: {})", log.display());
}

fn spelled(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_like_times() {
        assert_eq!(human(Duration::from_millis(8_249)), "8.2 s");
        assert_eq!(human(Duration::from_secs(185)), "3 min 05 s");
    }

    #[test]
    fn failed_command_is_named_with_its_status() {
        let error = run(Command::new("sh").args(["-c", "exit 3"])).expect_err("it exits with 3");
        assert_eq!(error.to_string(), "`sh -c exit 3` failed (exit status: 3)");
    }

    #[test]
    fn answer_of_a_failing_command_is_none() {
        assert_eq!(answer(&mut Command::new("false")), None);
        assert_eq!(answer(Command::new("echo").arg("7")), Some("7".to_owned()));
    }
}

//! Why a kernel says no, in words that name the remedy.

use std::error::Error;
use std::io;

use caps::{CapSet, Capability};

use crate::sys;

/// How much of the verifier's log is worth a look: it ends with the instruction that was refused.
const LOG_LINES: usize = 12;
const ADD: &str = "add it under securityContext.capabilities, or run as root";

/// What to do about a map that could not be made.
pub(super) fn of_map(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM) => not_permitted(),
        Some(libc::ENOMEM) => {
            "out of memory: raise the memory limit, or lower the room asked for".to_owned()
        }
        _ => common(error),
    }
}

/// What to do about a program that could not be loaded.
pub(crate) fn of_program(error: &io::Error, log: &str) -> String {
    let looked_at = !log.trim().is_empty();
    match error.raw_os_error() {
        // The verifier says "!root" for what only CAP_PERFMON (or CAP_SYS_ADMIN) allows.
        Some(libc::EACCES | libc::EPERM) if log.contains("!root") => perfmon_is_missing(),
        Some(libc::EPERM) => not_permitted(),
        _ if looked_at && is_too_old(&sys::kernel_release()) => too_old(&sys::kernel_release()),
        // Most of what it allows is refused in other words, or has more paths than the verifier follows: kernels before
        // 6.17 go on along a wrong guess until they come by an error (EINVAL, EACCES), or by none (E2BIG, EFAULT).
        Some(libc::EACCES | libc::E2BIG) if lacks(Capability::CAP_PERFMON) => perfmon_is_missing(),
        Some(libc::EINVAL | libc::EFAULT) if looked_at && lacks(Capability::CAP_PERFMON) => {
            perfmon_is_missing()
        }
        Some(libc::E2BIG) => format!(
            "its verifier, on kernel {}, gives up on the program's size",
            sys::kernel_release()
        ),
        Some(libc::EACCES) => format!(
            "its verifier does not accept it on kernel {}",
            sys::kernel_release()
        ),
        _ => common(error),
    }
}

/// What to do about a packet socket that could not be opened.
pub(crate) fn of_socket(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) if lacks(Capability::CAP_NET_RAW) => {
            format!("CAP_NET_RAW is missing ({ADD})")
        }
        Some(libc::EPERM | libc::EACCES) => {
            "CAP_NET_RAW is there, but a seccomp profile or security module refuses packet sockets"
                .to_owned()
        }
        Some(libc::EMFILE | libc::ENFILE) => {
            "no file descriptor is left: raise the limit on open files".to_owned()
        }
        Some(libc::EAFNOSUPPORT) => "this kernel has no packet sockets (CONFIG_PACKET)".to_owned(),
        _ => "see the cause".to_owned(),
    }
}

/// What to do about a network namespace that could not be entered.
pub(crate) fn of_namespace(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM) if lacks(Capability::CAP_SYS_ADMIN) => {
            format!("CAP_SYS_ADMIN is missing ({ADD})")
        }
        Some(libc::EACCES) if lacks(Capability::CAP_SYS_PTRACE) => {
            format!("CAP_SYS_PTRACE is missing ({ADD})")
        }
        Some(libc::EPERM | libc::EACCES) => {
            "CAP_SYS_ADMIN is there, but a seccomp profile or security module refuses setns(2)"
                .to_owned()
        }
        Some(libc::ENOENT | libc::ESTALE) => "it has ended".to_owned(),
        _ => "see the cause".to_owned(),
    }
}

/// What to do about a cgroup that could not be attached to.
pub(crate) fn of_cgroup(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM) if lacks(Capability::CAP_NET_ADMIN) => {
            format!("CAP_NET_ADMIN is missing ({ADD})")
        }
        Some(libc::EPERM) => "others attached a program there that allows no second one".to_owned(),
        Some(libc::ENOENT) => "it has ended".to_owned(),
        Some(libc::EBADF | libc::EINVAL) => {
            "it is no cgroup of version 2, or the kernel is older than 5.7".to_owned()
        }
        _ => "see the cause".to_owned(),
    }
}

/// The last lines of the verifier's log, each after a line break; none where they say nothing beside `remedy`.
pub(super) fn last_lines(log: &str, remedy: &str) -> String {
    let told = [perfmon_is_missing(), too_old(&sys::kernel_release())];
    if told.iter().any(|told| told == remedy) {
        return String::new();
    }
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LOG_LINES)..]
        .iter()
        .flat_map(|line| ["\n  ", line])
        .collect()
}

/// An error with all its causes, for one line.
pub(super) fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    let mut text = error.to_string();
    for cause in causes.map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// Newer kernels need it not, and put barriers where a program might be used for Spectre; older ones refuse.
fn perfmon_is_missing() -> String {
    format!(
        "CAP_PERFMON is missing, and kernel {} does not accept the program without it, as those from 6.17 on do ({ADD})",
        sys::kernel_release()
    )
}

/// `bpf_loop` came with Linux 5.17.
fn too_old(release: &str) -> String {
    format!("kernel {release} is too old: run the node on Linux 5.17 or newer")
}

fn is_too_old(release: &str) -> bool {
    version(release).is_some_and(|version| version < (5, 17))
}

fn not_permitted() -> String {
    if lacks(Capability::CAP_BPF) {
        return format!("CAP_BPF is missing ({ADD}; kernels before 5.8 want CAP_SYS_ADMIN)");
    }
    if memory_counts_as_locked(&sys::kernel_release()) {
        return "RLIMIT_MEMLOCK is too low for this kernel: raise it (LimitMEMLOCK=infinity), or add CAP_SYS_RESOURCE"
            .to_owned();
    }
    "CAP_BPF is there, but a seccomp profile, a security module or lockdown refuses bpf(2)"
        .to_owned()
}

fn common(error: &io::Error) -> String {
    let release = sys::kernel_release();
    match error.raw_os_error() {
        Some(libc::ENOSYS) => {
            format!("kernel {release} has no bpf(2), or a seccomp profile hides it")
        }
        Some(libc::EINVAL | libc::E2BIG | libc::EOPNOTSUPP) => {
            format!("kernel {release} lacks a feature that it needs (5.17 or later has all)")
        }
        _ => format!("on kernel {release}"),
    }
}

/// Capabilities of this process; CAP_SYS_ADMIN stands for the younger two.
fn lacks(capability: Capability) -> bool {
    let has = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(true);
    let younger = [Capability::CAP_BPF, Capability::CAP_PERFMON].contains(&capability);
    let stands_in = younger && has(Capability::CAP_SYS_ADMIN);
    !has(capability) && !stands_in
}

/// Before 5.11 the memory of maps counts against RLIMIT_MEMLOCK.
fn memory_counts_as_locked(release: &str) -> bool {
    version(release).is_some_and(|version| version < (5, 11))
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|part| part.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_long_log_is_shown() {
        let log: String = (0..1000).map(|i| format!("line {i}\n\n")).collect();
        let shown = last_lines(&log, "");
        assert_eq!(
            shown.lines().filter(|line| !line.is_empty()).count(),
            LOG_LINES
        );
        assert!(shown.ends_with("line 999"));
        assert_eq!(last_lines("", ""), "");
        assert_eq!(last_lines(&log, &perfmon_is_missing()), "");
    }

    #[test]
    fn verifier_that_wants_perfmon_is_named() {
        let remedy = of_program(
            &io::Error::from_raw_os_error(libc::EACCES),
            "R1 pointer arithmetic on map_value prohibited for !root",
        );
        assert!(remedy.contains("CAP_PERFMON is missing"), "{remedy}");
    }

    /// What kernels before 6.17 said, each with the last line of its verifier.
    #[test]
    fn program_refused_without_perfmon_is_for_want_of_it() {
        for (number, log) in [
            (libc::E2BIG, ""),
            (libc::EACCES, "attempt to corrupt spilled pointer on stack"),
            (libc::EINVAL, "infinite loop detected at insn 5952"),
            (libc::EFAULT, "verifier bug"),
        ] {
            // Capabilities belong to a thread.
            let limited = std::thread::spawn(move || {
                caps::clear(None, CapSet::Effective).expect("giving up is always allowed");
                of_program(&io::Error::from_raw_os_error(number), log)
            });
            let remedy = limited.join().expect("no panic");
            assert!(remedy.contains("CAP_PERFMON is missing"), "{remedy}");
        }
    }

    #[test]
    fn kernels_before_5_17_are_too_old() {
        for old in ["5.15.0-204-generic", "5.10.0-32-cloud-amd64", "4.19.0"] {
            assert!(is_too_old(old), "{old}");
        }
        for new in ["5.17.0", "5.19.0-50-generic", "6.1.0", "7.3.4", "unknown"] {
            assert!(!is_too_old(new), "{new}");
        }
    }

    #[test]
    fn kernels_that_count_maps_as_locked_memory_are_told_by_release() {
        assert!(memory_counts_as_locked("5.10.0-28-amd64"));
        assert!(memory_counts_as_locked("4.19.0"));
        assert!(!memory_counts_as_locked("5.11.0"));
        assert!(!memory_counts_as_locked("6.18.44"));
        assert!(!memory_counts_as_locked("unknown"));
    }
}

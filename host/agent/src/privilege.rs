//! What the agent may do: needs named before anything is opened, the rest given up before the first
//! thread is made (a capability belongs to a thread).

use caps::{CapSet, Capability, CapsHashSet};

/// Without these there is nothing to count; each with what it is for.
const NEEDED: [(Capability, &str); 2] = [
    (Capability::CAP_BPF, "loads the filter"),
    (Capability::CAP_NET_RAW, "opens packet sockets"),
];

/// Kept where held, for a reason each:
const KEPT: [Capability; 9] = [
    // The filter without barriers against Spectre; kernels before 6.17 refuse it otherwise.
    Capability::CAP_PERFMON,
    // cgroup hooks and neighbour look-ups of other namespaces.
    Capability::CAP_NET_ADMIN,
    // setns into a pod's namespace, where its host-side interface is bypassed or unknown.
    Capability::CAP_SYS_ADMIN,
    // /proc/PID/ns/net of containers.
    Capability::CAP_SYS_PTRACE,
    // Locked memory of BPF maps before Linux 5.11.
    Capability::CAP_SYS_RESOURCE,
    // The plugin process is started with another user and no capability, and still ended by us.
    Capability::CAP_SETUID,
    Capability::CAP_SETGID,
    Capability::CAP_SETPCAP,
    Capability::CAP_KILL,
];

/// Why the agent cannot begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrivilegeError {
    /// Named with the remedy of both ways to run it.
    #[error("{missing} {}: {}", if *several { "are missing" } else { "is missing" }, remedy())]
    Missing {
        /// `CAP_BPF (loads the filter)`, joined by `and`.
        missing: String,
        several: bool,
    },
    /// The kernel did not say, or did not let go.
    #[error("cannot {step} the capabilities of this process")]
    Kernel {
        step: &'static str,
        #[source]
        source: caps::errors::CapsError,
    },
}

fn grants() -> String {
    let names: Vec<_> = NEEDED.iter().map(|(c, _)| c.to_string()).collect();
    names.join(", ")
}

/// Gives up all of it, for good: before a stranger's code runs in this process.
pub(crate) fn drop_all() -> Result<(), PrivilegeError> {
    for set in [
        CapSet::Ambient,
        CapSet::Inheritable,
        CapSet::Effective,
        CapSet::Permitted,
    ] {
        caps::clear(None, set).map_err(|source| PrivilegeError::Kernel {
            step: "drop",
            source,
        })?;
    }
    Ok(())
}

/// Checks what is needed and drops what is not; to be called while there is one thread.
pub(crate) fn settle() -> Result<(), PrivilegeError> {
    let held = held()?;
    check(&held)?;
    let kept: CapsHashSet = held
        .iter()
        .copied()
        .filter(|c| KEPT.contains(c) || is_needed(*c))
        .collect();
    for set in [CapSet::Effective, CapSet::Permitted] {
        caps::set(None, set, &kept).map_err(|source| PrivilegeError::Kernel {
            step: "drop",
            source,
        })?;
    }
    tracing::info!(
        holds = names(&kept),
        dropped = held.len() - kept.len(),
        "capabilities"
    );
    if !kept.contains(&Capability::CAP_PERFMON) && !kept.contains(&Capability::CAP_SYS_ADMIN) {
        tracing::info!(
            "CAP_PERFMON is not granted, nor needed from Linux 6.17 on: with it the filter costs less a packet \
             (no barriers against Spectre), and older kernels accept it"
        );
    }
    Ok(())
}

/// What this process holds and what it lacks, in words.
pub(crate) struct Survey {
    pub(crate) held: String,
    /// Empty where nothing is missing.
    pub(crate) missing: String,
}

/// Looks, and changes nothing.
pub(crate) fn survey() -> Result<Survey, PrivilegeError> {
    let held = held()?;
    Ok(Survey {
        held: names(
            &held
                .iter()
                .copied()
                .filter(|c| KEPT.contains(c) || is_needed(*c))
                .collect(),
        ),
        missing: missing(&held).join(" and "),
    })
}

/// What to do when something is missing.
pub(crate) fn remedy() -> String {
    format!(
        "run as root, or grant {} (in Kubernetes: add them under securityContext.capabilities)",
        grants()
    )
}

fn held() -> Result<CapsHashSet, PrivilegeError> {
    caps::read(None, CapSet::Permitted).map_err(|source| PrivilegeError::Kernel {
        step: "read",
        source,
    })
}

fn is_needed(capability: Capability) -> bool {
    NEEDED.iter().any(|(needed, _)| *needed == capability)
}

fn check(held: &CapsHashSet) -> Result<(), PrivilegeError> {
    let missing = missing(held);
    if missing.is_empty() {
        return Ok(());
    }
    Err(PrivilegeError::Missing {
        several: missing.len() > 1,
        missing: missing.join(" and "),
    })
}

/// `CAP_BPF (loads the filter)`, each.
fn missing(held: &CapsHashSet) -> Vec<String> {
    // CAP_SYS_ADMIN was CAP_BPF before Linux 5.8 and still stands for it.
    let stands_in =
        |c: Capability| c == Capability::CAP_BPF && held.contains(&Capability::CAP_SYS_ADMIN);
    NEEDED
        .iter()
        .filter(|(c, _)| !held.contains(c) && !stands_in(*c))
        .map(|(c, why)| format!("{c} ({why})"))
        .collect()
}

fn names(set: &CapsHashSet) -> String {
    let mut names: Vec<_> = set.iter().map(ToString::to_string).collect();
    names.sort();
    names.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(held: &[Capability]) -> String {
        check(&held.iter().copied().collect())
            .expect_err("must be refused")
            .to_string()
    }

    #[test]
    fn what_is_missing_is_named_with_its_use_and_the_remedy() {
        let remedy = "run as root, or grant CAP_BPF, CAP_NET_RAW \
                      (in Kubernetes: add them under securityContext.capabilities)";
        assert_eq!(
            refused(&[Capability::CAP_BPF]),
            format!("CAP_NET_RAW (opens packet sockets) is missing: {remedy}")
        );
        assert_eq!(
            refused(&[]),
            format!(
                "CAP_BPF (loads the filter) and CAP_NET_RAW (opens packet sockets) are missing: {remedy}"
            )
        );
    }

    #[test]
    fn sys_admin_stands_for_bpf() {
        check(
            &[Capability::CAP_SYS_ADMIN, Capability::CAP_NET_RAW]
                .into_iter()
                .collect(),
        )
        .unwrap();
    }
}

use caps::{CapSet, Capability};
use rustix::process::{
    Gid, Signal, Uid, getegid, geteuid, getgroups, set_parent_process_death_signal,
};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::SandboxError;

/// What it takes to become another user and still be ended by the agent.
const TO_CHANGE: [Capability; 3] = [
    Capability::CAP_SETUID,
    Capability::CAP_SETGID,
    Capability::CAP_KILL,
];

/// Become `user` (and the group of that number, and no other), give up every capability, and end with the
/// agent. The user that it is then, and what is weaker than asked.
pub(super) fn give_up(user: u32) -> Result<(u32, Vec<String>), SandboxError> {
    let mut weaknesses = Vec::new();
    empty_bounding_set()?;
    if geteuid().as_raw() != user {
        let missing = missing()?;
        if missing.is_empty() {
            change(user).map_err(|source| SandboxError::ChangeUser { user, source })?;
        } else {
            weaknesses.push(format!(
                "it runs as user {} and not as {user}: the agent lacks {missing} (grant them, or set plugins.user)",
                geteuid().as_raw()
            ));
        }
    }
    drop_capabilities()?;
    let groups = getgroups().map_err(|error| SandboxError::ChangeUser {
        user,
        source: error.into(),
    })?;
    if groups.iter().any(|group| *group != getegid()) {
        let groups: Vec<String> = groups
            .iter()
            .map(|group| group.as_raw().to_string())
            .collect();
        weaknesses.push(format!(
            "it keeps the agent's supplementary groups {}: the agent lacks CAP_SETGID",
            groups.join(", ")
        ));
    }
    // Last: the kernel clears it when credentials change.
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| SandboxError::ParentDeathSignal(error.into()))?;
    Ok((geteuid().as_raw(), weaknesses))
}

fn missing() -> Result<String, SandboxError> {
    let held =
        caps::read(None, CapSet::Effective).map_err(|source| SandboxError::DropCapabilities {
            set: CapSet::Effective,
            source,
        })?;
    let missing = TO_CHANGE.iter().filter(|needed| !held.contains(needed));
    Ok(missing
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", "))
}

/// Groups first: without the user's privilege they could not be changed any more.
fn change(user: u32) -> Result<(), std::io::Error> {
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    Ok(set_thread_res_uid(uid, uid, uid)?)
}

/// Needs CAP_SETPCAP. Without it the set stays, and means nothing: under no_new_privs an exec grants no
/// capability, and there is no exec.
fn empty_bounding_set() -> Result<(), SandboxError> {
    let fail = |set| move |source| SandboxError::DropCapabilities { set, source };
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)
        .map_err(fail(CapSet::Effective))?
    {
        for capability in caps::runtime::thread_all_supported() {
            caps::drop(None, CapSet::Bounding, capability).map_err(fail(CapSet::Bounding))?;
        }
    }
    Ok(())
}

fn drop_capabilities() -> Result<(), SandboxError> {
    let fail = |set| move |source| SandboxError::DropCapabilities { set, source };
    for set in [
        CapSet::Ambient,
        CapSet::Inheritable,
        CapSet::Effective,
        CapSet::Permitted,
    ] {
        caps::clear(None, set).map_err(fail(set))?;
        let left = caps::read(None, set).map_err(fail(set))?;
        if !left.is_empty() {
            return Err(SandboxError::CapabilitiesLeft { set, left });
        }
    }
    Ok(())
}

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
    path_beneath_rules,
};

use super::reach::is_special;
use super::{Reach, SandboxError};

/// Names are resolved as this host does it, and the system's authorities are public. Libraries that
/// `nsswitch.conf` would load are not among them: what is left is files and DNS.
const READ_BY_LIBRARIES: [&str; 16] = [
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/resolv.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    // Where systemd and resolvconf keep the file that /etc/resolv.conf leads to, and replace it.
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager/resolv.conf",
    // Not what lies beside them: private keys.
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/ca-trust/extracted",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
];
/// The rights that this was written against; a kernel that knows fewer enforces those that it knows.
const KNOWN: ABI = ABI::V7;

/// From here on no file is opened but those of `reach` and, where it grants anything, those that
/// libraries need. The landlock ABI that enforces it; 0 where this kernel has none.
pub(super) fn restrict(reach: &Reach) -> Result<u32, SandboxError> {
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        // Neither signals to others nor abstract sockets of others.
        .scope(Scope::from_all(KNOWN))?
        .create()?;
    if *reach != Reach::default() {
        rules = rules.add_rules(path_beneath_rules(READ_BY_LIBRARIES, reading()))?;
    }
    rules = rules.add_rules(path_beneath_rules(reach.reads(), reading()))?;
    for path in reach.writes() {
        rules = allow_writing(rules, path)?;
    }
    Ok(match rules.restrict_self()?.landlock {
        LandlockStatus::Available { effective_abi, .. } => effective_abi as u32,
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => 0,
    })
}

/// The landlock ABI of this kernel; 0 where it has none, or does not enable it.
pub fn landlock_abi() -> u32 {
    /// `LANDLOCK_CREATE_RULESET_VERSION`: asks for the version and makes nothing.
    const VERSION: libc::c_uint = 1;
    // SAFETY: with this flag the kernel takes no attributes: null and 0 are what it asks for.
    let abi = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0_usize,
            VERSION,
        )
    };
    u32::try_from(abi).unwrap_or(0)
}

fn reading() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::ReadDir
}

/// A file with its directory, in which it is made and rotated; of a device, pipe or socket just itself. What is not
/// there is left out: opening it then fails, and the endpoint says so.
fn allow_writing(rules: RulesetCreated, path: &Path) -> Result<RulesetCreated, RulesetError> {
    let (granted, access) = if is_special(path) {
        (path, AccessFs::WriteFile | AccessFs::ReadFile)
    } else {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        (
            dir.unwrap_or(Path::new(".")),
            reading()
                | AccessFs::WriteFile
                | AccessFs::MakeReg
                | AccessFs::RemoveFile
                | AccessFs::Truncate,
        )
    };
    match PathFd::new(granted) {
        Ok(opened) => rules.add_rule(PathBeneath::new(opened, access)),
        Err(_) => Ok(rules),
    }
}

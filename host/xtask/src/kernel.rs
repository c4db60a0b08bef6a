//! Asks the kernel, before anything is built, whether it permits what the demo and the tests do: loading an eBPF
//! program and making network namespaces with veth pairs. Each refusal is one line: what is missing, and the remedy.

use std::fs;
use std::io;
use std::process::Command;

use crate::needs::Goal;

/// The oldest kernel that the kernel program is written for: `bpf_loop` came with 5.17.
const OLDEST: (u32, u32) = (5, 17);

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    // SAFETY: geteuid reads the caller's credentials, takes no pointer and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// The first thing that keeps the goal from working here, with its remedy.
pub(crate) fn first_obstacle(goal: Goal) -> Option<String> {
    if goal == Goal::Build {
        return None;
    }
    if !is_root() {
        return Some(format!(
            "root is missing: `make {0}` loads an eBPF program and makes network namespaces; run `sudo env \"PATH=$PATH\" \"HOME=$HOME\" make {0}`",
            goal.name()
        ));
    }
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    if let Some(found) = version(&release).filter(|&found| found < OLDEST) {
        return Some(format!(
            "Linux {}.{} or newer is missing: this is {}.{}; boot a newer kernel (Debian 12 has 6.1)",
            OLDEST.0, OLDEST.1, found.0, found.1
        ));
    }
    load_nothing()
        .err()
        .map(|error| bpf_refusal(&error))
        .or_else(namespace_obstacle)
}

/// What a refused bpf(2) means and what helps.
fn bpf_refusal(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOSYS) => "bpf(2) is missing: this kernel was built without CONFIG_BPF_SYSCALL; boot a distribution's kernel".to_owned(),
        Some(libc::EPERM | libc::EACCES) => {
            "the permission to load eBPF programs is missing, though this is root: in a container add --privileged (or CAP_BPF, CAP_PERFMON, \
             CAP_NET_RAW, CAP_NET_ADMIN, CAP_SYS_ADMIN and a seccomp profile that permits bpf), elsewhere see `sysctl kernel.lockdown`"
                .to_owned()
        }
        _ => format!("the kernel refuses the simplest eBPF program ({error}): boot a kernel with CONFIG_BPF_SYSCALL and CONFIG_NET"),
    }
}

/// Makes a bridge and a veth pair in a namespace that is gone with the command.
fn namespace_obstacle() -> Option<String> {
    let try_ip = "command -v ip >/dev/null || exit 0; ip link add owl-a type veth peer name owl-b && ip link add owl-c type bridge";
    let output = Command::new("unshare")
        .args(["--net", "sh", "-c", try_ip])
        .output()
        .ok()?;
    if output.status.success() {
        return None;
    }
    let said = String::from_utf8_lossy(&output.stderr)
        .trim()
        .replace('\n', "; ");
    Some(match said.contains("unshare") {
        true => format!(
            "the permission to make network namespaces is missing ({said}): in a container add --privileged or CAP_SYS_ADMIN"
        ),
        false => format!(
            "veth pairs or bridges are missing ({said}): run `modprobe -a veth bridge` on the host, or boot a kernel that has them"
        ),
    })
}

pub(crate) fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Loads a socket filter of two instructions (`r0 = 0; exit`), as linux/bpf.h lays out `BPF_PROG_LOAD`.
fn load_nothing() -> io::Result<()> {
    #[repr(C)]
    struct ProgLoad {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buf: u64,
        kern_version: u32,
        prog_flags: u32,
    }
    const BPF_PROG_LOAD: libc::c_long = 5;
    const BPF_PROG_TYPE_SOCKET_FILTER: u32 = 1;
    let instructions: [u64; 2] = [0x0000_0000_0000_00b7, 0x0000_0000_0000_0095];
    let attributes = ProgLoad {
        prog_type: BPF_PROG_TYPE_SOCKET_FILTER,
        insn_cnt: 2,
        insns: instructions.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
    };
    // SAFETY: the attributes are laid out as the kernel reads them, their size is given, and the instructions and the
    // licence they point to outlive the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_LOAD,
            &raw const attributes,
            size_of::<ProgLoad>(),
        )
    };
    let fd = libc::c_int::try_from(fd).unwrap_or(-1);
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was made by the call above and is used by nobody else.
    unsafe { libc::close(fd) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_releases_are_compared_by_number() {
        assert_eq!(version("6.1.0-18-amd64\n"), Some((6, 1)));
        assert!(version("5.4.0-generic") < Some(OLDEST));
        assert!(version("6.6.87.2-microsoft") > Some(OLDEST));
    }

    #[test]
    fn building_asks_nothing_of_the_kernel() {
        assert_eq!(first_obstacle(Goal::Build), None);
    }

    #[test]
    fn refusals_name_the_remedy() {
        assert!(bpf_refusal(&io::Error::from_raw_os_error(libc::EPERM)).contains("--privileged"));
        assert!(
            bpf_refusal(&io::Error::from_raw_os_error(libc::ENOSYS)).contains("CONFIG_BPF_SYSCALL")
        );
    }
}

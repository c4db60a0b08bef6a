//! The kernel: its age, its features, its limits, what we may do, and whether it takes the filter.

use std::fs;
use std::path::Path;

use owlk8s_probe::{Interface, Options, Probe};

use super::Check;
use crate::config::Config;
use crate::places::chain;
use crate::privilege;

/// `bpf_loop` came with it.
const OLDEST: (u32, u32) = (5, 17);
/// From here on maps count against the cgroup, and RLIMIT_MEMLOCK says nothing.
const NO_MEMLOCK: (u32, u32) = (5, 11);
/// What the agent takes, with its kernel memory and the plugin process, bytes.
const MEMORY: u64 = 128 << 20;

pub(super) fn checks(config: &Config) -> Vec<Check> {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let mut checks = vec![version(&release)];
    checks.push(btf(Path::new("/sys/kernel/btf/vmlinux")));
    checks.push(jit(&read("/proc/sys/net/core/bpf_jit_enable")));
    checks.push(unprivileged(&read(
        "/proc/sys/kernel/unprivileged_bpf_disabled",
    )));
    checks.push(lockdown(&read("/sys/kernel/security/lockdown")));
    checks.push(memory_limit());
    if release_of(&release) < NO_MEMLOCK {
        checks.push(memlock());
    }
    let capabilities = capabilities();
    let may = capabilities.verdict != super::Verdict::Failed;
    checks.push(capabilities);
    checks.push(if may {
        filter(config)
    } else {
        Check::skipped("filter", "not tried: capabilities are missing")
    });
    checks
}

/// What a file of the kernel's says; empty where it is not there.
fn read(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn release_of(release: &str) -> (u32, u32) {
    let mut numbers = release.split(['.', '-']).map_while(|n| n.parse().ok());
    (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    )
}

pub(super) fn version(release: &str) -> Check {
    let (major, minor) = OLDEST;
    let found = format!("Linux {release} (needs {major}.{minor})");
    if release_of(release) >= OLDEST {
        Check::ok("kernel", found)
    } else {
        Check::failed("kernel", found)
            .remedy(format!("run the node on Linux {major}.{minor} or newer"))
    }
}

fn btf(path: &Path) -> Check {
    if path.exists() {
        Check::ok("btf", format!("{} is there", path.display()))
    } else {
        Check::warning("btf", format!("{} is not there", path.display())).remedy(
            "use a kernel with CONFIG_DEBUG_INFO_BTF=y if the filter is refused, or mount /sys into the container",
        )
    }
}

pub(super) fn jit(value: &str) -> Check {
    match value {
        "0" => Check::warning(
            "jit",
            "the kernel interprets BPF programs: each packet costs several times as much",
        )
        .remedy("sysctl net.core.bpf_jit_enable=1"),
        "" => Check::ok("jit", "always on, or not told to this namespace"),
        _ => Check::ok("jit", "on"),
    }
}

fn unprivileged(value: &str) -> Check {
    let found = match value {
        "0" => "anybody may load BPF programs (kernel.unprivileged_bpf_disabled = 0)",
        "" => "not told",
        _ => "only who has CAP_BPF may load BPF programs",
    };
    Check::ok("unprivileged-bpf", found)
}

pub(super) fn lockdown(value: &str) -> Check {
    if value.contains("[confidentiality]") {
        Check::warning(
            "lockdown",
            "confidentiality: the kernel may refuse BPF programs",
        )
        .remedy("boot with lockdown=integrity if the filter is refused")
    } else {
        let mode = value.split(['[', ']']).nth(1).unwrap_or("none");
        Check::ok("lockdown", mode)
    }
}

fn memory_limit() -> Check {
    let limit = ["memory.max", "memory/memory.limit_in_bytes"]
        .map(|file| read(&format!("/sys/fs/cgroup/{file}")))
        .into_iter()
        .find_map(|limit| limit.parse::<u64>().ok())
        // Cgroups of version 1 write down that there is none.
        .filter(|limit| *limit < 1 << 60);
    match limit {
        Some(bytes) if bytes < MEMORY => {
            Check::warning("memory", format!("the cgroup allows {} MiB", bytes >> 20)).remedy(
                format!("set resources.limits.memory to {}Mi or more", MEMORY >> 20),
            )
        }
        Some(bytes) => Check::ok("memory", format!("the cgroup allows {} MiB", bytes >> 20)),
        None => Check::ok("memory", "no limit of the cgroup's"),
    }
}

fn memlock() -> Check {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock);
    match limit.current {
        None => Check::ok("memlock", "no limit"),
        Some(bytes) => Check::warning("memlock", format!("{bytes} bytes")).remedy(
            "this kernel counts maps against it: add CAP_SYS_RESOURCE, or LimitMEMLOCK=infinity",
        ),
    }
}

fn capabilities() -> Check {
    match privilege::survey() {
        Ok(survey) if survey.missing.is_empty() => {
            Check::ok("capabilities", format!("holds {}", survey.held))
        }
        Ok(survey) => Check::failed("capabilities", format!("{} missing", survey.missing))
            .remedy(privilege::remedy()),
        Err(error) => Check::failed("capabilities", chain(&error)),
    }
}

/// Loads the program and attaches it to the loopback interface, for a moment.
fn filter(config: &Config) -> Check {
    let options = Options {
        targets: 1,
        count_client: config.probe.client,
        ..Options::default()
    };
    let tried = Probe::load_with(options).and_then(|mut probe| {
        probe.attach("doctor".into(), Interface::named("lo")?)?;
        probe.detach(&"doctor".into())
    });
    match tried {
        Ok(()) => Check::ok("filter", "loads, and attaches to an interface"),
        // The probe's errors name their remedies.
        Err(error) => Check::failed("filter", chain(&error)),
    }
}

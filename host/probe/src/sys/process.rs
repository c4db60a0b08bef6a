//! Limits, clock and kernel of this process.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

/// Time of `bpf_ktime_get_ns`.
pub(crate) fn monotonic() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Kernels before 5.11 count maps against RLIMIT_MEMLOCK. Raises it as far as this process may: a map that does not fit
/// then is refused by name.
pub(crate) fn raise_memlock() {
    raise(Resource::Memlock, None);
}

/// Lets this process have `more` descriptors beside those that programs usually need, as far as it may: a socket that
/// does not fit then is refused by name.
pub(crate) fn allow_descriptors(more: u32) {
    const USUAL: u64 = 512;
    raise(Resource::Nofile, Some(USUAL + u64::from(more)));
}

/// Makes a limit at least `wanted` (None: no limit); without CAP_SYS_RESOURCE the hard limit is the end.
fn raise(resource: Resource, wanted: Option<u64>) {
    let at_least = |limit: Option<u64>| Some(limit?.max(wanted?));
    let now = getrlimit(resource);
    if now.current == at_least(now.current) {
        return;
    }
    let all = Rlimit {
        current: wanted,
        maximum: at_least(now.maximum),
    };
    if setrlimit(resource, all).is_err() {
        let current = match (wanted, now.maximum) {
            (Some(wanted), Some(most)) => Some(wanted.min(most)),
            (wanted, most) => wanted.or(most),
        };
        // Where even this is refused, what does not fit is refused by name.
        let _ = setrlimit(resource, Rlimit { current, ..now });
    }
}

/// As `uname -r` says.
pub(crate) fn kernel_release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".to_owned(), |s| s.trim().to_owned())
}

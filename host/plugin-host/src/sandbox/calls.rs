//! System calls: an allow-list, in three filters, of which the kernel takes the strictest answer.
//!
//! * What is not on the list is answered ENOSYS, as by a kernel that does not have it: C libraries go
//!   back to an older call then, where EPERM would be a failure.
//! * What no line of ours and no library ever asks for (another program, another process's memory, eBPF,
//!   mounts, namespaces, keys, io_uring) kills the process: it is not ours any more. The agent sees the
//!   signal, says so, and starts another one.
//! * `socket` is answered EPERM for all but TCP and UDP, and for sockets of this host where no endpoint
//!   is one: no raw socket, no packet socket, no netlink. (glibc asks for netlink when it resolves a
//!   name, and goes on without.)
//!
//! Memory may be made executable: that is how wasmtime runs a component. Who takes over the process can
//! run code of its own in it, therefore; what that code can ask of the kernel is this list.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, apply_filter_all_threads,
};

use super::SandboxError;

/// By number of the call; an empty list is every form of it.
type Calls = BTreeMap<c_long, Vec<SeccompRule>>;

/// Memory, clocks, signals to itself, and reading and writing what is open: what a compiler needs.
const COMPUTE: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_getcpu,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mincore,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_newfstatat,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    libc::SYS_statx,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_write,
    libc::SYS_writev,
];

/// Files (which of them: landlock), sockets (of which kind: below), and waiting for both.
const DELIVER: &[c_long] = &[
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_close_range,
    libc::SYS_connect,
    libc::SYS_copy_file_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fallocate,
    libc::SYS_fchmod,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_listen,
    // Components' memories are made from such files.
    libc::SYS_memfd_create,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_pselect6,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_readlinkat,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_sendfile,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_splice,
    libc::SYS_unlinkat,
    // Made for new threads; whether a thread is all that it makes is looked at below.
    libc::SYS_clone3,
];

/// Older forms, which newer machines do not have.
#[cfg(target_arch = "x86_64")]
const OLDER: &[c_long] = &[
    libc::SYS_access,
    libc::SYS_dup2,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_getdents,
    libc::SYS_lstat,
    libc::SYS_open,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_select,
    libc::SYS_stat,
    libc::SYS_time,
    libc::SYS_unlink,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[c_long] = &[];

/// Nobody here asks for these.
const HOSTILE: &[c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_bpf,
    libc::SYS_capset,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_madvise,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_setgid,
    libc::SYS_setgroups,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_setregid,
    libc::SYS_setresgid,
    libc::SYS_setresuid,
    libc::SYS_setreuid,
    libc::SYS_settimeofday,
    libc::SYS_setuid,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
];

/// Of a socket's type: the kind, without its flags.
const KIND: u64 = 0xf;

pub(super) fn restrict_plugins(unix_sockets: bool) -> Result<(), SandboxError> {
    let mut allowed = all(&[COMPUTE, DELIVER, OLDER]);
    allowed.extend(forms()?);
    allowed.insert(libc::SYS_clone, vec![flag(0, libc::CLONE_THREAD as u64)?]);
    let errno = |errno: libc::c_int| SeccompAction::Errno(errno.unsigned_abs());
    // Its flags lie in memory, where a filter cannot look: glibc makes threads by `clone` then.
    let no_clone3 = all(&[&[libc::SYS_clone3]]);
    install(no_clone3, SeccompAction::Allow, errno(libc::ENOSYS))?;
    install(
        foreign_sockets(unix_sockets)?,
        SeccompAction::Allow,
        errno(libc::EPERM),
    )?;
    install(
        all(&[HOSTILE]),
        SeccompAction::Allow,
        SeccompAction::KillProcess,
    )?;
    install(allowed, errno(libc::ENOSYS), SeccompAction::Allow)
}

pub(super) fn restrict_compiler() -> Result<(), SandboxError> {
    let mut allowed = all(&[COMPUTE]);
    allowed.extend(forms()?);
    install(
        all(&[HOSTILE]),
        SeccompAction::Allow,
        SeccompAction::KillProcess,
    )?;
    install(
        allowed,
        SeccompAction::Errno(libc::ENOSYS.unsigned_abs()),
        SeccompAction::Allow,
    )
}

fn all(calls: &[&[c_long]]) -> Calls {
    let calls = calls.iter().flat_map(|calls| calls.iter());
    calls.map(|call| (*call, Vec::new())).collect()
}

/// Calls that are allowed in some forms only.
fn forms() -> Result<Calls, BackendError> {
    let own = u64::from(std::process::id());
    Ok(BTreeMap::from([
        // An abort; nobody else is signalled.
        (libc::SYS_tgkill, vec![is(0, own)?]),
        // To look at its own limits, not to change them, nor at others'.
        (
            libc::SYS_prlimit64,
            vec![rule(vec![equal(0, 0)?, equal(2, 0)?])?],
        ),
        // Names of threads and of memory.
        (
            libc::SYS_prctl,
            vec![
                is(0, libc::PR_SET_NAME as u64)?,
                is(0, libc::PR_GET_NAME as u64)?,
                is(0, libc::PR_SET_VMA as u64)?,
            ],
        ),
        // Not TIOCSTI, which would type into the terminal that the agent was started from.
        (
            libc::SYS_ioctl,
            [libc::FIONBIO, libc::FIONREAD, libc::FIOCLEX, libc::TCGETS]
                .into_iter()
                .map(|request| is(1, request))
                .collect::<Result<_, _>>()?,
        ),
        (
            libc::SYS_fcntl,
            [
                libc::F_DUPFD_CLOEXEC,
                libc::F_GETFD,
                libc::F_SETFD,
                libc::F_GETFL,
                libc::F_SETFL,
                libc::F_ADD_SEALS,
                libc::F_GET_SEALS,
            ]
            .into_iter()
            .map(|command| is(1, command.unsigned_abs().into()))
            .collect::<Result<_, _>>()?,
        ),
    ]))
}

/// Forms of `socket` and `setsockopt` that no endpoint needs.
fn foreign_sockets(unix_sockets: bool) -> Result<Calls, BackendError> {
    let mut families = vec![libc::AF_INET, libc::AF_INET6];
    if unix_sockets {
        families.push(libc::AF_UNIX);
    }
    let none_of = |argument: u8, allowed: &[libc::c_int]| {
        let each = allowed.iter();
        let each =
            each.map(|value| condition(argument, SeccompCmpOp::Ne, value.unsigned_abs().into()));
        rule(each.collect::<Result<_, _>>()?)
    };
    let mut sockets = vec![
        none_of(0, &families)?,
        none_of(2, &[0, libc::IPPROTO_TCP, libc::IPPROTO_UDP])?,
    ];
    let (stream, datagram) = (libc::SOCK_STREAM as u64, libc::SOCK_DGRAM as u64);
    for kind in (0..=KIND).filter(|kind| *kind != stream && *kind != datagram) {
        sockets.push(rule(vec![condition(
            1,
            SeccompCmpOp::MaskedEq(KIND),
            kind,
        )?])?);
    }
    // Programs of its own in the kernel's packet path.
    let filters = [
        libc::SO_ATTACH_FILTER,
        libc::SO_ATTACH_BPF,
        libc::SO_ATTACH_REUSEPORT_CBPF,
        libc::SO_ATTACH_REUSEPORT_EBPF,
    ];
    let options = filters.into_iter().map(|option| {
        let level = libc::SOL_SOCKET.unsigned_abs().into();
        rule(vec![
            condition(1, SeccompCmpOp::Eq, level)?,
            condition(2, SeccompCmpOp::Eq, option.unsigned_abs().into())?,
        ])
    });
    Ok(BTreeMap::from([
        (libc::SYS_socket, sockets),
        (libc::SYS_setsockopt, options.collect::<Result<_, _>>()?),
    ]))
}

/// Of the 32 bits that the kernel reads of an `int`: what stands above them must not make it another.
fn condition(
    argument: u8,
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
}

/// Of the whole argument, such as a pointer.
fn equal(argument: u8, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, value)
}

fn rule(conditions: Vec<SeccompCondition>) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions)
}

fn is(argument: u8, value: u64) -> Result<SeccompRule, BackendError> {
    rule(vec![condition(argument, SeccompCmpOp::Eq, value)?])
}

fn flag(argument: u8, bit: u64) -> Result<SeccompRule, BackendError> {
    rule(vec![SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Qword,
        SeccompCmpOp::MaskedEq(bit),
        bit,
    )?])
}

/// For every thread that there is, and all that follow. `other` for calls that are not among `calls`.
fn install(calls: Calls, other: SeccompAction, these: SeccompAction) -> Result<(), SandboxError> {
    let filter = SeccompFilter::new(calls, other, these, std::env::consts::ARCH.try_into()?)?;
    let program: BpfProgram = filter.try_into()?;
    Ok(apply_filter_all_threads(&program)?)
}

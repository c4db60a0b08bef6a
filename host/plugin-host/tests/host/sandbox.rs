//! What the plugin process and the compile child can still do: asked of a process that seals itself as they do,
//! runs no guest, and tries.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use owlk8s_plugin_host::{PluginHost, SinkState};

use crate::support::{Host, options};

const NOBODY: u32 = 65534;
/// As a kernel without the call answers.
const NO_SUCH_CALL: i32 = libc::ENOSYS;

/// A process that tries what it is told.
struct Sealed {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    status: String,
}

impl Sealed {
    fn as_plugins(user: u32, sinks: &str) -> Self {
        Self::start(&[&user.to_string(), sinks])
    }

    fn as_compiler() -> Self {
        Self::start(&[&NOBODY.to_string()])
    }

    fn start(arguments: &[&str]) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "needs root: it becomes another user"
        );
        let mut child = Command::new(env!("CARGO_BIN_EXE_owlk8s-plugin-process"))
            .arg("attempt")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut sealed = Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
            status: String::new(),
        };
        sealed.status = sealed.line();
        assert!(sealed.status.starts_with("sealed"), "{}", sealed.status);
        sealed
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// `Ok`, or the number of the error.
    fn tries(&mut self, what: &str) -> Result<(), i32> {
        writeln!(self.input, "{what}").unwrap();
        match self.line().as_str() {
            "ok" => Ok(()),
            error => Err(error
                .parse()
                .unwrap_or_else(|_| panic!("{what}: it is gone"))),
        }
    }

    /// It is killed for that.
    fn dies_of(mut self, what: &str) {
        writeln!(self.input, "{what}").unwrap();
        let ended = self.child.wait().unwrap();
        assert_eq!(ended.signal(), Some(libc::SIGSYS), "{what}: {ended}");
    }
}

/// A directory that everybody may use, so that only the sandbox says no.
fn open_dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    allow_all(dir.path());
    dir
}

fn allow_all(path: &Path) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
}

fn sinks(endpoints: &str) -> String {
    format!(r#"[{{"name": "a", "plugin": "b", "endpoints": {{{endpoints}}}}}]"#)
}

#[test]
fn sealed_process_opens_its_endpoints_files_and_no_other() {
    let (mine, other) = (open_dir(), open_dir());
    let secrets = open_dir();
    let (mine, other) = (mine.path().display(), other.path().display());
    for file in [format!("{other}/theirs"), format!("{mine}/log.old")] {
        std::fs::write(&file, "x").unwrap();
        allow_all(Path::new(&file));
    }
    let token = secrets.path().join("token");
    std::fs::write(&token, "x").unwrap();
    let token = token.display();
    let endpoints = format!(
        r#""out": {{"kind": "file", "path": "{mine}/log"}},
           "push": {{"kind": "http", "url": "http://h/", "bearer_token_file": "{token}"}},
           "none": {{"kind": "file", "path": "/dev/null"}}"#
    );
    for user in [NOBODY, 0] {
        let mut sealed = Sealed::as_plugins(user, &sinks(&endpoints));
        // Its own, with what rotation takes.
        assert_eq!(sealed.tries(&format!("append {mine}/log")), Ok(()));
        let rotate = format!("rename {mine}/log {mine}/log.1");
        assert_eq!(sealed.tries(&rotate), Ok(()));
        assert_eq!(sealed.tries(&format!("remove {mine}/log.1")), Ok(()));
        assert_eq!(sealed.tries(&format!("read {token}")), Ok(()));
        assert_eq!(sealed.tries("append /dev/null"), Ok(()));
        // What every name look-up reads.
        assert_eq!(sealed.tries("read /etc/hosts"), Ok(()));
        let no = Err(libc::EACCES);
        for denied in [
            format!("read {other}/theirs"),
            format!("append {other}/theirs"),
            format!("append {other}/new"),
            format!("list {other}"),
            format!("remove {other}/theirs"),
            format!("append {token}"),
            "read /etc/passwd".to_owned(),
            "read /etc/shadow".to_owned(),
            "read /proc/self/status".to_owned(),
            "read /proc/1/environ".to_owned(),
            "read /sys/kernel/notes".to_owned(),
            "append /dev/zero".to_owned(),
            format!("read {}", env!("CARGO_BIN_EXE_owlk8s-plugin-process")),
            "list /".to_owned(),
        ] {
            assert_eq!(sealed.tries(&denied), no, "user {user}: {denied}");
        }
        let leave = format!("rename {mine}/log.old {other}/log.old");
        assert!(
            sealed.tries(&leave).is_err(),
            "nothing leaves its directory"
        );
    }
}

#[test]
fn sealed_process_has_tcp_and_udp_and_no_other_socket() {
    let mut sealed = Sealed::as_plugins(0, &sinks(r#""out": {"kind": "stdout"}"#));
    let mut socket = |family: i32, kind: i32, protocol: i32| {
        sealed.tries(&format!("socket {family} {kind} {protocol}"))
    };
    use libc::{AF_INET, AF_INET6, AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_RAW, SOCK_STREAM};
    for family in [AF_INET, AF_INET6] {
        assert_eq!(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), Ok(()));
        assert_eq!(socket(family, SOCK_DGRAM, libc::IPPROTO_UDP), Ok(()));
        assert_eq!(
            socket(family, SOCK_DGRAM, libc::IPPROTO_ICMP),
            Err(libc::EPERM)
        );
        assert_eq!(
            socket(family, SOCK_RAW, libc::IPPROTO_TCP),
            Err(libc::EPERM)
        );
        assert_eq!(
            socket(family, SOCK_RAW | SOCK_CLOEXEC, libc::IPPROTO_UDP),
            Err(libc::EPERM)
        );
    }
    assert_eq!(socket(AF_UNIX, SOCK_STREAM, 0), Err(libc::EPERM));
    for family in [
        libc::AF_PACKET,
        libc::AF_NETLINK,
        libc::AF_VSOCK,
        libc::AF_ALG,
        libc::AF_XDP,
    ] {
        for kind in [SOCK_RAW, SOCK_DGRAM, SOCK_STREAM] {
            assert_eq!(socket(family, kind, 0), Err(libc::EPERM), "{family} {kind}");
        }
    }
}

#[test]
fn sealed_process_makes_threads_and_no_processes() {
    let mut sealed = Sealed::as_plugins(0, &sinks(""));
    assert_eq!(sealed.tries("thread"), Ok(()));
    for call in [
        libc::SYS_clone,
        libc::SYS_clone3,
        libc::SYS_kill,
        libc::SYS_prlimit64,
    ] {
        assert_eq!(
            sealed.tries(&format!("call {call} 1")),
            Err(NO_SUCH_CALL),
            "{call}"
        );
    }
    #[cfg(target_arch = "x86_64")]
    for call in [libc::SYS_fork, libc::SYS_vfork] {
        assert_eq!(sealed.tries(&format!("call {call}")), Err(NO_SUCH_CALL));
    }
    // A signal to somebody else: this test.
    let (tgkill, own) = (libc::SYS_tgkill, std::process::id());
    assert_eq!(
        sealed.tries(&format!("call {tgkill} {own}")),
        Err(NO_SUCH_CALL)
    );
    assert_eq!(sealed.tries("thread"), Ok(()));
}

#[test]
fn what_only_an_intruder_asks_for_is_its_end() {
    let seal: [fn() -> Sealed; 2] = [
        || Sealed::as_plugins(NOBODY, &sinks("")),
        Sealed::as_compiler,
    ];
    for sealed in seal {
        sealed().dies_of("exec /bin/sh");
        for call in [
            libc::SYS_ptrace,
            libc::SYS_bpf,
            libc::SYS_mount,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_keyctl,
            libc::SYS_perf_event_open,
            libc::SYS_io_uring_setup,
            libc::SYS_userfaultfd,
            libc::SYS_process_vm_writev,
            libc::SYS_setuid,
        ] {
            sealed().dies_of(&format!("call {call}"));
        }
    }
}

#[test]
fn compile_child_has_no_file_no_socket_and_no_thread() {
    let mut sealed = Sealed::as_compiler();
    // Not even the call to open one.
    for denied in [
        "read /etc/hosts",
        "append /dev/null",
        "list /",
        "socket 2 1 0",
        "socket 1 1 0",
        "thread",
    ] {
        assert_eq!(sealed.tries(denied), Err(NO_SUCH_CALL), "{denied}");
    }
}

#[tokio::test]
async fn plugin_process_is_nobody_and_sealed_in_every_thread() {
    let dir = open_dir();
    let mut options = options(
        "[[sinks]]\nname = \"log\"\nplugin = \"{good-echo}\"\nendpoints.out = { kind = \"file\", path = \"{dir}/log\" }",
        &dir,
    );
    options.plugins.user = NOBODY;
    let host = Host {
        host: PluginHost::start(options).unwrap(),
        dir,
    };
    host.until("log", |status| status.state == SinkState::Active)
        .await;
    host.offer(1, 7);
    host.delivered("log", 1).await;
    assert_eq!(host.read("log"), "window=1 targets=1 requests=7\n");
    let proc = format!("/proc/{}", host.host.pid().unwrap());
    let tasks: Vec<_> = std::fs::read_dir(format!("{proc}/task"))
        .unwrap()
        .map(|task| task.unwrap().path())
        .collect();
    assert!(tasks.len() > 2, "{tasks:?}");
    for task in tasks {
        let status = std::fs::read_to_string(task.join("status")).unwrap();
        for line in [
            "Uid:\t65534\t65534\t65534\t65534",
            "Gid:\t65534\t65534\t65534\t65534",
            "Groups:\t",
            "CapInh:\t0000000000000000",
            "CapPrm:\t0000000000000000",
            "CapEff:\t0000000000000000",
            "CapBnd:\t0000000000000000",
            "CapAmb:\t0000000000000000",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
        ] {
            assert!(
                status
                    .lines()
                    .any(|there| there.trim_end() == line.trim_end()),
                "{line} in\n{status}"
            );
        }
    }
    assert_eq!(
        std::fs::read_link(format!("{proc}/cwd")).unwrap(),
        Path::new("/")
    );
    let sandbox = host.host.sandbox().unwrap();
    assert_eq!(
        (sandbox.user, sandbox.weaknesses.len()),
        (NOBODY, 0),
        "{sandbox:?}"
    );
    assert!(
        sandbox.landlock >= 1,
        "{sandbox:?}: the kernel needs landlock"
    );
    assert_eq!(sandbox.writes, [host.dir.path().join("log")]);
}

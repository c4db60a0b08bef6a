//! A node of network namespaces for one test, and nothing of it left afterwards: the test runs on a
//! thread with a network and a mount namespace of its own, which end with the thread.

use std::future::Future;
use std::process::Command;
use std::thread;

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Runs `test` in a node without any link but loopback.
pub(crate) fn on_a_node<F: Future<Output = ()>>(test: impl FnOnce(Node) -> F + Send + 'static) {
    let inside = || {
        let own = UnshareFlags::NEWNET | UnshareFlags::NEWNS | UnshareFlags::FS;
        // SAFETY: only this thread is concerned, and it shares no file descriptor table less than before.
        unsafe { unshare_unsafe(own) }
            .expect("these tests make network namespaces: run them as root (CAP_SYS_ADMIN)");
        mount_change(
            c"/",
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        )
        .expect("private mounts");
        mount(c"none", c"/run", c"tmpfs", MountFlags::empty(), None).expect("an empty /run");
        ip("link set lo up");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(test(Node(())));
    };
    thread::Builder::new()
        .spawn(inside)
        .expect("a thread")
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// The namespace of the calling test.
pub(crate) struct Node(());

impl Node {
    /// Docker, flannel: pods are ports of one bridge.
    pub(crate) fn with_bridge(self) -> Self {
        ip("link add br0 type bridge");
        ip("addr add 10.77.0.1/24 dev br0");
        ip("addr add fd77::1/64 dev br0 nodad");
        ip("link set br0 up");
        self
    }

    /// A pod with the addresses 10.77.0.`last` and fd77::`last` behind the bridge's port `vh-NAME`.
    pub(crate) fn bridged_pod(&self, name: &str, last: u8) {
        self.veth(name);
        ip(&format!("link set vh-{name} master br0"));
        for address in [
            format!("10.77.0.{last}/24"),
            format!("fd77::{last}/64 nodad"),
        ] {
            ip(&format!("-n {name} addr add dev eth0 {address}"));
        }
        self.up(name);
    }

    /// Calico: a route for each pod, 10.88.0.`last` and fd88::`last`, to its veth.
    pub(crate) fn routed_pod(&self, name: &str, last: u8) {
        self.unrouted_pod(name, last);
        ip(&format!(
            "route add 10.88.0.{last}/32 dev vh-{name} scope link"
        ));
        ip(&format!("-6 route add fd88::{last}/128 dev vh-{name}"));
    }

    /// A pod whose addresses nothing on the node's side knows.
    pub(crate) fn unrouted_pod(&self, name: &str, last: u8) {
        self.veth(name);
        ip(&format!("-n {name} addr add 10.88.0.{last}/32 dev eth0"));
        ip(&format!(
            "-n {name} addr add fd88::{last}/128 dev eth0 nodad"
        ));
        self.up(name);
    }

    fn veth(&self, name: &str) {
        ip(&format!("netns add {name}"));
        ip(&format!(
            "link add vh-{name} type veth peer name eth0 netns {name}"
        ));
    }

    fn up(&self, name: &str) {
        ip(&format!("-n {name} link set eth0 up"));
        ip(&format!("link set vh-{name} up"));
    }

    /// Ends a pod: its namespace goes, and its veth with it.
    pub(crate) fn end(&self, name: &str) {
        ip(&format!("netns del {name}"));
    }
}

/// Runs iproute2 in the calling thread's namespaces.
pub(crate) fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .expect("these tests need iproute2");
    assert!(
        output.status.success(),
        "ip {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

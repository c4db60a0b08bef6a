//! A node with pods and one client, each a network namespace behind a veth on the node's bridge.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

static MADE: AtomicU32 = AtomicU32::new(0);

pub struct Lab {
    prefix: String,
    hosts: Vec<String>,
    /// For configurations, logs and outputs; goes with the lab.
    pub dir: tempfile::TempDir,
}

impl Lab {
    /// A node with nothing on it.
    pub fn bare() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "needs root: it makes network namespaces and loads a filter"
        );
        need("ip", "iproute2");
        need("nsenter", "util-linux");
        let prefix = format!(
            "owl{}x{}",
            std::process::id(),
            MADE.fetch_add(1, Ordering::Relaxed)
        );
        let dir = tempfile::tempdir().unwrap();
        // nginx's workers are another user, and so is the process that runs plugins, which writes there.
        std::fs::set_permissions(
            dir.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o777),
        )
        .unwrap();
        let lab = Self {
            prefix,
            hosts: Vec::new(),
            dir,
        };
        lab.namespace("node");
        lab
    }

    /// A node with pods `p1`..`pN` and the client `c1`, on a bridge.
    pub fn new(pods: usize) -> Self {
        let mut lab = Self::bare();
        lab.hosts = (1..=pods)
            .map(|i| format!("p{i}"))
            .chain(["c1".to_owned()])
            .collect();
        let node = lab.netns("node");
        ip(&["-n", &node, "link", "add", "br0", "type", "bridge"]);
        ip(&["-n", &node, "addr", "add", "10.79.0.1/16", "dev", "br0"]);
        ip(&["-n", &node, "link", "set", "br0", "up"]);
        for host in &lab.hosts {
            lab.attach(host);
        }
        lab
    }

    pub(super) fn namespace(&self, who: &str) {
        ip(&["netns", "add", &self.netns(who)]);
        ip(&["-n", &self.netns(who), "link", "set", "lo", "up"]);
    }

    fn attach(&self, host: &str) {
        self.namespace(host);
        self.wire(host);
    }

    /// The veth between node and pod.
    fn wire(&self, host: &str) {
        let (node, own, veth) = (self.netns("node"), self.netns(host), self.interface(host));
        // The same address for each veth of a pod: its neighbours remember it.
        let [high, low] = u16::try_from(self.position(host)).unwrap().to_be_bytes();
        let mac = format!("02:00:00:00:{high:02x}:{low:02x}");
        ip(&[
            "-n", &node, "link", "add", &veth, "type", "veth", "peer", "name", "eth0", "address",
            &mac, "netns", &own,
        ]);
        ip(&["-n", &node, "link", "set", &veth, "master", "br0"]);
        ip(&["-n", &node, "link", "set", &veth, "up"]);
        ip(&[
            "-n",
            &own,
            "addr",
            "add",
            &format!("{}/16", self.ip(host)),
            "dev",
            "eth0",
        ]);
        ip(&["-n", &own, "link", "set", "eth0", "up"]);
    }

    /// Name of a host's namespace, as `ip netns` knows it.
    pub fn netns(&self, who: &str) -> String {
        format!("{}-{who}", self.prefix)
    }

    /// Host-side interface of a pod.
    pub fn interface(&self, host: &str) -> String {
        format!("vh{host}")
    }

    pub fn ip(&self, host: &str) -> String {
        let at = self.position(host);
        format!("10.79.{}.{}", at / 200, at % 200 + 11)
    }

    fn position(&self, host: &str) -> usize {
        let at = self.hosts.iter().position(|h| h == host);
        at.unwrap_or_else(|| panic!("no host {host} in this lab"))
    }

    /// A program that will run in a namespace.
    pub fn command(&self, who: &str, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/run/netns/{}", self.netns(who)))
            .arg(program.as_ref());
        command.stdin(Stdio::null());
        command
    }

    /// A connection that begins in a namespace.
    pub fn connect(&self, who: &str, to: SocketAddr) -> std::io::Result<TcpStream> {
        self.inside(who, move || {
            TcpStream::connect_timeout(&to, Duration::from_secs(2))
        })?
    }

    /// A listener in a namespace.
    pub fn listen(&self, who: &str, at: SocketAddr) -> TcpListener {
        self.inside(who, move || TcpListener::bind(at))
            .unwrap()
            .unwrap()
    }

    /// Work done in a namespace, by a thread of its own: the namespace is a thread's, and ends with it.
    pub fn inside<T: Send + 'static>(
        &self,
        who: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::io::Result<T> {
        let namespace = std::fs::File::open(format!("/run/netns/{}", self.netns(who)))?;
        let enter = move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(work())
        };
        std::thread::spawn(enter).join().unwrap()
    }

    /// Pulls the pod's veth out.
    pub fn unplug(&self, host: &str) {
        ip(&[
            "-n",
            &self.netns("node"),
            "link",
            "del",
            &self.interface(host),
        ]);
    }

    /// Another veth for the pod, under the same names and with the same address.
    pub fn plug(&self, host: &str) {
        self.wire(host);
    }

    /// A target of `[discovery.static]`, by name and interface.
    pub fn target(&self, pod: &str) -> String {
        format!(
            "{{ pod = \"{pod}\", namespace = \"lab\", workload = \"Deployment/web\", services = [\"web\"], \
             ips = [\"{}\"], interface = \"{}\" }}",
            self.ip(pod),
            self.interface(pod)
        )
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for host in self.hosts.iter().map(String::as_str).chain(["node"]) {
            let _ = Command::new("ip")
                .args(["netns", "del", &self.netns(host)])
                .stderr(Stdio::null())
                .status();
        }
    }
}

fn ip(arguments: &[&str]) {
    let done = Command::new("ip").args(arguments).output().unwrap();
    assert!(
        done.status.success(),
        "ip {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&done.stderr)
    );
}

/// A tool that the test needs, or its package as the failure.
pub fn need(tool: &str, package: &str) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
    let found = std::env::split_paths(&path)
        .chain(sbin)
        .any(|dir| dir.join(tool).exists());
    assert!(found, "{tool} is missing: apt-get install {package}");
}

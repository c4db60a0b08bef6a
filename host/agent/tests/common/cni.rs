//! Pods as a cluster has them: wired by the real network plugins, with a server in each that counts what it answers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use super::lab::{Lab, need};

const PLUGINS: &str = "/usr/lib/cni";

/// A network plugin, with the addresses it gives.
#[derive(Clone, Copy, Debug)]
pub enum Cni {
    /// A veth on the node's bridge, as flannel's and k3s's.
    Bridge,
    /// A veth and a route, as Calico's and most clouds'.
    Ptp,
}

impl Cni {
    fn network(self, lab: &Lab, dual_stack: bool) -> Value {
        let mut ranges = vec![json!([{"subnet": "10.244.0.0/16"}])];
        if dual_stack {
            ranges.push(json!([{"subnet": "fd00:10:244::/64"}]));
        }
        let mut network = json!({
            "cniVersion": "1.0.0",
            "name": "lab",
            "ipam": {"type": "host-local", "ranges": ranges, "dataDir": lab.dir.path().join("ipam")},
        });
        match self {
            Self::Bridge => {
                network["type"] = json!("bridge");
                network["bridge"] = json!("cni0");
                network["isDefaultGateway"] = json!(true);
            }
            Self::Ptp => {
                network["type"] = json!("ptp");
                let routes = ["0.0.0.0/0", "::/0"].map(|all| json!({"dst": all}));
                network["ipam"]["routes"] = json!(routes[..ranges.len()]);
            }
        }
        network
    }
}

/// A pod of the node, and its server. Dropping it takes both away, as the kubelet would.
pub struct CniPod<'a> {
    lab: &'a Lab,
    pub name: String,
    network: Value,
    pub ips: Vec<IpAddr>,
    answered: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    server: Option<JoinHandle<()>>,
}

impl<'a> CniPod<'a> {
    /// Wires a pod and starts its server on port 80.
    pub fn start(lab: &'a Lab, cni: Cni, name: &str, dual_stack: bool) -> Self {
        need("/usr/lib/cni/bridge", "containernetworking-plugins");
        let network = cni.network(lab, dual_stack);
        lab.namespace(name);
        for who in ["node", name] {
            // Duplicate address detection would keep an IPv6 address back for a second.
            let off = || std::fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0");
            lab.inside(who, off).unwrap().unwrap();
        }
        let ips = add(lab, name, &network);
        let listener = lab.listen(name, "[::]:80".parse().unwrap());
        let (answered, stop) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let server = {
            let (answered, stop) = (Arc::clone(&answered), Arc::clone(&stop));
            std::thread::spawn(move || {
                for connection in listener.incoming() {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let answered = Arc::clone(&answered);
                    let Ok(connection) = connection else { return };
                    std::thread::spawn(move || serve(connection, &answered));
                }
            })
        };
        Self {
            lab,
            name: name.to_owned(),
            network,
            ips,
            answered,
            stop,
            server: Some(server),
        }
    }

    /// Other wires, with other addresses, as for a sandbox that is made anew.
    pub fn wire_anew(&mut self) {
        call(self.lab, "DEL", &self.name, &self.network);
        self.ips = add(self.lab, &self.name, &self.network);
    }

    /// Requests that its server has answered.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Acquire)
    }

    /// `n` requests on one connection from the node to one of its addresses, each answered.
    pub fn ask(&self, ip: IpAddr, n: u64) {
        let mut connection = self.lab.connect("node", SocketAddr::new(ip, 80)).unwrap();
        connection.set_nodelay(true).unwrap();
        let mut answers = BufReader::new(connection.try_clone().unwrap());
        for _ in 0..n {
            connection
                .write_all(b"GET / HTTP/1.1\r\nHost: pod\r\n\r\n")
                .unwrap();
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert_ne!(answers.read_line(&mut head).unwrap(), 0, "{head}");
            }
            let mut body = [0; 3];
            answers.read_exact(&mut body).unwrap();
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        }
    }
}

impl Drop for CniPod<'_> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the server up.
        let _ = self
            .lab
            .connect(&self.name, "127.0.0.1:80".parse().unwrap());
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
        if !std::thread::panicking() {
            call(self.lab, "DEL", &self.name, &self.network);
        }
        let _ = Command::new("ip")
            .args(["netns", "del", &self.lab.netns(&self.name)])
            .stderr(Stdio::null())
            .status();
    }
}

/// Answers each request of a connection with `ok` and a line's end.
fn serve(mut connection: TcpStream, answered: &AtomicU64) {
    let _ = connection.set_nodelay(true);
    let Ok(reading) = connection.try_clone() else {
        return;
    };
    let mut lines = BufReader::new(reading).lines();
    while let Some(Ok(line)) = lines.next() {
        if !line.is_empty() {
            continue;
        }
        // Before the answer: who has it finds it counted.
        answered.fetch_add(1, Ordering::Release);
        let sent = connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n");
        if sent.is_err() {
            return;
        }
    }
}

/// The addresses that the plugin gives.
fn add(lab: &Lab, pod: &str, network: &Value) -> Vec<IpAddr> {
    let wired = call(lab, "ADD", pod, network);
    let ips = wired["ips"].as_array().unwrap().iter().map(|ip| {
        let (address, _) = ip["address"].as_str().unwrap().split_once('/').unwrap();
        address.parse().unwrap()
    });
    ips.collect()
}

/// Calls the plugin as a container runtime does.
fn call(lab: &Lab, command: &str, pod: &str, network: &Value) -> Value {
    let kind = network["type"].as_str().unwrap();
    let mut plugin = lab
        .command("node", format!("{PLUGINS}/{kind}"))
        .env("CNI_COMMAND", command)
        .env("CNI_CONTAINERID", lab.netns(pod))
        .env("CNI_NETNS", format!("/run/netns/{}", lab.netns(pod)))
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", PLUGINS)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = plugin.stdin.take().unwrap();
    stdin.write_all(network.to_string().as_bytes()).unwrap();
    drop(stdin);
    let done = plugin.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success(),
        "{kind} {command}: {said}{}",
        String::from_utf8_lossy(&done.stderr)
    );
    serde_json::from_str(&said).unwrap_or_default()
}

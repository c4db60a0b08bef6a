//! The real agent on a lab's node.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::lab::Lab;
use super::within;

pub const BINARY: &str = env!("CARGO_BIN_EXE_owlk8s");
/// The node has a loopback of its own, so each lab's agent can have the same.
const ADMIN: &str = "127.0.0.1:9465";

pub struct Agent<'a> {
    lab: &'a Lab,
    child: Child,
    pub stdout: PathBuf,
    pub stderr: PathBuf,
}

/// A configuration with these pods as static targets, and `more` after it.
pub fn config(targets: &[String], more: &str) -> String {
    format!(
        "node = \"lab\"\ninterval = \"200ms\"\n[discovery.static]\ntargets = [\n{}\n]\n{more}",
        targets.join(",\n")
    )
}

impl<'a> Agent<'a> {
    /// Started, and answering at its admin port.
    pub fn start(lab: &'a Lab, config: &str) -> Self {
        Self::start_as(lab, lab.command("node", BINARY), config)
    }

    /// As [`start`](Self::start), without some capabilities: `cap_sys_admin,cap_net_admin`.
    pub fn without(lab: &'a Lab, capabilities: &str, config: &str) -> Self {
        super::lab::need("capsh", "libcap2-bin");
        let mut command = lab.command("node", "capsh");
        // What follows the first word is its `$0` and its arguments.
        let run = format!("exec {BINARY} \"$0\" \"$@\"");
        command.args([&format!("--drop={capabilities}"), "--", "-c", &run]);
        Self::start_as(lab, command, config)
    }

    /// As [`start`](Self::start), by a program that becomes the agent.
    pub fn start_as(lab: &'a Lab, mut command: Command, config: &str) -> Self {
        let dir = lab.dir.path();
        let (file, stdout, stderr) = (
            dir.join("owlk8s.toml"),
            dir.join("stdout"),
            dir.join("stderr"),
        );
        std::fs::write(&file, config).unwrap();
        let child = command
            .args(["run", "--config"])
            .arg(&file)
            .stdout(std::fs::File::create(&stdout).unwrap())
            .stderr(std::fs::File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        let mut agent = Self {
            lab,
            child,
            stdout,
            stderr,
        };
        within(Duration::from_secs(20), "the agent is live", || {
            if let Some(ended) = agent.child.try_wait().unwrap() {
                panic!("the agent ended with {ended}: {}", agent.log());
            }
            agent.get("/livez").map(|_| ()).map_err(|e| e.to_string())
        });
        agent
    }

    /// As [`start`](Self::start), and every target is attached.
    pub fn attached(lab: &'a Lab, config: &str) -> Self {
        let agent = Self::start(lab, config);
        agent.all_attached();
        agent
    }

    /// Waits until every target is.
    pub fn all_attached(&self) {
        within(Duration::from_secs(10), "all targets are attached", || {
            let snapshot = self.snapshot();
            let targets = snapshot["targets"].as_array().unwrap();
            let all = !targets.is_empty() && targets.iter().all(|t| !t["hook"].is_null());
            if all {
                Ok(())
            } else {
                Err(format!("{snapshot}\n{}", self.log()))
            }
        });
    }

    /// The first window is closed, and the plugin process runs.
    pub fn ready(&self) {
        within(Duration::from_secs(5), "ready", || {
            match self.get("/readyz") {
                Ok((200, body)) if body == "ready\n" => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }

    /// How it stands with a sink; null where there is none.
    pub fn sink(&self, name: &str) -> Value {
        let plugins = self.json("/plugins");
        let mut sinks = plugins.as_array().unwrap().iter();
        let found = sinks.find(|sink| sink["name"] == name);
        found.cloned().unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Status and body of one of its endpoints.
    pub fn get(&self, path: &str) -> std::io::Result<(u16, String)> {
        self.ask("GET", path)
    }

    pub fn ask(&self, method: &str, path: &str) -> std::io::Result<(u16, String)> {
        request(self.lab, ADMIN.parse().unwrap(), method, path)
    }

    pub fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path).unwrap();
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    pub fn snapshot(&self) -> Value {
        self.json("/snapshot")
    }

    /// A pod of a fresh snapshot.
    pub fn pod(&self, name: &str) -> Value {
        let snapshot = self.snapshot();
        let targets = snapshot["targets"].as_array().unwrap();
        targets
            .iter()
            .find(|t| t["pod"] == name)
            .unwrap_or_else(|| panic!("no {name} in {snapshot}"))
            .clone()
    }

    /// What it wrote to standard error so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap()
    }

    /// Pids of its children.
    pub fn children(&self) -> Vec<u32> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        let children =
            threads.flat_map(|t| std::fs::read_to_string(t.unwrap().path().join("children")));
        children
            .flat_map(|list| {
                list.split_whitespace()
                    .map(|pid| pid.parse().unwrap())
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    /// SIGTERM, and how it ended.
    pub fn stop(&mut self, within_limit: Duration) -> ExitStatus {
        signal(self.pid(), "TERM");
        let child = &mut self.child;
        within(within_limit, "the agent ends", || {
            child
                .try_wait()
                .unwrap()
                .ok_or_else(|| "it runs".to_owned())
        })
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("--- agent's log\n{}", self.log());
        }
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            signal(self.pid(), "TERM");
            let end = std::time::Instant::now() + Duration::from_secs(8);
            while self.child.try_wait().is_ok_and(|ended| ended.is_none())
                && std::time::Instant::now() < end
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// One HTTP request on the node; status and body.
pub fn request(
    lab: &Lab,
    to: SocketAddr,
    method: &str,
    path: &str,
) -> std::io::Result<(u16, String)> {
    let mut asked = lab.connect("node", to)?;
    asked.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(
        asked,
        "{method} {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    asked.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    status
        .map(|status| (status, body.to_owned()))
        .ok_or_else(|| std::io::Error::other(answer.clone()))
}

/// Sends a signal to one process.
pub fn signal(pid: u32, name: &str) {
    assert!(is_signalled(pid, name), "cannot send SIG{name} to {pid}");
}

/// The same to one that may have ended; false where it has.
pub fn is_signalled(pid: u32, name: &str) -> bool {
    let sent = Command::new("kill")
        .arg(format!("-{name}"))
        .arg(pid.to_string())
        .stderr(Stdio::null())
        .status();
    sent.unwrap().success()
}

/// Refuses a metrics page that Prometheus's own linter complains about.
pub fn promtool(page: &str) {
    super::lab::need("promtool", "prometheus");
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool
        .stdin
        .take()
        .unwrap()
        .write_all(page.as_bytes())
        .unwrap();
    let checked = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}\n{page}");
}

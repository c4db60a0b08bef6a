//! nginx in a pod: the independent count of requests, and of answers by status.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::lab::{Lab, need};
use super::within;

const CONFIG: &str = r#"
daemon off; worker_processes 1; pid DIR/nginx.pid; error_log DIR/error.log error;
events { worker_connections 1024; }
http {
  log_format status "$status"; keepalive_requests 1000000000; default_type text/plain;
  client_body_temp_path DIR/b; proxy_temp_path DIR/p; fastcgi_temp_path DIR/f;
  uwsgi_temp_path DIR/u; scgi_temp_path DIR/s;
  server {
    listen 80; access_log DIR/access.log status buffer=64k;
    location = /200 { return 200 "hello, world\n"; }
    location = /404 { return 404 "no\n"; }
    location = /500 { return 500 "oh\n"; }
  }
  server { listen 127.0.0.1:81; access_log off; location / { stub_status; } }
}
"#;

/// Of five requests, three are answered 200, one 404, one 500.
const MIX: [&str; 5] = ["/200", "/200", "/404", "/200", "/500"];
/// Connections of the load, and requests on each a second.
const CLIENTS: u32 = 32;
const RATE: u32 = 500;

pub struct Nginx<'a> {
    lab: &'a Lab,
    pod: &'static str,
    dir: PathBuf,
    child: Child,
    /// How often it was asked for its counts, which counts as well.
    asked: AtomicU64,
}

impl<'a> Nginx<'a> {
    pub fn start(lab: &'a Lab, pod: &'static str) -> Self {
        need("nginx", "nginx-light");
        need("h2load", "nghttp2-client");
        let dir = lab.dir.path().join(format!("nginx-{pod}"));
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(
            dir.join("conf"),
            CONFIG.replace("DIR", dir.to_str().unwrap()),
        )
        .unwrap();
        let urls = MIX.map(|path| format!("http://{}{path}\n", lab.ip(pod)));
        std::fs::write(dir.join("mix"), urls.concat()).unwrap();
        let child = lab
            .command(pod, "nginx")
            .arg("-c")
            .arg(dir.join("conf"))
            .arg("-p")
            .arg(&dir)
            .spawn()
            .unwrap();
        let nginx = Self {
            lab,
            pod,
            dir,
            child,
            asked: AtomicU64::new(0),
        };
        within(Duration::from_secs(5), "nginx answers", || {
            nginx.stub_status().map_err(|e| e.to_string())
        });
        nginx
    }

    /// All requests so far but those that ask for this, which go over the pod's loopback, so no veth sees them.
    fn stub_status(&self) -> std::io::Result<u64> {
        let mut asked = self
            .lab
            .connect(self.pod, "127.0.0.1:81".parse().unwrap())?;
        asked.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        asked.read_to_string(&mut answer)?;
        let counts = answer
            .lines()
            .find(|line| line.starts_with(' '))
            .unwrap_or_default();
        counts
            .split_whitespace()
            .nth(2)
            .and_then(|n| n.parse().ok())
            .ok_or_else(|| std::io::Error::other(answer))
            .map(|all: u64| all - self.asked.fetch_add(1, Ordering::Relaxed) - 1)
    }

    pub fn requests_since(&self, before: u64) -> u64 {
        self.requests() - before
    }

    pub fn requests(&self) -> u64 {
        self.stub_status().unwrap()
    }

    /// Load from the client; comes back when it is over.
    pub fn load(&self, seconds: u32) {
        self.spawn_load(seconds)
            .wait_with_output()
            .map(|out| self.judge(&out.stdout))
            .unwrap();
    }

    /// Load from the client that goes on beside the test, for that long where the machine keeps up. Each of its
    /// requests is answered before it ends: one that was cut off would be nginx's, and not ours.
    pub fn spawn_load(&self, seconds: u32) -> Child {
        let mut load: Command = self.lab.command("c1", "h2load");
        load.args(["--h1", "-t1"])
            .arg(format!("-c{CLIENTS}"))
            .arg(format!("--rps={RATE}"))
            .arg(format!("-n{}", CLIENTS * RATE * seconds))
            .arg("-i")
            .arg(self.dir.join("mix"));
        load.stdout(Stdio::piped()).spawn().unwrap()
    }

    fn judge(&self, out: &[u8]) {
        let out = String::from_utf8_lossy(out);
        assert!(out.contains(" 0 errored, 0 timeout"), "h2load: {out}");
    }

    /// One request from the client, answered.
    pub fn get(&self, path: &str) {
        let to = format!("{}:80", self.lab.ip(self.pod)).parse().unwrap();
        let mut asked = self.lab.connect("c1", to).unwrap();
        write!(
            asked,
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = Vec::new();
        asked.read_to_end(&mut answer).unwrap();
        assert!(
            answer.starts_with(b"HTTP/1.1 "),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }

    /// Ends it in peace, and says how many answers of each status it logged.
    pub fn answers(mut self) -> BTreeMap<String, u64> {
        let quit = Command::new("kill")
            .args(["-QUIT", &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(quit.success());
        self.child.wait().unwrap();
        let mut answers = BTreeMap::new();
        for status in std::fs::read_to_string(self.dir.join("access.log"))
            .unwrap()
            .lines()
        {
            *answers.entry(status.to_owned()).or_default() += 1;
        }
        answers
    }
}

impl Drop for Nginx<'_> {
    fn drop(&mut self) {
        // SIGTERM, not SIGKILL: the master takes its worker along.
        let _ = Command::new("kill")
            .arg(self.child.id().to_string())
            .stderr(Stdio::null())
            .status();
        let _ = self.child.wait();
    }
}

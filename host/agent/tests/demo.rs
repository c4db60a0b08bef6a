//! `owlk8s demo` as a user starts it. Needs root, as the demo does, and the shipped plugins.

#![allow(
    clippy::unwrap_used,
    reason = "a test panics where it fails, and says why"
)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

struct Demo {
    process: Child,
    out: BufReader<ChildStdout>,
    said: String,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_owlk8s"))
            .arg("demo")
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(process.stdout.take().unwrap());
        Self {
            process,
            out,
            said: String::new(),
        }
    }

    /// Reads on until a line has `text`; it is greeted only when its agent is attached.
    fn until(&mut self, text: &str) {
        let from = self.said.len();
        while !self.said[from..].contains(text) {
            let read = self.out.read_line(&mut self.said).unwrap();
            assert_ne!(read, 0, "ended without {text:?}:\n{}", self.said);
        }
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    fn end(mut self) -> (ExitStatus, String) {
        self.out.read_to_string(&mut self.said).unwrap();
        (self.process.wait().unwrap(), self.said)
    }
}

fn assert_equal_counts(ended: (ExitStatus, String)) {
    let (status, said) = ended;
    assert!(status.success(), "{status}\n{said}");
    assert_eq!(said.matches("  equal\n").count(), 3, "{said}");
}

fn links() -> String {
    std::fs::read_to_string("/proc/net/dev").unwrap()
}

#[test]
fn the_demo_counts_like_its_servers_and_clients_and_shows_the_table() {
    let demo = Demo::start(&["--for", "4s"]);
    let ended = demo.end();
    for expected in ["POD ", "shop/cart-6d5f9c8b4-x2x7p", "StatefulSet/checkout"] {
        assert!(ended.1.contains(expected), "{expected} in {}", ended.1);
    }
    assert_equal_counts(ended);
}

#[test]
fn the_demo_ends_with_the_comparison_on_ctrl_c_and_sigterm() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut demo = Demo::start(&[]);
        demo.until("Ctrl-C");
        demo.until("StatefulSet/checkout");
        demo.until("StatefulSet/checkout");
        demo.send(signal);
        assert_equal_counts(demo.end());
    }
}

#[test]
fn a_killed_demo_leaves_nothing_behind_for_the_next() {
    let mut killed = Demo::start(&[]);
    killed.until("Ctrl-C");
    for name in ["vh-cart", "vh-clients", "br0"] {
        assert!(!links().contains(&format!("{name}:")), "{}", links());
    }
    killed.send(Signal::KILL);
    assert!(!killed.end().0.success());
    let named = std::fs::read_dir("/run/netns").into_iter().flatten();
    let named: Vec<_> = named
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().contains("demo"))
        .collect();
    assert!(named.is_empty(), "{named:?}");
    assert_equal_counts(Demo::start(&["--for", "2s"]).end());
}

//! `owlk8s top` before a real agent: in a pipe, and on a terminal.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test panics where it fails"
)]

mod common;

use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::agent::{BINARY, config, signal};
use common::{Agent, Lab, Nginx, Terminal, fixture};
use serde_json::Value;

/// A sink whose plugin traps at each window.
fn failing() -> String {
    format!(
        "[[sinks]]\nname = \"broken\"\nplugin = {:?}\nendpoints.out = {{ kind = \"file\", path = \"/dev/null\" }}\n",
        fixture("panics")
    )
}

fn run(lab: &Lab, arguments: &[&str]) -> Output {
    let mut top = lab.command("node", BINARY);
    top.arg("top").args(arguments);
    top.output().unwrap()
}

/// Set also by a panic: a scope waits for its threads.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Four requests, one of which fails, again and again while `meanwhile` runs.
fn under_load<T>(nginx: &Nginx<'_>, meanwhile: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for path in ["/200", "/200", "/500", "/200"] {
                    nginx.get(path);
                }
            }
        });
        let _over = Over(&over);
        meanwhile()
    })
}

#[test]
fn in_a_pipe_it_is_one_table_and_what_is_wrong_is_on_standard_error() {
    let lab = Lab::new(2);
    let nginx = Nginx::start(&lab, "p1");
    let targets = [lab.target("p1"), lab.target("p2")];
    let agent = Agent::attached(&lab, &config(&targets, &failing()));
    common::within(Duration::from_secs(30), "the sink fails", || {
        match agent.sink("broken")["last_error"].as_str() {
            Some("") | None => Err(agent.sink("broken").to_string()),
            Some(_) => Ok(()),
        }
    });
    let arguments = ["--group", "pods", "--interval", "1s"];
    let output = under_load(&nginx, || run(&lab, &arguments));
    let (table, wrong) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    println!("{table}\n{wrong}");
    assert!(output.status.success());
    let lines: Vec<Vec<&str>> = table
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert_eq!(lines[0][..5], ["NAMESPACE", "POD", "PODS", "REQ/S", "5XX"]);
    assert_eq!(lines[1][..3], ["lab", "p1", "1"]);
    let rate: f64 = lines[1][3].trim_end_matches('k').parse().unwrap();
    assert!(rate > 1.0, "{table}");
    let errors: f64 = lines[1][4].trim_end_matches('%').parse().unwrap();
    assert!((20.0..30.0).contains(&errors), "a quarter: {table}");
    assert_eq!(lines[1][6..9].iter().filter(|p| **p == "-").count(), 0);
    assert_eq!(lines[1][9..].last(), Some(&"active"));
    assert_eq!(lines[2][..4], ["lab", "p2", "1", "0"]);
    assert!(wrong.starts_with("sink broken: "), "{wrong}");

    let json = run(&lab, &["--json", "--interval", "500ms"]).stdout;
    let json: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["node"], "lab");
    assert_eq!(json["rows"][0]["pods"], 2, "{json}");
    assert_eq!(json["troubles"][0]["name"], "broken");
}

#[test]
fn without_an_agent_it_ends_with_an_error_that_names_the_remedy() {
    let lab = Lab::bare();
    let output = run(&lab, &["--once"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains(
            "no agent answers on http://127.0.0.1:9465: its configuration has the address, `listen` in [admin]"
        ),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    let refused = run(&lab, &["--group", "pod", "--once"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        said.contains("services, workloads, pods, namespaces"),
        "{said}"
    );
}

#[test]
fn on_a_terminal_it_is_live_obeys_keys_and_gives_the_terminal_back() {
    let lab = Lab::new(1);
    let nginx = Nginx::start(&lab, "p1");
    let mut agent = Agent::attached(&lab, &config(&[lab.target("p1")], ""));
    let command = format!("{BINARY} top --interval 500ms");
    let mut top = Terminal::start(&lab, &command, 24, 110);
    let screen = under_load(&nginx, || {
        top.until(" LIVE ");
        // Bars come with the second window.
        top.until("█")
    });
    println!("{}", screen.contents());
    assert!(screen.alternate_screen());
    top.press("3");
    top.until("PODS (1)");
    top.press("/nobody");
    top.until("None of 1 has what the filter asks for");
    top.press("\u{1b}");
    top.until("p1");
    top.press("?");
    top.until("Keys and columns");
    top.press("x\r");
    top.press("j\r");
    top.until("Deployment/web");
    top.press("x");
    top.resize(20, 60);
    common::within(Duration::from_secs(5), "it fits the window", || {
        let shown = top.screen().contents();
        let last = shown.lines().last().unwrap_or_default().to_owned();
        // The last column that a narrow screen does without.
        match last.starts_with(" q quit") && !shown.contains("IN-FLIGHT") {
            true => Ok(()),
            false => Err(shown),
        }
    });
    assert!(agent.stop(Duration::from_secs(8)).success());
    let screen = top.until("No answer for");
    assert!(screen.contents().contains(" OLD "), "{}", screen.contents());
    drop(agent);
    let agent = Agent::attached(&lab, &config(&[lab.target("p1")], ""));
    top.press("R");
    top.until(" LIVE ");
    top.press("q");
    let (status, screen) = top.end();
    assert!(status.success(), "{status}");
    assert!(!screen.alternate_screen() && !screen.hide_cursor());
    drop(agent);
}

#[test]
fn a_signal_and_control_c_give_the_terminal_back_as_well() {
    let lab = Lab::bare();
    for end in ["SIGTERM", "Ctrl-C"] {
        // The shell asks the terminal afterwards: `-icanon` would be a raw one.
        let command = format!("sh -c '{BINARY} top; stty -a; echo THE END'");
        let mut top = Terminal::start(&lab, &command, 24, 100);
        top.until("waiting for the agent's first answer");
        top.until("asked again in");
        assert!(top.screen().alternate_screen());
        match end {
            "Ctrl-C" => top.press("\u{3}"),
            _ => {
                let shell = top.program().0;
                let children = format!("/proc/{shell}/task/{shell}/children");
                let child = std::fs::read_to_string(children).unwrap();
                signal(child.trim().parse().unwrap(), "TERM");
            }
        }
        let screen = top.until("THE END");
        assert!(!screen.alternate_screen() && !screen.hide_cursor(), "{end}");
        let settings = screen.contents();
        let words: Vec<&str> = settings.split([' ', ';', '\n']).collect();
        assert!(
            words.contains(&"icanon") && words.contains(&"echo"),
            "{settings}"
        );
        assert!(top.end().0.success(), "{end}");
    }
}

#[test]
fn without_a_terminal_on_standard_input_it_is_plain_too() {
    let lab = Lab::new(1);
    let agent = Agent::attached(&lab, &config(&[lab.target("p1")], ""));
    let command = format!("{BINARY} top --interval 500ms </dev/null");
    let top = Terminal::start(&lab, &format!("sh -c '{command}'"), 24, 110);
    let (status, screen) = top.end();
    assert!(status.success());
    assert!(
        screen.contents().starts_with("NAMESPACE"),
        "{}",
        screen.contents()
    );
    drop(agent);
}

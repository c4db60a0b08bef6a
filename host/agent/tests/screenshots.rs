//! The pictures of the documents, `host/docs/img`: the live page in a real browser, and `owlk8s top` on a terminal, each before
//! the real agent with pods that really answer. `cargo xtask screenshots` makes them anew; the gate does not.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test panics where it fails"
)]

#[allow(dead_code, reason = "the tests of the page use all of it")]
#[path = "../../../plugins/dashboard/src/tests/browser.rs"]
mod browser;
mod common;
#[path = "../../probe/tests/beyond/redirect.rs"]
mod redirect;
mod screenshots {
    pub(crate) mod city;
    pub(crate) mod drawn;
}

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use browser::Browser;
use common::agent::{BINARY, config};
use common::{Agent, Lab, Terminal, fixture, shipped, within};
use screenshots::city::City;
use screenshots::drawn::drawn;

/// The page's past is full of curves then.
const WINDOWS: u32 = 40;
const PAGE: &str = "http://127.0.0.1:9467/";

/// The page and a formatter, each a second.
fn sinks(more: &str) -> String {
    shipped("dashboard");
    format!(
        "[[sinks]]\nname = \"page\"\nplugin = \"dashboard\"\n\
         endpoints.page = {{ kind = \"serve\", listen = \"127.0.0.1:9467\", plugins = true }}\n\
         [[sinks]]\nname = \"log\"\nplugin = \"json-log\"\n\
         endpoints.out = {{ kind = \"file\", path = \"/dev/null\" }}\n{more}"
    )
}

/// As the tests' configuration, with a name and an interval as users have them.
fn node(city: &City, more: &str) -> String {
    let config = config(&city.targets(), &sinks(more));
    config
        .replace("node = \"lab\"", "node = \"worker-1\"")
        .replace("interval = \"200ms\"", "interval = \"1s\"")
}

fn page(lab: &Lab, width: u32, height: u32) -> Browser {
    Browser::open_by(lab.command("node", "sh"), PAGE, width, height)
}

fn full(page: &mut Browser) {
    // A minute and more: longer than the driver waits for one thing.
    for windows in [WINDOWS / 2, WINDOWS] {
        page.until(
            &format!("state.windows.length >= {windows}"),
            "it has a past",
        );
    }
}

fn keep(page: &mut Browser, name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/img");
    std::fs::create_dir_all(&folder).unwrap();
    let png = STANDARD.decode(page.shot()).unwrap();
    println!("{name}.png: {} KB", png.len() >> 10);
    std::fs::write(folder.join(name).with_extension("png"), png).unwrap();
}

/// A terminal is drawn by the same browser, cell by cell.
fn keep_screen(lab: &Lab, top: &Terminal, name: &str) {
    let screen = top.screen();
    println!("{}", screen.contents());
    let (html, width, height) = drawn(&screen);
    let file = lab.dir.path().join("screen.html");
    std::fs::write(&file, html).unwrap();
    let url = format!("file://{}", file.display());
    let mut browser = Browser::open(&url, width, height);
    browser.until(
        "document.fonts.status === 'loaded' && document.querySelector('pre')",
        "it is drawn",
    );
    keep(&mut browser, name);
}

/// Traffic begins after that: a path that bypasses the node is found by how connections begin.
fn attached(agent: &Agent<'_>) {
    within(Duration::from_secs(120), "all are attached", || {
        let snapshot = agent.snapshot();
        let targets = snapshot["targets"].as_array().unwrap();
        let waiting = targets.iter().filter(|t| t["hook"].is_null()).count();
        match waiting == 0 && !targets.is_empty() {
            true => Ok(()),
            false => Err(format!("{waiting} of {} wait", targets.len())),
        }
    });
}

fn top(lab: &Lab, arguments: &str, rows: u16, columns: u16) -> Terminal {
    Terminal::start(
        lab,
        &format!("{BINARY} top --interval 1s {arguments}"),
        rows,
        columns,
    )
}

#[test]
#[ignore = "makes pictures: cargo xtask screenshots"]
fn one_target() {
    let city = City::new(1);
    let agent = Agent::attached(&city.lab, &node(&city, ""));
    let traffic = city.traffic();
    let mut page = page(&city.lab, 1100, 560);
    full(&mut page);
    keep(&mut page, "dashboard-1");
    assert_eq!(page.complaints(), [""; 0]);
    drop((traffic, agent));
}

#[test]
#[ignore = "makes pictures: cargo xtask screenshots"]
fn many_targets() {
    let city = City::new(250);
    let agent = Agent::start(&city.lab, &node(&city, ""));
    attached(&agent);
    let traffic = city.traffic();
    let top = top(&city.lab, "", 30, 124);
    let mut wide = page(&city.lab, 1100, 900);
    full(&mut wide);
    keep(&mut wide, "dashboard-250");
    keep_screen(&city.lab, &top, "top-250");
    let mut narrow = page(&city.lab, 390, 844);
    narrow.until("state.windows.length >= 20", "the past is there");
    narrow.until("state.basis === 'window'", "it is live");
    keep(&mut narrow, "dashboard-390");
    for page in [&wide, &narrow] {
        assert_eq!(page.complaints(), [""; 0]);
    }
    drop((traffic, agent));
}

#[test]
#[ignore = "makes pictures: cargo xtask screenshots"]
fn blind_and_failing() {
    let mut city = City::new(12);
    // Nothing else is permitted to read it.
    city.bypass(3);
    let lab = &city.lab;
    let broken = format!(
        "[[sinks]]\nname = \"broken\"\nplugin = {:?}\nendpoints.out = {{ kind = \"file\", path = \"/dev/null\" }}\n",
        fixture("panics")
    );
    let config = node(&city, &broken);
    let agent = Agent::without(lab, "cap_sys_admin,cap_net_admin", &config);
    attached(&agent);
    let traffic = city.traffic();
    within(
        Duration::from_secs(60),
        "one is blind, and a sink fails",
        || {
            let (snapshot, sink) = (agent.snapshot(), agent.sink("broken"));
            let targets = snapshot["targets"].as_array().unwrap();
            let blind = targets.iter().any(|target| target["blind"] == true);
            if blind && sink["last_error"] != "" {
                Ok(())
            } else {
                Err(format!("{snapshot} {sink}"))
            }
        },
    );
    let mut top = top(lab, "--group pods", 24, 124);
    let mut page = page(lab, 1100, 760);
    full(&mut page);
    page.dark();
    keep(&mut page, "dashboard-blind");
    assert_eq!(page.complaints(), [""; 0]);
    keep_screen(lab, &top, "top-blind");
    top.press("5");
    top.until("WHAT IS WRONG");
    keep_screen(lab, &top, "top-sinks");

    // The page's own plugin fails: its sink's mode is one that it refuses.
    let file = lab.dir.path().join("owlk8s.toml");
    let wrong = config.replacen(
        "plugin = \"dashboard\"",
        "plugin = \"dashboard\"\nmode = \"delta\"",
        1,
    );
    std::fs::write(file, wrong).unwrap();
    page.until(
        "!document.getElementById('trouble').hidden",
        "the page says so",
    );
    page.until(
        "document.getElementById('trouble').textContent.includes('mode')",
        "and why",
    );
    keep(&mut page, "dashboard-failing");
    drop((traffic, agent));
}

//! The page as native code makes it: what `make bench` holds the plugin against. Takes the file of a
//! snapshot; for each line `plain N` or `gzip N` of standard input it makes N pages, and answers with the
//! median of their nanoseconds and the bytes of a page.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark ends where it fails"
)]

use std::hint::black_box;
use std::time::Instant;

use owlk8s_plugin::testing::SnapshotData;
use owlk8s_plugin::{Request, Responder, Snapshot};
use prometheus::{Config, Prometheus};

fn main() {
    let file = std::env::args().nth(1).unwrap();
    let Ok(text) = std::fs::read_to_string(&file) else {
        // `cargo bench` gives `--bench`: then there is nothing to be held against.
        println!("run by `make bench`, with the file of a snapshot");
        return;
    };
    let data = SnapshotData::from_json(&text).unwrap();
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let (encoding, count) = line.split_once(' ').unwrap();
        let request = Request {
            method: "GET".to_owned(),
            target: "/metrics".to_owned(),
            headers: vec![("accept-encoding".to_owned(), encoding.to_owned())],
        };
        let mut bytes = 0;
        let mut times: Vec<u128> = (0..count.parse().unwrap())
            .map(|_| {
                let began = Instant::now();
                // A fresh one each time, as the plugin has it.
                let snapshot = Snapshot::new(&data);
                let page = Prometheus::respond(&Config::default(), &request, &snapshot).unwrap();
                bytes = black_box(page).body.len();
                began.elapsed().as_nanos()
            })
            .collect();
        times.sort_unstable();
        println!("{} {bytes}", times[times.len() / 2]);
    }
}

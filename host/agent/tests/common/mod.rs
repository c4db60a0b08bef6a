//! What the end-to-end tests share: a small node of network namespaces ([`Lab`]), a pod's server
//! ([`Nginx`]) with its own counts, and the real agent ([`Agent`]).
//!
//! They need root and some Debian packages; what is missing fails the test with its name.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "each test file uses its part of it"
)]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test panics where it fails"
)]

pub mod agent;
pub mod cni;
pub mod grafana;
pub mod histogram;
pub mod influx;
pub mod lab;
pub mod nginx;
pub mod prometheus;
pub mod receiver;
pub mod screen;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use agent::Agent;
pub use cni::{Cni, CniPod};
pub use influx::Influx;
pub use lab::Lab;
pub use nginx::Nginx;
pub use prometheus::Prometheus;
pub use receiver::Receiver;
pub use screen::Terminal;

/// Asks again and again until `ask` is content; its last complaint is the failure.
pub fn within<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + limit;
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(complaint) if Instant::now() > end => {
                panic!("{what}: not within {limit:?}: {complaint}")
            }
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// A shipped plugin, built by `make build`.
pub fn shipped(plugin: &str) -> PathBuf {
    built(&format!("plugins/{plugin}.wasm"))
}

/// A guest that does one thing, most of them a bad one; built by `make test`.
pub fn fixture(name: &str) -> PathBuf {
    built(&format!("plugins/fixtures/{name}.wasm"))
}

fn built(file: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_owlk8s"))
        .ancestors()
        .nth(2)
        .unwrap();
    let file = target.join(file);
    assert!(
        file.exists(),
        "{} is missing: run `make test`",
        file.display()
    );
    file
}

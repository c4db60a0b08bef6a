//! Where things lie. Everything that is built goes under `target/` of the checkout, also when `CARGO_TARGET_DIR` says
//! otherwise: the binary finds its plugins beside itself, and the README names these paths.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the checkout, known since xtask was compiled in it.
pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.ancestors().nth(2).unwrap_or(xtask)
}

/// A path in the checkout.
pub(crate) fn path(relative: &str) -> PathBuf {
    root().join(relative)
}

/// The target of this machine, as Rust and Debian's Rust name it.
pub(crate) fn native_target() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// The cargo in use, in this directory of the checkout.
pub(crate) fn cargo(directory: &str) -> Command {
    cargo_at("cargo", directory)
}

/// A certain cargo in this directory of the checkout, free of what `cargo run` put into our own environment.
pub(crate) fn cargo_at(program: &str, directory: &str) -> Command {
    let mut cargo = Command::new(program);
    cargo.current_dir(path(directory));
    for name in [
        "CARGO_TARGET_DIR",
        "CARGO_BUILD_TARGET",
        "LD_LIBRARY_PATH",
        "RUSTC",
        "RUSTC_BOOTSTRAP",
    ] {
        cargo.env_remove(name);
    }
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text == "CARGO" || text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_")
        {
            cargo.env_remove(&name);
        }
    }
    cargo
}

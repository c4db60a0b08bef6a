//! Puts the compiled kernel program where `include_bytes_aligned!` finds it.

use std::path::{Path, PathBuf};
use std::{env, fs, process};

fn main() {
    println!("cargo::rerun-if-env-changed=OWLK8S_BPF_OBJECT");
    let object = env::var_os("OWLK8S_BPF_OBJECT").map_or_else(built_object, PathBuf::from);
    println!("cargo::rerun-if-changed={}", object.display());
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("owlk8s-red");
    if let Err(error) = fs::copy(&object, &out) {
        println!(
            "cargo::error=the kernel program {} is not built ({error}): run `make build`, or `cargo xtask build-ebpf`",
            object.display()
        );
        process::exit(1);
    }
}

fn built_object() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bpf/owlk8s-red")
}

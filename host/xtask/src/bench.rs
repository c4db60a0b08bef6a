//! `make bench`: the benchmark of plugins, with the native code that it is held against.

use anyhow::Result;

use crate::compile;
use crate::plan::Toolchain;
use crate::run::{announce, run};
use crate::workspace::{cargo, path};

pub(crate) fn bench(toolchain: Toolchain) -> Result<()> {
    compile::plugins(toolchain)?;
    announce("the benchmark and its native half");
    let native = compile::native_bench()?;
    run(cargo(".")
        // Of the whole workspace: so cargo chooses the features that the tests are built with.
        .args([
            "bench",
            "--workspace",
            "--features",
            "owlk8s-plugin-host/bench",
        ])
        .args(["--bench", "guests", "--target-dir"])
        .arg(path("target"))
        .env("OWLK8S_BENCH_NATIVE", native))
}

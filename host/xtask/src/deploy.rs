//! `cargo xtask deploy`: the chart rendered by Helm's own engine, which PyPI has as a Python module. It lives with
//! Kubernetes' schemas in a folder under `target/`, so that nothing of this machine is changed.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::run::{announce, run, run_logged};
use crate::workspace::path;

const REQUIREMENTS: &str = "deploy/requirements.txt";
const MODULES: &str = "target/setup/deploy";

/// Writes `deploy/rendered`, or with `check` compares it.
pub(crate) fn deploy(check: bool) -> Result<()> {
    modules()?;
    let mut render = Command::new("python3");
    render
        .env("PYTHONPATH", path(MODULES))
        .arg(path("deploy/render.py"));
    if check {
        render.arg("--check");
    }
    run(&mut render)
}

/// Starts `target/image/owlk8s.tar` as the chart says, under runc or crun; fails where it is not ready soon, or not as
/// harmless as the chart says.
pub(crate) fn trial() -> Result<()> {
    modules()?;
    run(Command::new("python3")
        .env("PYTHONPATH", path(MODULES))
        .arg(path("deploy/trial.py"))
        .arg("start"))
}

/// What the image takes of memory and processor with so many pods, started in the same way.
pub(crate) fn measure(pods: &[String]) -> Result<()> {
    modules()?;
    run(Command::new("python3")
        .env("PYTHONPATH", path(MODULES))
        .arg(path("deploy/trial.py"))
        .arg("measure")
        .args(pods))
}

/// Whether Prometheus takes the alerts, and each fires when it shall.
pub(crate) fn alerts() -> Result<()> {
    for (what, file) in [
        ("check", "deploy/chart/alerts.yaml"),
        ("test", "deploy/alerts-test.yaml"),
    ] {
        run(Command::new("promtool")
            .args([what, "rules"])
            .arg(path(file)))
        .with_context(|| {
            format!("{file} is refused; promtool is in the Debian package prometheus")
        })?;
    }
    Ok(())
}

/// Installs them, unless they were installed for the same requirements.
fn modules() -> Result<()> {
    let wanted = fs::read_to_string(path(REQUIREMENTS))
        .with_context(|| format!("cannot read {REQUIREMENTS}"))?;
    let mark = path(MODULES).join("requirements.txt");
    if fs::read_to_string(&mark).is_ok_and(|there| there == wanted) {
        return Ok(());
    }
    announce(
        "Helm's engine and Kubernetes' schemas by pip into target/, to render and judge the chart (90 MB)",
    );
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--upgrade", "--target"])
        .arg(path(MODULES))
        .arg("--requirement")
        .arg(path(REQUIREMENTS));
    run_logged(&mut pip, &path("target/setup/deploy.log"))
        .with_context(|| format!("pip cannot install what {REQUIREMENTS} names"))?;
    fs::write(&mark, &wanted).with_context(|| format!("cannot write {}", mark.display()))
}

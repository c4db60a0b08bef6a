//! The build tool: `cargo xtask COMMAND`, called by the Makefile. It installs what is missing, builds the kernel program
//! and the plugins with the toolchain that is there, and runs the demo and the gate.
//!
//! It knows the layout of the checkout and nothing of what the crates do.

mod bench;
mod compile;
mod deploy;
mod examples;
mod gate;
mod image;
mod kernel;
mod machine;
mod needs;
mod plan;
mod reference;
mod run;
mod setup;
mod vm;
mod workspace;

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use lexopt::{Arg, ValueExt};

use crate::needs::Goal;
use crate::plan::Toolchain;

const USAGE: &str = "\
usage: cargo xtask COMMAND [--toolchain rustup|debian]

  build                   the kernel program, the plugins, target/release/owlk8s
  build-ebpf              ebpf/red -> target/bpf/owlk8s-red
  build-plugins           plugins/ -> target/plugins/NAME.wasm
  demo [--for DURATION]   build, then run `owlk8s demo`
  test                    the gate
  test-examples [NAME ...]
                          build and test examples/plugins in every language; fetches their toolchains (some 500 MB)
  image [--name NAME:TAG] [--folder DIR] [--try]
                          what was built as a container image: target/image/owlk8s.tar, or just its files;
                          --try starts it under runc or crun as the chart says
  measure [PODS[xPLUGINS] ...]
                          what that image takes of memory and processor with 10, 110, 250 pods, and 250x10, or so many
  deploy [--check]        deploy/chart -> deploy/rendered, judged by Kubernetes' schemas
  reference [--check]     the configuration's structs -> host/docs/configuration.md
  vm-test [KERNEL ...]    the kernel tests on other kernels, each booted in an emulator; a KERNEL is a series of Debian's
                          (6.1), the file of a kernel package, or a folder that some were unpacked into; --only NAME
                          runs the checks with NAME in theirs
  screenshots             build, then make the pictures of host/docs/img anew: the live page in chromium, and `owlk8s top`
  bench                   build, then measure what plugins cost, as ratios
  setup GOAL [--dry-run]  install what GOAL (build, demo, test, scenarios) needs

--toolchain chooses what compiles eBPF and WebAssembly; by itself xtask takes what is there.";

/// What was typed.
#[derive(Debug, Default)]
struct Arguments {
    command: Option<String>,
    goal: Option<String>,
    /// Kernels, or examples.
    names: Vec<String>,
    only: Option<String>,
    toolchain: Option<Toolchain>,
    duration: Option<String>,
    dry_run: bool,
    name: Option<String>,
    folder: Option<PathBuf>,
    check: bool,
    attempt: bool,
    pods: Vec<String>,
    help: bool,
}

fn main() -> ExitCode {
    let arguments = match parse(lexopt::Parser::from_env()) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("xtask: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!(
                "{}: {error:#}",
                arguments.command.as_deref().unwrap_or("xtask")
            );
            ExitCode::FAILURE
        }
    }
}

fn parse(mut parser: lexopt::Parser) -> Result<Arguments, lexopt::Error> {
    let mut arguments = Arguments::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Value(word) if arguments.command.is_none() => {
                arguments.command = Some(word.string()?)
            }
            Arg::Value(word)
                if arguments.goal.is_none() && arguments.command.as_deref() == Some("setup") =>
            {
                arguments.goal = Some(word.string()?);
            }
            Arg::Value(word)
                if ["vm-test", "test-examples"]
                    .iter()
                    .any(|command| arguments.command.as_deref() == Some(command)) =>
            {
                arguments.names.push(word.string()?);
            }
            Arg::Value(word) if arguments.command.as_deref() == Some("measure") => {
                arguments.pods.push(word.parse_with(pods)?);
            }
            Arg::Long("try") => arguments.attempt = true,
            Arg::Long("only") => arguments.only = Some(parser.value()?.string()?),
            Arg::Long("toolchain") => {
                arguments.toolchain = Some(parser.value()?.parse_with(toolchain)?)
            }
            Arg::Long("for") => arguments.duration = Some(parser.value()?.string()?),
            Arg::Long("dry-run") => arguments.dry_run = true,
            Arg::Long("name") => arguments.name = Some(parser.value()?.string()?),
            Arg::Long("folder") => arguments.folder = Some(parser.value()?.into()),
            Arg::Long("check") => arguments.check = true,
            Arg::Long("help") | Arg::Short('h') => arguments.help = true,
            other => return Err(other.unexpected()),
        }
    }
    Ok(arguments)
}

/// `250` or `250x10`: pods, and plugins.
fn pods(word: &str) -> Result<String, &'static str> {
    let (pods, plugins) = word.split_once('x').unwrap_or((word, "1"));
    match (pods.parse::<u16>(), plugins.parse::<u8>()) {
        (Ok(1..), Ok(1..)) => Ok(word.to_owned()),
        _ => Err("how many pods, as 250, or pods and plugins, as 250x10"),
    }
}

fn toolchain(name: &str) -> Result<Toolchain, String> {
    match name {
        "rustup" => Ok(Toolchain::Rustup),
        "debian" => Ok(Toolchain::Debian),
        _ => Err("it is rustup or debian".to_owned()),
    }
}

fn dispatch(arguments: &Arguments) -> Result<()> {
    let started = Instant::now();
    let wish = arguments.toolchain;
    match arguments.command.as_deref() {
        _ if arguments.help => eprintln!("{USAGE}"),
        Some("build") => compile::everything(ready(Goal::Build, wish)?)?,
        Some("build-ebpf") => compile::ebpf(ready(Goal::Build, wish)?)?,
        Some("build-plugins") => compile::plugins(ready(Goal::Build, wish)?)?,
        Some("bench") => bench::bench(ready(Goal::Build, wish)?)?,
        Some("screenshots") => {
            let toolchain = ready(Goal::Test, wish)?;
            compile::everything(toolchain)?;
            gate::screenshots()?;
        }
        Some("test") => gate::gate(ready(Goal::Test, wish)?)?,
        Some("test-examples") => {
            compile::everything(ready(Goal::Build, wish)?)?;
            examples::test(&arguments.names)?;
        }
        Some("demo") => {
            compile::everything(ready(Goal::Demo, wish)?)?;
            run::announce(&format!(
                "built after {}; the demo begins",
                run::human(started.elapsed())
            ));
            return demo(arguments.duration.as_deref());
        }
        Some("image") => match &arguments.folder {
            Some(folder) => image::folder(folder)?,
            None => {
                image::archive(arguments.name.as_deref())?;
                if arguments.attempt {
                    deploy::trial()?;
                }
            }
        },
        Some("measure") => deploy::measure(&arguments.pods)?,
        Some("deploy") => deploy::deploy(arguments.check)?,
        Some("reference") => reference::reference(arguments.check)?,
        Some("vm-test") => {
            let toolchain = ready(Goal::Build, wish)?;
            vm::test(toolchain, &arguments.names, arguments.only.as_deref())?;
        }
        Some("setup") => {
            let name = arguments.goal.as_deref().unwrap_or("build");
            let goal = Goal::parse(name).with_context(|| {
                format!("no goal `{name}`; there are build, demo, test, scenarios")
            })?;
            match arguments.dry_run {
                true => setup::dry_run(goal, wish)?,
                false => drop(ready(goal, wish)?),
            }
        }
        Some(other) => bail!("no command `{other}`\n{USAGE}"),
        None => bail!("a command is missing\n{USAGE}"),
    }
    run::announce(&format!("done after {}", run::human(started.elapsed())));
    Ok(())
}

/// Asks the kernel first, so that its refusal is the first line; then installs.
fn ready(goal: Goal, wish: Option<Toolchain>) -> Result<Toolchain> {
    refuse(goal)?;
    let toolchain = setup::setup(goal, wish)?;
    refuse(goal)?; // once more, now that `ip` is there to try with
    Ok(toolchain)
}

fn refuse(goal: Goal) -> Result<()> {
    match kernel::first_obstacle(goal) {
        Some(obstacle) => bail!(obstacle),
        None => Ok(()),
    }
}

/// Becomes `owlk8s demo`, so that Ctrl-C reaches it alone and it can clean up.
fn demo(duration: Option<&str>) -> Result<()> {
    let binary = workspace::path("target/release/owlk8s");
    let mut demo = Command::new(&binary);
    demo.arg("demo").env_remove("LD_LIBRARY_PATH");
    if let Some(duration) = duration {
        demo.args(["--for", duration]);
    }
    Err(demo.exec()).with_context(|| format!("cannot start {}", binary.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(words: &[&str]) -> Result<Arguments, lexopt::Error> {
        parse(lexopt::Parser::from_args(words))
    }

    #[test]
    fn arguments_are_understood() {
        let arguments =
            typed(&["demo", "--for", "20s", "--toolchain=debian"]).expect("they are valid");
        assert_eq!(arguments.command.as_deref(), Some("demo"));
        assert_eq!(arguments.duration.as_deref(), Some("20s"));
        assert_eq!(arguments.toolchain, Some(Toolchain::Debian));
        assert_eq!(
            typed(&["setup", "test"]).expect("valid").goal.as_deref(),
            Some("test")
        );
        let kernels = typed(&["vm-test", "6.1", "6.12"]).expect("valid").names;
        assert_eq!(kernels, ["6.1", "6.12"]);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert!(typed(&["build", "twice"]).is_err());
        assert!(typed(&["build", "--toolchain", "gcc"]).is_err());
        assert!(dispatch(&typed(&["bild"]).expect("it parses")).is_err());
    }
}

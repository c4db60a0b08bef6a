//! `owlk8s-wire fuzz`: searches for conversations that the kernel program counts wrongly, until it is stopped.

#![expect(clippy::print_stdout, reason = "a command says what it found")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use owlk8s_wire::{Case, Counts, Kernel, Plan, expected, shrink};

/// The kernel program against the reference model. Needs root.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Searches for conversations that are counted wrongly.
    Fuzz {
        /// For how long; without it until it is stopped.
        #[arg(long)]
        seconds: Option<u64>,
        /// The first seed; the next are those after it.
        #[arg(long)]
        seed: Option<u64>,
        /// Ends after so many failures.
        #[arg(long, default_value_t = 1)]
        failures: u32,
        /// Where a failing case is kept.
        #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus"))]
        corpus: PathBuf,
    },
    /// Replays a case and prints both counts.
    Replay {
        /// A file of the corpus.
        case: PathBuf,
    },
}

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Fuzz {
            seconds,
            seed,
            failures,
            corpus,
        } => fuzz(seconds, seed, failures, &corpus),
        Command::Replay { case } => replay(&case),
    }
}

fn fuzz(seconds: Option<u64>, seed: Option<u64>, most: u32, corpus: &std::path::Path) -> ExitCode {
    let mut kernel = Kernel::new();
    let first = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("from seed {first} on");
    let (start, mut said) = (Instant::now(), Instant::now());
    let (mut cases, mut packets, mut failures) = (0_u64, 0, 0);
    loop {
        let seed = first.wrapping_add(cases);
        let plan = Plan::random(seed);
        let case = plan.case();
        cases += 1;
        packets += case.lines.len();
        let (want, got) = (expected(&case), kernel.run(&case));
        if want != got {
            failures += 1;
            failed(seed, plan, corpus, &mut kernel);
        }
        let over = seconds.is_some_and(|seconds| start.elapsed() >= Duration::from_secs(seconds));
        if over || failures >= most || said.elapsed() > Duration::from_secs(10) {
            said = Instant::now();
            println!(
                "{cases} conversations, {packets} packets, {failures} failures, {:.0?}",
                start.elapsed()
            );
        }
        if over || failures >= most {
            return if failures == 0 {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            };
        }
    }
}

fn failed(seed: u64, plan: Plan, corpus: &std::path::Path, kernel: &mut Kernel) {
    let plan = shrink(plan, |plan| {
        let case = plan.case();
        expected(&case) != kernel.run(&case)
    });
    let case = plan.case();
    let (want, got) = (expected(&case), kernel.run(&case));
    let file = corpus.join(format!("seed-{seed}.txt"));
    let text = format!("# Seed {seed}, made smaller.\n{case}");
    println!(
        "seed {seed} is counted wrongly:\n{case}{}",
        difference(&want, &got)
    );
    match std::fs::write(&file, text) {
        Ok(()) => println!("kept as {}", file.display()),
        Err(error) => println!("cannot write {}: {error}", file.display()),
    }
}

fn replay(file: &std::path::Path) -> ExitCode {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            println!("cannot read {}: {error}", file.display());
            return ExitCode::FAILURE;
        }
    };
    match text.parse::<Case>() {
        Ok(case) => {
            let (want, got) = (expected(&case), Kernel::new().run(&case));
            println!("{want:#?}{}", difference(&want, &got));
            if want == got {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            println!("{}: {error}", file.display());
            ExitCode::FAILURE
        }
    }
}

fn difference(want: &Counts, got: &Counts) -> String {
    if want == got {
        "\nequal".to_owned()
    } else {
        format!("\nmodel:  {want:?}\nkernel: {got:?}")
    }
}

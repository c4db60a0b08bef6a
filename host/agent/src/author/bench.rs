//! `owlk8s plugin bench`: what a plugin costs a window, on nodes of several sizes.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use owlk8s_plugin_host::{PluginKind, Size, Workshop, node};
use serde::{Deserialize as _, Serialize};

use super::stand_in::StandIn;
use super::{SinkArgs, run, sink, workbench};
use crate::client::runtime;
use crate::privilege;

/// Of each pod.
const ROWS: u64 = 5;

#[derive(Args, Clone, Debug)]
pub(crate) struct BenchArgs {
    /// The component
    component: PathBuf,
    /// Sizes of the node
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "100,1000", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    targets: Vec<u64>,
    /// Windows of each size; the median of their costs counts
    #[arg(long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    windows: u64,
    /// What a window may cost at the largest size: `cpu=5ms,memory=16MiB,bytes=1MiB`; more ends with 1
    #[arg(long, value_name = "LIMITS", value_parser = Budget::parse)]
    budget: Option<Budget>,
    /// For a responder: method and path
    #[arg(long, value_name = "REQUEST", default_value = "GET /")]
    request: String,
    /// For a responder: a field of the request's head, such as 'accept-encoding: gzip'
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sink: SinkArgs,
}

/// What one window may cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Budget {
    cpu: Option<Duration>,
    memory: Option<u64>,
    bytes: Option<u64>,
}

impl Budget {
    fn parse(text: &str) -> Result<Self, String> {
        let mut budget = Self::default();
        for part in text.split(',') {
            let (key, value) = part
                .split_once('=')
                .ok_or_else(|| format!("{part:?} must be KEY=VALUE, such as cpu=5ms"))?;
            let size = || {
                let json = serde_json::Value::from(value);
                Size::deserialize(json)
                    .map(|size| size.0)
                    .map_err(|error| format!("{key}: {error}"))
            };
            match key {
                "cpu" => {
                    let cpu = humantime::parse_duration(value);
                    budget.cpu = Some(cpu.map_err(|error| format!("cpu: {error}"))?);
                }
                "memory" => budget.memory = Some(size()?),
                "bytes" => budget.bytes = Some(size()?),
                _ => return Err(format!("{key:?} is none of cpu, memory, bytes")),
            }
        }
        Ok(budget)
    }

    /// Sentences: what of it is over.
    fn over(&self, line: &Line) -> Vec<String> {
        let mut over = Vec::new();
        let cpu = Duration::from_nanos(line.cpu_ns);
        if let Some(most) = self.cpu.filter(|most| cpu > *most) {
            over.push(format!("cpu: {cpu:?} a window, and the budget is {most:?}"));
        }
        for (what, used, most) in [
            ("memory", line.memory, self.memory),
            ("bytes", line.bytes, self.bytes),
        ] {
            if let Some(most) = most.filter(|most| used > *most) {
                over.push(format!("{what}: {used} bytes, and the budget is {most}"));
            }
        }
        over
    }
}

/// What a window of one size costs.
#[derive(Debug, Serialize)]
struct Line {
    targets: u64,
    rows: u64,
    /// Median over the windows.
    cpu_ns: u64,
    /// The most of all windows.
    memory: u64,
    /// Of the last window.
    bytes: u64,
}

#[derive(Serialize)]
struct Report {
    component_bytes: u64,
    sizes: Vec<Line>,
    over_budget: Vec<String>,
}

/// The costs in words, and whether they are within the budget.
pub(crate) fn bench(args: &BenchArgs) -> anyhow::Result<(String, bool)> {
    let shown = args.component.display();
    let size = std::fs::metadata(&args.component)
        .with_context(|| format!("cannot read {shown}"))?
        .len();
    privilege::drop_all()?;
    let sizes = runtime()?.block_on(measure(args))?;
    let over = sizes.iter().max_by_key(|line| line.targets);
    let over = over
        .zip(args.budget.as_ref())
        .map(|(line, budget)| budget.over(line));
    let report = Report {
        component_bytes: size,
        sizes,
        over_budget: over.unwrap_or_default(),
    };
    let within = report.over_budget.is_empty();
    if args.json {
        return Ok((serde_json::to_string_pretty(&report)? + "\n", within));
    }
    let mut text = format!(
        "{shown}: {} KiB\n\n{:>8} {:>8} {:>14} {:>12} {:>14}\n",
        size >> 10,
        "targets",
        "rows",
        "cpu a window",
        "memory",
        "bytes a window"
    );
    for line in &report.sizes {
        text += &format!(
            "{:>8} {:>8} {:>11.2} ms {:>8} KiB {:>14}\n",
            line.targets,
            line.rows,
            line.cpu_ns as f64 / 1e6,
            line.memory >> 10,
            line.bytes
        );
    }
    for over in &report.over_budget {
        text += &format!("over the budget: {over}\n");
    }
    Ok((text, within))
}

async fn measure(args: &BenchArgs) -> anyhow::Result<Vec<Line>> {
    let server = StandIn::start(204).await?;
    let mut lines = Vec::new();
    let asked = run::asked(&args.request, &args.headers)?;
    let sink = sink(&args.component, &args.sink, Some(&server.url()))?;
    let mut bench = workbench(&mut Workshop::new()?, sink)?;
    bench.validate().await.map_err(anyhow::Error::msg)?;
    for targets in &args.targets {
        bench.reset();
        let (mut cpu, mut memory, mut bytes) = (Vec::new(), 0, 0);
        // The first is thrown away: its code comes from the disk.
        for sequence in 1..=args.windows + 1 {
            let snapshot = node(*targets, ROWS, sequence);
            let tried = bench.try_on(&snapshot, Some(&asked)).await;
            let given = match tried.given {
                Ok(given) => given,
                Err(fault) => bail!("{fault} (at {targets} targets)"),
            };
            let sent: usize = server.take().iter().map(String::len).sum();
            if sequence > 1 {
                cpu.push(tried.cost.cpu_ns);
            }
            memory = tried.cost.memory.max(memory);
            bytes = given.bytes() as u64;
            if bench.kind() == PluginKind::Exporter {
                bytes = sent as u64;
            }
        }
        cpu.sort_unstable();
        lines.push(Line {
            targets: *targets,
            rows: targets * ROWS,
            cpu_ns: cpu[cpu.len() / 2],
            memory,
            bytes,
        });
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budget_names_what_is_over_and_what_is_no_budget() {
        let budget = Budget::parse("cpu=5ms,memory=1MiB").unwrap();
        let line = |cpu_ns, memory| Line {
            targets: 1,
            rows: 5,
            cpu_ns,
            memory,
            bytes: 1 << 30,
        };
        assert_eq!(budget.over(&line(5_000_000, 1 << 20)), Vec::<String>::new());
        assert_eq!(
            budget.over(&line(6_000_000, 2 << 20)),
            [
                "cpu: 6ms a window, and the budget is 5ms",
                "memory: 2097152 bytes, and the budget is 1048576"
            ]
        );
        assert!(Budget::parse("cpu").unwrap_err().contains("KEY=VALUE"));
        assert!(Budget::parse("size=1").unwrap_err().contains("none of cpu"));
        assert!(Budget::parse("memory=much").is_err());
    }
}

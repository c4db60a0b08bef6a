//! `owlk8s plugin test`: what a plugin gives, against golden files, and whether it survives what a node may come to be.
//!
//! A test is `tests/NAME.toml` beside the component, and what the plugin gives is kept in `tests/NAME.golden`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use owlk8s_plugin_host::{Asked, Workbench, Workshop, built_in};
use serde::Deserialize;

use super::project::Project;
use super::stand_in::StandIn;
use super::{run, show, sink_of, snapshots, workbench};
use crate::client::runtime;
use crate::privilege;

/// Every plugin meets them, with the sink of its first test.
const ALWAYS: [&str; 3] = ["empty", "odd-names", "rows-50000"];
/// Lines of a difference that are shown.
const SHOWN: usize = 3;

#[derive(Args, Clone, Debug)]
pub(crate) struct TestArgs {
    /// The component, with `tests` beside it, or a plugin's folder that was built
    plugin: PathBuf,
    /// Write the golden files anew, for `git diff` to show
    #[arg(long)]
    bless: bool,
}

/// `tests/NAME.toml`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Case {
    /// One that is built in, or a file beside the test. Several snapshots in it are windows that follow each other.
    snapshot: String,
    /// A responder's.
    request: String,
    headers: Vec<String>,
    /// What the server answers that stands in for an exporter's: `{server}` in `sink` is its URL.
    answer: u16,
    /// Keys of a sink.
    sink: toml::Table,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            snapshot: "shop".to_owned(),
            request: "GET /".to_owned(),
            headers: Vec::new(),
            answer: 204,
            sink: toml::Table::new(),
        }
    }
}

/// The verdicts in words, and whether all are good.
pub(crate) fn test(args: &TestArgs) -> anyhow::Result<(String, bool)> {
    let component = match args.plugin.is_dir() {
        true => Project::open(&args.plugin)?.component(),
        false => args.plugin.clone(),
    };
    if !component.is_file() {
        bail!(
            "{} is not there: build it by `owlk8s plugin build {}`",
            component.display(),
            component.parent().unwrap_or(Path::new(".")).display()
        );
    }
    let folder = component.parent().unwrap_or(Path::new("")).join("tests");
    let cases = cases(&folder)?;
    privilege::drop_all()?;
    runtime()?.block_on(judge(&component, &folder, &cases, args.bless))
}

fn cases(folder: &Path) -> anyhow::Result<BTreeMap<String, Case>> {
    let shown = folder.display();
    let files = std::fs::read_dir(folder).with_context(|| {
        format!("cannot read {shown}: a plugin's tests are tests/NAME.toml beside its component")
    })?;
    let mut cases = BTreeMap::new();
    for file in files {
        let path = file?.path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let case: Case = toml::from_str(&text).with_context(|| path.display().to_string())?;
        let name = path.file_stem().unwrap_or_default();
        cases.insert(name.to_string_lossy().into_owned(), case);
    }
    if cases.is_empty() {
        bail!("{shown} holds no test: write {shown}/NAME.toml, such as: snapshot = \"shop\"");
    }
    Ok(cases)
}

async fn judge(
    component: &Path,
    folder: &Path,
    cases: &BTreeMap<String, Case>,
    bless: bool,
) -> anyhow::Result<(String, bool)> {
    let mut workshop = Workshop::new()?;
    let (mut text, mut passed, mut failed) = (String::new(), 0, 0);
    let mut tell = |name: &str, verdict: Result<&str, String>| match verdict {
        Ok(how) => {
            passed += 1;
            text += &format!("{how:7} {name}\n");
        }
        Err(why) => {
            failed += 1;
            text += &format!("FAILED  {name}: {why}\n");
        }
    };
    for (name, case) in cases {
        let golden = folder.join(name).with_extension("golden");
        let given = match case.run(&mut workshop, component, folder).await? {
            Ok(given) => given,
            Err(fault) => {
                tell(name, Err(fault));
                continue;
            }
        };
        if bless {
            std::fs::write(&golden, &given)
                .with_context(|| format!("cannot write {}", golden.display()))?;
            tell(name, Ok("written"));
        } else {
            let wanted = std::fs::read_to_string(&golden);
            tell(
                name,
                match wanted {
                    Ok(wanted) if wanted == given => Ok("ok"),
                    Ok(wanted) => Err(difference(&wanted, &given, &golden)),
                    Err(error) => Err(format!(
                        "cannot read {}: {error} (write it by --bless)",
                        golden.display()
                    )),
                },
            );
        }
    }
    let first = cases.values().next().cloned().unwrap_or_default();
    for name in ALWAYS {
        let case = Case {
            snapshot: name.to_owned(),
            ..first.clone()
        };
        let verdict = case.run(&mut workshop, component, folder).await?;
        tell(&format!("(survives {name})"), verdict.map(|_| "ok"));
    }
    text += &format!("{passed} passed, {failed} failed\n");
    Ok((text, failed == 0))
}

impl Case {
    /// All that the plugin gives, as text, or its fault.
    async fn run(
        &self,
        workshop: &mut Workshop,
        component: &Path,
        folder: &Path,
    ) -> anyhow::Result<Result<String, String>> {
        let server = StandIn::start(self.answer).await?;
        let mut text = toml::to_string(&self.sink)?;
        let sends = text.contains("{server}");
        text = text.replace("{server}", &server.url());
        let mut table: toml::Table = text.parse()?;
        if sends {
            grant(&mut table, &server.url());
        }
        let mut bench: Workbench = match workbench(workshop, sink_of(component, table)?) {
            Ok(bench) => bench,
            Err(error) => return Ok(Err(format!("{error:#}"))),
        };
        if let Err(why) = bench.validate().await {
            return Ok(Err(why));
        }
        let asked: Asked = run::asked(&self.request, &self.headers)?;
        let windows = match built_in(&self.snapshot) {
            Some(snapshot) => vec![snapshot],
            None => snapshots(&folder.join(&self.snapshot).display().to_string())?,
        };
        let several = windows.len() > 1;
        let mut all = String::new();
        for window in &windows {
            if several {
                all += &format!("=== window {}\n", window.window.sequence);
            }
            let tried = bench.try_on(window, Some(&asked)).await;
            for request in server.take() {
                all += &request;
            }
            match tried.given {
                Ok(given) => all += &show::text(&given),
                Err(fault) => return Ok(Err(fault)),
            }
        }
        Ok(Ok(all.replace(&server.url(), "{server}")))
    }
}

/// What the server that stands in needs of the sink.
fn grant(sink: &mut toml::Table, url: &str) {
    let grant = sink
        .entry("grant")
        .or_insert_with(|| toml::Table::new().into());
    if let Some(grant) = grant.as_table_mut() {
        grant.insert("loopback".to_owned(), true.into());
        let http = grant
            .entry("http")
            .or_insert_with(|| toml::Value::Array(Vec::new()));
        if let Some(http) = http.as_array_mut() {
            http.push(url.into());
        }
    }
}

/// The first lines that differ.
fn difference(wanted: &str, given: &str, golden: &Path) -> String {
    let (mut old, mut new) = (wanted.lines(), given.lines());
    let mut number = 0;
    loop {
        number += 1;
        let (before, now) = (old.next(), new.next());
        if before == now && before.is_some() {
            continue;
        }
        let show = |sign: char, lines: Vec<&str>| {
            let lines = lines.into_iter().take(SHOWN);
            lines
                .map(|line| format!("\n  {sign} {line}"))
                .collect::<String>()
        };
        return format!(
            "it differs from {} at line {number} (--bless writes it anew){}{}",
            golden.display(),
            show('-', before.into_iter().chain(old).collect()),
            show('+', now.into_iter().chain(new).collect())
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn difference_shows_its_first_lines_and_where_they_are() {
        let text = difference("a\nb\nc\n", "a\nx\n", Path::new("t.golden"));
        assert_eq!(
            text,
            "it differs from t.golden at line 2 (--bless writes it anew)\n  - b\n  - c\n  + x"
        );
        assert!(difference("a", "a\nb", Path::new("t")).contains("line 2"));
    }

    #[test]
    fn server_that_stands_in_is_granted_beside_what_the_test_grants() {
        let mut sink: toml::Table = "grant.http = [\"a.example\"]".parse().unwrap();
        grant(&mut sink, "http://127.0.0.1:9");
        let text = toml::to_string(&sink).unwrap();
        assert!(text.contains("loopback = true"), "{text}");
        assert!(
            text.contains("[\"a.example\", \"http://127.0.0.1:9\"]"),
            "{text}"
        );
    }
}

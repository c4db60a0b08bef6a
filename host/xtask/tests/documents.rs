//! What README and the other documents say is held against what is there.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

fn read(relative: &str) -> String {
    fs::read_to_string(root().join(relative)).unwrap()
}

/// The blocks of a Markdown text that are fenced with this language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let opening = format!("```{language}\n");
    text.split(&opening)
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

/// The targets of relative links in a Markdown text, without their `#fragment`.
fn links(text: &str) -> Vec<String> {
    text.split("](")
        .skip(1)
        .map(|rest| rest.split([')', '#']).next().unwrap().to_owned())
        .filter(|link| !link.is_empty() && !link.contains("://"))
        .collect()
}

/// The binary that was built together with these tests.
fn owlk8s() -> PathBuf {
    let binary = Path::new(env!("CARGO_BIN_EXE_xtask")).with_file_name("owlk8s");
    assert!(
        binary.is_file(),
        "{} is missing: these tests belong to `make test`, which builds it (or: cargo build --release --package owlk8s)",
        binary.display()
    );
    binary
}

/// `owlk8s config` takes this configuration, which stands in `place`.
fn accepted(sample: &str, place: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("owlk8s.toml");
    fs::write(&file, sample).unwrap();
    let output = Command::new(owlk8s())
        .arg("config")
        .arg("--config")
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "the configuration in {place} is refused:\n{sample}\n{said}"
    );
}

#[test]
fn readme_configurations_are_accepted() {
    let samples = blocks(&read("README.md"), "toml");
    assert!(
        samples.len() >= 2,
        "README shows a configuration for static targets and one for a host"
    );
    for sample in samples {
        accepted(&sample, "README.md");
    }
}

/// What stands in a rendered manifest under `owlk8s.toml: |`.
fn configuration_in(manifest: &str) -> String {
    let opening = "  owlk8s.toml: |\n";
    let rest = manifest.split(opening).nth(1).unwrap();
    let lines = rest
        .lines()
        .take_while(|line| line.starts_with("    ") || line.is_empty());
    lines
        .map(|line| format!("{}\n", line.trim_start()))
        .collect()
}

#[test]
fn rendered_manifests_hold_configurations_that_are_accepted() {
    let rendered: Vec<PathBuf> = fs::read_dir(root().join("deploy/rendered"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(rendered.len() >= 5, "{rendered:?}");
    for manifest in rendered {
        let sample = configuration_in(&fs::read_to_string(&manifest).unwrap());
        assert!(sample.contains("[[sinks]]"), "{sample}");
        accepted(&sample, &manifest.display().to_string());
    }
}

#[test]
fn readme_shell_samples_are_shell() {
    let samples = blocks(&read("README.md"), "sh");
    assert!(!samples.is_empty());
    for sample in samples {
        let output = Command::new("sh")
            .args(["-n", "-c", &sample])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{sample}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn make_commands_in_readme_are_targets_of_the_makefile() {
    let makefile = read("Makefile");
    let targets: Vec<&str> = makefile
        .lines()
        .filter(|line| !line.starts_with([' ', '\t', '.', '#']))
        .filter_map(|line| line.split_once(':'))
        .flat_map(|(targets, _)| targets.split_whitespace())
        .collect();
    let readme = read("README.md");
    let named: Vec<&str> = readme
        .split("`make ")
        .skip(1)
        .chain(readme.split("\nmake ").skip(1))
        .map(|rest| {
            rest.split(|c: char| !c.is_ascii_alphanumeric())
                .next()
                .unwrap()
        })
        .collect();
    assert!(
        named.contains(&"demo") && named.contains(&"test"),
        "{named:?}"
    );
    for name in named {
        assert!(
            targets.contains(&name),
            "README says `make {name}`; the Makefile has {targets:?}"
        );
    }
}

/// The documents of `host/docs`.
fn documents() -> Vec<String> {
    let entries = fs::read_dir(root().join("host/docs")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut documents: Vec<String> = names
        .filter(|name| name.ends_with(".md"))
        .map(|name| format!("host/docs/{name}"))
        .collect();
    documents.sort();
    documents
}

#[test]
fn shell_samples_of_documents_are_shell() {
    let mut documents = documents();
    documents.push("deploy/examples/README.md".to_owned());
    for document in documents {
        for sample in blocks(&read(&document), "sh") {
            let output = Command::new("sh")
                .args(["-n", "-c", &sample])
                .stdin(Stdio::null())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{document}:\n{sample}\n{said}");
        }
    }
}

#[test]
fn documents_name_commands_that_there_are() {
    let usage = |words: &[&str]| {
        let output = Command::new(owlk8s())
            .args(words)
            .arg("--help")
            .output()
            .unwrap();
        assert!(output.status.success(), "owlk8s {words:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    for words in [
        vec!["run"],
        vec!["config"],
        vec!["doctor"],
        vec!["top"],
        vec!["log"],
        vec!["support"],
        vec!["plugin", "crash"],
        vec!["plugin", "replay"],
        vec!["plugin", "manifest"],
    ] {
        usage(&words);
    }
    let support = usage(&["support"]);
    for option in ["--config", "--output", "--names", "--url"] {
        assert!(support.contains(option), "{support}");
    }
}

/// All words of this kind in a text.
fn words_with(text: &str, prefix: &str) -> BTreeSet<String> {
    let parts = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let words = parts.filter(|word| word.starts_with(prefix));
    words.map(str::to_owned).collect()
}

#[test]
fn metrics_page_has_each_metric_of_the_agent_and_no_other() {
    let source = read("host/agent/src/admin/metrics.rs");
    let mut there: BTreeSet<String> = source
        .split('"')
        .filter(|text| text.starts_with("owlk8s_") && !text.contains('{'))
        .map(|name| {
            name.trim_end_matches("_sum")
                .trim_end_matches("_count")
                .to_owned()
        })
        .collect();
    // Those of a table: its first texts are names.
    let table = source.split("const SINK_COUNTERS").nth(1).unwrap();
    let table = table.split("];").next().unwrap();
    for entry in table.split("|c|").filter(|entry| entry.contains('(')) {
        let name = entry.rsplit_once('(').unwrap().1.split('"').nth(1).unwrap();
        there.insert(format!("owlk8s_sink_{name}_total"));
    }
    let page = read("host/docs/metrics.md");
    let rows = page.lines().filter(|line| line.starts_with("| `owlk8s_"));
    let described: BTreeSet<String> = rows
        .map(|line| line.split('`').nth(1).unwrap().to_owned())
        .collect();
    assert_eq!(
        described, there,
        "host/docs/metrics.md (left) and the code (right)"
    );
    let alerts = words_with(&read("deploy/chart/alerts.yaml"), "owlk8s_");
    for name in &alerts {
        assert!(
            there.contains(name),
            "alerts.yaml reads {name}, which there is not"
        );
    }
    for (_, reason, _) in owlk8s_ebpf_abi::Loss::ALL {
        assert!(
            page.contains(&format!("| `{reason}` |")),
            "{reason} is not described"
        );
    }
}

/// Sources whose messages users meet.
const SPEAKING: [&str; 5] = [
    "host/probe/src/error.rs",
    "host/discover/src/error.rs",
    "host/discover/src/kubernetes/access.rs",
    "host/agent/src/config/error.rs",
    "host/plugin-host/src/plugin.rs",
];

/// Every text of a source, with the continuation of lines joined.
fn texts(source: &str) -> String {
    let lines = source.lines().map(str::trim_start);
    lines.collect::<Vec<_>>().join("\n").replace("\\\n", "")
}

/// The parts of a message that do not differ.
fn fixed(message: &str) -> Vec<&str> {
    let parts = message.split(['{', '}']).step_by(2);
    parts.map(str::trim).filter(|part| part.len() > 4).collect()
}

#[test]
fn each_message_of_the_rooms_that_speak_to_users_is_in_troubleshooting() {
    let page = read("host/docs/troubleshooting.md");
    for file in SPEAKING {
        let source = texts(&read(file));
        for part in source.split("#[error(").skip(1) {
            let Some(message) = part.trim_start().strip_prefix('"') else {
                continue;
            };
            let message = message.split('"').next().unwrap();
            let longest = fixed(message).into_iter().max_by_key(|part| part.len());
            let Some(longest) = longest else { continue };
            // The page may stop before its end.
            let known = page.split('`').any(|told| {
                let told = told
                    .split('…')
                    .map(|part| part.trim().trim_end_matches(':'));
                let mut told = told.filter(|part| part.len() > 3);
                told.any(|told| longest.contains(told) || told.contains(longest))
            });
            assert!(
                known,
                "{file} says `{message}`, which troubleshooting.md does not know"
            );
        }
    }
}

#[test]
fn links_in_documents_lead_somewhere() {
    let others = [
        "README.md",
        "CHANGELOG.md",
        "host/docs/adr/README.md",
        "deploy/examples/README.md",
        "deploy/grafana/README.md",
        "plugins/README.md",
    ];
    let others = others.map(str::to_owned);
    for document in documents().into_iter().chain(others) {
        let folder = root().join(&document).parent().unwrap().to_owned();
        for link in links(&read(&document)) {
            assert!(
                folder.join(&link).exists(),
                "{document} links to {link}, which is not there"
            );
        }
    }
}

#[test]
fn every_decision_is_in_the_index() {
    let index = links(&read("host/docs/adr/README.md"));
    let entries = fs::read_dir(root().join("host/docs/adr")).unwrap();
    let files = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    for file in files.filter(|file| file != "README.md") {
        assert!(
            index.contains(&file),
            "host/docs/adr/{file} is not in the index beside it"
        );
    }
}

#[test]
fn preflight_asks_for_the_rust_that_the_workspace_asks_for() {
    let manifest = read("Cargo.toml");
    let wanted = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = "))
        .unwrap();
    let asked = read("host/xtask/preflight.sh");
    let asked = asked
        .lines()
        .find_map(|line| line.strip_prefix("oldest="))
        .unwrap();
    assert_eq!(asked, wanted.trim_matches('"'));
}

//! What README and the other documents say is held against what is there.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

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

#[test]
fn links_in_documents_lead_somewhere() {
    for document in ["README.md", "CHANGELOG.md", "host/docs/adr/README.md"] {
        let folder = root().join(document).parent().unwrap().to_owned();
        for link in links(&read(document)) {
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

#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

use super::*;

#[test]
fn component_is_found_in_cargos_message() {
    let line = r#"{"reason":"compiler-artifact","manifest_path":"/c/plugins/json-log/Cargo.toml","target":{"kind":["cdylib"]},
        "filenames":["/c/x/json_log.wasm"],"executable":null}"#;
    let found = artefact(&line.replace('\n', ""), "cdylib");
    assert_eq!(
        found,
        Some((
            "/c/plugins/json-log/Cargo.toml".into(),
            "/c/x/json_log.wasm".into()
        ))
    );
}

#[test]
fn libraries_build_scripts_and_other_lines_are_no_artefacts() {
    let script = r#"{"reason":"compiler-artifact","manifest_path":"/a","target":{"kind":["custom-build"]},"filenames":["/b"],"executable":null}"#;
    assert_eq!(artefact(script, "cdylib"), None);
    assert_eq!(artefact("warning: not JSON", "cdylib"), None);
    assert_eq!(
        artefact(r#"{"reason":"build-finished","success":true}"#, "bin"),
        None
    );
}

#[test]
fn components_are_named_like_their_directory_and_fixtures_have_a_folder() {
    let shipped = component_path(&path("plugins/simple-log/Cargo.toml")).unwrap();
    let fixture = component_path(&path("plugins/fixtures/spins/Cargo.toml")).unwrap();
    assert_eq!(shipped, path("target/plugins/simple-log.wasm"));
    assert_eq!(fixture, path("target/plugins/fixtures/spins.wasm"));
}

#[test]
fn copy_leaves_an_equal_file_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("sub/to"));
    fs::write(&from, "one").unwrap();
    copy(&from, &to).unwrap();
    let written = fs::metadata(&to).unwrap().modified().unwrap();
    copy(&from, &to).unwrap();
    assert_eq!(fs::metadata(&to).unwrap().modified().unwrap(), written);
    fs::write(&from, "two").unwrap();
    copy(&from, &to).unwrap();
    assert_eq!(fs::read_to_string(&to).unwrap(), "two");
}

#[test]
fn guests_are_the_packages_that_make_a_component() {
    let package =
        |kind| serde_json::json!({ "targets": [{ "kind": [kind] }, { "kind": ["test"] }] });
    assert!(is_guest(&package("cdylib")));
    assert!(!is_guest(&package("lib")));
    let found = guests().unwrap();
    assert!(
        found.contains(&"simple-log".to_owned()) && !found.contains(&"owlk8s-plugin".to_owned()),
        "{found:?}"
    );
}

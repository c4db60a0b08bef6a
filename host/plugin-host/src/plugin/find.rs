use std::path::{Path, PathBuf};

use super::LoadError;

/// Where packages put the shipped plugins.
const SYSTEM_DIR: &str = "/usr/lib/owlk8s/plugins";

/// Where plugins are looked for by name: the configured directories, then `../plugins` of the
/// directory that `program` is in, then the system's.
pub(crate) fn search_path(configured: &[PathBuf], program: Option<&Path>) -> Vec<PathBuf> {
    let beside = program
        .and_then(Path::parent)
        .and_then(Path::parent)
        .map(|dir| dir.join("plugins"));
    configured
        .iter()
        .cloned()
        .chain(beside)
        .chain([PathBuf::from(SYSTEM_DIR)])
        .collect()
}

/// `simple-log` of `simple-log` and of `./target/plugins/simple-log.wasm`.
pub(crate) fn short_name(reference: &str) -> String {
    Path::new(reference)
        .file_stem()
        .map_or(reference.to_owned(), |stem| {
            stem.to_string_lossy().into_owned()
        })
}

/// Where the component of a reference may come to lie.
pub(crate) fn candidates(reference: &str, dirs: &[PathBuf]) -> Vec<PathBuf> {
    if is_path(reference) {
        return vec![PathBuf::from(reference)];
    }
    let file = format!("{reference}.wasm");
    dirs.iter().map(|dir| dir.join(&file)).collect()
}

fn is_path(reference: &str) -> bool {
    reference.contains('/') || reference.ends_with(".wasm")
}

/// The file of a reference. A path stands for itself, whether or not it is there.
pub(crate) fn find(reference: &str, dirs: &[PathBuf]) -> Result<PathBuf, LoadError> {
    if is_path(reference) {
        return Ok(PathBuf::from(reference));
    }
    candidates(reference, dirs)
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| LoadError::Find {
            name: reference.to_owned(),
            dirs: dirs
                .iter()
                .map(|dir| dir.display().to_string())
                .collect::<Vec<_>>()
                .join(", "),
            known: match names(dirs) {
                names if names.is_empty() => {
                    "; no plugin is there: run `make build`, or set plugin_dirs".to_owned()
                }
                names => format!("; there are {}", names.join(", ")),
            },
        })
}

fn names(dirs: &[PathBuf]) -> Vec<String> {
    let files = dirs
        .iter()
        .filter_map(|dir| std::fs::read_dir(dir).ok())
        .flatten()
        .flatten();
    let mut names: Vec<String> = files
        .map(|file| file.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "wasm")
        })
        .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_directory_wins_and_paths_stand_for_themselves() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let dirs = [a.path().to_owned(), b.path().to_owned()];
        std::fs::write(b.path().join("log.wasm"), "").unwrap();
        assert_eq!(find("log", &dirs).unwrap(), b.path().join("log.wasm"));
        std::fs::write(a.path().join("log.wasm"), "").unwrap();
        assert_eq!(find("log", &dirs).unwrap(), a.path().join("log.wasm"));
        assert_eq!(find("./log.wasm", &dirs).unwrap(), Path::new("./log.wasm"));
        assert_eq!(short_name("x/log.wasm"), "log");
    }

    #[test]
    fn unknown_name_lists_where_it_was_sought_and_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["json-log", "drop-idle"] {
            std::fs::write(dir.path().join(name).with_extension("wasm"), "").unwrap();
        }
        let error = find("jsonlog", &[dir.path().to_owned(), "/nowhere".into()])
            .unwrap_err()
            .to_string();
        let dir = dir.path().display();
        assert_eq!(
            error,
            format!(
                "plugin jsonlog is not among the plugins in {dir}, /nowhere; there are drop-idle, json-log"
            )
        );
    }

    #[test]
    fn program_in_target_release_finds_target_plugins() {
        let dirs = search_path(
            &["/etc/p".into()],
            Some(Path::new("/w/target/release/owlk8s")),
        );
        assert_eq!(
            dirs,
            ["/etc/p", "/w/target/plugins", "/usr/lib/owlk8s/plugins"].map(PathBuf::from)
        );
    }
}

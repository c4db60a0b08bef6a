//! `cargo xtask image`: what was built, as a container image, without a container engine.
//!
//! The image is one layer: the binary, the libraries that the loader says it needs, the authorities that this machine
//! trusts, and the shipped plugins with their machine code. It is written as an OCI image layout with a `manifest.json` beside it, in one tar file,
//! which `ctr image import`, `podman load`, `docker load` and `minikube image load` take. The same input gives the same bytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::run::{announce, answer, run, run_logged};
use crate::workspace::path;

/// Its name where nothing else is asked for.
const NAME: &str = "owlk8s";
const PLUGINS: &str = "usr/lib/owlk8s/plugins";
/// Their machine code; a node that starts the image compiles nothing.
const COMPILED: &str = "usr/lib/owlk8s/compiled";
const AUTHORITIES: &str = "etc/ssl/certs/ca-certificates.crt";
/// The users that the two processes have.
const PASSWD: &str =
    "root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\n";
/// Without it the C library asks no name server.
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files dns\n";

/// Lays out the image's files in `folder`, which is made anew.
pub(crate) fn folder(folder: &Path) -> Result<()> {
    let binary = path("target/release/owlk8s");
    if !binary.is_file() {
        bail!("{} is missing: run `make build` first", binary.display());
    }
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    for dir in [
        "etc/owlk8s/config",
        "tmp",
        "var/cache/owlk8s",
        "var/lib/owlk8s",
    ] {
        make_dir(&folder.join(dir))?;
    }
    put(&binary, &folder.join("usr/bin/owlk8s"))?;
    for library in libraries(&binary)? {
        // Where the loader will look for it: links on this machine's way to it are no links in the image.
        let inside = library.strip_prefix("/").unwrap_or(&library);
        put(&library, &folder.join(inside))?;
    }
    let plugins = plugins()?;
    for plugin in &plugins {
        let name = plugin.file_name().unwrap_or_default();
        put(plugin, &folder.join(PLUGINS).join(name))?;
    }
    // By the binary of the image: its digest is in the names.
    let compiled = folder.join(COMPILED);
    let mut compile = Command::new(folder.join("usr/bin/owlk8s"));
    compile
        .args(["plugin", "precompile", "--to"])
        .arg(&compiled)
        .args(&plugins)
        .env_remove("LD_LIBRARY_PATH");
    run_logged(&mut compile, &path("target/image.log"))?;
    let authorities = Path::new("/").join(AUTHORITIES);
    if !authorities.is_file() {
        bail!(
            "{} is missing: install ca-certificates",
            authorities.display()
        );
    }
    put(&authorities, &folder.join(AUTHORITIES))?;
    for (file, text) in [
        ("etc/passwd", PASSWD),
        ("etc/group", GROUP),
        ("etc/nsswitch.conf", NSSWITCH),
    ] {
        write(&folder.join(file), text.as_bytes())?;
    }
    put(
        &path("LICENSE"),
        &folder.join("usr/share/doc/owlk8s/LICENSE"),
    )
}

/// `target/image/owlk8s.tar`, under the name `reference`.
pub(crate) fn archive(reference: Option<&str>) -> Result<()> {
    let reference = reference.map_or_else(default_reference, str::to_owned);
    let work = path("target/image");
    let root = work.join("root");
    folder(&root)?;
    let layout = work.join("layout");
    if layout.exists() {
        fs::remove_dir_all(&layout)
            .with_context(|| format!("cannot empty {}", layout.display()))?;
    }
    make_dir(&layout.join("blobs/sha256"))?;
    let layer = work.join("layer.tar");
    tar(&root, &layer)?;
    let layer = Blob::keep(&layout, &layer, "application/vnd.oci.image.layer.v1.tar")?;
    let config = Blob::write(
        &layout,
        &image_config(&layer),
        "application/vnd.oci.image.config.v1+json",
    )?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config.descriptor(),
        "layers": [layer.descriptor()],
    });
    let manifest = Blob::write(
        &layout,
        &manifest,
        "application/vnd.oci.image.manifest.v1+json",
    )?;
    let mut entry = manifest.descriptor();
    entry["annotations"] = json!({
        "io.containerd.image.name": full_name(&reference),
        "org.opencontainers.image.ref.name": reference.rsplit(':').next(),
    });
    let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry]});
    write_json(&layout.join("index.json"), &index)?;
    write_json(
        &layout.join("oci-layout"),
        &json!({"imageLayoutVersion": "1.0.0"}),
    )?;
    // What `docker load` looked for before it knew the layout.
    let docker =
        json!([{"Config": config.path(), "RepoTags": [reference], "Layers": [layer.path()]}]);
    write_json(&layout.join("manifest.json"), &docker)?;
    let file = work.join("owlk8s.tar");
    tar(&layout, &file)?;
    let size = fs::metadata(&file).map_or(0, |data| data.len());
    announce(&format!(
        "{} ({:.1} MB): {reference}, {}",
        file.display(),
        size as f64 / 1e6,
        architecture()
    ));
    Ok(())
}

/// The name as a node's kubelet asks containerd for it: a short one is of Docker's registry.
fn full_name(reference: &str) -> String {
    match reference.split_once('/') {
        None => format!("docker.io/library/{reference}"),
        Some((first, _)) if first == "localhost" || first.contains(['.', ':']) => {
            reference.to_owned()
        }
        Some(_) => format!("docker.io/{reference}"),
    }
}

fn default_reference() -> String {
    format!("{NAME}:{}", env!("CARGO_PKG_VERSION"))
}

/// As container images call it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn image_config(layer: &Blob) -> Value {
    json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "Entrypoint": ["/usr/bin/owlk8s"],
            "Cmd": ["run", "--config", "/etc/owlk8s/config/owlk8s.toml"],
            "Env": ["PATH=/usr/bin"],
            "WorkingDir": "/",
            "Labels": {
                "org.opencontainers.image.title": NAME,
                "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
                "org.opencontainers.image.licenses": "Apache-2.0",
            },
        },
        // A layer that is not compressed has one digest for both.
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", layer.digest)]},
    })
}

/// The shared libraries that the loader would load, and the loader.
fn libraries(binary: &Path) -> Result<Vec<PathBuf>> {
    let said = answer(Command::new("ldd").arg(binary)).with_context(|| {
        format!(
            "`ldd {}` says nothing: is it built for this machine?",
            binary.display()
        )
    })?;
    let libraries = parse_ldd(&said)?;
    Ok(libraries)
}

/// `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x...)`, `/lib64/ld-linux-x86-64.so.2 (0x...)`.
fn parse_ldd(said: &str) -> Result<Vec<PathBuf>> {
    let mut libraries = Vec::new();
    for line in said.lines().map(str::trim) {
        let place = line.split_once("=> ").map_or(line, |(_, place)| place);
        if place.starts_with("not found") {
            bail!("the binary needs a library that is not on this machine: {line}");
        }
        let path = place.split(" (").next().unwrap_or_default();
        if path.starts_with('/') {
            libraries.push(PathBuf::from(path));
        }
    }
    Ok(libraries)
}

fn plugins() -> Result<Vec<PathBuf>> {
    let folder = path("target/plugins");
    let entries = fs::read_dir(&folder)
        .with_context(|| format!("cannot read {}: run `make build`", folder.display()))?;
    let mut plugins: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|file| {
            file.extension()
                .is_some_and(|extension| extension == "wasm")
        })
        .collect();
    plugins.sort();
    if plugins.is_empty() {
        bail!("{} holds no plugin: run `make build`", folder.display());
    }
    Ok(plugins)
}

/// A file of the layout, named by its digest.
struct Blob {
    digest: String,
    size: u64,
    media_type: &'static str,
}

impl Blob {
    /// Moves `file` into the layout.
    fn keep(layout: &Path, file: &Path, media_type: &'static str) -> Result<Self> {
        let said = answer(Command::new("sha256sum").arg(file))
            .with_context(|| format!("`sha256sum {}` failed", file.display()))?;
        let digest = said.split(' ').next().unwrap_or_default().to_owned();
        let size = fs::metadata(file)
            .with_context(|| format!("cannot read {}", file.display()))?
            .len();
        let blob = Self {
            digest,
            size,
            media_type,
        };
        let place = layout.join(blob.path());
        fs::rename(file, &place).with_context(|| format!("cannot write {}", place.display()))?;
        Ok(blob)
    }

    fn write(layout: &Path, value: &Value, media_type: &'static str) -> Result<Self> {
        let file = layout.join("blob");
        write_json(&file, value)?;
        Self::keep(layout, &file, media_type)
    }

    fn path(&self) -> String {
        format!("blobs/sha256/{}", self.digest)
    }

    fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": format!("sha256:{}", self.digest), "size": self.size})
    }
}

/// All that is in `folder`, with nothing of this machine's times and users.
fn tar(folder: &Path, file: &Path) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.args([
        "--create",
        "--sort=name",
        "--mtime=@0",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
    ])
    // Machine code has long names.
    .args(["--mode=u=rwX,go=rX", "--format=gnu"])
    .arg("--file")
    .arg(file)
    .arg("--directory")
    .arg(folder);
    run(tar.arg("."))
}

fn put(from: &Path, to: &Path) -> Result<()> {
    if let Some(dir) = to.parent() {
        make_dir(dir)?;
    }
    fs::copy(from, to)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

fn make_dir(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))
}

fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(file, bytes).with_context(|| format!("cannot write {}", file.display()))
}

fn write_json(file: &Path, value: &Value) -> Result<()> {
    write(file, value.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containerd_gets_the_name_that_a_kubelet_asks_it_for() {
        for (reference, full) in [
            ("owlk8s:0.1.0", "docker.io/library/owlk8s:0.1.0"),
            ("team/owlk8s:1", "docker.io/team/owlk8s:1"),
            (
                "registry.example.com/owlk8s:0.1.0",
                "registry.example.com/owlk8s:0.1.0",
            ),
            ("localhost:5000/owlk8s:1", "localhost:5000/owlk8s:1"),
            ("localhost/owlk8s:1", "localhost/owlk8s:1"),
        ] {
            assert_eq!(full_name(reference), full);
        }
    }

    #[test]
    fn loader_and_libraries_are_taken_and_the_kernels_own_is_not() {
        let said = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)";
        let libraries = parse_ldd(said).expect("all are there");
        assert_eq!(
            libraries,
            [
                "/lib/x86_64-linux-gnu/libc.so.6",
                "/lib64/ld-linux-x86-64.so.2"
            ]
            .map(PathBuf::from)
        );
        let error = parse_ldd("\tlibm.so.6 => not found").expect_err("one is missing");
        assert!(error.to_string().contains("libm.so.6"), "{error}");
    }

    #[test]
    fn blob_is_named_by_what_it_holds() {
        let layout = tempfile::tempdir().expect("a folder");
        make_dir(&layout.path().join("blobs/sha256")).expect("it is new");
        let blob = Blob::write(layout.path(), &json!({}), "text").expect("it is written");
        assert_eq!(
            blob.descriptor(),
            json!({
                "mediaType": "text",
                "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
                "size": 2,
            })
        );
        assert!(layout.path().join(blob.path()).is_file());
    }
}

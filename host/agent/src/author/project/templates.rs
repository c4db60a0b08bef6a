//! What `new` writes, by language and world. Sources are files of their own beside this one.

use anyhow::bail;

use super::{Lang, World};

/// A file of a plugin's folder; in a text `{{name}}` and `{{sdk}}` are filled in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct File {
    pub(crate) path: &'static str,
    pub(crate) bytes: &'static [u8],
}

const fn file(path: &'static str, text: &'static str) -> File {
    File {
        path,
        bytes: text.as_bytes(),
    }
}

/// A file of an example.
macro_rules! example {
    ($example:literal: $($path:literal),+ $(,)?) => {
        vec![$(File {
            path: $path,
            bytes: include_bytes!(concat!("../../../../../examples/plugins/", $example, "/", $path)),
        }),+]
    };
}

/// The interface, for languages that make their bindings of it.
const WIT: [File; 2] = [
    file(
        "wit/snapshot.wit",
        include_str!("../../../../../wit/0.1.0/snapshot.wit"),
    ),
    file(
        "wit/worlds.wit",
        include_str!("../../../../../wit/0.1.0/worlds.wit"),
    ),
];

/// All files of a plugin's folder but `plugin.toml`.
pub(crate) fn template(lang: Lang, world: World) -> anyhow::Result<Vec<File>> {
    let mut files = match lang {
        Lang::Rust => rust(world),
        Lang::Python => python(world)?,
        Lang::Js => js(world)?,
        // Their bindings are part of the folder: those of the examples, and the examples to begin with.
        Lang::C | Lang::Go if world != World::Formatter => return none(lang, world),
        Lang::C => c(),
        Lang::Go => go(),
    };
    if !matches!(lang, Lang::Rust | Lang::C) {
        files.extend(WIT);
    }
    files.push(file("README.md", include_str!("templates/README.md")));
    if !matches!(lang, Lang::C | Lang::Go) {
        files.extend(test(world));
    }
    Ok(files)
}

/// Where the author begins to read.
pub(crate) fn source(lang: Lang) -> &'static str {
    match lang {
        Lang::Rust => "src/lib.rs",
        Lang::Python => "plugin.py",
        Lang::Js => "plugin.js",
        Lang::C => "plugin.c",
        Lang::Go => "export_wit_world/plugin.go",
    }
}

fn none<T>(lang: Lang, world: World) -> anyhow::Result<T> {
    let lang = format!("{lang:?}").to_lowercase();
    bail!(
        "there is no template for a {} in {lang}: rust has one of each world, python and js have formatter, filter and responder, c and \
         go formatter. For others take what `wit-bindgen` makes of wit/, as the examples say, or deliver through an endpoint of kind http \
         instead of an exporter",
        world.name()
    )
}

fn c() -> Vec<File> {
    example!("c-line":
        ".gitignore", "plugin.c", "bindings/formatter.c", "bindings/formatter.h", "bindings/formatter_component_type.o",
        "tests/shop.toml", "tests/shop.golden",
    )
}

fn go() -> Vec<File> {
    example!("go-ndjson":
        ".gitignore",
        "export_wit_world/plugin.go",
        "go.mod",
        "owlk8s_plugin_host/empty.s",
        "owlk8s_plugin_host/wit_bindings.go",
        "owlk8s_plugin_snapshots/empty.s",
        "owlk8s_plugin_snapshots/wit_bindings.go",
        "owlk8s_plugin_types/empty.s",
        "owlk8s_plugin_types/wit_bindings.go",
        "pkg/go.mod",
        "pkg/wit/runtime/runtime.go",
        "pkg/wit/types/types.go",
        "tests/shop.golden",
        "tests/shop.toml",
        "wasi_snapshot_preview1.wasm",
        "wit_exports.go",
        "wit_world/empty.s",
        "wit_world/wit_bindings.go",
    )
}

fn rust(world: World) -> Vec<File> {
    let source = match world {
        World::Formatter => include_str!("templates/rust/formatter.rs"),
        World::Filter => include_str!("templates/rust/filter.rs"),
        World::Responder => include_str!("templates/rust/responder.rs"),
        World::Exporter => include_str!("templates/rust/exporter.rs"),
    };
    vec![
        file("Cargo.toml", include_str!("templates/rust/Cargo.toml.txt")),
        file(".gitignore", "/target\n/build\n"),
        file("src/lib.rs", source),
    ]
}

fn python(world: World) -> anyhow::Result<Vec<File>> {
    let source = match world {
        World::Formatter => include_str!("templates/python/formatter.py"),
        World::Filter => include_str!("templates/python/filter.py"),
        World::Responder => include_str!("templates/python/responder.py"),
        World::Exporter => return none(Lang::Python, world),
    };
    Ok(vec![
        file(".gitignore", "/.venv\n/build\n/__pycache__\n"),
        file("plugin.py", source),
    ])
}

fn js(world: World) -> anyhow::Result<Vec<File>> {
    let source = match world {
        World::Formatter => include_str!("templates/js/formatter.js"),
        World::Filter => include_str!("templates/js/filter.js"),
        World::Responder => include_str!("templates/js/responder.js"),
        World::Exporter => return none(Lang::Js, world),
    };
    Ok(vec![
        file("package.json", include_str!("templates/js/package.json")),
        file(".gitignore", "/node_modules\n/build\n"),
        file("plugin.js", source),
    ])
}

/// The same for all languages: they do the same.
fn test(world: World) -> [File; 2] {
    let (case, golden) = match world {
        World::Formatter => (
            "snapshot = \"shop\"\n",
            include_str!("templates/tests/formatter.golden"),
        ),
        World::Filter => (
            "snapshot = \"shop\"\n",
            include_str!("templates/tests/filter.golden"),
        ),
        World::Responder => (
            "snapshot = \"shop\"\nrequest = \"GET /requests\"\n",
            include_str!("templates/tests/responder.golden"),
        ),
        World::Exporter => (
            "snapshot = \"shop\"\nsink.config = { url = \"{server}/requests\" }\n",
            include_str!("templates/tests/exporter.golden"),
        ),
    };
    [
        file("tests/shop.toml", case),
        file("tests/shop.golden", golden),
    ]
}

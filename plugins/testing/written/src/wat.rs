use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A formatter whose `format` has `body`, with `fields` (tables, start functions, data) in its module.
///
/// Its memory has `pages`. What it is lent is dropped by `(call $drop (local.get 2))`, as it must be before it
/// returns; `$log` takes a level, a pointer and a length. At 16 is the place for its answer, which says `ok` with
/// no payload where nothing else is written to it.
pub(super) fn formatter(pages: u32, fields: &str, body: &str) -> Vec<u8> {
    component("0.1.0", &module("0.1.0", pages, fields, body))
}

/// A formatter of another version of the interface.
pub(super) fn formatter_of_version(version: &str) -> Vec<u8> {
    component(version, &module(version, 1, "", "i32.const 16"))
}

fn module(version: &str, pages: u32, fields: &str, body: &str) -> String {
    format!(
        r#"(module
            (import "owlk8s:plugin/host@{version}" "log" (func $log (param i32 i32 i32)))
            (import "owlk8s:plugin/snapshots@{version}" "[resource-drop]snapshot" (func $drop (param i32)))
            (import "owlk8s:plugin/snapshots@{version}" "[method]snapshot.temporality"
                (func $temporality (param i32) (result i32)))
            (memory (export "memory") {pages})
            {fields}
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 32768))
            (func (export "validate") (param i32 i32) (result i32) (i32.const 16))
            (func (export "format") (param i32 i32 i32) (result i32) {body}))"#
    )
}

fn component(version: &str, module: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let wit = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../wit/0.1.0");
    let package = resolve
        .push_source("owlk8s.wit", &whole(wit, version))
        .unwrap();
    let world = resolve.select_world(&[package], Some("formatter")).unwrap();
    let mut module = wat::parse_str(module).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).unwrap();
    ComponentEncoder::default()
        .module(&module)
        .unwrap()
        .encode()
        .unwrap()
}

/// All files of the package as one text, of another version.
fn whole(folder: &str, version: &str) -> String {
    let mut text = format!("package owlk8s:plugin@{version};\n");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    for file in files {
        let content = std::fs::read_to_string(file).unwrap();
        text += &content.replace("package owlk8s:plugin@0.1.0;", "");
    }
    text
}

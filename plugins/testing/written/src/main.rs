//! Writes guests that no compiler makes into a folder: each a core module as text, made a component of a
//! world of `owlk8s:plugin`. Each misbehaves in one way, which its name tells.

#![allow(clippy::unwrap_used, reason = "a build tool ends where it fails")]

mod wat;

use std::path::Path;

/// Gives back the snapshot and answers with what is at 16.
const ANSWER: &str = "(call $drop (local.get 2)) i32.const 16";

fn main() {
    let folder = std::env::args()
        .nth(1)
        .expect("give the folder to write them into");
    for (name, component) in guests() {
        std::fs::write(
            Path::new(&folder).join(name).with_extension("wasm"),
            component,
        )
        .unwrap();
    }
}

fn guests() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        (
            "spins-at-start",
            wat::formatter(
                1,
                "(func $spin (loop $again br $again)) (start $spin)",
                ANSWER,
            ),
        ),
        (
            "returns-a-gigabyte",
            // One payload at 4096, whose body is the first GiB of a memory that has it.
            wat::formatter(
                16_400,
                r#"(data (i32.const 2048) "out")
                   (data (i32.const 20) "\00\10\00\00\01\00\00\00")
                   (data (i32.const 4096) "\00\08\00\00\03\00\00\00")
                   (data (i32.const 4104) "\00\08\00\00\00\00\00\00\00\00\00\00\00\00\00\40")"#,
                ANSWER,
            ),
        ),
        (
            "returns-beyond-memory",
            // The same with a memory of 64 KiB.
            wat::formatter(
                1,
                r#"(data (i32.const 20) "\00\10\00\00\01\00\00\00")
                   (data (i32.const 4096) "\00\08\00\00\00\00\00\00")
                   (data (i32.const 4104) "\00\08\00\00\00\00\00\00\00\00\00\00\00\00\00\40")"#,
                ANSWER,
            ),
        ),
        (
            "returns-a-huge-error",
            // An error of 60 MiB.
            wat::formatter(
                1_000,
                r#"(data (i32.const 16) "\01\00\00\00\00\00\00\00\00\00\c0\03")"#,
                ANSWER,
            ),
        ),
        (
            "returns-neither",
            // Neither ok nor an error.
            wat::formatter(1, r#"(data (i32.const 16) "\07")"#, ANSWER),
        ),
        (
            "returns-nowhere",
            wat::formatter(1, "", "(call $drop (local.get 2)) i32.const -16"),
        ),
        (
            "logs-no-text",
            wat::formatter(
                1,
                r#"(data (i32.const 2048) "\ff\fe\fd")"#,
                "(call $log (i32.const 1) (i32.const 2048) (i32.const 3)) i32.const 16",
            ),
        ),
        (
            "logs-beyond-memory",
            wat::formatter(
                1,
                "",
                "(call $log (i32.const 1) (i32.const -16) (i32.const 8)) i32.const 16",
            ),
        ),
        (
            "logs-60-megabytes",
            wat::formatter(
                1_000,
                "",
                "(call $log (i32.const 1) (i32.const 0) (i32.const 62914560)) i32.const 16",
            ),
        ),
        (
            "forges-a-handle",
            wat::formatter(1, "", "(drop (call $temporality (i32.const 77))) i32.const 16"),
        ),
        (
            "keeps-the-snapshot",
            wat::formatter(1, "", "i32.const 16"),
        ),
        (
            "grows-a-table",
            wat::formatter(
                1,
                "(table $table 1 funcref)",
                "(loop $again
                    (br_if $again
                        (i32.ne (i32.const -1) (table.grow $table (ref.null func) (i32.const 1000)))))
                 unreachable",
            ),
        ),
        ("of-another-version", wat::formatter_of_version("0.2.0")),
    ]
}

//! Every case that was ever counted wrongly is counted rightly.

#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

use owlk8s_wire::{Case, Kernel, expected};

#[test]
fn every_case_of_the_corpus_counts_as_the_model_says() {
    let mut kernel = Kernel::new();
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus")).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(
        files.len() >= 8,
        "the corpus is not where it was: {files:?}"
    );
    for file in files {
        let case: Case = std::fs::read_to_string(&file).unwrap().parse().unwrap();
        let want = expected(&case);
        assert!(want.started > 0, "{}: says nothing", file.display());
        assert_eq!(
            kernel.run(&case),
            want,
            "kernel, model; {}\n{case}",
            file.display()
        );
    }
}

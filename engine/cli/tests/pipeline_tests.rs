//! `engine test`: what a user sees and the exit codes, over files.

#[path = "process/engine.rs"]
mod process;

use std::fs;
use std::path::{Path, PathBuf};

use process::engine;
use tempfile::TempDir;

const PIPELINES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../pipelines");

/// A copy of the README's pipeline with its rows, which may be changed.
fn copied() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("tests")).unwrap();
    for name in ["ad-campaigns.toml", "tests/ad-events.jsonl", "tests/ad-results.jsonl"] {
        fs::copy(Path::new(PIPELINES).join(name), folder.path().join(name)).unwrap();
    }
    let pipeline = folder.path().join("ad-campaigns.toml");
    (folder, pipeline)
}

fn change(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from} is not in {}", path.display());
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn the_readmes_pipeline_passes_its_tests_from_any_folder() {
    let (folder, pipeline) = copied();
    let told = engine(&["test", pipeline.to_str().unwrap()]).success();
    assert_eq!(
        told,
        "running 2 tests of pipeline ad-campaigns\n\
         test counts views per campaign and window ... ok\n\
         test waits for the slowest partition ... ok\n\n\
         test result: ok. 2 passed; 0 failed; 0 filtered out\n"
    );
    let told = engine(&["test", pipeline.to_str().unwrap(), "--filter", "slowest"]).success();
    assert!(told.ends_with("1 passed; 0 failed; 1 filtered out\n"), "{told}");
    drop(folder);
}

#[test]
fn a_test_that_fails_shows_the_rows_and_ends_with_1() {
    let (folder, pipeline) = copied();
    let results = folder.path().join("tests/ad-results.jsonl");
    change(&results, "\"events\": 3", "\"events\": 4");
    let failed = engine(&["test", pipeline.to_str().unwrap()]);
    let told = failed.stdout.clone();
    let error = failed.failure(1);
    assert!(error.contains("1 of 2 tests failed"), "{error}");
    for part in [
        "test counts views per campaign and window ... FAILED",
        "  results: 1 missing (-), 1 unexpected (+), 3 as expected",
        "    - tests/ad-results.jsonl:3:1  {\"window_start\": 1767225610000,",
        "\"events\":3,",
        "test result: FAILED. 1 passed; 1 failed; 0 filtered out",
    ] {
        assert!(told.contains(part), "{part} is missing:\n{told}");
    }
    let failed = engine(&["test", pipeline.to_str().unwrap(), "--json"]);
    let told: serde_json::Value = serde_json::from_str(&failed.stdout).unwrap();
    failed.failure(1);
    assert_eq!(told["tests"][0]["passed"], false);
    assert_eq!(
        told["tests"][0]["differences"][0]["missing"][0]["place"],
        "tests/ad-results.jsonl:3:1"
    );
    assert_eq!(told["tests"][1]["passed"], true);
}

#[test]
fn files_that_cannot_be_read_as_rows_are_mistakes_of_the_file() {
    let (folder, pipeline) = copied();
    change(&folder.path().join("tests/ad-results.jsonl"), "\"events\"", "\"evens\"");
    for command in ["test", "validate"] {
        let told = engine(&[command, pipeline.to_str().unwrap()]).failure(2);
        assert!(
            told.contains("tests/ad-results.jsonl:1:1: error: there is no column `evens` here")
                && told.contains("did you mean `events`?"),
            "{told}"
        );
    }
    fs::remove_file(folder.path().join("tests/ad-events.jsonl")).unwrap();
    let told = engine(&["test", pipeline.to_str().unwrap()]).failure(2);
    assert!(told.contains("there is no such file"), "{told}");
}

#[test]
fn a_pipeline_without_tests_passes_and_says_so() {
    let path = format!("{PIPELINES}/ad-campaigns-kafka.toml");
    let told = engine(&["test", &path]).success();
    assert!(told.contains("has no [[tests]]"), "{told}");
}

//! Tidiness of the repository, as tests: what a reviewer would otherwise have to see each time.

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn the_top_level_is_fixed() {
    let expected = [
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "README.md",
        "bench",
        "data",
        "deny.toml",
        "docker-compose.yml",
        "engine",
        "protocol-tests",
        "rustfmt.toml",
        "scripts",
        "target",
    ];
    let unexpected: Vec<String> = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.') && !expected.contains(&name.as_str()))
        .collect();
    assert!(unexpected.is_empty(), "new at the top level: {unexpected:?}");
}

#[test]
fn every_file_has_a_name_of_its_own() {
    let vague = [
        "util", "utils", "helper", "helpers", "common", "misc", "types", "shared", "manager", "mod",
    ];
    let found: Vec<String> = rust_files()
        .iter()
        .map(|path| relative(path))
        .filter(|path| {
            path.split('/')
                .any(|part| vague.contains(&part.trim_end_matches(".rs")))
        })
        .collect();
    assert!(found.is_empty(), "name the thing: {found:?}");
}

#[test]
fn nothing_is_left_unfinished_or_silenced() {
    let markers = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("FIX", "ME"),
        concat!("#[ig", "nore"),
        concat!("dbg", "!("),
    ];
    let found = lines_containing(&rust_files(), &markers);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    let paths = [
        concat!("/ro", "ot/"),
        concat!("/wo", "rk/"),
        concat!("/ho", "me/"),
        concat!("/tmp/", "bash"),
    ];
    let found = lines_containing(&text_files(), &paths);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    for manifest in files_named("Cargo.toml") {
        let text = fs::read_to_string(&manifest).unwrap();
        // What is a workspace of its own wraps another client, in C as may be.
        let is_peer = relative(&manifest).starts_with("bench/peers/") && text.contains("\n[workspace]\n");
        if text.contains("[package]") && !is_peer {
            assert!(
                text.contains("[lints]\nworkspace = true"),
                "{} has lints of its own",
                relative(&manifest)
            );
        }
    }
}

#[test]
fn floors_without_a_clock_forbid_reading_one() {
    for crate_name in ["wire", "proto", "stream"] {
        let path = root().join("engine").join(crate_name).join(".clippy.toml");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for clock in ["std::time::Instant::now", "std::time::SystemTime::now"] {
            assert!(text.contains(clock), "{} allows {clock}", path.display());
        }
    }
}

#[test]
fn the_search_finds_a_line_that_is_there() {
    let this_file = root().join("protocol-tests/tests/repository.rs");
    let found = lines_containing(&[this_file], &["fn the_search_finds_a_line_that_is_there"]);
    assert!(found[0].starts_with("protocol-tests/tests/repository.rs:"), "{found:?}");
    assert!(rust_files().len() > 10 && text_files().len() > rust_files().len());
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/")
}

fn rust_files() -> Vec<PathBuf> {
    all_files()
        .into_iter()
        .filter(|path| path.extension().is_some_and(|it| it == "rs"))
        .collect()
}

fn text_files() -> Vec<PathBuf> {
    let kinds = ["rs", "toml", "md", "yml", "json", "jsonl", "txt", "lock", "sh"];
    all_files()
        .into_iter()
        .filter(|path| match path.extension() {
            Some(extension) => kinds.iter().any(|kind| extension == *kind),
            None => true, // Scripts.
        })
        .collect()
}

fn files_named(name: &str) -> Vec<PathBuf> {
    all_files()
        .into_iter()
        .filter(|path| path.file_name().is_some_and(|it| it == name))
        .collect()
}

fn lines_containing(files: &[PathBuf], needles: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for path in files {
        let Ok(text) = fs::read_to_string(path) else {
            continue;
        };
        for (index, line) in text.lines().enumerate() {
            if needles.iter().any(|needle| line.contains(needle)) {
                found.push(format!("{}:{}: {}", relative(path), index + 1, line.trim()));
            }
        }
    }
    found
}

/// Every file of the repository, without what building and running leave behind.
fn all_files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if matches!(name.as_str(), ".git" | "target" | "data") {
                continue;
            }
            if path.is_dir() {
                folders.push(path)
            } else {
                found.push(path)
            }
        }
    }
    found.sort();
    found
}

//! Mistakes in pipeline files, each with the text that a user sees.
//!
//! `UPDATE_GOLDENS=1 cargo test -p engine-runtime --test config_mistakes` rewrites the texts; read the diff.

use std::fs;
use std::path::{Path, PathBuf};

use engine_runtime::config::{self, Severity, Surroundings};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config_mistakes")
}

fn variable(name: &str) -> Option<String> {
    (name == "TOPIC").then(|| "ad-events".to_owned())
}

/// `# --set a.b=c` lines at the top of a case are its flags.
fn flags(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().take_while(|line| line.starts_with("# --set "));
    lines.map(|line| line["# --set ".len()..].to_owned()).collect()
}

fn what_the_user_sees(bytes: &[u8]) -> String {
    let overrides = flags(bytes);
    let surroundings = Surroundings {
        overrides: &overrides,
        variable: &variable,
    };
    match config::parse("pipeline.toml", bytes, &surroundings) {
        Err(error) => format!("{error}\n"),
        Ok(loaded) => {
            assert!(
                loaded
                    .warnings
                    .iter()
                    .all(|warning| warning.severity() == Severity::Warning)
            );
            let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
            format!("{}\n", warnings.join("\n\n"))
        }
    }
}

#[test]
fn every_mistake_is_explained_where_it_stands() {
    let mut files: Vec<PathBuf> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    assert!(files.len() >= 30, "there are {} mistakes", files.len());
    let mut wrong = Vec::new();
    for path in files {
        let seen = what_the_user_sees(&fs::read(&path).unwrap());
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(!seen.trim().is_empty(), "{name} is without mistakes");
        for debug in ["Some(", "Err(", "None,", "{ kind:", "Diagnostic"] {
            assert!(!seen.contains(debug), "{name} shows Debug output: {seen}");
        }
        let golden = path.with_extension("expected");
        if std::env::var_os("UPDATE_GOLDENS").is_some() {
            fs::write(&golden, &seen).unwrap();
        } else if fs::read_to_string(&golden).unwrap_or_default() != seen {
            wrong.push(format!("{name}:\n{seen}"));
        }
    }
    assert!(wrong.is_empty(), "not as expected:\n{}", wrong.join("\n"));
}

#[test]
fn a_file_larger_than_the_limit_is_refused_before_it_is_parsed() {
    let seen = what_the_user_sees(&vec![b'#'; config::FILE_BYTES_MAX + 1]);
    assert_eq!(
        seen,
        "error: pipeline.toml: a pipeline file has at most 10485760 bytes, and this one has more\n"
    );
}

#[test]
fn a_file_of_the_largest_size_is_answered_with_a_short_text() {
    let mut text = "name = \"x\"\n".to_owned();
    while text.len() < 2_000_000 {
        text.push_str(&format!("wrong_{} = {:?}\n", text.len(), "y".repeat(50)));
    }
    let seen = what_the_user_sees(text.as_bytes());
    assert!(seen.len() < 100_000 && seen.contains("more"), "{} bytes", seen.len());
}

#[test]
fn nesting_without_end_is_an_error_not_an_overflow() {
    for text in [
        format!("name = {}", "[".repeat(200_000)),
        format!("name = {}", "{a=".repeat(200_000)),
        format!("{}x = 1", "a.".repeat(200_000)),
        format!("[{}x]", "a.".repeat(200_000)),
    ] {
        let seen = what_the_user_sees(text.as_bytes());
        assert!(
            seen.contains("this is not valid TOML") && seen.len() < 2_000,
            "{}",
            &seen[..seen.len().min(500)]
        );
    }
}

#[test]
fn files_that_cannot_be_read_say_why() {
    let surroundings = Surroundings {
        overrides: &[],
        variable: &variable,
    };
    let error = config::load(Path::new("no/such/pipeline.toml"), &surroundings).unwrap_err();
    assert_eq!(error.to_string(), "error: no/such/pipeline.toml: there is no such file");
    let error = config::load(&folder(), &surroundings).unwrap_err().to_string();
    assert!(error.ends_with("it is a folder, not a file"), "{error}");
}

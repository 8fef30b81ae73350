//! What the README shows is what the binary does.

#[path = "process/engine.rs"]
mod process;

use process::engine;

const README: &str = include_str!("../../../README.md");

/// Every pipeline in the README is complete: a reader may copy it.
#[test]
fn every_toml_of_the_readme_is_a_valid_pipeline() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("readme.toml");
    let pipelines: Vec<&str> = README
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(!pipelines.is_empty());
    for pipeline in pipelines {
        std::fs::write(&path, pipeline).unwrap();
        assert!(
            engine(&["validate", path.to_str().unwrap()])
                .success()
                .ends_with("is valid\n")
        );
    }
}

#[test]
fn every_command_of_the_readme_exists_with_its_flags() {
    let shell = README
        .split("```sh\n")
        .skip(1)
        .flat_map(|rest| rest.split("```").next().unwrap().lines());
    let commands: Vec<&str> = shell.filter_map(|line| line.strip_prefix("engine ")).collect();
    assert!(commands.len() >= 3, "{commands:?}");
    for line in commands {
        let words: Vec<&str> = line.split_whitespace().collect();
        // `generate ads` has a command of its own below it.
        let depth = if matches!(words[0], "generate" | "topics" | "groups") {
            2
        } else {
            1
        };
        let help = engine(&[&words[..depth], &["--help"]].concat()).success();
        for flag in words.iter().filter(|word| word.starts_with("--")) {
            assert!(help.contains(*flag), "`engine {line}`: {flag} is not in its help");
        }
    }
}

//! `engine run`, `validate` and `explain` on the pipeline of the first run, with its embedded broker.

#[path = "process/engine.rs"]
mod process;

use std::path::Path;

use process::{command, engine, signal, start, wait};

const PIPELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../pipelines/ad-campaigns.toml");

#[test]
fn the_first_run_accounts_for_every_generated_event() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = arguments(
        folder.path(),
        &["--until-end", "--drain", "--set", "generators.ads.count=2000", "--json"],
    );
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let summary = wait(start(command(&arguments).current_dir(&folder)), &arguments).success();
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["outcome"], "drained");
    assert_eq!(summary["status"]["records_in"], 2000);
    assert_eq!(summary["status"]["malformed_records"], 0);
    assert!(summary["sinks"][0]["rows"].as_u64().unwrap() >= 10, "{summary}");
}

#[test]
fn sigterm_ends_a_run_gracefully_with_its_summary() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = arguments(folder.path(), &["--set", "generators.ads.count=1000000"]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut child = start(command(&arguments).current_dir(&folder));
    let banner = child.said("restored");
    signal(&child, "TERM");
    let ended = wait(child, &arguments);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.starts_with("ad-campaigns: stopped"), "{}", ended.stdout);
    assert!(banner.contains("pipeline ad-campaigns, exactly_once"), "{banner}");
}

#[test]
fn with_log_json_every_line_is_an_object() {
    let folder = tempfile::tempdir().unwrap();
    let settings = ["--until-end", "--set", "generators.ads.count=100", "--log", "json"];
    let arguments = arguments(folder.path(), &settings);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ended = wait(start(command(&arguments).current_dir(&folder)), &arguments);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""), "{}", ended.stderr);
    let lines = objects(&ended.stderr);
    let events: Vec<_> = lines.iter().filter_map(|line| line["event"].as_str()).collect();
    assert_eq!((events[0], *events.last().unwrap()), ("started", "ended"), "{events:?}");
    assert_eq!(lines.last().unwrap()["run"]["status"]["records_in"], 100);
    assert!(
        lines
            .iter()
            .all(|line| line["timestamp"].is_string() && line["level"].is_string())
    );

    let stderr = engine(&["run", "no-such-file.toml", "--log", "json"]).failure(2);
    assert_eq!(objects(&stderr)[0]["exit_code"], 2);
}

#[test]
fn the_pipeline_of_the_first_run_is_valid_and_explained() {
    assert!(
        engine(&["validate", PIPELINE])
            .success()
            .ends_with("pipeline ad-campaigns is valid\n")
    );
    assert!(
        engine(&["explain", PIPELINE])
            .success()
            .contains("window per_campaign <- views")
    );
}

#[test]
fn mistakes_of_a_file_have_their_line_and_exit_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipeline.toml");
    std::fs::write(&path, "nam = \"x\"\n").unwrap();
    for verb in ["run", "validate", "explain"] {
        let stderr = engine(&[verb, path.to_str().unwrap()]).failure(2);
        assert!(
            stderr.contains("pipeline.toml:1:1") && stderr.contains("`name`"),
            "{stderr}"
        );
    }
}

fn objects(text: &str) -> Vec<serde_json::Value> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn arguments(lake: &Path, more: &[&str]) -> Vec<String> {
    let lake = format!("sinks.lake.path={}", lake.display());
    ["run", PIPELINE, "--set", "server.listen=127.0.0.1:0", "--set", &lake]
        .iter()
        .chain(more)
        .map(|argument| (*argument).to_owned())
        .collect()
}

//! The committed conformance table: whole, and about the brokers that the script knows.

use std::path::Path;
use std::{fs, process::Command};

use serde_json::Value;

#[test]
fn the_committed_table_has_every_broker_of_the_script_and_a_reason_for_whatever_did_not_pass() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(folder.join("conformance/table.json")).unwrap();
    let table: Value = serde_json::from_str(&table).unwrap();
    let brokers: Vec<&str> = items(&table["brokers"]).map(|broker| text(&broker["name"])).collect();
    assert_eq!(brokers, brokers_of_the_script(folder), "run scripts/conformance --all");
    assert!(items(&table["brokers"]).all(|broker| broker["not_run"].is_null()));
    let markdown = fs::read_to_string(folder.join("conformance/table.md")).unwrap();
    let behaviours: Vec<&Value> = items(&table["behaviours"]).collect();
    assert!(behaviours.len() > 100, "{} behaviours", behaviours.len());
    for behaviour in behaviours {
        let sentence = text(&behaviour["behaviour"]);
        assert!(
            markdown.contains(&format!("| {sentence} |")),
            "{sentence} is not in the Markdown"
        );
        for broker in &brokers {
            let result = &behaviour["results"][broker];
            let has_reason = result["reason"].as_str().is_some_and(|reason| !reason.is_empty());
            assert_eq!(
                has_reason,
                text(&result["result"]) != "passed",
                "{sentence} on {broker}: {result}"
            );
        }
    }
}

#[test]
fn wrong_usage_of_the_script_is_told_before_anything_starts() {
    for (arguments, told) in [
        (&["--broker", "1.0.0"][..], "there is no broker '1.0.0'"),
        (&["--broker"], "--broker needs a value"),
        (&["--bootstrap", "127.0.0.1:9092"], "needs --name"),
        (&["--fast"], "unknown option --fast"),
    ] {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/conformance");
        let output = Command::new(script).args(arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {stderr}");
        assert!(stderr.contains(told), "{arguments:?}: {stderr}");
    }
}

fn brokers_of_the_script(folder: &Path) -> Vec<String> {
    let script = fs::read_to_string(folder.join("../scripts/conformance")).unwrap();
    let list_of = |name: &str| {
        let line = script
            .lines()
            .find(|line| line.starts_with(&format!("readonly {name}=(")))
            .unwrap();
        let (_, list) = line.split_once('(').unwrap();
        list.trim_end_matches(')').to_owned()
    };
    let all = list_of("ALL").replace("\"${APACHE[@]}\"", &list_of("APACHE"));
    all.split_whitespace().map(Into::into).collect()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().unwrap().iter()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

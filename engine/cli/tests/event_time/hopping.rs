//! Hopping windows over restarts and drains, with rows that come too late and records that are none.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::scene::{BASE_MS, Pipeline, broker, by_time, head, integer, keyed, lake, produce, values};

/// Windows that overlap, by this name, with their late rows to that one.
const WINDOWS: &str = r#"
[transforms.WINDOWS]
type = "window"
input = "events"
kind = "hopping"
size = "10s"
slide = "2s"
group_by = ["campaign"]
late_output = "LATE"
[transforms.WINDOWS.aggregates]
views = "count(*)"
"#;

const TO_TOPIC: &str = r#"
[sinks.results]
type = "kafka"
input = "to_topic"
topic = "results"
[sinks.late_topic]
type = "kafka"
topic = "late"
"#;

const TO_LAKE: &str = r#"
[sinks.lake]
type = "parquet"
input = "to_lake"
path = "FOLDER/windows"
[sinks.late_lake]
type = "parquet"
path = "FOLDER/late"
"#;

fn windows(name: &str, late: &str) -> String {
    WINDOWS.replace("WINDOWS", name).replace("LATE", late)
}

#[test]
fn hopping_windows_and_their_late_rows_are_whole_over_restarts_and_drains_in_topics_and_lakes() {
    let (broker, folder) = (broker(1), tempfile::tempdir().unwrap());
    // The same windows to a topic and to a lake, their late rows to a topic and to a lake.
    let to_topic = format!("{}{TO_TOPIC}", windows("to_topic", "late_topic"));
    let to_lake = format!("{}{TO_LAKE}", windows("to_lake", "late_lake"));
    let run = Pipeline::write(folder.path(), &head(&broker), &format!("{to_topic}{to_lake}"));
    // Three runs: the first ends with open windows, the second goes on with them, the third drains them.
    let first = [(1, 0), (1, 9_999), (2, 10_000), (1, -1)];
    // The watermark is at 10 s: -1 has no open window left, 9_999 has four of its five.
    let second = [(1, 9_999), (3, -1), (2, 11_000)];
    let third = [(2, 30_500), (2, 11_999)];
    produce(&broker, &first);
    run.until_end(&[]);
    produce(&broker, &second);
    run.until_end(&[]);
    produce(&broker, &third);
    run.until_end(&["--drain"]);
    run.until_end(&["--drain"]);

    let mut expected = BTreeMap::new();
    let mut count = |events: &[(i64, i64)], watermark: i64| {
        for (campaign, time) in events {
            let starts = (0..5).map(|back| (time.div_euclid(2_000) - back) * 2_000);
            for start in starts.filter(|start| start + 10_000 > watermark) {
                *expected.entry((start, *campaign)).or_insert(0) += 1;
            }
        }
    };
    count(&first, i64::MIN);
    count(&second, 10_000);
    // 11_999 is in the same micro-batch as 30_500, which does not make it late.
    count(&third, 11_000);
    let rows = |values: Vec<Value>| {
        let mut rows: Vec<_> = values
            .iter()
            .map(|row| {
                assert_eq!(
                    integer(row, "window_end") - integer(row, "window_start"),
                    10_000,
                    "{row}"
                );
                (
                    (integer(row, "window_start") - BASE_MS, integer(row, "campaign")),
                    integer(row, "views"),
                )
            })
            .collect();
        rows.sort_unstable();
        rows
    };
    let expected: Vec<_> = expected.into_iter().collect();
    assert_eq!(rows(values(&broker, "results")), expected, "the topic");
    assert_eq!(rows(lake(&folder.path().join("windows"))), expected, "the lake");
    let late = [json!({"campaign": 3, "time": BASE_MS - 1})];
    assert_eq!(by_time(values(&broker, "late")), late, "the topic");
    assert_eq!(by_time(lake(&folder.path().join("late"))), late, "the lake");

    // A drain is for good: what comes for a drained window is late, in both.
    produce(&broker, &[(5, 30_500), (5, 50_000)]);
    run.until_end(&["--drain"]);
    let late = [&late[..], &[json!({"campaign": 5, "time": BASE_MS + 30_500})]].concat();
    assert_eq!(by_time(values(&broker, "late")), late, "the topic");
    assert_eq!(by_time(lake(&folder.path().join("late"))), late, "the lake");
    assert_eq!(rows(values(&broker, "results")).len(), expected.len() + 5);
}

/// Pitfall 24 of the stream engine: a null payload (tombstone) panics.
#[test]
fn a_tombstone_is_a_malformed_record_and_the_rows_around_it_count() {
    let (broker, folder) = (broker(1), tempfile::tempdir().unwrap());
    let head = head(&broker)
        .with("sources.events", "on_error = \"dead_letter\"")
        .with("dead_letter", "topic = \"dead\"");
    let counts = windows("to_topic", "late_topic");
    let run = Pipeline::write(folder.path(), &head, &format!("{counts}{TO_TOPIC}"));
    let value = json!({"campaign": 1, "time": BASE_MS}).to_string();
    let records = [
        json!({"key": "a", "value": value}),
        json!({"key": "b", "value": null}),
        json!({"key": null, "value": null}),
        json!({"key": "c", "value": value}),
    ];
    let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
    broker
        .engine_with_input(&["produce", "events", "--json"], lines.as_bytes())
        .success();
    run.until_end(&["--drain"]);
    let views: Vec<i64> = values(&broker, "results")
        .iter()
        .map(|row| integer(row, "views"))
        .collect();
    assert_eq!(views, [2; 5]);
    let mut dead = keyed(&broker, "dead");
    dead.sort_by_key(|(key, _)| key.is_null());
    assert_eq!(dead, [(json!("b"), json!(null)), (json!(null), json!(null))]);
}

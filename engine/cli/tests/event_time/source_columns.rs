//! The columns that a source has of itself: topic, partition, offset, timestamp, key and headers.

use serde_json::{Value, json};

use crate::scene::{BASE_MS, Pipeline, broker, head, integer, keyed, lake};

const META: &str = r#"
[transforms.first_partition]
type = "filter"
input = "events"
where = "_partition = 0 and _offset > 0"
[transforms.own]
type = "select"
input = "first_partition"
columns = { campaign = "campaign", topic = "_topic", partition = "_partition", offset = "_offset", at = "_timestamp", key = "_key", headers = "_headers" }
[transforms.by_key]
type = "window"
input = "first_partition"
kind = "tumbling"
size = "10s"
group_by = ["_key", "_partition"]
aggregates = { rows = "count(*)", first = "min(_offset)", last = "max(_timestamp)", keys = "count(_key)" }
[sinks.told]
type = "kafka"
input = "own"
topic = "told"
key = "key"
[sinks.told_files]
type = "parquet"
input = "own"
path = "FOLDER/told"
[sinks.keys]
type = "kafka"
input = "by_key"
topic = "keys"
key = "_key"
[sinks.key_files]
type = "parquet"
input = "by_key"
path = "FOLDER/keys"
"#;

#[test]
fn the_sources_own_columns_reach_topics_and_lakes_with_null_keys_and_headers() {
    let (broker, folder) = (broker(2), tempfile::tempdir().unwrap());
    let run = Pipeline::write(folder.path(), &head(&broker), META);
    let value = |campaign: i64| json!({"campaign": campaign, "time": BASE_MS}).to_string();
    let records = [
        json!({"partition": 0, "timestamp": BASE_MS + 1, "value": value(0), "key": "left out"}),
        json!({"partition": 0, "timestamp": BASE_MS + 2, "value": value(1), "key": "k", "headers": [["a", "1"], ["a", null]]}),
        json!({"partition": 0, "timestamp": BASE_MS + 3, "value": value(2), "key": null}),
        json!({"partition": 0, "timestamp": BASE_MS + 4, "value": value(3), "key": ""}),
        json!({"partition": 1, "timestamp": BASE_MS + 5, "value": value(4), "key": "k"}),
    ];
    let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
    broker
        .engine_with_input(&["produce", "events", "--json"], lines.as_bytes())
        .success();
    run.until_end(&["--drain"]);

    let told = |campaign: i64, key: Value, headers: Value| {
        json!({"campaign": campaign, "topic": "events", "partition": 0, "offset": campaign, "at": BASE_MS + campaign + 1,
            "key": key, "headers": headers})
    };
    let headers = json!([{"name": "a", "value": "1"}, {"name": "a", "value": null}]);
    let expected = [
        (json!("k"), told(1, json!("k"), headers)),
        (json!(null), told(2, json!(null), json!([]))),
        (json!(""), told(3, json!(""), json!([]))),
    ];
    // Rows without a key may go to any partition.
    let mut told = keyed(&broker, "told");
    told.sort_by_key(|(_, row)| integer(row, "offset"));
    assert_eq!(told, expected);
    let mut files = lake(&folder.path().join("told"));
    files.sort_by_key(|row| integer(row, "offset"));
    assert_eq!(files.len(), 3, "{files:?}");
    for (row, (_, expected)) in files.iter().zip(&expected) {
        for column in ["campaign", "topic", "partition", "offset", "at"] {
            assert_eq!(row[column], expected[column], "{column}");
        }
    }
    assert_eq!(
        files.iter().map(|row| &row["key"]).collect::<Vec<_>>(),
        [&json!("6b"), &json!(null), &json!("")],
        "bytes, which this test shows in hexadecimal digits"
    );

    let mut keys = keyed(&broker, "keys");
    keys.sort_by_key(|(_, row)| integer(row, "first"));
    let counted = |key: Value, first: i64, keys: i64| {
        let row = json!({"window_start": BASE_MS, "window_end": BASE_MS + 10_000, "_key": key, "_partition": 0,
            "rows": 1, "first": first, "last": BASE_MS + first + 1, "keys": keys});
        (key, row)
    };
    assert_eq!(
        keys,
        [
            counted(json!("k"), 1, 1),
            counted(json!(null), 2, 0),
            counted(json!(""), 3, 1)
        ]
    );
    assert_eq!(lake(&folder.path().join("keys")).len(), 3);
}

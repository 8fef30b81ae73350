//! Windows that overlap, rows that come too late, and the columns that a source has of itself: from a topic through the
//! operators into topics and lakes, over restarts and drains.

#[path = "process/engine.rs"]
mod process;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use process::{EmbeddedBroker, engine};
use serde_json::{Value, json};

/// A whole multiple of every size and slide here.
const BASE_MS: i64 = 1_700_000_000_000;

const HEAD: &str = r#"
name = "event-time"
[kafka]
bootstrap.servers = "ADDRESS"
[trigger]
interval = "20ms"
[checkpoint]
interval = "100ms"
[sources.events]
type = "kafka"
topics = ["events"]
format = "json"
kafka = { auto.offset.reset = "earliest" }
[sources.events.schema]
campaign = "int64"
time = "timestamp(ms)"
[sources.events.watermark]
column = "time"
"#;

/// The same windows to a topic and to a lake, their late rows to a topic and to a lake.
const HOPPING: &str = r#"
[transforms.to_topic]
type = "window"
input = "events"
kind = "hopping"
size = "10s"
slide = "2s"
group_by = ["campaign"]
late_output = "late_topic"
[transforms.to_topic.aggregates]
views = "count(*)"
[transforms.to_lake]
type = "window"
input = "events"
kind = "hopping"
size = "10s"
slide = "2s"
group_by = ["campaign"]
late_output = "late_lake"
[transforms.to_lake.aggregates]
views = "count(*)"
[sinks.results]
type = "kafka"
input = "to_topic"
topic = "results"
[sinks.late_topic]
type = "kafka"
topic = "late"
[sinks.lake]
type = "parquet"
input = "to_lake"
path = "FOLDER/windows"
[sinks.late_lake]
type = "parquet"
path = "FOLDER/late"
"#;

#[test]
fn hopping_windows_and_their_late_rows_are_whole_over_restarts_and_drains_in_topics_and_lakes() {
    let (broker, folder) = (broker(1), tempfile::tempdir().unwrap());
    let run = Pipeline::write(folder.path(), &broker.address, &format!("{HEAD}{HOPPING}"));
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
    let run = Pipeline::write(folder.path(), &broker.address, &format!("{HEAD}{META}"));
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

/// Pitfall 24 of the stream engine: a null payload (tombstone) panics.
#[test]
fn a_tombstone_is_a_malformed_record_and_the_rows_around_it_count() {
    let (broker, folder) = (broker(1), tempfile::tempdir().unwrap());
    let windows = HEAD.replace("format = \"json\"", "format = \"json\"\non_error = \"dead_letter\"");
    let run = Pipeline::write(
        folder.path(),
        &broker.address,
        &format!("{windows}{HOPPING}[dead_letter]\ntopic = \"dead\"\n"),
    );
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

const UPDATES: &str = r#"
[transforms.counts]
type = "window"
input = "events"
kind = "hopping"
size = "10s"
slide = "5s"
group_by = ["campaign"]
mode = "update"
aggregates = { views = "count(*)" }
[transforms.keyed]
type = "select"
input = "counts"
columns = { id = "concat(cast(campaign as varchar), '@', cast(window_start as varchar))", start = "window_start", campaign = "campaign", views = "views" }
[sinks.results]
type = "kafka"
input = "keyed"
topic = "results"
key = "id"
"#;

#[test]
fn updates_come_before_windows_close_and_count_what_all_partitions_have() {
    let (broker, folder) = (broker(2), tempfile::tempdir().unwrap());
    let run = Pipeline::write(folder.path(), &broker.address, &format!("{HEAD}{UPDATES}"));
    let in_partitions = |events: &[(i64, i64, i64)]| {
        let record = |(partition, campaign, after): &(i64, i64, i64)| {
            let value = json!({"campaign": campaign, "time": BASE_MS + after}).to_string();
            format!("{}\n", json!({"partition": partition, "value": value}))
        };
        let lines: String = events.iter().map(record).collect();
        broker
            .engine_with_input(&["produce", "events", "--json"], lines.as_bytes())
            .success();
    };
    // What a reader who keeps the last row of each key has, and how often each came.
    let table = || {
        let mut table = BTreeMap::new();
        for (key, row) in keyed(&broker, "results") {
            let (start, campaign) = (integer(&row, "start") - BASE_MS, integer(&row, "campaign"));
            assert_eq!(
                key.as_str().unwrap().split('@').next(),
                Some(campaign.to_string().as_str())
            );
            let (views, times) = table.entry((start, campaign)).or_insert((0, 0));
            (*views, *times) = (integer(&row, "views"), *times + 1);
        }
        table
    };
    let views = |table: &BTreeMap<(i64, i64), (i64, i32)>| -> Vec<(i64, i64, i64)> {
        table
            .iter()
            .map(|((start, campaign), (views, _))| (*start, *campaign, *views))
            .collect()
    };
    in_partitions(&[(0, 1, 5_000), (1, 1, 5_000), (1, 2, 5_000)]);
    run.until_end(&[]);
    let first = table();
    assert_eq!(
        views(&first),
        [(0, 1, 2), (0, 2, 1), (5_000, 1, 2), (5_000, 2, 1)],
        "no window has closed"
    );
    assert_eq!(first[&(0, 2)].1, 1);
    // One partition has news of one group; what the other and the run before know of it counts too.
    in_partitions(&[(0, 1, 9_999)]);
    run.until_end(&[]);
    let second = table();
    assert_eq!(views(&second), [(0, 1, 3), (0, 2, 1), (5_000, 1, 3), (5_000, 2, 1)]);
    assert_eq!(second[&(0, 2)].1, 1, "a group that did not change does not come again");
    run.until_end(&[]);
    assert_eq!(table(), second, "nothing changed");
    in_partitions(&[(0, 3, 15_000), (1, 3, 15_000)]);
    run.until_end(&[]);
    let third = table();
    let open = [(10_000, 3, 2), (15_000, 3, 2)];
    assert_eq!(views(&third), [&views(&second)[..], &open].concat());
    assert_eq!(third[&(0, 2)].1, 2, "the last row of a window that closed");
    run.until_end(&["--drain"]);
    assert_eq!(views(&table()), views(&third));
    assert_eq!(table()[&(15_000, 3)].1, third[&(15_000, 3)].1 + 1);
}

/// A pipeline file in a folder of its own.
struct Pipeline(PathBuf);

impl Pipeline {
    fn write(folder: &Path, address: &str, text: &str) -> Self {
        let path = folder.join("pipeline.toml");
        let text = text
            .replace("ADDRESS", address)
            .replace("FOLDER", folder.to_str().unwrap());
        std::fs::write(&path, text).unwrap();
        Pipeline(path)
    }

    #[track_caller]
    fn until_end(&self, flags: &[&str]) {
        let run = ["run", self.0.to_str().unwrap(), "--until-end"];
        engine(&[&run, flags].concat()).success();
    }
}

/// A broker with an empty topic `events`.
fn broker(partitions: u32) -> EmbeddedBroker {
    let broker = EmbeddedBroker::start(&[]);
    broker
        .engine(&["topics", "create", "events", "--partitions", &partitions.to_string()])
        .success();
    broker
}

/// (campaign, milliseconds after [`BASE_MS`])
fn produce(broker: &EmbeddedBroker, events: &[(i64, i64)]) {
    let line = |(campaign, after): &(i64, i64)| format!("{}\n", json!({"campaign": campaign, "time": BASE_MS + after}));
    let lines: String = events.iter().map(line).collect();
    broker
        .engine_with_input(&["produce", "events"], lines.as_bytes())
        .success();
}

fn integer(row: &Value, column: &str) -> i64 {
    row[column].as_i64().unwrap_or_else(|| panic!("{column}: {row}"))
}

/// Rows in the order of their times: a topic has several partitions.
fn by_time(mut rows: Vec<Value>) -> Vec<Value> {
    rows.sort_by_key(|row| integer(row, "time"));
    rows
}

/// The values of a topic, as JSON.
fn values(broker: &EmbeddedBroker, topic: &str) -> Vec<Value> {
    keyed(broker, topic).into_iter().map(|(_, value)| value).collect()
}

/// The keys of a topic, and its values as JSON; null is a tombstone's.
fn keyed(broker: &EmbeddedBroker, topic: &str) -> Vec<(Value, Value)> {
    let read = broker
        .engine(&["consume", topic, "--from", "beginning", "--until-end", "--json"])
        .success();
    let record = |line: &str| {
        let record: Value = serde_json::from_str(line).unwrap();
        let value = record["value"]
            .as_str()
            .map_or(Value::Null, |value| serde_json::from_str(value).unwrap());
        (record["key"].clone(), value)
    };
    read.lines().map(record).collect()
}

/// The rows of a lake table that a reader may see, in the order of their files: integers and times (in milliseconds) as
/// numbers, null as null, all else as text.
fn lake(folder: &Path) -> Vec<Value> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "parquet"))
        .collect();
    files.sort_by_key(|path| std::fs::metadata(path).unwrap().modified().unwrap());
    let mut rows = Vec::new();
    for path in files {
        let file = std::fs::File::open(&path).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
        for batch in reader.map(Result::unwrap) {
            let options = FormatOptions::new();
            for row in 0..batch.num_rows() {
                let cell = |(field, column): (&arrow::datatypes::FieldRef, &arrow::array::ArrayRef)| {
                    let text = ArrayFormatter::try_new(column, &options)
                        .unwrap()
                        .value(row)
                        .to_string();
                    let value = match (column.is_null(row), field.data_type()) {
                        (true, _) => Value::Null,
                        (_, kind) if kind.is_integer() => json!(text.parse::<i64>().unwrap()),
                        (_, arrow::datatypes::DataType::Timestamp(..)) => {
                            let milliseconds = chrono::DateTime::parse_from_rfc3339(&text).unwrap();
                            json!(milliseconds.timestamp_millis())
                        }
                        _ => json!(text),
                    };
                    (field.name().clone(), value)
                };
                rows.push(
                    batch
                        .schema_ref()
                        .fields()
                        .iter()
                        .zip(batch.columns())
                        .map(cell)
                        .collect(),
                );
            }
        }
    }
    rows
}

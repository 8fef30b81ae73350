//! What the main job must have counted, recounted from the raw events without any part of the engine but its reader;
//! and what it has written, to its topic and to its lake.
//!
//! Included by the tests with `#[path]`, because a folder under `tests/` is no crate of its own.
#![allow(dead_code)] // Not every test file needs every part.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use arrow::{
    array::{ArrayRef, AsArray},
    compute::cast,
    datatypes::{DataType, Int64Type, TimeUnit, TimestampMillisecondType},
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Deserialize;
use serde_json::Value;

use crate::process::{Watchdog, command, start};

/// A million events on a busy machine take more than a minute.
const READING_MAX: std::time::Duration = std::time::Duration::from_secs(300);

/// Per window (its start in ms) and campaign: how many views, and the largest `produce_time` in ms.
pub(crate) type Counts = BTreeMap<(i64, i64), (i64, i64)>;

/// What is counted of an event. A struct, because a million trees of values take a build without optimisation twice as long.
#[derive(Deserialize)]
struct Event<'a> {
    event_type: &'a str,
    campaign_id: i64,
    event_time_ns: i64,
    produce_time: i64,
}

/// The raw events of a topic, recounted.
#[derive(Debug, Default)]
pub(crate) struct Recount {
    /// Records in the topic.
    pub(crate) events: u64,
    /// What the windows must say.
    pub(crate) counts: Counts,
}

/// Reads a topic of ad events and counts by the book: integer division, one event at a time.
#[track_caller]
pub(crate) fn recount(servers: &str, topic: &str, window_ms: i64) -> Recount {
    let mut recount = Recount::default();
    read_lines(servers, topic, &[], |line| {
        let event: Event = serde_json::from_slice(line).expect("generated events are JSON");
        recount.events += 1;
        if event.event_type != "view" {
            return;
        }
        let time_ms = event.event_time_ns / 1_000_000;
        let window = (time_ms - time_ms % window_ms, event.campaign_id);
        let (views, latest) = recount.counts.entry(window).or_insert((0, i64::MIN));
        *views += 1;
        *latest = event.produce_time.max(*latest);
    });
    recount
}

/// The rows of a results topic, in the order of each window's partition.
#[track_caller]
pub(crate) fn results(servers: &str, topic: &str, window_ms: i64) -> BTreeMap<(i64, i64), Vec<(i64, i64)>> {
    let mut rows: BTreeMap<_, Vec<_>> = BTreeMap::new();
    read_lines(servers, topic, &["--json", "--isolation", "read_committed"], |line| {
        let record: Value = serde_json::from_slice(line).expect("`consume --json` prints JSON");
        let row: Value = serde_json::from_str(record["value"].as_str().expect("a value")).expect("results are JSON");
        let integer = |column: &str| row[column].as_i64().unwrap_or_else(|| panic!("{column} of {row}"));
        assert_eq!(integer("window_end") - integer("window_start"), window_ms, "{row}");
        assert_eq!(record["key"], row["campaign_id"].to_string(), "the key is the campaign");
        rows.entry((integer("window_start"), integer("campaign_id")))
            .or_default()
            .push((integer("events"), integer("max_produce_time")));
    });
    rows
}

/// The rows of a lake table as any reader sees them: each file but those below names with `_` or `.`. Each window and
/// campaign may be there once.
#[track_caller]
pub(crate) fn lake(folder: &Path) -> Counts {
    let mut counts = Counts::new();
    for path in visible_files(folder) {
        let file = std::fs::File::open(&path).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)
            .and_then(|builder| builder.build())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let date = path
            .parent()
            .and_then(Path::file_name)
            .unwrap()
            .to_string_lossy()
            .into_owned();
        for batch in reader {
            let batch = batch.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let column = |name: &str| {
                batch
                    .column_by_name(name)
                    .unwrap_or_else(|| panic!("no {name}: {batch:?}"))
            };
            let (starts, produced) = (
                milliseconds(column("window_start")),
                milliseconds(column("max_produce_time")),
            );
            let (campaigns, events) = (column("campaign_id"), column("events"));
            for row in 0..batch.num_rows() {
                let start = starts[row];
                let expected = chrono::DateTime::from_timestamp_millis(start)
                    .unwrap()
                    .format("dt=%Y-%m-%d");
                assert_eq!(date, expected.to_string(), "the folder of a window");
                let key = (start, campaigns.as_primitive::<Int64Type>().value(row));
                let value = (events.as_primitive::<Int64Type>().value(row), produced[row]);
                if let Some(other) = counts.insert(key, value) {
                    panic!(
                        "window {key:?} is twice in the lake: {other:?} and {value:?} in {}",
                        path.display()
                    );
                }
            }
        }
    }
    counts
}

/// All files of a table that a reader may see.
pub(crate) fn visible_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_string_lossy().starts_with(['_', '.']) {
                continue;
            }
            if path.is_dir() {
                folders.push(path)
            } else {
                files.push(path)
            }
        }
    }
    files
}

/// Asserts that two counts are the same and names the first differences, not all thousand lines.
#[track_caller]
pub(crate) fn assert_same(what: &str, counted: &Counts, expected: &Counts) {
    let keys = counted.keys().chain(expected.keys());
    let mut different: Vec<_> = keys.filter(|key| counted.get(key) != expected.get(key)).collect();
    different.sort();
    different.dedup();
    let shown: Vec<_> = different
        .iter()
        .take(12)
        .map(|key| format!("{key:?}: {:?} instead of {:?}", counted.get(key), expected.get(key)))
        .collect();
    assert!(
        different.is_empty(),
        "{what}: {} of {} windows differ from the recount:\n{}",
        different.len(),
        expected.len(),
        shown.join("\n")
    );
}

fn milliseconds(column: &ArrayRef) -> Vec<i64> {
    let column = cast(column, &DataType::Timestamp(TimeUnit::Millisecond, None)).expect("a timestamp");
    assert_eq!(column.null_count(), 0);
    column.as_primitive::<TimestampMillisecondType>().values().to_vec()
}

/// Streams what `engine consume` prints: a million events need not be in memory twice.
#[track_caller]
fn read_lines(servers: &str, topic: &str, more: &[&str], mut take: impl FnMut(&[u8])) {
    let arguments = [&["consume", topic, "-b", servers, "--until-end", "-q"], more].concat();
    let mut child = start(command(&arguments).stderr(std::process::Stdio::inherit()));
    let _watchdog = Watchdog::after(READING_MAX, &child);
    let mut lines = BufReader::with_capacity(1 << 20, child.stdout.take().expect("piped"));
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).expect("a pipe") > 0 {
        take(line.strip_suffix(b"\n").unwrap_or(&line));
        line.clear();
    }
    let status = child.wait().expect("our own child");
    assert!(status.success(), "consume {topic}: {status}");
}

//! Sessions of users whose events are spread over partitions, with the process killed again and again: each session is in
//! the lake once, and exact.
//!
//! `ENGINE_E2E_SEED` repeats a failure's moments.

#[path = "ad_campaigns/counts.rs"]
mod counts;
#[path = "pipeline_files/text.rs"]
mod pipeline_text;
#[path = "process/engine.rs"]
mod process;

use std::{collections::BTreeMap, path::Path, time::Duration};

use arrow::{
    array::AsArray,
    datatypes::{Int64Type, TimestampMicrosecondType},
};
use counts::visible_files;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use pipeline_text::PipelineText;
use process::{EmbeddedBroker, command, engine, engine_with_input, start};
use serde_json::{Value, json};

const START_MS: i64 = 1_700_000_000_000;
const GAP_MS: i64 = 1_000;
const PARTITIONS: i64 = 4;
const USERS: i64 = 12;
/// Events of a wave, and the time between two.
const WAVE: i64 = 400;
const STEP_MS: i64 = 100;

/// Start, end and user of a session, and its events.
type Sessions = BTreeMap<(i64, i64, i64), i64>;

#[test]
fn every_session_is_there_once_however_often_the_process_is_killed() {
    let seed: u64 = std::env::var("ENGINE_E2E_SEED").map_or(3, |seed| seed.parse().expect("a number"));
    println!("ENGINE_E2E_SEED={seed}");
    let broker = EmbeddedBroker::start(&[]);
    let servers = broker.address.as_str();
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    let pipeline = text(servers, &lake).write(folder.path(), "visits.toml");
    let pipeline = pipeline.to_str().unwrap();
    let partitions = PARTITIONS.to_string();
    engine(&["topics", "create", "clicks", "--partitions", &partitions, "-b", servers]).success();
    let waves = 6;
    for wave in 0..waves {
        send(servers, wave);
        let mut run = start(&mut command(&["run", pipeline, "--json", "--log", "json"]));
        run.said(r#""event":"started""#);
        std::thread::sleep(Duration::from_millis(seed.wrapping_mul(53 + wave as u64 * 131) % 400));
        drop(run);
    }
    let summary = engine(&["run", pipeline, "--json", "--until-end", "--drain"]).success();
    let summary: Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["outcome"], "drained", "{summary}");
    assert_eq!(summary["status"]["late_rows"], 0, "{summary}");
    let (found, expected) = (read(&lake), expected(waves));
    assert!(expected.len() > 100 && expected.values().any(|events| *events > 3));
    assert_eq!(found, expected);
}

#[test]
fn the_latencies_of_a_run_count_each_session_once_also_where_it_is_spread_over_partitions() {
    let broker = EmbeddedBroker::start(&[]);
    let servers = broker.address.as_str();
    let folder = tempfile::tempdir().unwrap();
    let pipeline = text(servers, &folder.path().join("lake"))
        .into_topic("results", Some("visits"))
        .write(folder.path(), "visits.toml");
    for topic in ["clicks", "results"] {
        let partitions = PARTITIONS.to_string();
        engine(&["topics", "create", topic, "--partitions", &partitions, "-b", servers]).success();
    }
    send(servers, 0);
    let summary = engine(&["run", pipeline.to_str().unwrap(), "--json", "--until-end", "--drain"]).success();
    let summary: Value = serde_json::from_str(&summary).unwrap();
    let latency = &summary["status"]["latency"];
    assert_eq!(latency["count"], expected(1).len(), "{summary}");
    // From the event time of the last row, years ago, and not from the moment when it was sent.
    assert!(latency["max_seconds"].as_f64() > Some(86_400.0), "{summary}");
}

fn text(servers: &str, lake: &Path) -> PipelineText {
    PipelineText::new("visits", servers)
        .every("20ms", "60ms")
        .with("trigger", "max_records = 50")
        .reading("clicks", "clicks")
        .with(
            "sources.clicks.kafka",
            "session.timeout.ms = 1500\nheartbeat.interval.ms = 300",
        )
        .with("sources.clicks.schema", "user = \"int64\"\ntime = \"timestamp(ms)\"")
        .with("sources.clicks.watermark", "column = \"time\"")
        .with(
            "transforms.visits",
            "type = \"window\"\ninput = \"clicks\"\nkind = \"session\"\ngap = \"1s\"\ngroup_by = [\"user\"]",
        )
        .with("transforms.visits.aggregates", "events = \"count(*)\"")
        .into_lake("lake", "visits", lake)
}

/// An event's user and partition: without any order, and a user is in all partitions.
fn user_and_partition(number: i64) -> (i64, i64) {
    let mut mixed = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)) >> 16;
    ((mixed % USERS as u64) as i64, (mixed / 97 % PARTITIONS as u64) as i64)
}

fn send(servers: &str, wave: i64) {
    let lines: String = (wave * WAVE..(wave + 1) * WAVE)
        .map(|number| {
            let (user, partition) = user_and_partition(number);
            let time = START_MS + number * STEP_MS;
            let value = format!(r#"{{"user":{user},"time":{time}}}"#);
            format!(
                "{}\n",
                json!({ "partition": partition, "timestamp": time, "value": value })
            )
        })
        .collect();
    engine_with_input(&["produce", "clicks", "--json", "-b", servers], lines.as_bytes()).success();
}

fn expected(waves: i64) -> Sessions {
    let mut open: BTreeMap<i64, (i64, i64, i64)> = BTreeMap::new();
    let mut sessions = Sessions::new();
    for number in 0..waves * WAVE {
        let (user, _) = user_and_partition(number);
        let time = START_MS + number * STEP_MS;
        let (start, last, events) = open.entry(user).or_insert((time, time, 0));
        if time - *last >= GAP_MS {
            sessions.insert((*start, *last + GAP_MS, user), *events);
            (*start, *events) = (time, 0);
        }
        (*last, *events) = (time, *events + 1);
    }
    sessions.extend(
        open.into_iter()
            .map(|(user, (start, last, events))| ((start, last + GAP_MS, user), events)),
    );
    sessions
}

fn read(lake: &Path) -> Sessions {
    let mut sessions = Sessions::new();
    for path in visible_files(lake) {
        let file = std::fs::File::open(&path).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).and_then(|builder| builder.build());
        for batch in reader.unwrap() {
            let batch = batch.unwrap();
            let integers = |name: &str| batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().clone();
            let times = |name: &str| {
                let times = batch.column_by_name(name).unwrap();
                times.as_primitive::<TimestampMicrosecondType>().clone()
            };
            let (starts, ends) = (times("window_start"), times("window_end"));
            let (users, events) = (integers("user"), integers("events"));
            for row in 0..batch.num_rows() {
                let key = (starts.value(row) / 1_000, ends.value(row) / 1_000, users.value(row));
                assert_eq!(sessions.insert(key, events.value(row)), None, "{key:?} is there twice");
            }
        }
    }
    sessions
}

//! Records that are no ad events, among some that are: what each `on_error` makes of them, and that counts add up.

#[path = "ad_campaigns/counts.rs"]
mod counts;
#[path = "ad_campaigns/job.rs"]
mod job;
#[path = "process/engine.rs"]
mod process;
#[path = "real_broker/cluster.rs"]
mod real_broker;

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use counts::{Counts, assert_same, lake, results};
use job::Job;
use process::{EmbeddedBroker, engine, engine_with_input};
use real_broker::Cluster;
use serde_json::{Value, json};

const WINDOW_MS: i64 = 10_000;
const START_MS: i64 = 1_700_000_000_000;
const PARTITIONS: usize = 4;

#[test]
fn on_error_does_what_it_says_on_the_embedded_broker() {
    let broker = EmbeddedBroker::start(&[]);
    every_policy(&broker.address, 1);
}

#[test]
fn on_error_does_what_it_says_on_kafka_4_4_0() {
    if let Some(cluster) = Cluster::start("malformed-records", "4.4.0", 1) {
        every_policy(&cluster.bootstrap_servers, 1);
    }
}

fn every_policy(servers: &str, replicas: usize) {
    let folder = tempfile::tempdir().unwrap();
    let job = |name: &str, on_error: &str| {
        Job::new(name, servers, folder.path())
            .set(&format!("kafka.replication_factor={replicas}"))
            .set(&format!("sources.events.on_error={on_error}"))
    };
    malformed_records_are_dropped_and_counted(&job("dropped", "drop"));
    malformed_records_become_dead_letters(&job("dead", "dead_letter"));
    for (index, what) in ["a tombstone", "not JSON", "a word for a number"]
        .into_iter()
        .enumerate()
    {
        let name = format!("failed-{index}");
        a_malformed_record_ends_the_run(&job(&name, "fail"), &job(&name, "drop"), what);
    }
}

fn malformed_records_are_dropped_and_counted(job: &Job) {
    let sent = send_everything(job);
    let summary = job.drain();
    assert_counts(job, &summary, &sent);
    assert_eq!(summary["status"]["dead_letters"], 0, "{summary}");
}

fn malformed_records_become_dead_letters(job: &Job) {
    let sent = send_everything(job);
    let summary = job.drain();
    assert_counts(job, &summary, &sent);
    assert_eq!(summary["status"]["dead_letters"], sent.malformed.len(), "{summary}");

    let printed = engine(&[
        "consume",
        &job.topic("dead"),
        "--until-end",
        "--json",
        "-b",
        &job.servers,
    ])
    .success();
    let mut letters = BTreeMap::new();
    for line in printed.lines() {
        let letter: Value = serde_json::from_str(line).unwrap();
        let headers = letter["headers"].as_array().unwrap();
        let place = headers.len().checked_sub(5).expect("five headers of ours");
        let ours: BTreeMap<&str, &str> = headers[place..]
            .iter()
            .map(|header| (header[0].as_str().unwrap(), header[1].as_str().unwrap()))
            .collect();
        assert_eq!(
            (ours["engine.source"], ours["engine.topic"]),
            ("events", job.topic("events").as_str())
        );
        assert!(!ours["engine.error"].is_empty(), "{letter}");
        let origin: (usize, i64) = (
            ours["engine.partition"].parse().unwrap(),
            ours["engine.offset"].parse().unwrap(),
        );
        let kept = json!({
            "key": letter["key"], "value": letter["value"], "headers": headers[..place], "timestamp": letter["timestamp"],
        });
        assert_eq!(letters.insert(origin, kept), None, "{origin:?} is there twice");
    }
    let expected: BTreeMap<_, _> = sent
        .malformed
        .iter()
        .map(|(origin, (_, record))| (*origin, record.clone()))
        .collect();
    let named: Vec<_> = sent.malformed.values().map(|(what, _)| what).collect();
    assert_eq!(letters, expected, "the dead letters of {named:?}");
}

/// The run ends with 1 and names the record; with another policy the next run goes on.
fn a_malformed_record_ends_the_run(job: &Job, lenient: &Job, what: &str) {
    let (_, value) = malformed_values().into_iter().find(|(name, _)| *name == what).unwrap();
    let mut batch = Batch::default();
    for number in 0..20 {
        batch.push(2, number, event(number));
    }
    batch.push(2, 20, value);
    batch.push(2, 21, event(21));
    batch.send(job);
    let stderr = job.run(&["--until-end"]).0.failure(1);
    let place = format!("{}-2 offset 20", job.topic("events"));
    assert!(stderr.contains(&place), "{what}: no `{place}` in: {stderr}");
    assert!(!stderr.contains("panicked") && !stderr.contains("Error {"), "{stderr}");

    let summary = lenient.drain();
    assert_eq!(summary["status"]["malformed_records"], 1, "{summary}");
    let rows = results(&job.servers, &job.topic("results"), WINDOW_MS);
    let views: i64 = rows.values().map(|rows| rows.last().unwrap().0).sum();
    assert_eq!(views, 21, "{what}: no good record is lost to the failed run");
}

fn assert_counts(job: &Job, summary: &Value, sent: &Sent) {
    let status = &summary["status"];
    assert_eq!(status["records_in"], sent.good + sent.malformed.len(), "{summary}");
    assert_eq!(status["malformed_records"], sent.malformed.len(), "{summary}");
    assert_eq!(status["late_rows"], 0, "{summary}");
    assert_same("lake", &lake(&job.lake), &sent.counts);
    let rows = results(&job.servers, &job.topic("results"), WINDOW_MS);
    let rows = rows.into_iter().map(|(window, rows)| (window, rows[0])).collect();
    assert_same("results", &rows, &sent.counts);
}

struct Sent {
    good: usize,
    /// By partition and offset: what it is, and the record as it was sent.
    malformed: BTreeMap<(usize, i64), (&'static str, Value)>,
    counts: Counts,
}

/// Good and malformed records in turn, over all partitions.
fn send_everything(job: &Job) -> Sent {
    let mut batch = Batch::default();
    let mut sent = Sent {
        good: 0,
        malformed: BTreeMap::new(),
        counts: Counts::new(),
    };
    let values = malformed_values();
    for round in 0..200_i64 {
        let partition = round as usize % PARTITIONS;
        batch.push(partition, round, event(round));
        sent.good += 1;
        let time = START_MS + round * 100;
        let (views, latest) = sent
            .counts
            .entry((time - time % WINDOW_MS, round % 3))
            .or_insert((0, i64::MIN));
        *views += 1;
        *latest = time.max(*latest);
        if let Some((what, value)) = values.get(round as usize / 2).filter(|_| round % 2 == 1) {
            let offset = batch.push(partition, round, value.clone());
            let record = batch.records.last().unwrap();
            let record = json!({
                "key": record["key"], "value": record["value"], "headers": record["headers"], "timestamp": record["timestamp"],
            });
            sent.malformed.insert((partition, offset), (what, record));
        }
    }
    assert_eq!(sent.malformed.len(), values.len());
    batch.send(job);
    sent
}

#[derive(Default)]
struct Batch {
    records: Vec<Value>,
    ends: [i64; PARTITIONS],
}

impl Batch {
    /// Adds a record with a key and headers that are no text, and gives its offset.
    fn push(&mut self, partition: usize, number: i64, value: Value) -> i64 {
        let headers = json!([["trace", format!("{number}")], ["trace", null], ["", ""], ["bytes", {"base64": "/wD+"}]]);
        let key = if number % 3 == 0 {
            json!({"base64": "gP8A"})
        } else {
            json!(format!("key {number}"))
        };
        self.records.push(json!({
            "partition": partition, "timestamp": START_MS + number * 100, "key": key, "value": value, "headers": headers,
        }));
        self.ends[partition] += 1;
        self.ends[partition] - 1
    }

    fn send(&self, job: &Job) {
        let topic = job.topic("events");
        let partitions = PARTITIONS.to_string();
        let servers = ["-b", job.servers.as_str()];
        engine(&[&["topics", "create", &topic, "--partitions", &partitions], &servers[..]].concat()).success();
        let lines: String = self.records.iter().map(|record| format!("{record}\n")).collect();
        engine_with_input(
            &[&["produce", &topic, "--json"], &servers[..]].concat(),
            lines.as_bytes(),
        )
        .success();
    }
}

/// A view at the number's time, with a field that nobody knows and a number inside a string.
fn event(number: i64) -> Value {
    let time = START_MS + number * 100;
    Value::String(format!(
        r#"{{"ad_id":"ad","event_type":"view","unknown":{{"a":[1,null]}},"campaign_id":"{}","produce_time":{time},"event_time_ns":{time}000000}}"#,
        number % 3
    ))
}

/// What is no ad event, as `produce --json` takes it: text, null, or base64 for what is not UTF-8.
fn malformed_values() -> Vec<(&'static str, Value)> {
    let good = event(1).as_str().unwrap().to_owned();
    let time = format!(r#""produce_time":{START_MS}"#);
    let with = |fields: &str| {
        json!(format!(
            r#"{{"event_type":"view","event_time_ns":{START_MS}000000,{fields}}}"#
        ))
    };
    let not_utf8 = [br#"{"event_type":"view","ad_id":""#, &b"\xff\xfe"[..], br#""}"#].concat();
    let nested = |depth: usize| "[".repeat(depth);
    vec![
        ("a tombstone", Value::Null),
        ("empty", json!("")),
        ("white space", json!(" \n\t")),
        ("not JSON", json!("plain text")),
        ("cut in half", json!(good[..good.len() / 2])),
        ("more behind it", json!(format!("{good} x"))),
        ("a list", json!("[1,2]")),
        ("a number", json!("42")),
        ("null", json!("null")),
        (
            "a word for a number",
            with(&format!(r#""campaign_id":"twelve",{time}"#)),
        ),
        (
            "an object for a number",
            with(&format!(r#""campaign_id":{{"a":1}},{time}"#)),
        ),
        ("a number too large", with(&format!(r#""campaign_id":1e30,{time}"#))),
        (
            "a word for a time",
            with(r#""campaign_id":1,"produce_time":"yesterday""#),
        ),
        ("true for a time", with(r#""campaign_id":1,"produce_time":true"#)),
        (
            "a list for a text",
            with(&format!(r#""campaign_id":1,"ad_id":[],{time}"#)),
        ),
        ("not UTF-8", json!({"base64": BASE64.encode(not_utf8)})),
        (
            "binary",
            json!({"base64": BASE64.encode([0_u8, 0, 0, 0, 7, 0x80, 0xff])}),
        ),
        ("nested and never closed", json!(nested(100_000))),
        (
            "nested deeply",
            with(&format!(r#""unknown":{}{}"#, nested(50_000), "]".repeat(50_000))),
        ),
    ]
}

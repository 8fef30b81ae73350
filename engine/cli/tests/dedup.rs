//! Events that were sent twice, counted once: also where the process is killed between the first and the second.
//!
//! `ENGINE_E2E_SEED` repeats a failure's moments.

#[path = "ad_campaigns/counts.rs"]
mod counts;
#[path = "ad_campaigns/job.rs"]
mod job;
#[path = "process/engine.rs"]
mod process;

use std::time::Duration;

use counts::{Counts, assert_same, lake};
use job::Job;
use process::{EmbeddedBroker, engine, engine_with_input};
use serde_json::{Value, json};

const WINDOW_MS: i64 = 10_000;
const START_MS: i64 = 1_700_000_000_000;
const PARTITIONS: i64 = 4;
/// Events of a wave; half of them were in the wave before.
const WAVE: i64 = 400;

#[test]
fn repeats_are_counted_once_however_often_the_process_is_killed() {
    let seed: u64 = std::env::var("ENGINE_E2E_SEED").map_or(7, |seed| seed.parse().expect("a number"));
    println!("ENGINE_E2E_SEED={seed}");
    let broker = EmbeddedBroker::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let job = Job::new("repeats", &broker.address, folder.path())
        .set("sources.events.kafka.session.timeout.ms=1500")
        .set("sources.events.kafka.heartbeat.interval.ms=300")
        .set("transforms.unique.type=dedup")
        .set("transforms.unique.input=views")
        .set("transforms.unique.keys=[\"ad_id\"]")
        .set("transforms.unique.horizon=1h")
        .set("transforms.per_campaign.input=unique")
        // Slow enough that a kill comes in the middle.
        .set("trigger.interval=20ms")
        .set("trigger.max_records=50")
        .set("checkpoint.interval=60ms");
    create_topic(&job);
    let waves = 6;
    for wave in 0..waves {
        send(&job, wave);
        let mut run = job.start(&[]);
        run.started();
        std::thread::sleep(Duration::from_millis(seed.wrapping_mul(37 + wave as u64 * 101) % 400));
        run.kill();
    }
    let summary = job.drain();
    assert_eq!(summary["outcome"], "drained", "{summary}");
    assert_eq!(summary["status"]["late_rows"], 0, "{summary}");
    assert_same("lake", &lake(&job.lake), &expected(waves));

    // Everything once more, now that nothing is in the windows: all of it repeats what is remembered.
    for wave in 0..waves {
        send(&job, wave);
    }
    let status = job.drain()["status"].clone();
    assert_eq!(status["records_in"], waves * WAVE * 3, "{status}");
    assert_eq!(status["duplicate_rows"], waves * WAVE * 3, "{status}");
    assert_same("lake", &lake(&job.lake), &expected(waves));
}

#[test]
fn a_run_tells_how_many_repeats_it_dropped() {
    let broker = EmbeddedBroker::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let job = Job::new("told", &broker.address, folder.path())
        .set("transforms.unique.type=dedup")
        .set("transforms.unique.input=views")
        .set("transforms.unique.keys=[\"ad_id\"]")
        .set("transforms.unique.horizon=1h")
        .set("transforms.per_campaign.input=unique");
    create_topic(&job);
    send(&job, 0);
    let status = job.drain()["status"].clone();
    assert_eq!(status["records_in"], WAVE * 3, "{status}");
    assert_eq!(status["duplicate_rows"], WAVE * 2, "{status}");
    assert_same("lake", &lake(&job.lake), &expected(1));
}

fn create_topic(job: &Job) {
    let partitions = PARTITIONS.to_string();
    let topic = job.topic("events");
    engine(&[
        "topics",
        "create",
        &topic,
        "--partitions",
        &partitions,
        "-b",
        &job.servers,
    ])
    .success();
}

/// The events of a wave, each three times: twice in a row, and once more after all others.
fn send(job: &Job, wave: i64) {
    let first = wave * WAVE / 2;
    let twice = (first..first + WAVE).flat_map(|number| [number, number]);
    let lines: String = twice
        .chain(first..first + WAVE)
        .map(|number| format!("{}\n", record(number)))
        .collect();
    let topic = job.topic("events");
    engine_with_input(&["produce", &topic, "--json", "-b", &job.servers], lines.as_bytes()).success();
}

fn record(number: i64) -> Value {
    let time = START_MS + number * 50;
    let event = format!(
        r#"{{"ad_id":"ad-{number}","event_type":"view","campaign_id":{},"produce_time":{time},"event_time_ns":{time}000000}}"#,
        number % 3
    );
    json!({ "partition": number % PARTITIONS, "timestamp": time, "value": event })
}

/// Each event once.
fn expected(waves: i64) -> Counts {
    let mut counts = Counts::new();
    for number in 0..(waves + 1) * WAVE / 2 {
        let time = START_MS + number * 50;
        let (views, latest) = counts
            .entry((time - time % WINDOW_MS, number % 3))
            .or_insert((0, i64::MIN));
        *views += 1;
        *latest = time.max(*latest);
    }
    counts
}

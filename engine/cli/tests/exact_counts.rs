//! The main job against an independent recount of the raw events, window by window and campaign by campaign: on Apache
//! Kafka old and new, one broker and three, and on the embedded broker.
//!
//! `ENGINE_E2E_EVENTS` says how many events each case has; a million with a release build.

#[path = "ad_campaigns/counts.rs"]
mod counts;
#[path = "ad_campaigns/job.rs"]
mod job;
#[path = "process/engine.rs"]
mod process;
#[path = "real_broker/cluster.rs"]
mod real_broker;

use std::time::Instant;

use counts::{assert_same, lake, recount, results};
use job::Job;
use process::{EmbeddedBroker, is_optimised};
use real_broker::{Cluster, are_long_tests_wanted};

const WINDOW_MS: i64 = 10_000;
const ARRIVALS: [&str; 3] = ["uniform", "poisson", "mmpp"];
const CODECS: [&str; 4] = ["none", "gzip", "snappy", "lz4"];

#[test]
fn every_arrival_process_and_codec_is_counted_exactly_on_kafka_4_4_0() {
    let cases = match are_long_tests_wanted() {
        true => ARRIVALS.map(|arrivals| CODECS.map(|codec| (arrivals, codec))).concat(),
        false => pairs(0),
    };
    on_cluster("4.4.0", 1, &cases);
}

#[test]
fn counts_are_exact_on_three_brokers_of_kafka_4_4_0() {
    on_cluster("4.4.0", 3, &pairs(0));
}

#[test]
fn counts_are_exact_on_kafka_3_9_2() {
    on_cluster("3.9.2", 1, &pairs(1));
}

#[test]
fn counts_are_exact_on_three_brokers_of_kafka_3_9_2() {
    on_cluster("3.9.2", 3, &pairs(2));
}

/// The oldest broker: transactions as they were before KIP-890, and ZooKeeper.
#[test]
fn counts_are_exact_on_kafka_2_8_2() {
    on_cluster("2.8.2", 1, &pairs(0));
}

#[test]
fn counts_are_exact_on_the_embedded_broker() {
    let broker = EmbeddedBroker::start(&[]);
    for (arrivals, codec) in pairs(0) {
        count_exactly(&broker.address, 1, arrivals, codec, 20_000);
    }
}

/// Each codec once, each arrival process at least once; another shift gives other pairs.
fn pairs(shift: usize) -> Vec<(&'static str, &'static str)> {
    let arrivals = ARRIVALS.iter().cycle().skip(shift);
    arrivals
        .zip(CODECS)
        .map(|(arrivals, codec)| (*arrivals, codec))
        .collect()
}

fn on_cluster(version: &str, nodes: usize, cases: &[(&str, &str)]) {
    let test = format!("exact-counts-{version}-{nodes}").replace('.', "-");
    // Three nodes take most of the time of this program to come up.
    let start = if nodes == 1 {
        Cluster::start_with
    } else {
        Cluster::start_for_long
    };
    let Some(cluster) = start(&test, version, nodes, &[]) else {
        return;
    };
    for (arrivals, codec) in cases {
        count_exactly(&cluster.bootstrap_servers, nodes, arrivals, codec, events());
    }
}

fn events() -> u64 {
    let asked = std::env::var("ENGINE_E2E_EVENTS").ok();
    let default = if is_optimised() { 1_000_000 } else { 10_000 };
    asked.map_or(default, |count| count.parse().expect("ENGINE_E2E_EVENTS is a number"))
}

fn count_exactly(servers: &str, replicas: usize, arrivals: &str, codec: &str, events: u64) {
    let case = format!("{arrivals}-{codec}");
    let folder = tempfile::tempdir().unwrap();
    let job = Job::new(&case, servers, folder.path()).set(&format!("kafka.replication_factor={replicas}"));
    let started = Instant::now();
    let compression = format!("compression.type={codec}");
    let count = events.to_string();
    let report = job.generate(&[
        "--rate",
        "max",
        "--count",
        &count,
        "--arrivals",
        arrivals,
        "--partitions",
        "4",
        "-X",
        &compression,
    ]);
    assert_eq!(report["events"], events, "{case}: {report}");
    let generated = started.elapsed();

    let summary = job.drain();
    let drained = started.elapsed() - generated;
    let status = &summary["status"];
    assert_eq!(summary["outcome"], "drained", "{case}: {summary}");
    for (what, expected) in [
        ("records_in", events),
        ("late_rows", 0),
        ("malformed_records", 0),
        ("dead_letters", 0),
        ("future_rows", 0),
    ] {
        assert_eq!(status[what], expected, "{case}: {what} of {status}");
    }

    let raw = recount(servers, &job.topic("events"), WINDOW_MS);
    assert_eq!(raw.events, events, "{case}: the topic holds what was generated");
    let rows = results(servers, &job.topic("results"), WINDOW_MS);
    let twice = rows.iter().find(|(_, rows)| rows.len() != 1);
    assert_eq!(twice, None, "{case}: without a failure each window is emitted once");
    let in_topic = rows.into_iter().map(|(window, rows)| (window, rows[0])).collect();
    assert_same(&format!("{case}: results topic"), &in_topic, &raw.counts);
    assert_same(&format!("{case}: lake"), &lake(&job.lake), &raw.counts);
    for sink in ["results", "lake"] {
        let sinks = summary["sinks"].as_array().unwrap();
        let rows = &sinks.iter().find(|it| it["name"] == sink).unwrap()["rows"];
        assert_eq!(rows, raw.counts.len(), "{case}: rows of {sink}");
    }
    println!(
        "{case}: {events} events, {} windows exact; generated in {generated:.1?}, run in {drained:.1?}, all in {:.1?}",
        raw.counts.len(),
        started.elapsed()
    );
    job.clean_up();
}

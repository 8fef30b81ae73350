//! `/metrics`, `/healthz` and `/readyz` of a run, scraped over HTTP while it works: every metric is there and moves.

#[path = "process/http.rs"]
mod http;
#[path = "process/engine.rs"]
mod process;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use http::{PATIENCE, get, scrape, scrape_until, server_of};
use process::{EmbeddedBroker, command, signal, start};

const PIPELINE: &str = r#"
name = "measured"
[kafka]
bootstrap.servers = "ADDRESS"
[trigger]
interval = "20ms"
[checkpoint]
# The group's offsets are committed by a request of their own.
guarantee = "at_least_once"
interval = "100ms"
[server]
listen = "127.0.0.1:0"
[dead_letter]
topic = "dead"
[sources.events]
type = "kafka"
topics = ["events"]
format = "json"
on_error = "dead_letter"
kafka = { auto.offset.reset = "earliest" }
[sources.events.schema]
campaign = "int64"
time = "timestamp(ms)"
[sources.events.watermark]
column = "time"
[transforms.per_campaign]
type = "window"
input = "events"
kind = "tumbling"
size = "10s"
group_by = ["campaign"]
[transforms.per_campaign.aggregates]
views = "count(*)"
[sinks.results]
type = "kafka"
input = "per_campaign"
topic = "results"
[sinks.lake]
type = "parquet"
input = "per_campaign"
path = "LAKE"
"#;

fn pipeline(folder: &Path, address: &str) -> String {
    let path = folder.join("pipeline.toml");
    let lake = folder.join("lake").display().to_string();
    std::fs::write(&path, PIPELINE.replace("ADDRESS", address).replace("LAKE", &lake)).unwrap();
    path.display().to_string()
}

#[test]
fn every_metric_is_there_and_moves_with_what_it_counts() {
    let (broker, folder) = (EmbeddedBroker::start(&[]), tempfile::tempdir().unwrap());
    broker
        .engine(&["topics", "create", "events", "--partitions", "1"])
        .success();
    let mut run = start(&mut command(&["run", &pipeline(folder.path(), &broker.address)]));
    let server = server_of(&mut run);
    let before = scrape_until(&server, "engine_checkpoint_completed_total", 1.0);
    assert_eq!(before[r#"engine_source_records_total{source="events"}"#], 0.0);
    assert_eq!(before[r#"engine_sink_records_total{sink="results"}"#], 0.0);

    let far_ahead = 4_000_000_000_000u64;
    let lines = [
        r#"{"campaign":1,"time":1700000000000}"#,
        r#"{"campaign":2,"time":1700000001000}"#,
        r#"{"campaign":1,"time":1700000010000}"#,
        "not json",
        // The last instant that nanoseconds since 1970 can tell: its window would end beyond them.
        r#"{"campaign":1,"time":9223372036854}"#,
        &format!(r#"{{"campaign":1,"time":{far_ahead}}}"#),
    ];
    let first = lines.join("\n") + "\n";
    broker
        .engine_with_input(&["produce", "events"], first.as_bytes())
        .success();
    scrape_until(&server, r#"engine_sink_records_total{sink="results"}"#, 2.0);
    broker
        .engine_with_input(&["produce", "events"], b"{\"campaign\":9,\"time\":1700000000001}\n")
        .success();
    scrape_until(&server, r#"engine_source_late_records_total{source="events"}"#, 1.0);
    // The bytes of a lake are known when its files are closed, by the next checkpoint.
    let after = scrape_until(&server, r#"engine_sink_bytes_total{sink="lake"}"#, 1.0);

    let of = |name: &str| {
        after
            .get(name)
            .copied()
            .unwrap_or_else(|| panic!("{name} is missing: {after:#?}"))
    };
    for (series, value) in [
        (r#"engine_source_records_total{source="events"}"#, 7.0),
        (r#"engine_source_malformed_records_total{source="events"}"#, 1.0),
        (r#"engine_source_late_records_total{source="events"}"#, 1.0),
        (r#"engine_source_future_records_total{source="events"}"#, 2.0),
        (r#"engine_source_unplaced_records_total{source="events"}"#, 1.0),
        (
            r#"engine_source_lag_records{source="events",topic="events",partition="0"}"#,
            0.0,
        ),
        (r#"engine_sink_records_total{sink="lake"}"#, 2.0),
        ("engine_checkpoint_failures_total", 0.0),
        (r#"engine_pipeline_phase{phase="running"}"#, 1.0),
        (r#"engine_pipeline_phase{phase="standing_by"}"#, 0.0),
        ("engine_session_begun_total", 1.0),
        ("engine_session_lost_total", 0.0),
        ("engine_session_setbacks_total", 0.0),
        (r#"engine_client_errors_total{class="fatal"}"#, 0.0),
        (r#"engine_state_rows{transform="per_campaign"}"#, 2.0),
    ] {
        assert_eq!(of(series), value, "{series}");
    }
    for series in [
        r#"engine_source_bytes_total{source="events"}"#,
        r#"engine_source_watermark_delay_seconds{source="events"}"#,
        r#"engine_sink_bytes_total{sink="results"}"#,
        "engine_checkpoint_completed_total",
        "engine_checkpoint_age_seconds",
        "engine_checkpoint_duration_seconds",
        "engine_checkpoint_time_seconds_total",
        "engine_state_segments",
        "engine_state_stored_bytes",
        r#"engine_state_bytes{transform="per_campaign"}"#,
        "engine_process_resident_memory_bytes",
        "engine_process_cpu_seconds_total",
    ] {
        assert!(of(series) > 0.0, "{series}");
    }
    assert!(
        of("engine_checkpoint_state_bytes") >= 0.0,
        "the last checkpoint may have found nothing changed"
    );
    for api in ["Produce", "Fetch", "OffsetCommit"] {
        let part = |part: &str| format!("engine_client_request_latency_seconds_{part}");
        let count = of(&format!("{}{{api=\"{api}\"}}", part("count")));
        assert!(count > 0.0, "{api}");
        assert!(of(&format!("{}{{api=\"{api}\"}}", part("sum"))) > 0.0, "{api}");
        assert_eq!(of(&format!("{}{{le=\"+Inf\",api=\"{api}\"}}", part("bucket"))), count);
    }
    let (_, text) = get(&server, "/metrics").unwrap();
    for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        let name = line.split(' ').nth(2).unwrap();
        assert!(name.starts_with("engine_"), "{line}");
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help");
    }

    assert_eq!(get(&server, "/readyz").unwrap().0, 200);
    broker.kill();
    let deadline = Instant::now() + PATIENCE;
    while scrape(&server)[r#"engine_client_errors_total{class="retriable"}"#] == 0.0 {
        assert!(Instant::now() < deadline, "a lost broker is no error");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn the_state_of_each_transform_is_told_apart_also_of_one_without_windows() {
    let (broker, folder) = (EmbeddedBroker::start(&[]), tempfile::tempdir().unwrap());
    broker
        .engine(&["topics", "create", "events", "--partitions", "1"])
        .success();
    let dedup = |input: &str| {
        format!("[transforms.unique]\ntype = \"dedup\"\ninput = \"{input}\"\nkeys = [\"campaign\"]\nhorizon = \"1h\"\n")
    };
    let rows: String = (0..3)
        .map(|campaign| {
            format!(
                "{{\"campaign\":{campaign},\"time\":{}}}\n",
                1_700_000_000_000u64 + campaign % 2
            )
        })
        .collect();
    broker
        .engine_with_input(&["produce", "events"], rows.as_bytes())
        .success();
    let with_window = pipeline(folder.path(), &broker.address);
    let text = std::fs::read_to_string(&with_window).unwrap();
    std::fs::write(&with_window, format!("{text}{}", dedup("events"))).unwrap();
    let of = |what: &str, transform: &str| format!("engine_state_{what}{{transform=\"{transform}\"}}");

    let mut run = start(&mut command(&[
        "run",
        &with_window,
        "--set",
        "transforms.per_campaign.input=unique",
        "--set",
        "transforms.per_campaign.group_by=[]",
    ]));
    let server = server_of(&mut run);
    let scraped = scrape_until(&server, &of("rows", "unique"), 3.0);
    assert_eq!(scraped[&of("rows", "per_campaign")], 1.0, "{scraped:#?}");
    assert!(scraped[&of("bytes", "unique")] > 0.0, "{scraped:#?}");

    let (head, sinks) = text.split_once("[transforms.per_campaign]").unwrap();
    let (_, sinks) = sinks.split_once("[sinks.results]").unwrap();
    let only_dedup = folder.path().join("only_dedup.toml");
    let sinks = sinks.replace("per_campaign", "unique").replace("/lake", "/unique");
    std::fs::write(&only_dedup, format!("{head}{}[sinks.results]{sinks}", dedup("events"))).unwrap();
    let path = only_dedup.display().to_string();
    let mut run = start(&mut command(&["run", &path, "--set", "name=only-dedup"]));
    let server = server_of(&mut run);
    let scraped = scrape_until(&server, &of("rows", "unique"), 3.0);
    assert!(scraped[&of("bytes", "unique")] > 0.0, "{scraped:#?}");
}

#[test]
fn the_server_answers_while_the_cluster_does_not_and_is_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    let path = pipeline(folder.path(), "127.0.0.1:1");
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let (address, listen) = (format!("127.0.0.1:{port}"), format!("server.listen=127.0.0.1:{port}"));
    let run = ["run", &path, "--set", &listen];
    let child = start(&mut command(&run));
    let deadline = Instant::now() + PATIENCE;
    while get(&address, "/healthz").is_none_or(|(status, _)| status != 200) {
        assert!(Instant::now() < deadline, "nobody listens on {address}");
        std::thread::sleep(Duration::from_millis(50));
    }
    let (status, reason) = get(&address, "/readyz").unwrap();
    assert_eq!(
        (status, reason.as_str()),
        (503, "the pipeline is connecting to its cluster\n")
    );
    signal(&child, "TERM");
    let ended = process::wait(child, &run);
    assert!(
        ended.stderr.contains("stopping: nothing is being processed"),
        "{}",
        ended.stderr
    );
    ended.success();
}

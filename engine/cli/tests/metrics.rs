//! `/metrics`, `/healthz` and `/readyz` of a run, scraped over HTTP while it works: every metric is there and moves.

#[path = "process/http.rs"]
mod http;
#[path = "pipeline_files/text.rs"]
mod pipeline_text;
#[path = "process/engine.rs"]
mod process;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use http::{PATIENCE, get, scrape, scrape_until, server_of};
use pipeline_text::PipelineText;
use process::{EmbeddedBroker, command, signal, start};
use tempfile::TempDir;

/// It reads views and does nothing with them.
fn reading(name: &str, address: &str) -> PipelineText {
    PipelineText::new(name, address)
        .every("20ms", "100ms")
        // The group's offsets are committed by a request of their own.
        .with("checkpoint", "guarantee = \"at_least_once\"")
        .with("server", "listen = \"127.0.0.1:0\"")
        .with("dead_letter", "topic = \"dead\"")
        .reading_views()
        .with("sources.events", "on_error = \"dead_letter\"")
}

fn written(text: &PipelineText, folder: &TempDir) -> String {
    text.write(folder.path(), "pipeline.toml").display().to_string()
}

/// It counts them, into a topic and a lake.
fn counting(folder: &Path, address: &str) -> PipelineText {
    reading("measured", address)
        .counting_views()
        .into_topic("results", Some("per_campaign"))
        .into_lake("lake", "per_campaign", &folder.join("lake"))
}

#[test]
fn every_metric_is_there_and_moves_with_what_it_counts() {
    let (broker, folder) = (EmbeddedBroker::start(&[]), tempfile::tempdir().unwrap());
    broker
        .engine(&["topics", "create", "events", "--partitions", "1"])
        .success();
    let mut run = start(&mut command(&[
        "run",
        &written(&counting(folder.path(), &broker.address), &folder),
    ]));
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
    let dedup = "type = \"dedup\"\ninput = \"events\"\nkeys = [\"campaign\"]\nhorizon = \"1h\"";
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
    let of = |what: &str, transform: &str| format!("engine_state_{what}{{transform=\"{transform}\"}}");

    let with_window = counting(folder.path(), &broker.address)
        .with("transforms.unique", dedup)
        .with("transforms.per_campaign", "input = \"unique\"\ngroup_by = []");
    let mut run = start(&mut command(&["run", &written(&with_window, &folder)]));
    let server = server_of(&mut run);
    let scraped = scrape_until(&server, &of("rows", "unique"), 3.0);
    assert_eq!(scraped[&of("rows", "per_campaign")], 1.0, "{scraped:#?}");
    assert!(scraped[&of("bytes", "unique")] > 0.0, "{scraped:#?}");

    let only_dedup = reading("only-dedup", &broker.address)
        .with("transforms.unique", dedup)
        .into_topic("results", Some("unique"))
        .into_lake("lake", "unique", &folder.path().join("unique"));
    let mut run = start(&mut command(&["run", &written(&only_dedup, &folder)]));
    let server = server_of(&mut run);
    let scraped = scrape_until(&server, &of("rows", "unique"), 3.0);
    assert!(scraped[&of("bytes", "unique")] > 0.0, "{scraped:#?}");
}

#[test]
fn the_server_answers_while_the_cluster_does_not_and_is_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(&counting(folder.path(), "127.0.0.1:1"), &folder);
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

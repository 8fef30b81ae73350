//! Who owns the partitions, and what is emitted when: a hot standby takes over, a signal ends a process that waits, a
//! drain is for good, late rows and several sources go where they should.

#[path = "pipeline_files/text.rs"]
mod pipeline_text;
#[path = "process/engine.rs"]
mod process;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use pipeline_text::PipelineText;
use process::{EmbeddedBroker, Started, command, engine, signal, start, wait};
use serde_json::Value;

/// The start of a window of 10 s.
const BASE_MS: u64 = 1_700_000_000_000;

/// Nothing that is waited for may take longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A group that notices at once that a member is dead.
const SHORT_SESSION: &str = "session.timeout.ms = 1500\nheartbeat.interval.ms = 300";

/// Pitfall 5 of the stream engine: the standby goes on with the watermark and the open windows.
#[test]
fn a_hot_standby_takes_over_from_a_killed_owner_and_ends_at_once_when_asked_to() {
    let (broker, folder) = (broker(), tempfile::tempdir().unwrap());
    let pipeline = pipeline(folder.path(), &broker.address);
    let run = ["run", pipeline.to_str().unwrap()];
    let mut owner = start(&mut command(&run));
    owner.said("  restored  ");
    let mut idle = start(&mut command(&run));
    idle.said("standing by: another process owns the partitions");
    let mut standby = start(&mut command(&run));

    produce(&broker, &[(1, 0), (1, 9_999), (2, 5), (1, 10_000)]);
    wait_for(&broker, "results", 2);
    signal(&idle, "TERM");
    let asked = Instant::now();
    let ended = wait(idle, &run);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.starts_with("views: stopped"), "{}", ended.stdout);
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());

    drop(owner);
    produce(&broker, &[(1, 10_001), (2, 20_000)]);
    standby.said("  restored  ");
    // The first windows may come twice: only the row of the window that was open tells that the standby goes on.
    let deadline = Instant::now() + PATIENCE;
    while !rows(&broker, "results").contains(&(10_000, 1, 2)) {
        assert!(Instant::now() < deadline, "{:?}", rows(&broker, "results"));
        std::thread::sleep(Duration::from_millis(100));
    }
    stop(standby);
    let results = rows(&broker, "results");
    // The owner may have died before its last checkpoint: then a window comes twice, with the same counts.
    for expected in [(0, 1, 2), (0, 2, 1), (10_000, 1, 2)] {
        assert!(results.contains(&expected), "{expected:?}: {results:?}");
    }
    assert!(results.iter().all(|row| row.0 <= 10_000), "{results:?}");
    assert_eq!(values(&broker, "late"), Vec::<Value>::new());
}

/// It has been a member of the group, so the address is right: what does not answer now may answer in a moment.
#[test]
fn a_hot_standby_outlives_a_coordinator_that_fails_while_it_takes_over() {
    // The owner asks once. The standby's first try, three times `max.block.ms`, is over before all refusals are.
    let refusals = "InitProducerId:error=COORDINATOR_NOT_AVAILABLE,skip=1,times=15";
    let (broker, folder) = (
        EmbeddedBroker::start(&["--fault", refusals]),
        tempfile::tempdir().unwrap(),
    );
    broker
        .engine(&["topics", "create", "events", "--partitions", "2"])
        .success();
    let pipeline = pipeline(folder.path(), &broker.address);
    let run = [
        "run",
        pipeline.to_str().unwrap(),
        "-v",
        "--set",
        "kafka.max.block.ms=200",
    ];
    let mut owner = start(&mut command(&run));
    owner.said("This process owns the partitions now");
    let mut standby = start(&mut command(&run));
    standby.said("Standing by");
    drop(owner);
    standby.said("Back to the last checkpoint");
    standby.said("This process owns the partitions now");
    signal(&standby, "TERM");
    wait(standby, &run).success();
}

#[test]
fn a_signal_ends_a_run_that_cannot_reach_its_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let path = pipeline(folder.path(), "127.0.0.1:1");
    let run = ["run", path.to_str().unwrap()];
    let mut child = start(&mut command(&run));
    child.said("127.0.0.1:1");
    signal(&child, "TERM");
    let asked = Instant::now();
    let stdout = wait(child, &run).success();
    assert!(stdout.starts_with("views: stopped"), "{stdout}");
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
}

#[test]
fn a_drain_is_for_good_also_for_windows_that_another_run_opened() {
    let (broker, folder) = (broker(), tempfile::tempdir().unwrap());
    let pipeline = pipeline(folder.path(), &broker.address);
    let bounded = ["run", pipeline.to_str().unwrap(), "--until-end"];
    let drained = [&bounded[..], &["--drain"]].concat();

    engine(&drained).success();
    assert_eq!(rows(&broker, "results"), [], "an empty topic has an end too");

    produce(&broker, &[(1, 1), (1, 2), (2, 3)]);
    engine(&bounded).success();
    assert_eq!(rows(&broker, "results"), [], "the window is still open");
    engine(&drained).success();
    let once = vec![(0, 1, 2), (0, 2, 1)];
    assert_eq!(rows(&broker, "results"), once);
    engine(&drained).success();
    assert_eq!(rows(&broker, "results"), once, "nothing is left to emit");

    produce(&broker, &[(1, 4), (3, 10_000)]);
    engine(&drained).success();
    assert_eq!(
        rows(&broker, "results"),
        [once, vec![(10_000, 3, 1)]].concat(),
        "a drained window stays closed"
    );
    let late = values(&broker, "late");
    assert_eq!(late.len(), 1, "{late:?}");
    assert_eq!(
        (&late[0]["campaign"], &late[0]["time"]),
        (&1.into(), &(BASE_MS + 4).into())
    );
}

#[test]
fn two_sources_read_one_topic_each_at_its_own_pace() {
    let (broker, folder) = (broker(), tempfile::tempdir().unwrap());
    let pipeline = windows(&broker.address)
        // On the same topic, without a watermark: a filter straight to a sink.
        .reading("again", "events")
        .with("sources.again.kafka", SHORT_SESSION)
        .with("sources.again.schema", "campaign = \"int64\"")
        .with(
            "transforms.of_campaign_2",
            "type = \"filter\"\ninput = \"again\"\nwhere = \"campaign = 2\"",
        )
        .into_topic("second", Some("of_campaign_2"))
        .write(folder.path(), "pipeline.toml");
    let drained = ["run", pipeline.to_str().unwrap(), "--until-end", "--drain"];
    produce(&broker, &[(1, 1), (2, 2), (2, 3)]);
    engine(&drained).success();
    assert_eq!(rows(&broker, "results"), [(0, 1, 1), (0, 2, 2)]);
    assert_eq!(values(&broker, "second").len(), 2);
    produce(&broker, &[(2, 20_000)]);
    engine(&drained).success();
    assert_eq!(rows(&broker, "results"), [(0, 1, 1), (0, 2, 2), (20_000, 2, 1)]);
    assert_eq!(values(&broker, "second").len(), 3, "a restart goes on in both sources");
}

/// A broker with an empty topic `events` of two partitions.
fn broker() -> EmbeddedBroker {
    let broker = EmbeddedBroker::start(&[]);
    broker
        .engine(&["topics", "create", "events", "--partitions", "2"])
        .success();
    broker
}

/// Views per campaign in windows of 10 s, and the late ones.
fn windows(address: &str) -> PipelineText {
    PipelineText::new("views", address)
        .every("50ms", "200ms")
        .counting_views()
        .without_delay()
        .with("sources.events.kafka", SHORT_SESSION)
        .with("transforms.per_campaign", "late_output = \"late\"")
        .into_topic("results", Some("per_campaign"))
        .into_topic("late", None)
}

fn pipeline(folder: &Path, address: &str) -> PathBuf {
    windows(address).write(folder, "pipeline.toml")
}

/// Asks a run to stop; it must end well.
fn stop(run: Started) {
    signal(&run, "TERM");
    wait(run, &["run"]).success();
}

/// (campaign, milliseconds after [`BASE_MS`])
fn produce(broker: &EmbeddedBroker, events: &[(u64, u64)]) {
    let lines: String = events
        .iter()
        .map(|(campaign, after)| format!("{{\"campaign\":{campaign},\"time\":{}}}\n", BASE_MS + after))
        .collect();
    broker
        .engine_with_input(&["produce", "events"], lines.as_bytes())
        .success();
}

fn wait_for(broker: &EmbeddedBroker, topic: &str, records: usize) {
    let deadline = Instant::now() + PATIENCE;
    while values(broker, topic).len() < records {
        assert!(Instant::now() < deadline, "{topic}: {:?}", values(broker, topic));
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// (milliseconds of the window after [`BASE_MS`], campaign, views), in order.
fn rows(broker: &EmbeddedBroker, topic: &str) -> Vec<(u64, u64, u64)> {
    let number = |row: &Value, column: &str| row[column].as_u64().unwrap_or_else(|| panic!("{column}: {row}"));
    let values = values(broker, topic);
    let rows = values.iter().map(|row| {
        (
            number(row, "window_start") - BASE_MS,
            number(row, "campaign"),
            number(row, "views"),
        )
    });
    let mut rows: Vec<_> = rows.collect();
    rows.sort_unstable();
    rows
}

fn values(broker: &EmbeddedBroker, topic: &str) -> Vec<Value> {
    let read = broker
        .engine(&["consume", topic, "--from", "beginning", "--until-end"])
        .success();
    read.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

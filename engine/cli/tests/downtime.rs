//! What an engine leaves open when it is killed, and stays dead for longer than its transaction may last.

#[path = "pipeline_files/text.rs"]
mod pipeline_text;
#[path = "process/engine.rs"]
mod process;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use pipeline_text::PipelineText;
use process::{EmbeddedBroker, command, signal, start};

/// Nothing that is waited for may take longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// What passes the pipeline, in order.
const NUMBERS: std::ops::Range<i64> = 0..100;
/// Somebody else's record, behind those of the open transaction.
const FOREIGN: i64 = -1;

/// Pitfall 12 of the stream engine: downtime beyond `transaction.timeout.ms` loses data silently.
/// Pitfall 14 of the stream engine: an abandoned transaction blocks who reads committed records.
/// Pitfall 19 of the stream engine: control records at the end of a topic, and bounded reads hang.
#[test]
fn a_transaction_that_nobody_ends_holds_readers_back_for_its_timeout_and_costs_no_record() {
    // A machine that is too busy for the kill to come before the second checkpoint has shown nothing: once more, then.
    assert!(
        (0..3).any(|_| kill_with_an_open_transaction()),
        "always after a checkpoint"
    );
}

/// False if the transaction was committed before the kill.
fn kill_with_an_open_transaction() -> bool {
    let (broker, folder) = (EmbeddedBroker::start(&[]), tempfile::tempdir().unwrap());
    for topic in ["events", "passed", "copied"] {
        broker
            .engine(&["topics", "create", topic, "--partitions", "1"])
            .success();
    }
    let pass = pipeline(folder.path(), &broker.address, "pass", ["events", "passed"]);
    let mut run = start(&mut command(&["run", pass.to_str().unwrap()]));
    run.said("restored");
    let lines: String = NUMBERS.map(|number| format!("{{\"number\":{number}}}\n")).collect();
    broker
        .engine_with_input(&["produce", "events"], lines.as_bytes())
        .success();
    wait_until(|| numbers(&broker, "passed", "read_uncommitted").len() == 100);
    signal(&run, "KILL");
    let _ = run.wait();
    if !numbers(&broker, "passed", "read_committed").is_empty() {
        return false;
    }

    let foreign = format!("{{\"number\":{FOREIGN}}}\n");
    broker
        .engine_with_input(&["produce", "passed"], foreign.as_bytes())
        .success();
    wait_until(|| !numbers(&broker, "passed", "read_committed").is_empty());
    assert_eq!(
        numbers(&broker, "passed", "read_committed"),
        [FOREIGN],
        "the rest is aborted"
    );

    broker.engine(&["run", pass.to_str().unwrap(), "--until-end"]).success();
    let expected: Vec<i64> = std::iter::once(FOREIGN).chain(NUMBERS).collect();
    assert_eq!(numbers(&broker, "passed", "read_committed"), expected);
    // The topic ends with the marker of the last transaction, which no position may wait in front of.
    let again = pipeline(folder.path(), &broker.address, "again", ["passed", "copied"]);
    broker
        .engine(&["run", again.to_str().unwrap(), "--until-end"])
        .success();
    assert_eq!(numbers(&broker, "copied", "read_committed"), expected);
    true
}

/// From one topic to another. The first checkpoint is taken at the start, the second one long after everything has passed.
fn pipeline(folder: &Path, address: &str, name: &str, [from, to]: [&str; 2]) -> PathBuf {
    PipelineText::new(name, address)
        .every("50ms", "12s")
        .with("kafka", "transaction.timeout.ms = 13000")
        .reading("events", from)
        .with(
            "sources.events.kafka",
            "session.timeout.ms = 6000\nheartbeat.interval.ms = 300",
        )
        .with("sources.events.schema", "number = \"int64\"")
        .into_topic(to, Some("events"))
        .write(folder, &format!("{name}.toml"))
}

fn numbers(broker: &EmbeddedBroker, topic: &str, isolation: &str) -> Vec<i64> {
    let read = [
        "consume",
        topic,
        "--from",
        "beginning",
        "--until-end",
        "--isolation",
        isolation,
    ];
    let read = broker.engine(&read).success();
    let number = |line: &str| {
        serde_json::from_str::<serde_json::Value>(line).unwrap()["number"]
            .as_i64()
            .unwrap()
    };
    read.lines().map(number).collect()
}

fn wait_until(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain");
        std::thread::sleep(Duration::from_millis(100));
    }
}

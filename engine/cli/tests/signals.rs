//! What a signal does: the first asks for a graceful end, the second forces it.

#[path = "process/engine.rs"]
mod process;

use std::time::{Duration, Instant};

use process::{EmbeddedBroker, command, signal, start, wait};

const PIPELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../pipelines/ad-campaigns-kafka.toml");

#[test]
fn a_second_signal_forces_the_end_of_a_run_whose_broker_is_silent() {
    let folder = tempfile::tempdir().unwrap();
    let broker = EmbeddedBroker::start(&[]);
    broker.engine(&["topics", "create", "ad-events"]).success();
    let lake = format!("sinks.lake.path={}", folder.path().join("lake").display());
    let settings = [
        "--set",
        "server.listen=127.0.0.1:0",
        "--set",
        &lake,
        "-b",
        &broker.address,
    ];
    let arguments = [&["run", PIPELINE][..], &settings].concat();
    let mut run = start(&mut command(&arguments));
    run.said("restored");
    // No answer comes any more, so the last checkpoint cannot finish.
    broker.signal("STOP");
    signal(&run, "TERM");
    run.said("stopping: ");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(
        run.try_wait().unwrap(),
        None,
        "the first signal waits for the checkpoint"
    );
    signal(&run, "INT");
    run.said("interrupted again, giving up at once");
    assert_eq!(wait(run, &arguments).code, Some(130));
    broker.signal("CONT");
}

#[test]
fn a_load_that_is_interrupted_reports_what_it_sent() {
    let broker = EmbeddedBroker::start(&["--partitions", "1"]);
    // Without a bound a fixed load runs until it is stopped, so that is its good end.
    for (topic, bound, code) in [("endless", &[][..], 0), ("bounded", &["--count", "1000000"], 130)] {
        let fixed = ["generate", "fixed", "--topic", topic, "--json", "-b", &broker.address];
        let arguments = [&fixed[..], bound].concat();
        let load = start(&mut command(&arguments));
        // Not before it has sent something.
        let deadline = Instant::now() + Duration::from_secs(30);
        while broker.engine(&["consume", topic, "--count", "1"]).code != Some(0) {
            assert!(Instant::now() < deadline, "nothing arrives in {topic}");
            std::thread::sleep(Duration::from_millis(50));
        }
        signal(&load, "INT");
        let ended = wait(load, &arguments);
        assert_eq!(ended.code, Some(code), "{}", ended.stderr);
        let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        assert!(report["events"].as_u64().unwrap() > 0, "{report}");
    }
}

#[test]
fn a_load_that_still_makes_its_messages_can_be_interrupted() {
    let broker = EmbeddedBroker::start(&["--partitions", "1"]);
    let arguments = [
        "generate",
        "fixed",
        "--topic",
        "t",
        "--producers",
        "100",
        "--message-bytes",
        "1000000",
        "--batch-messages",
        "1",
        "--interval-ms",
        "100000",
        "-b",
        &broker.address,
    ];
    let load = start(&mut command(&arguments));
    // It listens to signals before it creates its topic, and makes its messages after that.
    let deadline = Instant::now() + Duration::from_secs(30);
    while !broker
        .engine(&["topics", "list"])
        .success()
        .lines()
        .any(|line| line == "t")
    {
        assert!(Instant::now() < deadline, "it creates no topic");
        std::thread::sleep(Duration::from_millis(20));
    }
    signal(&load, "TERM");
    let asked = Instant::now();
    let ended = wait(load, &arguments);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
}

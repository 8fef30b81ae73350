//! `engine produce` and `engine consume` against `engine broker`.

#[path = "process/engine.rs"]
mod process;

use std::{
    io::{BufRead, BufReader, Read},
    process::Stdio,
};

use process::{EmbeddedBroker, command, signal, start, wait};
use serde_json::{Value, json};

#[test]
fn lines_come_out_as_they_went_in() {
    let broker = EmbeddedBroker::start(&["--partitions", "1"]);
    broker
        .engine_with_input(&["produce", "lines"], b"one\n\nthree \xff\nlast without line feed")
        .success();
    let records = consume(&broker, &["lines", "--until-end"]);
    assert_eq!(
        values(&records),
        [
            json!("one"),
            json!(""),
            json!({"base64": "dGhyZWUg/w=="}),
            json!("last without line feed")
        ]
    );
    assert_eq!(records[1]["offset"], 1);
    assert_eq!(records[0]["timestamp_type"], "CreateTime");
    assert!(records[0]["timestamp"].as_i64().unwrap() > 1_600_000_000_000);
    let text = broker
        .engine(&["consume", "lines", "--until-end", "--count", "1"])
        .success();
    assert_eq!(text, "one\n");
}

#[test]
fn json_objects_survive_a_round_trip() {
    let broker = EmbeddedBroker::start(&["--partitions", "2"]);
    let objects = [
        json!({"partition": 1, "timestamp": 1500, "key": "k", "value": null, "headers": []}),
        json!({"partition": 1, "timestamp": 1400, "key": {"base64": "/w=="}, "value": "v",
               "headers": [["name", "1"], ["name", null], [{"base64": "/w=="}, ""]]}),
    ];
    let input: String = objects.iter().map(|object| format!("{object}\n")).collect();
    broker
        .engine_with_input(&["produce", "objects", "--json"], input.as_bytes())
        .success();
    let records = consume(&broker, &["objects", "--until-end", "--partition", "1"]);
    assert_eq!(records.len(), 2);
    for (offset, (record, object)) in records.iter().zip(&objects).enumerate() {
        let mut expected = object.clone();
        expected["topic"] = "objects".into();
        expected["offset"] = offset.into();
        expected["timestamp_type"] = "CreateTime".into();
        assert_eq!(record, &expected);
    }
    assert!(consume(&broker, &["objects", "--until-end", "--partition", "0"]).is_empty());
}

#[test]
fn a_line_that_is_not_such_an_object_is_named_by_its_number() {
    let broker = EmbeddedBroker::start(&[]);
    let stderr = broker
        .engine_with_input(&["produce", "t", "--json"], b"{\"value\":\"v\"}\nnonsense\n")
        .failure(1);
    assert!(stderr.contains("line 2 of standard input"), "{stderr}");
}

#[test]
fn a_time_before_1970_is_refused_by_its_line_and_nothing_is_changed_silently() {
    let broker = EmbeddedBroker::start(&[]);
    let input = b"{\"timestamp\":0,\"value\":\"v\"}\n{\"timestamp\":-5,\"value\":\"w\"}\n";
    let stderr = broker.engine_with_input(&["produce", "t", "--json"], input).failure(1);
    assert!(
        stderr.contains("line 2 of standard input: timestamp -5 lies before 1970"),
        "{stderr}"
    );
    let records = consume(&broker, &["t", "--until-end"]);
    assert_eq!((records.len(), &records[0]["timestamp"]), (1, &json!(0)));
}

#[test]
fn keys_come_from_the_flag_or_from_the_line() {
    let broker = EmbeddedBroker::start(&["--partitions", "1"]);
    broker
        .engine_with_input(&["produce", "t", "--key", "K", "-H", "a=b=c"], b"v\n")
        .success();
    broker
        .engine_with_input(&["produce", "t", "--key-separator", ":"], b"k:v:w\n")
        .success();
    let records = consume(&broker, &["t", "--until-end"]);
    assert_eq!(
        (&records[0]["key"], &records[0]["headers"]),
        (&json!("K"), &json!([["a", "b=c"]]))
    );
    assert_eq!((&records[1]["key"], &records[1]["value"]), (&json!("k"), &json!("v:w")));
    let text = broker.engine(&["consume", "t", "--until-end", "--print-key"]).success();
    assert_eq!(text, "K\tv\nk\tv:w\n");
}

#[test]
fn reading_starts_where_it_is_told() {
    let broker = EmbeddedBroker::start(&["--partitions", "1"]);
    let input: String = (0..5)
        .map(|n| format!("{{\"timestamp\":{},\"value\":\"{n}\"}}\n", n * 1000))
        .collect();
    broker
        .engine_with_input(&["produce", "t", "--json"], input.as_bytes())
        .success();
    for (from, first) in [
        ("beginning", 0),
        ("3", 3),
        ("-2", 3),
        ("-99", 0),
        ("1970-01-01T00:00:01.5Z", 2),
        ("end", 5),
    ] {
        let records = consume(&broker, &["t", "--until-end", "--from", from]);
        let expected: Vec<Value> = (first..5).map(|n| json!(n.to_string())).collect();
        assert_eq!(values(&records), expected, "--from {from}");
    }
}

#[test]
fn a_group_goes_on_where_it_stopped() {
    let broker = EmbeddedBroker::start(&["--partitions", "1"]);
    broker.engine_with_input(&["produce", "t"], b"a\nb\nc\n").success();
    let first = consume(&broker, &["t", "--group", "g", "--count", "2"]);
    assert_eq!(values(&first), [json!("a"), json!("b")]);
    let second = consume(&broker, &["t", "--group", "g", "--until-end"]);
    assert_eq!(values(&second), [json!("c")]);
    assert!(consume(&broker, &["t", "--group", "g", "--until-end"]).is_empty());
}

#[test]
fn a_topic_that_does_not_exist_is_an_error_and_is_not_created() {
    let broker = EmbeddedBroker::start(&[]);
    for _ in 0..2 {
        let stderr = broker.engine(&["consume", "nothing", "--until-end"]).failure(1);
        assert!(stderr.contains("there is no topic nothing"), "{stderr}");
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let broker = EmbeddedBroker::start(&["--partitions", "1"]);
    let input = "0123456789abcdef\n".repeat(50_000);
    broker.engine_with_input(&["produce", "t"], input.as_bytes()).success();
    for arguments in [
        &["consume", "t"][..],
        &["consume", "t", "--json", "--group", "g"],
        &["topics", "list"],
    ] {
        let arguments = [arguments, &["--bootstrap-servers", &broker.address]].concat();
        let mut child = start(&mut command(&arguments));
        let mut reader = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        if arguments[0] == "consume" {
            // As `head -1` does.
            reader.read_line(&mut line).unwrap();
            assert!(line.contains("0123456789abcdef"), "{line}");
        }
        drop(reader);
        child.stdout = Some(empty_pipe());
        let ended = wait(child, &arguments);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn an_interrupted_consumer_exits_with_130_after_printing_what_it_had() {
    let broker = EmbeddedBroker::start(&["--partitions", "1"]);
    broker.engine_with_input(&["produce", "t"], b"a\n").success();
    let arguments = ["consume", "t", "--bootstrap-servers", &broker.address];
    let mut child = start(&mut command(&arguments));
    let mut printed = [0; 2];
    child.stdout.as_mut().unwrap().read_exact(&mut printed).unwrap();
    assert_eq!(&printed, b"a\n");
    signal(&child, "INT");
    let ended = wait(child, &arguments);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(130), ""));
}

#[test]
fn topics_outlive_a_broker_with_a_data_folder() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let broker = EmbeddedBroker::start(&["--data", data, "--partitions", "1"]);
    broker.engine_with_input(&["produce", "t"], b"kept\n").success();
    assert_eq!(broker.stop(), Some(0));
    let broker = EmbeddedBroker::start(&["--data", data]);
    assert_eq!(values(&consume(&broker, &["t", "--until-end"])), [json!("kept")]);
}

#[track_caller]
fn consume(broker: &EmbeddedBroker, arguments: &[&str]) -> Vec<Value> {
    let output = broker.engine(&[&["consume", "--json"], arguments].concat()).success();
    output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn values(records: &[Value]) -> Vec<Value> {
    records.iter().map(|record| record["value"].clone()).collect()
}

/// A reading end with nothing behind it, in place of a child's output that the test has closed.
fn empty_pipe() -> std::process::ChildStdout {
    let mut child = std::process::Command::new("true")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.wait().unwrap();
    child.stdout.take().unwrap()
}

//! `engine topics`, `groups`, `generate` and `latency` against `engine broker`.

#[path = "process/engine.rs"]
mod process;

use std::io::{BufRead, BufReader};

use process::{EmbeddedBroker, command, engine, signal, start};
use serde_json::{Value, json};

#[test]
fn topics_are_created_listed_described_and_deleted() {
    let broker = EmbeddedBroker::start(&[]);
    broker
        .engine(&[
            "topics",
            "create",
            "b",
            "a",
            "--partitions",
            "2",
            "--config",
            "cleanup.policy=compact",
        ])
        .success();
    assert_eq!(broker.engine(&["topics", "list"]).success(), "a\nb\n");
    let stderr = broker.engine(&["topics", "create", "a"]).failure(1);
    assert!(
        stderr.contains("cannot create topic a") && stderr.contains("TOPIC_ALREADY_EXISTS"),
        "{stderr}"
    );
    broker.engine(&["topics", "create", "a", "--if-not-exists"]).success();
    broker
        .engine_with_input(&["produce", "a", "--key", "k"], b"1\n2\n3\n")
        .success();
    let topic = object(&broker.engine(&["topics", "describe", "a", "--json"]).success());
    let ends: i64 = topic["partitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["end_offset"].as_i64().unwrap())
        .sum();
    assert_eq!((ends, &topic["configs"]["cleanup.policy"]), (3, &json!("compact")));
    let table = broker.engine(&["topics", "describe", "a"]).success();
    assert!(table.starts_with("a: 2 partitions, replication factor 1"), "{table}");
    broker.engine(&["topics", "delete", "a", "b"]).success();
    assert_eq!(broker.engine(&["topics", "list"]).success(), "");
    broker.engine(&["topics", "describe", "a"]).failure(1);
}

#[test]
fn a_cleared_topic_is_empty_and_still_there() {
    let broker = EmbeddedBroker::start(&["--partitions", "1"]);
    broker.engine_with_input(&["produce", "t"], b"1\n2\n").success();
    broker.engine(&["topics", "clear", "t"]).success();
    assert_eq!(broker.engine(&["consume", "t", "--until-end"]).success(), "");
    broker.engine_with_input(&["produce", "t"], b"3\n").success();
    let record = object(&broker.engine(&["consume", "t", "--until-end", "--json"]).success());
    assert_eq!((&record["value"], &record["offset"]), (&json!("3"), &json!(2)));
}

#[test]
fn groups_are_described_reset_and_deleted() {
    let broker = EmbeddedBroker::start(&["--partitions", "1"]);
    broker.engine_with_input(&["produce", "t"], b"1\n2\n3\n4\n").success();
    broker
        .engine(&["consume", "t", "--group", "g", "--count", "3"])
        .success();
    assert_eq!(
        object(&broker.engine(&["groups", "list", "--json"]).success())["group"],
        "g"
    );
    let describe = || object(&broker.engine(&["groups", "describe", "g", "--json"]).success())["offsets"][0].clone();
    assert_eq!((&describe()["committed"], &describe()["lag"]), (&json!(3), &json!(1)));
    for (to, committed) in [
        ("beginning", 0),
        ("end", 4),
        ("-1", 3),
        ("99", 4),
        ("1970-01-01T00:00:00Z", 0),
        ("2", 2),
    ] {
        broker.engine(&["groups", "reset-offsets", "g", "--to", to]).success();
        assert_eq!(describe()["committed"], committed, "--to {to}");
    }
    broker
        .engine(&["groups", "reset-offsets", "g", "--to", "0", "--dry-run"])
        .success();
    assert_eq!(
        broker
            .engine(&["consume", "t", "--group", "g", "--until-end"])
            .success(),
        "3\n4\n"
    );
    broker.engine(&["groups", "delete", "g"]).success();
    assert_eq!(broker.engine(&["groups", "list", "--json"]).success(), "");
    let stderr = broker
        .engine(&["groups", "reset-offsets", "new", "--to", "end"])
        .failure(2);
    assert!(stderr.contains("--topic"), "{stderr}");
    broker
        .engine(&["groups", "reset-offsets", "new", "--to", "end", "--topic", "t"])
        .success();
}

#[test]
fn offsets_are_not_reset_under_living_members() {
    let broker = EmbeddedBroker::start(&["--partitions", "1"]);
    broker.engine_with_input(&["produce", "t"], b"v\n").success();
    let arguments = ["consume", "t", "--group", "g", "--bootstrap-servers", &broker.address];
    let mut member = start(&mut command(&arguments));
    // Its first line says that it owns the partition.
    let mut line = String::new();
    BufReader::new(member.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    let described = broker.engine(&["groups", "describe", "g"]).success();
    let lines: Vec<Vec<&str>> = described
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let head = "TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG CONSUMER-ID HOST CLIENT-ID";
    assert_eq!(lines[1].join(" "), head, "{described}");
    assert_eq!(
        (lines[2][..2].join(" "), lines[2][7]),
        ("t 0".to_owned(), "engine-cli"),
        "{described}"
    );
    assert!(
        lines[2][5].starts_with("engine-cli-") && lines[2][6].contains("127.0.0.1"),
        "{described}"
    );
    let reset = ["groups", "reset-offsets", "g", "--topic", "t", "--to", "end"];
    let stderr = broker.engine(&reset).failure(1);
    assert!(stderr.contains("group g is Stable with 1 member;"), "{stderr}");
    signal(&member, "TERM");
    assert_eq!(member.wait().unwrap().code(), Some(130));
    broker.engine(&reset).success();
}

#[test]
fn what_does_not_exist_is_named() {
    let broker = EmbeddedBroker::start(&[]);
    for (arguments, message) in [
        (
            &["topics", "describe", "nothing"][..],
            "cannot describe topic nothing: there is no such topic",
        ),
        (&["topics", "delete", "nothing"], "cannot delete topic nothing"),
        (
            &["topics", "clear", "nothing"],
            "cannot clear topic nothing: there is no such topic",
        ),
        (&["groups", "describe", "nobody"], "cannot describe group nobody"),
        (&["groups", "delete", "nobody"], "cannot delete group nobody"),
        (&["latency", "nothing"], "there is no topic nothing"),
    ] {
        let stderr = broker.engine(arguments).failure(1);
        assert!(stderr.contains(message), "{arguments:?}: {stderr}");
    }
    broker.engine(&["topics", "create", "here"]).success();
    let stderr = broker.engine(&["topics", "delete", "nothing", "here"]).failure(1);
    assert!(
        stderr.starts_with("deleted here\nerror: cannot delete topic nothing"),
        "{stderr}"
    );
}

#[test]
fn a_load_at_the_highest_speed_has_100_000_events_a_second_of_event_time() {
    let broker = EmbeddedBroker::start(&["--partitions", "1"]);
    let generate = ["generate", "ads", "--topic", "ads", "--count", "1000", "--rate", "max"];
    broker.engine(&generate).success();
    let events = broker.engine(&["consume", "ads", "--until-end"]).success();
    let times: Vec<i64> = events
        .lines()
        .map(|line| object(line)["event_time_ns"].as_i64().unwrap())
        .collect();
    let span_ns = times.iter().max().unwrap() - times.iter().min().unwrap();
    assert!((9_000_000..=11_000_000).contains(&span_ns), "{span_ns} ns");
}

#[test]
fn client_options_reach_the_creation_of_a_load_s_topic() {
    let broker = EmbeddedBroker::start(&[]);
    let servers = format!("bootstrap.servers={}", broker.address);
    engine(&[
        "generate", "ads", "--topic", "ads", "--count", "10", "--rate", "max", "-X", &servers,
    ])
    .success();
    assert_eq!(broker.engine(&["topics", "list"]).success(), "ads\n");
}

#[test]
fn generated_events_are_as_many_as_asked_for_and_the_same_for_the_same_seed() {
    let broker = EmbeddedBroker::start(&["--partitions", "1"]);
    for topic in ["one", "two"] {
        let arguments = [
            "generate",
            "ads",
            "--topic",
            topic,
            "--count",
            "500",
            "--rate",
            "max",
            "--producers",
            "1",
            "--json",
        ];
        let report = object(&broker.engine(&arguments).success());
        assert_eq!(report["events"], 500);
    }
    let ads = |topic| {
        let lines = broker.engine(&["consume", topic, "--until-end"]).success();
        lines
            .lines()
            .map(|line| object(line)["ad_id"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(ads("one").len(), 500);
    assert_eq!(ads("one"), ads("two"));
}

#[test]
fn latency_is_the_record_s_timestamp_minus_the_column() {
    let broker = EmbeddedBroker::start(&["--partitions", "1"]);
    let result = |timestamp: i64, produced: i64| {
        let value = json!({"window_start": 0, "max_produce_time": produced}).to_string();
        format!("{}\n", json!({"timestamp": timestamp, "value": value}))
    };
    let input: String = (1..=100).map(|latency| result(10_000 + latency, 10_000)).collect();
    broker
        .engine_with_input(&["produce", "results", "--json"], input.as_bytes())
        .success();
    let report = object(&broker.engine(&["latency", "results", "--json"]).success());
    assert_eq!(
        (&report["overall"]["count"], &report["negative"]),
        (&json!(100), &json!(0))
    );
    for (percentile, seconds) in [("p50_seconds", 0.05), ("max_seconds", 0.1)] {
        let found = report["overall"][percentile].as_f64().unwrap();
        assert!((found / seconds - 1.0).abs() < 1e-3, "{percentile}: {found}");
    }
    assert_eq!(report["windows"][0]["window_start_ms"], 0);
    let folder = tempfile::tempdir().unwrap();
    let hgrm = folder.path().join("latency.hgrm");
    let text = broker
        .engine(&["latency", "results", "--hgrm", hgrm.to_str().unwrap()])
        .success();
    assert!(
        text.contains("P99.9") && text.contains("\n1970-01-01T00:00:00.000Z"),
        "{text}"
    );
    assert!(std::fs::read_to_string(hgrm).unwrap().contains("Percentile"));
}

fn object(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

//! What can be typed, and what happens when it is wrong.

#[path = "process/engine.rs"]
mod process;

use process::{EmbeddedBroker, command, engine};

#[test]
fn help_goes_to_standard_output_and_names_every_command() {
    let help = engine(&["--help"]).success();
    for command in [
        "run", "validate", "explain", "test", "latency", "generate", "topics", "groups", "produce", "consume", "broker",
    ] {
        assert!(
            help.lines().any(|line| line.trim_start().starts_with(command)),
            "{command} is missing:\n{help}"
        );
    }
}

#[test]
fn help_says_what_a_command_does_with_what_it_is_given_and_how_it_ends() {
    let help = engine(&["--help"]).success();
    assert!(
        help.contains("Exit codes: 0 done, 1 failed while running, 2 wrong usage or file, 130 interrupted."),
        "{help}"
    );
    for (command, part) in [
        ("run", "a second signal"),
        ("validate", "Every mistake"),
        ("explain", "the state and its bound"),
        ("test", "Exit code 1 if a test fails"),
        ("latency", "a record's timestamp less a column"),
        ("produce", "With --json each line is an object"),
        ("consume", "timestamp_type"),
        ("broker", "production is Apache Kafka"),
    ] {
        let help = engine(&[command, "--help"]).success();
        let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(part), "{command}:\n{help}");
    }
}

#[test]
fn every_command_documents_its_flags_and_the_ones_of_all() {
    for (command, flags) in [
        (
            &["produce"][..],
            &["--key", "--partition", "--header", "--key-separator"][..],
        ),
        (
            &["consume"],
            &[
                "--from",
                "--until-end",
                "--group",
                "--count",
                "--isolation",
                "--partition",
                "--print-key",
            ],
        ),
        (
            &["broker"],
            &[
                "--listen",
                "--data",
                "--advertise",
                "--partitions",
                "--no-auto-create",
                "--fault",
            ],
        ),
    ] {
        let help = engine(&[command, &["--help"]].concat()).success();
        for flag in flags
            .iter()
            .chain(&["--bootstrap-servers", "-X", "--json", "--log", "--verbose", "--quiet"])
        {
            assert!(help.contains(flag), "{command:?} does not document {flag}:\n{help}");
        }
    }
}

#[test]
fn wrong_usage_exits_with_2_and_says_what_was_meant() {
    for (arguments, message) in [
        (&["consum", "t"][..], "consume"),
        (&["consume"], "<TOPIC>"),
        (
            &["broker", "--fault", "Banana:silence"],
            "'Banana' is no API of this broker",
        ),
        (&["consume", "t", "--form", "end"], "--from"),
        (&["consume", "t", "--from", "yesterday"], "expected `beginning`"),
        (&["consume", "t", "-X", "linger"], "expected KEY=VALUE"),
        (&["consume", "t", "-X", "sesion.timeout.ms=5"], "session.timeout.ms"),
        (&["consume", "t", "-X", "linger.ms=5"], "property of producers"),
        (&["produce", "t", "-X", "acks=some"], "acks"),
        (&["produce", "t", "--bootstrap-servers", "nowhere"], "host:port"),
        (&["broker", "--listen", "9092"], "--listen"),
        (&["generate", "ads", "--rate", "fast"], "or `max`"),
        (&["generate", "ads", "--producers", "0"], "producer"),
        (&["run", "p.toml", "--drain"], "--until-end"),
        (&["validate", "no-such-file.toml"], "no-such-file.toml"),
    ] {
        let stderr = engine(arguments).failure(2);
        assert!(stderr.contains(message), "{arguments:?}: {stderr}");
        assert!(
            !stderr.contains("stack backtrace") && !stderr.contains("Error {"),
            "{stderr}"
        );
    }
}

#[test]
fn a_broker_that_cannot_be_reached_is_named() {
    // Port 1 of the loopback has no listener.
    let stderr = engine(&[
        "consume",
        "t",
        "--bootstrap-servers",
        "127.0.0.1:1",
        "-X",
        "socket.connection.setup.timeout.ms=500",
    ])
    .failure(1);
    assert!(
        stderr.starts_with("error: ") && stderr.contains("127.0.0.1:1") && stderr.contains("within 0.5 s"),
        "{stderr}"
    );
}

#[test]
fn a_broker_that_is_slow_to_appear_is_told_of_before_the_end() {
    let stderr = engine(&[
        "topics",
        "list",
        "--bootstrap-servers",
        "127.0.0.1:1",
        "-X",
        "socket.connection.setup.timeout.ms=1500",
    ])
    .failure(1);
    assert!(
        stderr.contains("No bootstrap server has answered yet")
            && stderr.contains("127.0.0.1:1: Connection refused")
            && stderr.contains("trying_for_seconds=1.5"),
        "{stderr}"
    );
}

#[test]
fn a_full_standard_error_is_no_crash() {
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut run = command(&["validate", "no-such-file.toml"]);
    assert_eq!(run.stderr(full()).status().unwrap().code(), Some(2));
    let mut help = command(&["--help"]);
    assert_eq!(help.stdout(full()).status().unwrap().code(), Some(1));
}

#[test]
fn with_json_an_error_is_an_object_too() {
    let stderr = engine(&["consume", "t", "--json", "-X", "nonsense=1"]).failure(2);
    let error: serde_json::Value = serde_json::from_str(&stderr).unwrap();
    assert_eq!(error["exit_code"], 2);
    assert!(error["error"].as_str().unwrap().contains("nonsense"));
}

#[test]
fn the_broker_stops_cleanly_on_sigterm() {
    assert_eq!(EmbeddedBroker::start(&[]).stop(), Some(0));
}

#[test]
fn a_port_in_use_is_told_with_its_address() {
    let broker = EmbeddedBroker::start(&[]);
    let stderr = engine(&["broker", "--listen", &broker.address]).failure(1);
    assert!(
        stderr.contains(&format!("cannot listen on {}", broker.address)),
        "{stderr}"
    );
}

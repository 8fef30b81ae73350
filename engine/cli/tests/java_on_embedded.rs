//! Kafka's own console tools against `engine broker`.

#[path = "process/engine.rs"]
mod process;
#[path = "real_broker/cluster.rs"]
mod real_broker;

use process::EmbeddedBroker;
use real_broker::kafka_tool;

#[test]
fn java_produces_to_and_consumes_from_the_embedded_broker() {
    let data = tempfile::tempdir().unwrap();
    let broker = EmbeddedBroker::start(&["--data", data.path().to_str().unwrap(), "--partitions", "1"]);
    let servers = broker.address.as_str();
    let mut written = String::new();
    for codec in ["none", "gzip", "snappy", "lz4"] {
        let lines: String = (0..200).map(|number| format!("{codec} {number}\n")).collect();
        let arguments = [
            "--bootstrap-server",
            servers,
            "--topic",
            "lines",
            "--compression-codec",
            codec,
        ];
        let Some(_) = kafka_tool("java-on-embedded", "ConsoleProducer", &arguments, lines.as_bytes()) else {
            return;
        };
        written += &lines;
    }
    assert_eq!(broker.engine(&["consume", "lines", "--until-end"]).success(), written);

    broker.engine_with_input(&["produce", "lines"], b"ours\n").success();
    written += "ours\n";
    let fixed = [
        "--bootstrap-server",
        servers,
        "--topic",
        "lines",
        "--group",
        "java",
        "--timeout-ms",
        "20000",
    ];
    let read = |arguments: &[&str]| {
        kafka_tool(
            "java-on-embedded",
            "ConsoleConsumer",
            &[&fixed, arguments].concat(),
            b"",
        )
        .expect("Java is here")
    };
    // The second one goes on where the group of the first has committed.
    let first = read(&["--from-beginning", "--max-messages", "500"]);
    let second = read(&["--max-messages", "301"]);
    assert_eq!((first.lines().count(), first + &second), (500, written));
}

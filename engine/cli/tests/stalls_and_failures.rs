//! A sink that stands still keeps memory bounded and loses nothing; a generator that fails ends the run at once.

#[path = "process/http.rs"]
mod http;
#[path = "pipeline_files/text.rs"]
mod pipeline_text;
#[path = "process/engine.rs"]
mod process;

use std::time::{Duration, Instant};

use engine_broker::{Broker, BrokerConfig, Fault, FaultAction};
use http::{PATIENCE, get, scrape, server_of};
use pipeline_text::PipelineText;
use process::{EmbeddedBroker, command, engine, start, wait};

/// Kafka's number of the Produce API.
const PRODUCE: i16 = 0;
const EVENTS: u64 = 60_000;

/// Every event to a topic. What the process may hold is small beside the 15 MB of the events.
fn pipeline(address: &str) -> PipelineText {
    PipelineText::new("stalled", address)
        .every("20ms", "200ms")
        .with("trigger", "max_records = 2_000")
        // A sink may stand still for longer than a transaction usually lasts.
        .with("kafka", "transaction.timeout.ms = 600000")
        .with("server", "listen = \"127.0.0.1:0\"")
        .reading("events", "events")
        .with(
            "sources.events.kafka",
            "fetch.prefetch.bytes = 1_000_000\nmax.partition.fetch.bytes = 200_000",
        )
        .with(
            "sources.events.schema",
            "user_id = \"string\"\npage_id = \"string\"\nad_id = \"string\"\nip_address = \"string\"",
        )
        .with(
            "transforms.all",
            "type = \"filter\"\ninput = \"events\"\nwhere = \"ad_id is not null\"",
        )
        .into_topic("results", Some("all"))
        .with("sinks.results.kafka", "buffer.memory = 1_000_000\nbatch.size = 100_000")
}

#[test]
fn a_sink_that_stands_still_keeps_memory_bounded_and_loses_nothing() {
    let network = tokio::runtime::Runtime::new().unwrap();
    let config = BrokerConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        default_partitions: 2,
        ..BrokerConfig::default()
    };
    let broker = network.block_on(Broker::start(config)).unwrap();
    let address = broker.address().to_string();
    let count = EVENTS.to_string();
    let flags = [
        "--rate",
        "max",
        "--count",
        &count,
        "--topic",
        "events",
        "--bootstrap-servers",
        &address,
    ];
    engine(&[&["generate", "ads"], &flags[..]].concat()).success();

    let folder = tempfile::tempdir().unwrap();
    let path = pipeline(&address).write(folder.path(), "pipeline.toml");
    let run = ["run", path.to_str().unwrap(), "--until-end"];
    // After the first records nobody takes any: the producer keeps its own and tries on.
    broker.inject(Fault {
        api_key: PRODUCE,
        skip: 6,
        times: u32::MAX,
        action: FaultAction::Disconnect,
    });
    let mut child = start(&mut command(&run));
    let server = server_of(&mut child);
    let records =
        |samples: &std::collections::BTreeMap<String, f64>| samples[r#"engine_source_records_total{source="events"}"#];
    let memory = "engine_process_resident_memory_bytes";
    let deadline = Instant::now() + PATIENCE;
    let (mut stalled, mut since) = (scrape(&server), Instant::now());
    // For so long that it does not only wait for its turn on a busy machine.
    while since.elapsed() < Duration::from_secs(3) {
        std::thread::sleep(Duration::from_millis(500));
        let now = scrape(&server);
        if records(&now) == 0.0 || records(&now) != records(&stalled) {
            (stalled, since) = (now, Instant::now());
        }
        assert!(Instant::now() < deadline, "it never stood still: {stalled:#?}");
    }
    assert!(records(&stalled) < EVENTS as f64 / 2.0, "{stalled:#?}");
    std::thread::sleep(Duration::from_secs(3));
    let later = scrape(&server);
    assert_eq!(records(&later), records(&stalled), "nothing is read that nobody takes");
    assert!(
        later[memory] < stalled[memory] + 5e6,
        "{} bytes, then {}",
        stalled[memory],
        later[memory]
    );
    assert_eq!(get(&server, "/healthz").unwrap().0, 200);

    broker.clear_faults();
    wait(child, &run).success();
    let flags = ["--from", "beginning", "--until-end", "--bootstrap-servers", &address];
    let results = engine(&[&["consume", "results"], &flags[..]].concat()).success();
    assert_eq!(results.lines().count() as u64, EVENTS);
    network.block_on(broker.shutdown());
}

#[test]
fn a_generator_that_fails_ends_the_run_at_once() {
    let (broker, folder) = (EmbeddedBroker::start(&[]), tempfile::tempdir().unwrap());
    let path = pipeline(&broker.address)
        .with("generators.good", "kind = \"ads\"\ntopic = \"events\"\nrate = 10")
        .with(
            "generators.bad",
            "kind = \"fixed\"\ntopic = \"events\"\nmessage_size = \"3MB\"",
        )
        .write(folder.path(), "pipeline.toml");
    let started = Instant::now();
    let stderr = engine(&["run", path.to_str().unwrap()]).failure(1);
    assert!(stderr.contains("generator \"bad\""), "{stderr}");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn records_that_are_gone_before_they_were_read_are_an_error_and_not_a_fresh_start() {
    let (broker, folder) = (
        EmbeddedBroker::start(&["--partitions", "1"]),
        tempfile::tempdir().unwrap(),
    );
    let path = pipeline(&broker.address).write(folder.path(), "pipeline.toml");
    let produce = || {
        let line = b"{\"ad_id\":\"1\"}\n";
        broker
            .engine_with_input(&["produce", "events"], &line.repeat(10))
            .success();
    };
    let run = ["run", path.to_str().unwrap(), "--until-end"];
    produce();
    engine(&run).success();
    produce();
    broker.engine(&["topics", "clear", "events"]).success();
    let stderr = engine(&run).failure(1);
    assert!(stderr.contains("events-0") && stderr.contains("10"), "{stderr}");
}

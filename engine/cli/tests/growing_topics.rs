//! Topics that appear, and partitions that are added, while a pipeline runs.

#[path = "process/http.rs"]
mod http;
#[path = "pipeline_files/text.rs"]
mod pipeline_text;
#[path = "process/engine.rs"]
mod process;

use http::{scrape_until, server_of};
use pipeline_text::PipelineText;
use process::{EmbeddedBroker, command, signal, start, wait};

/// Records of all topics.
const READ: &str = r#"engine_source_records_total{source="events"}"#;

#[test]
fn new_topics_of_a_pattern_and_new_partitions_are_read_while_the_pipeline_runs() {
    let (broker, folder) = (EmbeddedBroker::start(&[]), tempfile::tempdir().unwrap());
    let create = |topic: &str| {
        broker
            .engine(&["topics", "create", topic, "--partitions", "1"])
            .success();
    };
    let produce = |topic: &str, ids: std::ops::Range<u32>| {
        let lines: String = ids.map(|id| format!("{{\"id\":{id}}}\n")).collect();
        broker
            .engine_with_input(&["produce", topic], lines.as_bytes())
            .success();
    };
    create("ads-eu");
    produce("ads-eu", 0..10);
    let path = PipelineText::new("growing", &broker.address)
        .every("20ms", "100ms")
        .with("kafka", "metadata.max.age.ms = 200")
        .with("server", "listen = \"127.0.0.1:0\"")
        .with(
            "sources.events",
            "type = \"kafka\"\nformat = \"json\"\ntopic_pattern = \"ads-.*\"",
        )
        .with("sources.events.kafka", "auto.offset.reset = \"earliest\"")
        .with("sources.events.schema", "id = \"int64\"")
        .with(
            "transforms.odd",
            "type = \"filter\"\ninput = \"events\"\nwhere = \"id % 2 = 1\"",
        )
        .into_topic("results", Some("odd"))
        .write(folder.path(), "pipeline.toml");
    let mut run = start(&mut command(&["run", path.to_str().unwrap()]));
    let server = server_of(&mut run);
    scrape_until(&server, READ, 10.0);

    create("ads-us");
    create("other");
    produce("ads-us", 10..30);
    produce("other", 0..5);
    scrape_until(&server, READ, 30.0);

    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let config = [("bootstrap.servers", broker.address.as_str())];
        let config = engine_client::ClientConfig::from_properties(config).unwrap();
        let admin = engine_client::Admin::connect(config).await.unwrap();
        let grown = admin.create_partitions(&[("ads-eu", 3)]).await.unwrap();
        assert!(grown[0].1.is_ok(), "{grown:?}");
    });
    produce("ads-eu", 30..90);
    scrape_until(&server, READ, 90.0);
    for partition in 0..3 {
        // Its lag is known once it was asked.
        let lag = format!(r#"engine_source_lag_records{{source="events",topic="ads-eu",partition="{partition}"}}"#);
        scrape_until(&server, &lag, 0.0);
    }

    signal(&run, "TERM");
    wait(run, &["run"]).success();
    let results = broker.engine(&["consume", "results", "--from", "beginning", "--until-end"]);
    let results = results.success();
    assert_eq!(
        results.lines().count(),
        45,
        "each odd id once: every rebalance began with a checkpoint"
    );
}

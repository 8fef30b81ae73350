//! `engine produce` and `engine consume` against Apache Kafka and its own tools.

#[path = "process/engine.rs"]
mod process;
#[path = "real_broker/cluster.rs"]
mod real_broker;

use process::{engine, engine_with_input};
use real_broker::Cluster;

#[test]
fn what_we_produce_kafka_s_own_consumer_reads_and_the_other_way_round() {
    for version in ["4.4.0", "3.9.2"] {
        let Some(cluster) = Cluster::start("produce-and-consume", version, 1) else {
            return;
        };
        let servers = cluster.bootstrap_servers.as_str();
        let input: String = (0..100).map(|n| format!("line {n}\n")).collect();
        for codec in ["none", "gzip", "snappy", "lz4"] {
            let topic = format!("lines-{codec}");
            let compression = format!("compression.type={codec}");
            cluster.tool("TopicCommand", &["--create", "--topic", &topic, "--partitions", "1"]);
            engine_with_input(
                &["produce", &topic, "-b", servers, "-X", &compression],
                input.as_bytes(),
            )
            .success();
            let read = engine(&["consume", &topic, "-b", servers, "--until-end"]).success();
            assert_eq!(read, input, "{version} {codec}");
            let theirs = cluster.tool(
                "ConsoleConsumer",
                &[
                    "--topic",
                    &topic,
                    "--from-beginning",
                    "--max-messages",
                    "100",
                    "--timeout-ms",
                    "20000",
                ],
            );
            assert_eq!(theirs, input, "{version} {codec}: Kafka's own consumer");
        }
    }
}

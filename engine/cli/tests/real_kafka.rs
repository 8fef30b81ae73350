//! `engine produce` and `engine consume` against Apache Kafka and its own tools; and what becomes of such a test where
//! there is no Java.

#[path = "process/engine.rs"]
mod process;
#[path = "real_broker/cluster.rs"]
mod real_broker;
#[path = "real_broker/without_java.rs"]
mod without_java;

use std::process::{Command, Stdio};

use process::{engine, engine_with_input};
use real_broker::Cluster;
use without_java::path_without_java;

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

/// Runs the test above in a process of its own, because the switches are variables of the environment.
#[test]
fn without_java_a_test_is_skipped_loudly_or_fails_as_the_switches_say() {
    let folder = tempfile::tempdir().unwrap();
    let path = path_without_java(folder.path());
    let test = "what_we_produce_kafka_s_own_consumer_reads_and_the_other_way_round";
    for (switches, passes, said) in [
        (
            &[][..],
            true,
            "SKIPPED, NOT TESTED on a real broker: produce-and-consume: kafka: Java is missing",
        ),
        (
            &["ENGINE_SKIP_BROKER"],
            true,
            "produce-and-consume: ENGINE_SKIP_BROKER is set",
        ),
        (&["ENGINE_REQUIRE_BROKER"], false, "kafka: Java is missing"),
        (
            &["ENGINE_REQUIRE_BROKER", "ENGINE_SKIP_BROKER"],
            false,
            "kafka: Java is missing",
        ),
    ] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", test])
            .env_remove("ENGINE_SKIP_BROKER")
            .env_remove("ENGINE_REQUIRE_BROKER")
            .env("PATH", &path)
            .env("ENGINE_KAFKA_HOME", folder.path())
            .stdin(Stdio::null());
        let output = command
            .envs(switches.iter().map(|switch| (switch, "1")))
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert_eq!(output.status.success(), passes, "{switches:?}: {text}");
        assert!(text.contains(said) && text.contains("1 test"), "{switches:?}: {text}");
    }
}

//! What users write, and what they are told.

use std::time::Duration;

use super::{Acks, AssignmentStrategy, ClientConfig, ConsumerConfig, ProducerConfig, PropertyError};

const SERVERS: (&str, &str) = ("bootstrap.servers", "localhost:9092");

fn mistakes<T: std::fmt::Debug>(outcome: Result<T, Vec<PropertyError>>) -> Vec<String> {
    outcome.unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn kafkas_names_and_units_are_read() {
    let config = ProducerConfig::from_properties([
        ("bootstrap.servers", "one:9092, two:9093"),
        ("acks", "-1"),
        ("linger.ms", "20"),
        ("batch.size", "65536"),
        ("compression.type", "lz4"),
    ])
    .unwrap();
    assert_eq!(config.client.bootstrap_servers, ["one:9092", "two:9093"]);
    assert_eq!((config.acks, config.linger), (Acks::All, Duration::from_millis(20)));
    assert!(config.enable_idempotence);
    let config = ConsumerConfig::from_properties([
        SERVERS,
        ("group.id", "g"),
        (
            "partition.assignment.strategy",
            "org.apache.kafka.clients.consumer.RoundRobinAssignor,range",
        ),
    ])
    .unwrap();
    let expected = [AssignmentStrategy::RoundRobin, AssignmentStrategy::Range];
    assert_eq!(config.partition_assignment_strategy, expected);
}

#[test]
fn every_mistake_is_told_at_once_with_the_nearest_name() {
    let told = mistakes(ProducerConfig::from_properties([
        SERVERS,
        ("linger", "5"),
        ("batch.sise", "5"),
        ("acks", "2"),
        ("batch.size", "many"),
        ("batch.size", "5"),
        ("wholly.unheard.of", "x"),
    ]));
    assert_eq!(
        told,
        [
            "unknown property `linger`, did you mean `linger.ms`?",
            "unknown property `batch.sise`, did you mean `batch.size`?",
            "`acks` = `2`: expected one of `all`, `-1`, `1`, `0`",
            "`batch.size` = `many`: expected a number of bytes",
            "`batch.size` is given twice",
            "unknown property `wholly.unheard.of`",
        ]
    );
}

#[test]
fn what_kafka_has_and_this_client_does_not_is_refused_with_a_sentence() {
    for (name, value, expected) in [
        (
            "transaction.two.phase.commit.enable",
            "true",
            "ended by the producer that opened them",
        ),
        ("sasl.mechanism", "PLAIN", "SASL comes in a later version"),
        ("ssl.keystore.location", "/k", "TLS comes in a later version"),
        ("security.protocol", "SASL_SSL", "only `PLAINTEXT` is there so far"),
        ("group.id", "g", "it is a property of consumers"),
        ("key.serializer", "x", "keys and values are bytes here"),
        ("queue.buffering.max.ms", "5", "a property of librdkafka"),
    ] {
        let told = mistakes(ProducerConfig::from_properties([SERVERS, (name, value)]));
        assert!(told[0].contains(expected), "{name}: {told:?}");
    }
}

#[test]
fn contradictions_name_both_sides() {
    for (properties, expected) in [
        (
            vec![("acks", "1"), ("enable.idempotence", "true")],
            "needs `acks` = `all`",
        ),
        (
            vec![
                ("max.in.flight.requests.per.connection", "6"),
                ("enable.idempotence", "true"),
            ],
            "at most 5, not 6",
        ),
        (
            vec![("acks", "1"), ("transactional.id", "t")],
            "`transactional.id` needs `enable.idempotence` = `true`",
        ),
        (vec![("transactional.id", "")], "`transactional.id` is empty"),
        (
            vec![("delivery.timeout.ms", "1000")],
            "is less than `linger.ms` (5 ms) plus `request.timeout.ms` (30000 ms)",
        ),
        (
            vec![("retry.backoff.ms", "2000")],
            "`retry.backoff.ms` (2000 ms) is more than `retry.backoff.max.ms` (1000 ms)",
        ),
    ] {
        let told = mistakes(ProducerConfig::from_properties([SERVERS].into_iter().chain(properties)));
        assert!(told[0].contains(expected), "{told:?}");
    }
    let told = mistakes(ConsumerConfig::from_properties([
        SERVERS,
        ("heartbeat.interval.ms", "60000"),
    ]));
    assert!(
        told[0].contains("must be less than `session.timeout.ms` (45000 ms)"),
        "{told:?}"
    );
}

#[test]
fn acks_other_than_all_turn_idempotence_off_unless_it_is_asked_for() {
    let config = ProducerConfig::from_properties([SERVERS, ("acks", "1")]).unwrap();
    assert!(!config.enable_idempotence);
}

#[test]
fn servers_need_a_port() {
    for servers in [
        "localhost",
        "localhost:",
        ":9092",
        "localhost:0",
        "localhost:99999",
        ",",
        "",
        "http://localhost:9092",
        "PLAINTEXT://localhost:9092",
        "localhost:9092/path",
        "user@localhost:9092",
        "local host:9092",
        "::1:9092",
        "[]:9092",
        "[::1:9092",
        "::1]:9092",
    ] {
        assert!(
            ClientConfig::from_properties([("bootstrap.servers", servers)]).is_err(),
            "{servers:?}"
        );
    }
    for servers in [
        "localhost:1",
        "[::1]:9092",
        "[fe80::1%eth0]:9092",
        "kafka_1.example-2.net:65535",
        "10.0.0.1:9092, b:1",
    ] {
        let config = ClientConfig::from_properties([("bootstrap.servers", servers)]);
        assert!(config.is_ok(), "{servers:?}: {config:?}");
    }
    for (servers, advice) in [
        ("http://a:9092", "without what is before `://`"),
        ("::1:9092", "such as `[::1]:9092`"),
    ] {
        let told = mistakes(ClientConfig::from_properties([("bootstrap.servers", servers)]));
        assert!(told[0].contains(advice), "{told:?}");
    }
    let told = mistakes(ClientConfig::from_properties([]));
    assert_eq!(told, ["`bootstrap.servers` is missing"]);
}

#[test]
fn the_defaults_do_not_contradict_each_other() {
    assert_eq!(ProducerConfig::new("localhost:9092").validate(), []);
    assert_eq!(ConsumerConfig::new("localhost:9092").validate(), []);
}

#[test]
fn several_bootstrap_servers_are_several_also_without_properties() {
    let config = crate::ClientConfig::new("one:9092, two:9093");
    assert_eq!(config.bootstrap_servers, ["one:9092", "two:9093"]);
}

#[test]
fn auto_offset_reset_may_be_a_duration() {
    use crate::AutoOffsetReset;
    use std::time::Duration;
    for (value, expected) in [
        ("by_duration:PT1H", Some(Duration::from_secs(3_600))),
        ("by_duration:P2DT30M", Some(Duration::from_secs(2 * 86_400 + 1_800))),
        ("by_duration:P1D", Some(Duration::from_secs(86_400))),
        ("by_duration:PT1H2M3.5S", Some(Duration::from_millis(3_723_500))),
        ("by_duration:PT0S", Some(Duration::ZERO)),
        ("by_duration:", None),
        ("by_duration:P", None),
        ("by_duration:PT", None),
        ("by_duration:1H", None),
        ("by_duration:PT1M1H", None),
        ("by_duration:PT-1H", None),
        ("by_duration:PT+1H", None),
        ("by_duration:PT1e3S", None),
        ("by_duration:P99999999999999999999D", None),
        ("by_duration:P999999999999999999D", None),
    ] {
        let read = crate::ConsumerConfig::from_properties([SERVERS, ("auto.offset.reset", value)]);
        let read = read.ok().map(|config| config.auto_offset_reset);
        assert_eq!(read, expected.map(AutoOffsetReset::ByDuration), "{value}");
    }
}

#[test]
fn recovery_is_named_as_in_java() {
    use crate::MetadataRecoveryStrategy;
    let read = crate::ClientConfig::from_properties([
        SERVERS,
        ("metadata.recovery.strategy", "none"),
        ("metadata.recovery.rebootstrap.trigger.ms", "1000"),
    ]);
    let config = read.expect("both are there");
    assert_eq!(config.metadata_recovery_strategy, MetadataRecoveryStrategy::None);
    assert_eq!(config.metadata_recovery_rebootstrap_trigger.as_secs(), 1);
    let mistakes = crate::ClientConfig::from_properties([SERVERS, ("metadata.recovery.strategy", "some")]);
    assert_eq!(mistakes.expect_err("no such strategy").len(), 1);
}

#[test]
fn strategies_have_the_names_of_the_protocol_and_of_java() {
    use crate::AssignmentStrategy::{CooperativeSticky, Range, RoundRobin, Sticky};
    for (value, expected) in [
        ("cooperative-sticky", Some(vec![CooperativeSticky])),
        ("sticky, range", Some(vec![Sticky, Range])),
        (
            "org.apache.kafka.clients.consumer.StickyAssignor,org.apache.kafka.clients.consumer.RoundRobinAssignor",
            Some(vec![Sticky, RoundRobin]),
        ),
        (
            "org.apache.kafka.clients.consumer.CooperativeStickyAssignor",
            Some(vec![CooperativeSticky]),
        ),
        ("engine-single-owner", None),
        ("", None),
    ] {
        let read = crate::ConsumerConfig::from_properties([SERVERS, ("partition.assignment.strategy", value)]);
        let read = read.ok().map(|config| config.partition_assignment_strategy);
        assert_eq!(read, expected, "{value}");
    }
}

#[test]
fn durations_that_no_clock_counts_to_are_mistakes_also_without_properties() {
    use std::time::Duration;
    let producer = crate::ProducerConfig {
        linger: Duration::MAX,
        block_max: Duration::MAX,
        delivery_timeout: Duration::MAX,
        ..crate::ProducerConfig::new("one:9092")
    };
    let mut client = crate::ClientConfig::new("one:9092");
    client.default_api_timeout = Duration::MAX;
    let consumer = crate::ConsumerConfig {
        rebalance_timeout: Some(Duration::MAX),
        client: client.clone(),
        ..crate::ConsumerConfig::default()
    };
    assert_eq!(producer.validate().len(), 3);
    assert_eq!(client.validate().len(), 1);
    let mistakes = consumer.validate();
    assert_eq!(mistakes.len(), 2);
    assert_eq!(
        mistakes[1].to_string(),
        "`rebalance.timeout.ms` is more than 2147483647 milliseconds"
    );
}

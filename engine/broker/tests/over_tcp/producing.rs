//! Produce: what is kept, what is refused, and with which code.

use bytes::BytesMut;
use engine_broker::BrokerConfig;
use engine_wire::error_code::ErrorCode;
use engine_wire::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use engine_wire::messages::{CreateTopicsRequest, InitProducerIdRequest, ProduceRequest};
use engine_wire::record_batch::{ProducerStamp, TimestampType, split_batches};

use crate::client::{RawClient, batch, name, produce_request, read, stamped_batch, start, start_with, string};
use crate::durability::{crash, on_disk, restart};

#[tokio::test]
async fn offsets_follow_each_other_over_batches() {
    let broker = start().await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    assert_eq!(client.produce("t", 0, batch(&["a", "b"])).await.base_offset, 0);
    assert_eq!(client.produce("t", 0, batch(&["c"])).await.base_offset, 2);
    assert_eq!(client.produce("t", 1, batch(&["d"])).await.base_offset, 0);
    let fetched = client.fetch("t", 0, 0, 0).await;
    assert_eq!(
        read(fetched.records),
        [(0, "a".into()), (1, "b".into()), (2, "c".into())]
    );
    assert_eq!(fetched.high_watermark, 3);
}

#[tokio::test]
async fn damaged_batches_are_refused_and_nothing_is_kept() {
    let broker = start().await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    let good = batch(&["a", "b"]);
    let flipped = |at: usize| {
        let mut bytes = BytesMut::from(&good[..]);
        bytes[at] ^= 1;
        bytes.freeze()
    };
    let twice = [&good[..], &good[..]].concat().into();
    for (what, records, code) in [
        ("a flipped value", flipped(good.len() - 2), ErrorCode::CORRUPT_MESSAGE),
        ("a flipped crc", flipped(17), ErrorCode::CORRUPT_MESSAGE),
        ("magic 3", flipped(16), ErrorCode::UNSUPPORTED_FOR_MESSAGE_FORMAT),
        ("cut short", good.slice(..good.len() - 1), ErrorCode::CORRUPT_MESSAGE),
        ("a header alone", good.slice(..20), ErrorCode::CORRUPT_MESSAGE),
        ("two batches", twice, ErrorCode::INVALID_RECORD),
        ("nothing", good.slice(..0), ErrorCode::INVALID_RECORD),
    ] {
        let response = client.produce("t", 0, records).await;
        assert_eq!(ErrorCode::from(response.error_code), code, "{what}");
        assert_eq!(response.base_offset, -1, "{what}");
    }
    assert_eq!(client.produce("t", 0, good).await.base_offset, 0);
}

#[tokio::test]
async fn unknown_partitions_large_batches_and_odd_acks_have_their_codes() {
    let broker = start_with(BrokerConfig {
        message_bytes_max: 200,
        ..BrokerConfig::default()
    })
    .await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    let code = |response: engine_wire::messages::produce_response::PartitionProduceResponse| {
        ErrorCode::from(response.error_code)
    };
    assert_eq!(
        code(client.produce("t", 99, batch(&["a"])).await),
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    );
    assert_eq!(
        code(client.produce("none", 0, batch(&["a"])).await),
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    );
    let large = batch(&[&"x".repeat(300)]);
    assert_eq!(code(client.produce("t", 0, large).await), ErrorCode::MESSAGE_TOO_LARGE);
    let mut odd = client
        .ask(9, &produce_request("t", 0, batch(&["a"])).with_acks(2))
        .await;
    let odd = odd.responses.remove(0).partition_responses.remove(0);
    assert_eq!(ErrorCode::from(odd.error_code), ErrorCode::INVALID_REQUIRED_ACKS);
}

#[tokio::test]
async fn acks_zero_is_never_answered() {
    let broker = start().await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    client
        .send(9, &produce_request("t", 0, batch(&["silent"])).with_acks(0))
        .await;
    // The next answer on the connection is the next request's.
    assert_eq!(client.produce("t", 0, batch(&["b"])).await.base_offset, 1);
    // A failure closes the connection: there is no other way to tell.
    client
        .send(9, &produce_request("t", 99, batch(&["lost"])).with_acks(0))
        .await;
    assert!(client.answer::<ProduceRequest>(9).await.is_none());
}

#[tokio::test]
async fn sequences_are_checked_per_partition_and_retries_are_recognised() {
    let broker = start().await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    let granted = client
        .ask(4, &InitProducerIdRequest::default().with_transactional_id(None))
        .await;
    let other = client
        .ask(4, &InitProducerIdRequest::default().with_transactional_id(None))
        .await;
    assert_ne!(granted.producer_id, other.producer_id);
    let sent = |producer_epoch, base_sequence| {
        let producer_id = granted.producer_id.0;
        let stamp = ProducerStamp {
            producer_id,
            producer_epoch,
            base_sequence,
            is_transactional: false,
        };
        stamped_batch(&["a", "b"], stamp)
    };
    for (what, partition, records, code, base_offset) in [
        ("the first", 0, sent(0, 0), ErrorCode::NONE, 0),
        ("the second", 0, sent(0, 2), ErrorCode::NONE, 2),
        ("the first again", 0, sent(0, 0), ErrorCode::NONE, 0),
        ("a gap", 0, sent(0, 6), ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, -1),
        ("another partition", 1, sent(0, 0), ErrorCode::NONE, 0),
        (
            "a new epoch, not from 0",
            0,
            sent(1, 4),
            ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
            -1,
        ),
        ("a new epoch", 0, sent(1, 0), ErrorCode::NONE, 4),
        ("the old epoch", 0, sent(0, 4), ErrorCode::INVALID_PRODUCER_EPOCH, -1),
    ] {
        let response = client.produce("t", partition, records).await;
        assert_eq!(
            (ErrorCode::from(response.error_code), response.base_offset),
            (code, base_offset),
            "{what}"
        );
    }
}

#[tokio::test]
async fn sequences_go_on_at_0_behind_the_largest_also_inside_a_batch_and_after_a_restart() {
    let data = tempfile::tempdir().expect("a directory");
    let broker = start_with(on_disk(data.path())).await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    let sent = |base_sequence| {
        let stamp = ProducerStamp {
            producer_id: 7,
            producer_epoch: 0,
            base_sequence,
            is_transactional: false,
        };
        stamped_batch(&["a", "b"], stamp)
    };
    for (what, base_sequence, code, base_offset) in [
        (
            "a producer that nobody knows (KIP-360)",
            i32::MAX - 2,
            ErrorCode::NONE,
            0,
        ),
        ("across the largest", i32::MAX, ErrorCode::NONE, 2),
        ("the same again", i32::MAX, ErrorCode::NONE, 2),
        ("a gap", 2, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, -1),
    ] {
        let response = client.produce("t", 0, sent(base_sequence)).await;
        let told = (ErrorCode::from(response.error_code), response.base_offset);
        assert_eq!(told, (code, base_offset), "{what}");
    }
    drop(client);
    crash(broker);
    let broker = restart(data.path()).await;
    let mut client = RawClient::connect(&broker).await;
    assert_eq!(client.produce("t", 0, sent(i32::MAX)).await.base_offset, 2);
    assert_eq!(client.produce("t", 0, sent(1)).await.base_offset, 4);
}

#[tokio::test]
async fn a_transactional_batch_without_a_transactional_id_is_refused() {
    let broker = start().await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    let stamp = ProducerStamp {
        producer_id: 1,
        producer_epoch: 0,
        base_sequence: 0,
        is_transactional: true,
    };
    let response = client.produce("t", 0, stamped_batch(&["a"], stamp)).await;
    assert_eq!(ErrorCode::from(response.error_code), ErrorCode::INVALID_TXN_STATE);
    let message = response.error_message.expect("a reason");
    assert!(message.contains("not in an open transaction"), "{message}");
}

#[tokio::test]
async fn log_append_time_replaces_the_producers_timestamps() {
    let broker = start().await;
    let mut client = RawClient::connect(&broker).await;
    let config = CreatableTopicConfig::default()
        .with_name(string("message.timestamp.type"))
        .with_value(Some(string("LogAppendTime")));
    let topic = CreatableTopic::default()
        .with_name(name("t"))
        .with_num_partitions(1)
        .with_replication_factor(1)
        .with_configs(vec![config]);
    client
        .ask(7, &CreateTopicsRequest::default().with_topics(vec![topic]))
        .await;
    let response = client.produce("t", 0, batch(&["a"])).await;
    assert!(response.log_append_time_ms > 1_000_000);
    let records = client.fetch("t", 0, 0, 0).await.records;
    let batch = split_batches(records.unwrap_or_default())
        .next()
        .expect("a batch")
        .expect("a batch");
    batch.verify_crc().expect("a crc that covers the new time");
    assert_eq!(batch.header.timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!(batch.header.max_timestamp, response.log_append_time_ms);
}

//! Fetch and ListOffsets: limits, waiting, places.

use std::time::{Duration, Instant};

use engine_broker::BrokerConfig;
use engine_wire::error_code::ErrorCode;
use engine_wire::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use engine_wire::messages::fetch_request::{FetchPartition, FetchTopic};
use engine_wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use engine_wire::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use engine_wire::messages::{DeleteRecordsRequest, FetchRequest, ListOffsetsRequest, OffsetForLeaderEpochRequest};

use crate::client::{RawClient, batch, fetch_request, name, read, start, start_with};

#[tokio::test]
async fn a_fetch_waits_for_a_record_and_no_longer() {
    let broker = start().await;
    let mut consumer = RawClient::connect(&broker).await;
    let mut producer = RawClient::connect(&broker).await;
    consumer.create("t").await;
    consumer.send(12, &fetch_request("t", 0, 0, 20_000)).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    producer.produce("t", 0, batch(&["late"])).await;
    let asked = Instant::now();
    let mut response = consumer.answer::<FetchRequest>(12).await.expect("an answer");
    assert!(
        asked.elapsed() < Duration::from_secs(10),
        "the wait did not end with the append"
    );
    assert_eq!(
        read(response.responses.remove(0).partitions.remove(0).records),
        [(0, "late".into())]
    );
}

#[tokio::test]
async fn a_fetch_with_nothing_to_read_is_answered_empty_when_its_time_is_over() {
    let broker = start().await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    let asked = Instant::now();
    let fetched = client.fetch("t", 0, 0, 60).await;
    assert!(asked.elapsed() >= Duration::from_millis(60));
    assert_eq!(ErrorCode::from(fetched.error_code), ErrorCode::NONE);
    assert_eq!(read(fetched.records), []);
}

#[tokio::test]
async fn min_bytes_is_waited_for_over_several_appends() {
    let broker = start().await;
    let mut consumer = RawClient::connect(&broker).await;
    let mut producer = RawClient::connect(&broker).await;
    consumer.create("t").await;
    let enough = 3 * batch(&["x"]).len() as i32;
    consumer
        .send(12, &fetch_request("t", 0, 0, 20_000).with_min_bytes(enough))
        .await;
    for _ in 0..3 {
        producer.produce("t", 0, batch(&["x"])).await;
    }
    let mut response = consumer.answer::<FetchRequest>(12).await.expect("an answer");
    assert_eq!(read(response.responses.remove(0).partitions.remove(0).records).len(), 3);
}

#[tokio::test]
async fn limits_hold_but_the_first_batch_is_always_there() {
    let broker = start().await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    let large = "x".repeat(10_000);
    for partition in 0..2 {
        for _ in 0..3 {
            client.produce("t", partition, batch(&[&large])).await;
        }
    }
    let one = batch(&[&large]).len() as i32;
    // (max_bytes, partition_max_bytes) → batches of partition 0, of partition 1.
    for (bytes_max, partition_bytes_max, expected) in [
        (1, 1, [1, 0]),
        (i32::MAX, 1, [1, 0]),
        (i32::MAX, 2 * one, [2, 2]),
        (3 * one, 2 * one, [2, 1]),
        (i32::MAX, i32::MAX, [3, 3]),
        (-1, -1, [1, 0]),
    ] {
        let wanted = |partition| {
            FetchPartition::default()
                .with_partition(partition)
                .with_partition_max_bytes(partition_bytes_max)
        };
        let topic = FetchTopic::default()
            .with_topic(name("t"))
            .with_partitions(vec![wanted(0), wanted(1)]);
        let request = fetch_request("t", 0, 0, 0)
            .with_max_bytes(bytes_max)
            .with_topics(vec![topic]);
        let mut response = client.ask(11, &request).await;
        let partitions = response.responses.remove(0).partitions.into_iter();
        let counts: Vec<usize> = partitions.map(|partition| read(partition.records).len()).collect();
        assert_eq!(
            counts, expected,
            "max_bytes {bytes_max}, partition_max_bytes {partition_bytes_max}"
        );
    }
}

#[tokio::test]
async fn a_fetch_outside_of_the_log_is_out_of_range_at_once() {
    let broker = start().await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    client.produce("t", 0, batch(&["a", "b"])).await;
    for offset in [-1, 3] {
        let fetched = client.fetch("t", 0, offset, 20_000).await;
        assert_eq!(
            ErrorCode::from(fetched.error_code),
            ErrorCode::OFFSET_OUT_OF_RANGE,
            "{offset}"
        );
    }
    let fetched = client.fetch("t", 77, 0, 20_000).await;
    assert_eq!(
        ErrorCode::from(fetched.error_code),
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    );
}

#[tokio::test]
async fn the_middle_of_a_batch_is_read_from_its_beginning() {
    let broker = start().await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    client.produce("t", 0, batch(&["a"])).await;
    client.produce("t", 0, batch(&["b", "c", "d"])).await;
    let records = client.fetch("t", 0, 2, 0).await.records;
    assert_eq!(read(records).first(), Some(&(1, "b".to_owned())));
}

#[tokio::test]
async fn sessions_and_topic_ids_that_are_not_known_are_refused() {
    let broker = start().await;
    let mut client = RawClient::connect(&broker).await;
    let topic_id = client.create("t").await.topics.len();
    assert_eq!(topic_id, 1);
    let response = client
        .ask(
            12,
            &fetch_request("t", 0, 0, 0).with_session_id(7).with_session_epoch(3),
        )
        .await;
    assert_eq!(
        ErrorCode::from(response.error_code),
        ErrorCode::FETCH_SESSION_ID_NOT_FOUND
    );
    let mut response = client.ask(16, &fetch_request("", 0, 0, 0)).await;
    let partition = response.responses.remove(0).partitions.remove(0);
    assert_eq!(ErrorCode::from(partition.error_code), ErrorCode::UNKNOWN_TOPIC_ID);
}

#[tokio::test]
async fn offsets_are_found_by_place_and_by_time() {
    let broker = start().await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    client.produce("t", 0, batch(&["a", "b", "c"])).await; // Timestamps 1000, 1001, 1002.
    for (timestamp, offset) in [
        (-1, 3),
        (-2, 0),
        (-3, 2),
        (0, 0),
        (1_001, 1),
        (1_002, 2),
        (1_003, -1),
        (-4, 0),
    ] {
        let wanted = ListOffsetsPartition::default()
            .with_timestamp(timestamp)
            .with_current_leader_epoch(-1);
        let topic = ListOffsetsTopic::default()
            .with_name(name("t"))
            .with_partitions(vec![wanted]);
        let mut response = client
            .ask(7, &ListOffsetsRequest::default().with_topics(vec![topic]))
            .await;
        let found = response.topics.remove(0).partitions.remove(0);
        assert_eq!(found.offset, offset, "timestamp {timestamp}");
    }
}

#[tokio::test]
async fn deleted_records_move_the_start_of_the_log() {
    let broker = start().await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    client.produce("t", 0, batch(&["a", "b"])).await;
    client.produce("t", 0, batch(&["c"])).await;
    for (offset, low_watermark, code) in [
        (1, 1, ErrorCode::NONE),
        (99, -1, ErrorCode::OFFSET_OUT_OF_RANGE),
        (-1, 3, ErrorCode::NONE),
    ] {
        let wanted = DeleteRecordsPartition::default().with_offset(offset);
        let topic = DeleteRecordsTopic::default()
            .with_name(name("t"))
            .with_partitions(vec![wanted]);
        let mut response = client
            .ask(2, &DeleteRecordsRequest::default().with_topics(vec![topic]))
            .await;
        let deleted = response.topics.remove(0).partitions.remove(0);
        assert_eq!(
            (deleted.low_watermark, ErrorCode::from(deleted.error_code)),
            (low_watermark, code),
            "{offset}"
        );
    }
    let fetched = client.fetch("t", 0, 0, 0).await;
    assert_eq!(ErrorCode::from(fetched.error_code), ErrorCode::OFFSET_OUT_OF_RANGE);
    assert_eq!(client.produce("t", 0, batch(&["d"])).await.base_offset, 3);
}

#[tokio::test]
async fn memory_is_bounded_by_dropping_the_oldest_batches() {
    let config = BrokerConfig {
        retention_bytes_total: Some(100_000),
        ..BrokerConfig::default()
    };
    let broker = start_with(config).await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    let large = "x".repeat(1_000);
    for _ in 0..500 {
        client.produce("t", 0, batch(&[&large])).await;
    }
    let behind = client.fetch("t", 0, 0, 0).await;
    assert_eq!(ErrorCode::from(behind.error_code), ErrorCode::OFFSET_OUT_OF_RANGE);
    assert!(behind.log_start_offset > 400, "{}", behind.log_start_offset);
    assert_eq!(read(client.fetch("t", 0, 499, 0).await.records), [(499, large)]);
}

#[tokio::test]
async fn a_term_of_the_leader_ends_where_the_log_does() {
    let broker = start().await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    client.produce("t", 0, batch(&["a", "b"])).await;
    for (leader_epoch, expected) in [(0, (0, 2)), (1, (-1, -1))] {
        let wanted = OffsetForLeaderPartition::default()
            .with_leader_epoch(leader_epoch)
            .with_current_leader_epoch(0);
        let topic = OffsetForLeaderTopic::default()
            .with_topic(name("t"))
            .with_partitions(vec![wanted]);
        let mut response = client
            .ask(4, &OffsetForLeaderEpochRequest::default().with_topics(vec![topic]))
            .await;
        let ended = response.topics.remove(0).partitions.remove(0);
        assert_eq!((ended.leader_epoch, ended.end_offset), expected);
    }
}

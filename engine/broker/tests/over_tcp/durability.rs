//! What a broker on disk still knows after a restart, and what a crash may cost.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use engine_broker::{Broker, BrokerConfig, StartError};
use engine_wire::error_code::ErrorCode;
use engine_wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use engine_wire::messages::offset_fetch_request::OffsetFetchRequestTopic;
use engine_wire::messages::{GroupId, InitProducerIdRequest, MetadataRequest, OffsetCommitRequest, OffsetFetchRequest};
use engine_wire::record_batch::ProducerStamp;

use crate::client::{RawClient, batch, name, read, stamped_batch, start_with, string};

pub(crate) fn on_disk(data: &Path) -> BrokerConfig {
    BrokerConfig {
        data: Some(data.to_owned()),
        default_partitions: 1,
        segment_bytes: 400,
        ..BrokerConfig::default()
    }
}

fn segments(data: &Path) -> Vec<PathBuf> {
    let topic = fs::read_dir(data.join("logs"))
        .expect("logs")
        .next()
        .expect("a topic")
        .expect("a topic")
        .path();
    let mut segments: Vec<_> = fs::read_dir(topic.join("0"))
        .expect("a partition")
        .map(|file| file.expect("a segment").path())
        .collect();
    segments.sort();
    segments
}

/// Stops without a shutdown: what a kill leaves is what was written.
pub(crate) fn crash(broker: Broker) {
    drop(broker);
}

pub(crate) async fn restart(data: &Path) -> Broker {
    // The crashed broker's tasks still run for a moment, and hold the lock as long.
    for _ in 0..200 {
        let listen = ([127, 0, 0, 1], 0).into();
        match Broker::start(BrokerConfig {
            listen,
            ..on_disk(data)
        })
        .await
        {
            Ok(broker) => return broker,
            Err(StartError::Locked { .. }) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
            Err(error) => panic!("{error:?}"),
        }
    }
    panic!("the data directory stays locked");
}

#[tokio::test]
async fn records_topics_offsets_and_sequences_survive_a_restart() {
    let data = tempfile::tempdir().expect("a directory");
    let broker = start_with(on_disk(data.path())).await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    let all = MetadataRequest::default().with_topics(None);
    let before = client.ask(12, &all).await;
    let producer_id = client
        .ask(4, &InitProducerIdRequest::default().with_transactional_id(None))
        .await
        .producer_id
        .0;
    let sent = |base_sequence| {
        let stamp = ProducerStamp {
            producer_id,
            producer_epoch: 0,
            base_sequence,
            is_transactional: false,
        };
        stamped_batch(&["a", "b"], stamp)
    };
    for sequence in 0..10 {
        client.produce("t", 0, sent(2 * sequence)).await;
    }
    let wanted = OffsetCommitRequestPartition::default()
        .with_committed_offset(7)
        .with_committed_leader_epoch(0)
        .with_committed_metadata(Some(string("checkpoint 3")));
    let topic = OffsetCommitRequestTopic::default()
        .with_name(name("t"))
        .with_partitions(vec![wanted]);
    let commit = OffsetCommitRequest::default()
        .with_group_id(GroupId(string("g")))
        .with_topics(vec![topic]);
    client.ask(8, &commit).await;
    broker.shutdown().await;

    let broker = restart(data.path()).await;
    let mut client = RawClient::connect(&broker).await;
    let after = client.ask(12, &all).await;
    assert_eq!(after.cluster_id, before.cluster_id);
    assert_eq!(after.topics[0].topic_id, before.topics[0].topic_id);
    assert_eq!(after.topics[0].partitions[0].leader_epoch, 1, "a restart is a new term");
    let records = read(client.fetch("t", 0, 0, 0).await.records);
    assert_eq!(
        records.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(),
        (0..20).collect::<Vec<_>>()
    );
    let repeated = client.produce("t", 0, sent(18)).await;
    assert_eq!(
        (repeated.error_code, repeated.base_offset),
        (0, 18),
        "the last batch again"
    );
    let next = client.produce("t", 0, sent(20)).await;
    assert_eq!((next.error_code, next.base_offset), (0, 20));
    let topic = OffsetFetchRequestTopic::default()
        .with_name(name("t"))
        .with_partition_indexes(vec![0]);
    let fetch = OffsetFetchRequest::default()
        .with_group_id(GroupId(string("g")))
        .with_topics(Some(vec![topic]));
    let committed = client.ask(7, &fetch).await.topics.remove(0).partitions.remove(0);
    assert_eq!((committed.committed_offset, committed.committed_leader_epoch), (7, 0));
    assert_eq!(committed.metadata, Some(string("checkpoint 3")));
    assert_ne!(
        client
            .ask(4, &InitProducerIdRequest::default().with_transactional_id(None))
            .await
            .producer_id
            .0,
        producer_id
    );
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_writing_goes_on_behind_it() {
    let data = tempfile::tempdir().expect("a directory");
    let broker = start_with(on_disk(data.path())).await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    client.produce("t", 0, batch(&["a"])).await;
    client.produce("t", 0, batch(&["b"])).await;
    drop(client);
    crash(broker);
    let segment = segments(data.path()).pop().expect("a segment");
    for torn in [&[0u8, 0, 0][..], &batch(&["half"])[..40], &[0xff; 70]] {
        let mut file = OpenOptions::new().append(true).open(&segment).expect("the segment");
        file.write_all(torn).expect("torn");
        let broker = restart(data.path()).await;
        let mut client = RawClient::connect(&broker).await;
        assert_eq!(
            read(client.fetch("t", 0, 0, 0).await.records),
            [(0, "a".into()), (1, "b".into())]
        );
        drop(client);
        crash(broker);
    }
    let broker = restart(data.path()).await;
    let mut client = RawClient::connect(&broker).await;
    assert_eq!(client.produce("t", 0, batch(&["c"])).await.base_offset, 2);
}

#[tokio::test]
async fn damage_before_the_tail_is_an_error_and_not_a_loss() {
    let data = tempfile::tempdir().expect("a directory");
    let broker = start_with(on_disk(data.path())).await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    for _ in 0..20 {
        client.produce("t", 0, batch(&["abcdefgh"])).await;
    }
    drop(client);
    broker.shutdown().await;
    let first = segments(data.path()).remove(0);
    let mut bytes = fs::read(&first).expect("a segment");
    bytes[70] ^= 1;
    fs::write(&first, bytes).expect("damaged");
    let started = Broker::start(BrokerConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        ..on_disk(data.path())
    })
    .await;
    let Err(StartError::Data { source, .. }) = started else {
        panic!("{started:?}")
    };
    assert!(source.to_string().contains("is damaged at byte 0"), "{source}");
}

#[tokio::test]
async fn retention_deletes_whole_segments_and_is_remembered() {
    let data = tempfile::tempdir().expect("a directory");
    let config = BrokerConfig {
        retention_bytes_per_partition: Some(1_000),
        ..on_disk(data.path())
    };
    let broker = start_with(config).await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    for _ in 0..100 {
        client.produce("t", 0, batch(&["abcdefgh"])).await;
    }
    let start = client.fetch("t", 0, 100, 0).await.log_start_offset;
    assert!(start > 80, "{start}");
    assert!(segments(data.path()).len() < 5, "{:?}", segments(data.path()));
    drop(client);
    crash(broker);
    let broker = restart(data.path()).await;
    let mut client = RawClient::connect(&broker).await;
    let fetched = client.fetch("t", 0, 100, 0).await;
    assert_eq!((fetched.log_start_offset, fetched.high_watermark), (start, 100));
    let behind = client.fetch("t", 0, start - 1, 0).await;
    assert_eq!(ErrorCode::from(behind.error_code), ErrorCode::OFFSET_OUT_OF_RANGE);
}

#[tokio::test]
async fn a_data_directory_has_one_broker() {
    let data = tempfile::tempdir().expect("a directory");
    let broker = start_with(on_disk(data.path())).await;
    let second = Broker::start(BrokerConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        ..on_disk(data.path())
    })
    .await;
    assert!(matches!(second, Err(StartError::Locked { .. })), "{second:?}");
    broker.shutdown().await;
    restart(data.path()).await.shutdown().await;
}

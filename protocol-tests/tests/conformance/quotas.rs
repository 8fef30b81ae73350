//! Quotas: a client that is over its own is told to pause, and does (KIP-219).

use std::time::Duration;

use engine_client::{ProduceRecord, StartAt};
use engine_wire::error_code::ErrorCode;
use engine_wire::messages::{
    AlterClientQuotasRequest, ApiKey, BrokerId, FetchRequest, StrBytes, TopicName,
    alter_client_quotas_request::{EntityData, EntryData, OpData},
    fetch_request::{FetchPartition, FetchTopic},
};

use crate::behaviour::{Shown, behaviours, cannot};
use crate::raw_connection::RawConnection;
use crate::reading::read_count;
use crate::scene::{Scene, tp};

behaviours! { "Quotas":
    a_consumer_over_its_quota_pauses_as_it_is_told_and_loses_nothing,
}

/// Bytes per second. Brokers measure over ten seconds, so that the first half megabyte is free.
const CONSUMER_BYTE_RATE: f64 = 50_000.0;
/// Of the whole topic, more than a second of the quota each.
const READS_MAX: usize = 5;

async fn a_consumer_over_its_quota_pauses_as_it_is_told_and_loses_nothing(scene: Scene) -> Shown {
    scene.needs(ApiKey::AlterClientQuotas, 0)?;
    let (topic, client) = (scene.topic(1).await, scene.name("client"));
    limit(&scene, &client).await;
    let producer = scene.producer(|config| config.batch_bytes_max = 20_000).await;
    let value = vec![b'v'; 10_000];
    for _ in 0..65 {
        let record = ProduceRecord {
            topic: &topic,
            value: Some(&value),
            ..ProduceRecord::default()
        };
        producer.send(record).await.expect("is accepted");
    }
    producer.flush().await.expect("is delivered");
    let mut consumer = scene
        .consumer(|config| {
            config.client.client_id = client.clone();
            config.fetch_bytes_max = 50_000;
            config.partition_fetch_bytes_max = 50_000;
        })
        .await;
    consumer.assign([tp(&topic, 0)]);
    // Where the broker's measure stands when the free bytes are read is a matter of milliseconds, so they are read more than once.
    for _ in 0..READS_MAX {
        consumer
            .start([(tp(&topic, 0), StartAt::Earliest)])
            .expect("just assigned");
        let read = read_count(&mut consumer, 65).await;
        let offsets: Vec<i64> = read.iter().map(|read| read.record.offset).collect();
        assert_eq!(offsets, (0..65).collect::<Vec<_>>());
        if consumer.stats().fetch.throttled > 0 {
            return Ok(());
        }
    }
    let told = pause_asked_for(&scene, &topic, &client).await;
    assert_eq!(
        told,
        Duration::ZERO,
        "the broker asks for a pause, and the consumer has not seen it"
    );
    cannot("takes the quota, and asks a client that is over it for no pause")
}

async fn limit(scene: &Scene, client: &str) {
    let entity = EntityData::default()
        .with_entity_type(StrBytes::from_static_str("client-id"))
        .with_entity_name(Some(StrBytes::from_string(client.to_owned())));
    let rate = OpData::default()
        .with_key(StrBytes::from_static_str("consumer_byte_rate"))
        .with_value(CONSUMER_BYTE_RATE);
    let entry = EntryData::default().with_entity(vec![entity]).with_ops(vec![rate]);
    let request = AlterClientQuotasRequest::default().with_entries(vec![entry]);
    let answer = RawConnection::open(&scene.facts.bootstrap).await.ask(0, &request).await;
    let code = ErrorCode::from(answer.entries[0].error_code);
    assert!(code.is_ok(), "AlterClientQuotas: {code}");
}

/// Reads under the same name until the leader asks for a pause, or is far over the quota without that.
async fn pause_asked_for(scene: &Scene, topic: &str, client: &str) -> Duration {
    const FETCH_VERSION: i16 = 11;
    let mut connection = RawConnection::open(&scene.leader_address(topic, 0).await)
        .await
        .named(client);
    let partition = FetchPartition::default().with_partition_max_bytes(50_000);
    let topics = FetchTopic::default()
        .with_topic(TopicName(StrBytes::from_string(topic.to_owned())))
        .with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_bytes(50_000)
        .with_session_epoch(-1)
        .with_topics(vec![topics]);
    for _ in 0..20 {
        let answer = connection.ask(FETCH_VERSION, &request).await;
        if answer.throttle_time_ms > 0 {
            return Duration::from_millis(answer.throttle_time_ms as u64);
        }
    }
    Duration::ZERO
}

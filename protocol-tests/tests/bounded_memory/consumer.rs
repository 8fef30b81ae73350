//! An application that never polls, before a broker with no end of records.

use std::time::Duration;

use bytes::Bytes;
use engine_client::{Consumer, ConsumerConfig, Event, StartAt, TopicPartition};
use engine_wire::compression::Codec;
use engine_wire::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use engine_wire::messages::{ApiKey, FetchRequest, FetchResponse};
use engine_wire::record_batch::{RawBatch, place_batch};
use protocol_tests::owned_record::{one, sealed_batch};
use protocol_tests::tampering_proxy::{Exchange, Reply};

use super::scenario::{ALLOCATOR, TOPIC, cluster, held_at_most, in_its_own_process};

const PARTITIONS: i32 = 8;
const PREFETCH_BYTES_MAX: usize = 32 << 20;
const FETCH_BYTES_MAX: usize = 2 << 20;
const PARTITION_BYTES_MAX: usize = 1 << 20;
/// The constant: an answer under way (its buffer grows by copying), a MiB for connections, metadata and the runtime; and
/// what the test's proxy needs to make an answer.
const OVERHEAD_BYTES: usize = 2 * FETCH_BYTES_MAX + (1 << 20) + 2 * FETCH_BYTES_MAX;

/// Records without end: every partition is answered with as much as it may be.
fn plenty(exchange: &Exchange<'_>, beside: Option<PartitionData>) -> Reply {
    let request: FetchRequest = exchange.asked();
    let mut left = request.max_bytes as usize;
    let mut topics = Vec::new();
    for topic in request.topics {
        let mut partitions = Vec::new();
        for asked in topic.partitions {
            let size = (asked.partition_max_bytes as usize).min(left);
            let size = if beside.is_some() { size.min(4_000) } else { size };
            left -= size;
            let records = batches(asked.fetch_offset, size);
            let data = PartitionData::default().with_partition_index(asked.partition);
            partitions.push(data.with_high_watermark(i64::MAX / 2).with_records(Some(records)));
        }
        partitions.extend(beside.clone());
        let answer = FetchableTopicResponse::default()
            .with_topic(topic.topic)
            .with_topic_id(topic.topic_id);
        topics.push(answer.with_partitions(partitions));
    }
    exchange.made(&FetchResponse::default().with_responses(topics))
}

/// Batches of 10 records from `offset` on, about `size` bytes in all, one at least.
fn batches(offset: i64, size: usize) -> Bytes {
    let records: Vec<_> = (0..10).map(|_| one(&[b'x'; 60])).collect();
    let batch = RawBatch::parse(sealed_batch(&records, Codec::None)).expect("our own batch");
    let mut all = Vec::with_capacity(size + batch.bytes.len());
    for index in 0.. {
        all.extend_from_slice(&place_batch(batch.clone(), offset + 10 * index, 0, None).bytes);
        if all.len() + batch.bytes.len() > size {
            return all.into();
        }
    }
    unreachable!("a batch has a size")
}

async fn stall(what: &str, beside: Option<PartitionData>) {
    let (broker, proxy) = cluster(PARTITIONS).await;
    let baseline = ALLOCATOR.allocated();
    proxy.tamper(ApiKey::Fetch, move |exchange| plenty(exchange, beside.clone()));
    let mut config = ConsumerConfig::new(proxy.address().to_string());
    config.prefetch_bytes_max = PREFETCH_BYTES_MAX;
    config.fetch_bytes_max = FETCH_BYTES_MAX;
    config.partition_fetch_bytes_max = PARTITION_BYTES_MAX;
    let mut consumer = Consumer::connect(config).await.expect("connects");
    let partitions: Vec<_> = (0..PARTITIONS).map(|index| TopicPartition::new(TOPIC, index)).collect();
    consumer.assign(partitions.clone());
    let starts = partitions.iter().map(|tp| {
        (
            tp.clone(),
            StartAt::Offset {
                offset: 0,
                leader_epoch: None,
            },
        )
    });
    consumer.start(starts).expect("just assigned");
    let mut taken = 0;
    for round in 0..3 {
        // Nobody polls: fetching ends at the limit.
        let mut before = usize::MAX;
        for _ in 0..40 {
            let now = proxy.requests(ApiKey::Fetch);
            if now == before {
                break;
            }
            before = now;
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        println!(
            "DBG {} {} {:?} fetches {}",
            ALLOCATOR.allocated() - baseline,
            ALLOCATOR.max_allocated() - baseline,
            consumer.stats(),
            proxy.requests(ApiKey::Fetch)
        );
        // Then some of it is taken, and more comes.
        while taken < (round + 1) * 2 * PREFETCH_BYTES_MAX {
            match tokio::time::timeout(Duration::from_secs(10), consumer.poll()).await {
                Ok(Ok(Event::Fetched(fetched))) => taken += fetched.bytes,
                other => panic!("{other:?}"),
            }
        }
    }
    held_at_most(what, baseline, PREFETCH_BYTES_MAX + OVERHEAD_BYTES);
    consumer.close().await;
    broker.shutdown().await;
}

#[test]
fn a_stalled_application_costs_a_consumer_its_prefetch_limit() {
    in_its_own_process(
        "consumer::a_stalled_application_costs_a_consumer_its_prefetch_limit",
        stall("prefetched", None),
    );
}

#[test]
fn what_an_answer_holds_beside_the_records_that_were_asked_for_is_not_kept() {
    // A partition that nobody asked for, much larger than those that somebody did.
    let noise = PartitionData::default().with_partition_index(PARTITIONS + 7);
    let noise = noise.with_records(Some(Bytes::from(vec![0; FETCH_BYTES_MAX])));
    in_its_own_process(
        "consumer::what_an_answer_holds_beside_the_records_that_were_asked_for_is_not_kept",
        stall("with noise beside", Some(noise)),
    );
}

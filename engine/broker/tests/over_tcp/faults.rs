//! Injected faults do what they say, once.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use engine_broker::{Fault, FaultAction, ObservedRequest};
use engine_wire::error_code::ErrorCode;
use engine_wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use engine_wire::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use engine_wire::messages::{
    HeartbeatRequest, ListOffsetsRequest, MetadataRequest, OffsetForLeaderEpochRequest, ProduceRequest,
};
use engine_wire::record_batch::{BatchError, split_batches};

use crate::client::{RawClient, batch, fetch_request, name, produce_request, read, start, start_with};
use crate::durability::{crash, on_disk, restart};
use crate::stable::{fetch_committed, values};
use crate::transactional::{EXPLICIT, TransactionalProducer};

const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
const METADATA: i16 = 3;
const HEARTBEAT: i16 = 12;
const END_TXN: i16 = 26;

#[tokio::test]
async fn an_error_is_answered_and_nothing_is_done() {
    let broker = start().await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    broker.inject(Fault::once(
        PRODUCE,
        FaultAction::Error(ErrorCode::NOT_LEADER_OR_FOLLOWER),
    ));
    let refused = client.produce("t", 0, batch(&["a"])).await;
    assert_eq!(ErrorCode::from(refused.error_code), ErrorCode::NOT_LEADER_OR_FOLLOWER);
    assert_eq!(client.produce("t", 0, batch(&["a"])).await.base_offset, 0);
    broker.inject(Fault::once(
        HEARTBEAT,
        FaultAction::Error(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS),
    ));
    let refused = client.ask(4, &HeartbeatRequest::default()).await;
    assert_eq!(
        ErrorCode::from(refused.error_code),
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
    );
}

#[tokio::test]
async fn apply_then_disconnect_keeps_the_batch_and_says_nothing() {
    let broker = start().await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    broker.inject(Fault::once(PRODUCE, FaultAction::ApplyThenDisconnect));
    client.send(9, &produce_request("t", 0, batch(&["kept"]))).await;
    assert!(client.answer::<ProduceRequest>(9).await.is_none());
    let mut client = RawClient::connect(&broker).await;
    assert_eq!(read(client.fetch("t", 0, 0, 0).await.records), [(0, "kept".into())]);
}

#[tokio::test]
async fn a_disconnect_keeps_nothing_and_a_delay_delays() {
    let broker = start().await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    broker.inject(Fault::once(PRODUCE, FaultAction::Disconnect));
    client.send(9, &produce_request("t", 0, batch(&["lost"]))).await;
    assert!(client.answer::<ProduceRequest>(9).await.is_none());
    let mut client = RawClient::connect(&broker).await;
    broker.inject(Fault::once(PRODUCE, FaultAction::Delay(Duration::from_millis(80))));
    let asked = Instant::now();
    assert_eq!(client.produce("t", 0, batch(&["slow"])).await.base_offset, 0);
    assert!(asked.elapsed() >= Duration::from_millis(80));
}

#[tokio::test]
async fn a_corrupt_batch_is_corrupt_in_one_answer_only() {
    let data = tempfile::tempdir().expect("a directory");
    for broker in [start().await, start_with(on_disk(data.path())).await] {
        let mut client = RawClient::connect(&broker).await;
        client.create("t").await;
        client.produce("t", 0, batch(&["a"])).await;
        client.produce("t", 0, batch(&["b"])).await;
        broker.inject(Fault::once(FETCH, FaultAction::CorruptCrc));
        let fetched = client.fetch("t", 0, 0, 0).await.records.expect("records");
        let checked: Vec<_> = split_batches(fetched)
            .map(|batch| batch.expect("a whole batch").verify_crc())
            .collect();
        assert!(
            matches!(checked[..], [Err(BatchError::Crc { .. }), Ok(())]),
            "{checked:?}"
        );
        let again = client.fetch("t", 0, 0, 0).await.records;
        assert_eq!(read(again), [(0, "a".into()), (1, "b".into())]);
    }
}

#[tokio::test]
async fn a_throttle_is_told_and_the_connection_waits() {
    let broker = start().await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    let throttle = Duration::from_millis(80);
    for api_key in [PRODUCE, FETCH, METADATA] {
        broker.inject(Fault::once(api_key, FaultAction::Throttle(throttle)));
    }
    let produced = client.ask(9, &produce_request("t", 0, batch(&["a"]))).await;
    assert_eq!(produced.throttle_time_ms, 80);
    let asked = Instant::now();
    let fetched = client.ask(12, &fetch_request("t", 0, 0, 0)).await;
    assert_eq!(fetched.throttle_time_ms, 80);
    assert!(asked.elapsed() >= throttle, "{:?}", asked.elapsed());
    let all = MetadataRequest::default().with_topics(None);
    assert_eq!(client.ask(12, &all).await.throttle_time_ms, 80);
    assert_eq!(client.ask(12, &all).await.throttle_time_ms, 0);
}

/// What an answer says about the leader epoch of partition 0 of "t".
async fn leader_epoch(client: &mut RawClient) -> i32 {
    let all = MetadataRequest::default().with_topics(None);
    let mut topic = client.ask(12, &all).await.topics.remove(0);
    topic.partitions.sort_by_key(|partition| partition.partition_index);
    topic.partitions[0].leader_epoch
}

/// Where an epoch ended, as who knows `current` is told.
async fn end_of(client: &mut RawClient, current: i32, leader_epoch: i32) -> (ErrorCode, i32, i64) {
    let wanted = OffsetForLeaderPartition::default()
        .with_current_leader_epoch(current)
        .with_leader_epoch(leader_epoch);
    let topic = OffsetForLeaderTopic::default()
        .with_topic(name("t"))
        .with_partitions(vec![wanted]);
    let request = OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
    let end = client.ask(4, &request).await.topics.remove(0).partitions.remove(0);
    (end.error_code.into(), end.leader_epoch, end.end_offset)
}

#[tokio::test]
async fn a_leader_that_moves_has_a_new_epoch_that_fences_the_old() {
    let broker = start().await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    client.produce("t", 0, batch(&["a", "b"])).await;
    assert_eq!(broker.move_leader("t", 0), Some(1));
    assert_eq!(broker.move_leader("t", 99), None);
    assert_eq!(broker.move_leader("nothing", 0), None);
    client.produce("t", 0, batch(&["c"])).await;
    assert_eq!(leader_epoch(&mut client).await, 1);
    for (known, code) in [
        (0, ErrorCode::FENCED_LEADER_EPOCH),
        (1, ErrorCode::NONE),
        (2, ErrorCode::UNKNOWN_LEADER_EPOCH),
    ] {
        let mut request = fetch_request("t", 0, 0, 0);
        request.topics[0].partitions[0].current_leader_epoch = known;
        let answer = client.ask(12, &request).await;
        assert_eq!(
            ErrorCode::from(answer.responses[0].partitions[0].error_code),
            code,
            "Fetch in {known}"
        );
        let wanted = ListOffsetsPartition::default()
            .with_timestamp(-1)
            .with_current_leader_epoch(known);
        let topic = ListOffsetsTopic::default()
            .with_name(name("t"))
            .with_partitions(vec![wanted]);
        let answer = client
            .ask(6, &ListOffsetsRequest::default().with_topics(vec![topic]))
            .await;
        assert_eq!(
            ErrorCode::from(answer.topics[0].partitions[0].error_code),
            code,
            "ListOffsets in {known}"
        );
        assert_eq!(
            end_of(&mut client, known, 0).await.0,
            code,
            "OffsetForLeaderEpoch in {known}"
        );
    }
    for (epoch, end) in [(0, (0, 2)), (1, (1, 3)), (2, (-1, -1))] {
        assert_eq!(
            end_of(&mut client, 1, epoch).await,
            (ErrorCode::NONE, end.0, end.1),
            "epoch {epoch}"
        );
    }
    broker.inject(Fault::once(PRODUCE, FaultAction::MoveLeaders));
    let refused = client.produce("t", 0, batch(&["d"])).await;
    assert_eq!(ErrorCode::from(refused.error_code), ErrorCode::NOT_LEADER_OR_FOLLOWER);
    assert_eq!(leader_epoch(&mut client).await, 2);
}

#[tokio::test]
async fn leader_epochs_never_go_back_over_a_restart() {
    let data = tempfile::tempdir().expect("a directory");
    let broker = start_with(on_disk(data.path())).await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    client.produce("t", 0, batch(&["a"])).await;
    for expected in 1..4 {
        assert_eq!(broker.move_leader("t", 0), Some(expected));
    }
    client.produce("t", 0, batch(&["b"])).await;
    assert_eq!(leader_epoch(&mut client).await, 3);
    drop(client);
    crash(broker);
    let broker = restart(data.path()).await;
    let mut client = RawClient::connect(&broker).await;
    assert_eq!(leader_epoch(&mut client).await, 4);
    for (epoch, end) in [(0, (0, 1)), (2, (0, 1)), (3, (3, 2)), (4, (4, 2))] {
        assert_eq!(
            end_of(&mut client, 4, epoch).await,
            (ErrorCode::NONE, end.0, end.1),
            "epoch {epoch}"
        );
    }
}

#[tokio::test]
async fn a_crashed_broker_is_back_at_its_address_with_what_it_kept() {
    let broker = start().await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    client.produce("t", 0, batch(&["kept"])).await;
    broker.inject(Fault::once(PRODUCE, FaultAction::Restart(Duration::from_millis(30))));
    client.send(9, &produce_request("t", 0, batch(&["lost"]))).await;
    assert!(client.answer::<ProduceRequest>(9).await.is_none());
    let mut client = reconnect(&broker).await;
    assert_eq!(read(client.fetch("t", 0, 0, 0).await.records), [(0, "kept".into())]);
    assert_eq!(leader_epoch(&mut client).await, 1);
    let mut idle = RawClient::connect(&broker).await;
    broker.crash_and_restart(Duration::ZERO);
    assert!(idle.frame().await.is_none(), "every connection ends");
    reconnect(&broker).await;
    broker.shutdown().await;
}

async fn reconnect(broker: &engine_broker::Broker) -> RawClient {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Ok(stream) = tokio::net::TcpStream::connect(broker.address()).await {
            drop(stream);
            return RawClient::connect(broker).await;
        }
        assert!(Instant::now() < deadline, "the broker stays down");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_broker_that_shuts_down_while_it_is_crashed_just_ends() {
    let broker = start().await;
    let mut idle = RawClient::connect(&broker).await;
    idle.create("t").await;
    broker.crash_and_restart(Duration::from_secs(600));
    assert!(idle.frame().await.is_none());
    let shut_down = tokio::time::timeout(Duration::from_secs(20), broker.shutdown());
    shut_down.await.expect("at once");
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_committed_once() {
    let broker = start().await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    let mut producer = TransactionalProducer::init(RawClient::connect(&broker).await, EXPLICIT, "tx").await;
    producer.produce("t", 0, &["a"]).await;
    broker.inject(Fault::once(
        END_TXN,
        FaultAction::Error(ErrorCode::COORDINATOR_NOT_AVAILABLE),
    ));
    assert_eq!(producer.end(true).await, ErrorCode::COORDINATOR_NOT_AVAILABLE);
    assert_eq!(fetch_committed(&mut client, 0).await.last_stable_offset, 0);
    broker.inject(Fault::once(END_TXN, FaultAction::ApplyThenDisconnect));
    let lost = producer.try_end(true).await;
    assert!(lost.is_none());
    producer.client = RawClient::connect(&broker).await;
    assert_eq!(producer.end(true).await, ErrorCode::NONE);
    let fetched = fetch_committed(&mut client, 0).await;
    assert_eq!(
        (values(&fetched), fetched.high_watermark),
        (vec!["a".to_owned()], 2),
        "one marker"
    );
}

#[tokio::test]
async fn an_observer_sees_what_is_asked_and_chooses_by_it() {
    let broker = start().await;
    let seen: Arc<Mutex<Vec<(i16, String)>>> = Arc::default();
    let writer = Arc::clone(&seen);
    let look = move |request: &ObservedRequest<'_>| {
        writer
            .lock()
            .unwrap()
            .push((request.api_key, request.client_id.to_owned()));
        let is_chosen = request.body.windows(6).any(|bytes| bytes == b"chosen");
        is_chosen.then_some(FaultAction::Error(ErrorCode::KAFKA_STORAGE_ERROR))
    };
    assert!(broker.observe(look));
    assert!(!broker.observe(|_| None), "there is one observer");
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    let refused = client.produce("t", 0, batch(&["chosen"])).await;
    assert_eq!(ErrorCode::from(refused.error_code), ErrorCode::KAFKA_STORAGE_ERROR);
    assert_eq!(client.produce("t", 0, batch(&["other"])).await.base_offset, 0);
    let raw = |api_key| (api_key, "raw".to_owned());
    assert_eq!(*seen.lock().unwrap(), [raw(METADATA), raw(PRODUCE), raw(PRODUCE)]);
}

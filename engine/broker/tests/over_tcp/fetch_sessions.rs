//! Fetch sessions (KIP-227) as a client sees them.

use std::time::Duration;

use engine_broker::BrokerConfig;
use engine_wire::error_code::ErrorCode;
use engine_wire::messages::fetch_request::{FetchPartition, FetchTopic};
use engine_wire::messages::{FetchRequest, FetchResponse};

use crate::client::{RawClient, batch, fetch_request, name, read, start, start_with};

/// The first request of a session: two partitions of "t" from their beginning.
fn opening() -> FetchRequest {
    let wanted = |index| {
        FetchPartition::default()
            .with_partition(index)
            .with_partition_max_bytes(1 << 20)
    };
    let topic = FetchTopic::default()
        .with_topic(name("t"))
        .with_partitions(vec![wanted(0), wanted(1)]);
    fetch_request("t", 0, 0, 0)
        .with_session_epoch(0)
        .with_topics(vec![topic])
}

fn next(session_id: i32, epoch: i32) -> FetchRequest {
    let request = fetch_request("t", 0, 0, 0).with_topics(vec![]);
    request.with_session_id(session_id).with_session_epoch(epoch)
}

/// Partition 0 from an offset on.
fn from(request: FetchRequest, offset: i64) -> FetchRequest {
    let topics = fetch_request("t", 0, offset, 0).topics;
    request.with_topics(topics)
}

fn indexes(response: &FetchResponse) -> Vec<i32> {
    assert_eq!(response.error_code, 0);
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| partition.partition_index).collect()
}

#[tokio::test]
async fn a_session_tells_what_is_new_and_nothing_else() {
    let broker = start().await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    let opened = client.ask(12, &opening()).await;
    let id = opened.session_id;
    assert!(id > 0);
    assert_eq!(indexes(&opened), [0, 1], "the first answer has everything");
    assert_eq!(indexes(&client.ask(12, &next(id, 1)).await), [0; 0]);
    client.produce("t", 0, batch(&["a"])).await;
    let mut told = client.ask(12, &next(id, 2)).await;
    assert_eq!((told.session_id, indexes(&told)), (id, vec![0]));
    let records = told.responses.remove(0).partitions.remove(0).records;
    assert_eq!(read(records), [(0, "a".into())]);
    // The client has read it; the high watermark is known too.
    assert_eq!(indexes(&client.ask(12, &from(next(id, 3), 1)).await), [0; 0]);
    let lost = client.ask(12, &next(id, 3)).await;
    assert_eq!(ErrorCode::from(lost.error_code), ErrorCode::INVALID_FETCH_SESSION_EPOCH);
    // An error is told every time until it is over.
    for epoch in [4, 5] {
        let told = client.ask(12, &from(next(id, epoch), 99)).await;
        assert_eq!(indexes(&told), [0]);
        let code = told.responses[0].partitions[0].error_code;
        assert_eq!(ErrorCode::from(code), ErrorCode::OFFSET_OUT_OF_RANGE);
    }
    let closed = client
        .ask(12, &opening().with_session_id(id).with_session_epoch(-1))
        .await;
    assert_eq!((closed.session_id, indexes(&closed)), (0, vec![0, 1]));
    let gone = client.ask(12, &next(id, 6)).await;
    assert_eq!(ErrorCode::from(gone.error_code), ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
}

#[tokio::test]
async fn a_waiting_session_is_answered_by_a_new_record() {
    let broker = start().await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    let id = client.ask(12, &opening()).await.session_id;
    client.send(12, &next(id, 1).with_max_wait_ms(20_000)).await;
    let mut other = RawClient::connect(&broker).await;
    other.produce("t", 1, batch(&["a"])).await;
    let told = tokio::time::timeout(Duration::from_secs(10), client.answer::<FetchRequest>(12));
    assert_eq!(indexes(&told.await.expect("in time").expect("an answer")), [1]);
}

#[tokio::test]
async fn sessions_are_evicted_forgotten_by_a_crash_and_can_be_switched_off() {
    let with_sessions = |fetch_sessions_max| BrokerConfig {
        fetch_sessions_max,
        ..BrokerConfig::default()
    };
    let broker = start_with(with_sessions(1)).await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    let first = client.ask(12, &opening()).await.session_id;
    let second = client.ask(12, &opening()).await.session_id;
    let evicted = client.ask(12, &next(first, 1)).await;
    assert_eq!(
        ErrorCode::from(evicted.error_code),
        ErrorCode::FETCH_SESSION_ID_NOT_FOUND
    );
    assert_eq!(indexes(&client.ask(12, &next(second, 1)).await), [0; 0]);
    let broker = start_with(with_sessions(0)).await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    assert_eq!(client.ask(12, &opening()).await.session_id, 0);
}

#[tokio::test]
async fn a_fetch_that_waits_is_fenced_when_the_leader_moves() {
    let broker = start().await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    let mut request = fetch_request("t", 0, 0, 20_000);
    request.topics[0].partitions[0].current_leader_epoch = 0;
    client.send(12, &request).await;
    broker.move_leader("t", 0).expect("there");
    let told = tokio::time::timeout(Duration::from_secs(10), client.answer::<FetchRequest>(12));
    let told = told.await.expect("in time").expect("an answer");
    let code = told.responses[0].partitions[0].error_code;
    assert_eq!(ErrorCode::from(code), ErrorCode::FENCED_LEADER_EPOCH);
}

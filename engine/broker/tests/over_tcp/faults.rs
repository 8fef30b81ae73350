//! Injected faults do what they say, once.

use std::time::{Duration, Instant};

use engine_broker::{Fault, FaultAction};
use engine_wire::error_code::ErrorCode;
use engine_wire::messages::{HeartbeatRequest, ProduceRequest};

use crate::client::{RawClient, batch, produce_request, read, start};

const PRODUCE: i16 = 0;
const HEARTBEAT: i16 = 12;

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

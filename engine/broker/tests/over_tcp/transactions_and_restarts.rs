//! Transactions that a crash of the broker interrupts.

use std::time::{Duration, Instant};

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::{DeleteGroupsRequest, GroupId};

use crate::client::{RawClient, batch, fetch_request, start_with, string};
use crate::durability::{crash, on_disk, restart};
use crate::stable::{committed_only, fetch_committed, latest, position, state, values};
use crate::transactional::{EXPLICIT, IMPLICIT, TransactionalProducer};

#[tokio::test]
async fn an_open_transaction_is_open_after_a_crash_and_can_be_committed() {
    for protocol in [EXPLICIT, IMPLICIT] {
        let data = tempfile::tempdir().expect("a directory");
        let broker = start_with(on_disk(data.path())).await;
        let mut client = RawClient::connect(&broker).await;
        client.create("t").await;
        let mut producer = TransactionalProducer::init(RawClient::connect(&broker).await, protocol, "tx").await;
        producer.produce("t", 0, &["aborted"]).await;
        producer.end(false).await;
        producer.produce("t", 0, &["first"]).await;
        if protocol.offsets < 5 {
            producer.add_group("g").await;
        }
        producer.commit_offset("g", "t", 7, ("", -1)).await;
        client.produce("t", 0, batch(&["plain"])).await;
        drop(client);
        crash(broker);

        let broker = restart(data.path()).await;
        let mut client = RawClient::connect(&broker).await;
        let bounded = fetch_committed(&mut client, 0).await;
        assert_eq!(
            (bounded.last_stable_offset, bounded.high_watermark),
            (2, 4),
            "{protocol:?}"
        );
        assert_eq!(values(&bounded), [""; 0], "the aborted index is there");
        assert_eq!(latest(&mut client, 1).await, 2);
        assert_eq!(
            position(&mut client, true).await,
            (ErrorCode::UNSTABLE_OFFSET_COMMIT, -1)
        );
        // The producer finds another connection and goes on.
        producer.client = RawClient::connect(&broker).await;
        assert_eq!(producer.produce("t", 0, &["second"]).await, ErrorCode::NONE);
        assert_eq!(producer.end(true).await, ErrorCode::NONE);
        let all = values(&fetch_committed(&mut client, 0).await);
        assert_eq!(all, ["first", "plain", "second"], "{protocol:?}");
        assert_eq!(position(&mut client, true).await, (ErrorCode::NONE, 7));
        producer.produce("t", 0, &["third"]).await;
        assert_eq!(producer.end(true).await, ErrorCode::NONE);
    }
}

#[tokio::test]
async fn a_transaction_whose_producer_died_with_the_broker_is_aborted_in_time() {
    let data = tempfile::tempdir().expect("a directory");
    let broker = start_with(on_disk(data.path())).await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    let connection = RawClient::connect(&broker).await;
    let mut producer = TransactionalProducer::init_with(connection, EXPLICIT, "tx", 1_000).await;
    producer.produce("t", 0, &["lost"]).await;
    producer.add_group("g").await;
    producer.commit_offset("g", "t", 7, ("", -1)).await;
    drop((client, producer));
    crash(broker);

    let broker = restart(data.path()).await;
    let mut client = RawClient::connect(&broker).await;
    let began = Instant::now();
    // Answered when the marker is there, however far the clock was when the broker came back.
    let request = committed_only(fetch_request("t", 0, 0, 20_000));
    let fetched = client.ask(12, &request).await.responses.remove(0).partitions.remove(0);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!((values(&fetched).len(), fetched.last_stable_offset), (0, 2));
    while state(&mut client).await != "CompleteAbort" {
        assert!(began.elapsed() < Duration::from_secs(15), "never complete");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(position(&mut client, true).await, (ErrorCode::NONE, -1));
}

#[tokio::test]
async fn offsets_of_a_group_that_was_deleted_inside_a_transaction_do_not_come_back() {
    let data = tempfile::tempdir().expect("a directory");
    let broker = start_with(on_disk(data.path())).await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    let mut producer = TransactionalProducer::init(RawClient::connect(&broker).await, IMPLICIT, "tx").await;
    assert_eq!(producer.commit_offset("g", "t", 7, ("", -1)).await, ErrorCode::NONE);
    let delete = DeleteGroupsRequest::default().with_groups_names(vec![GroupId(string("g"))]);
    let deleted = client.ask(2, &delete).await.results.remove(0);
    assert_eq!(ErrorCode::from(deleted.error_code), ErrorCode::NONE);
    drop(client);
    crash(broker);

    let broker = restart(data.path()).await;
    let mut client = RawClient::connect(&broker).await;
    assert_eq!(position(&mut client, true).await, (ErrorCode::NONE, -1));
    producer.client = RawClient::connect(&broker).await;
    assert_eq!(producer.end(true).await, ErrorCode::NONE);
    assert_eq!(position(&mut client, true).await, (ErrorCode::NONE, -1));
}

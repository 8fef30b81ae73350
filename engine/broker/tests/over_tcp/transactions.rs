//! Transactions: what readers see of them, who may write, and when they end by themselves.

use std::time::{Duration, Instant};

use engine_broker::{Broker, BrokerConfig};
use engine_wire::error_code::ErrorCode;
use engine_wire::messages::{
    ApiVersionsRequest, DescribeTransactionsRequest, FetchRequest, ListTransactionsRequest, ProducerId, TransactionalId,
};

use crate::client::{RawClient, batch, fetch_request, read, start, start_with, string};
use crate::stable::{committed_only, fetch_committed, latest, position, state, values};
use crate::transactional::{EXPLICIT, IMPLICIT, TransactionalProducer, init_request};

async fn started() -> (Broker, RawClient) {
    let broker = start().await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    (broker, client)
}

#[tokio::test]
async fn committed_records_are_read_and_aborted_ones_are_named() {
    for protocol in [EXPLICIT, IMPLICIT] {
        let (broker, mut client) = started().await;
        let mut producer = TransactionalProducer::init(RawClient::connect(&broker).await, protocol, "tx").await;
        assert_eq!(producer.produce("t", 0, &["a", "b"]).await, ErrorCode::NONE);
        assert_eq!(producer.end(true).await, ErrorCode::NONE);
        assert_eq!(producer.produce("t", 0, &["c"]).await, ErrorCode::NONE);
        assert_eq!(producer.produce("t", 0, &["d"]).await, ErrorCode::NONE);
        assert_eq!(producer.end(false).await, ErrorCode::NONE);
        client.produce("t", 0, batch(&["plain"])).await;
        // Offsets: 0, 1 data; 2 commit; 3, 4 data; 5 abort; 6 plain.
        let all = fetch_committed(&mut client, 0).await;
        assert_eq!((all.high_watermark, all.last_stable_offset), (7, 7), "{protocol:?}");
        assert_eq!(values(&all), ["a", "b", "plain"], "{protocol:?}");
        let aborted = all.aborted_transactions.expect("an index");
        let aborted: Vec<_> = aborted
            .iter()
            .map(|one| (one.producer_id.0, one.first_offset))
            .collect();
        assert_eq!(aborted, [(producer.producer_id, 3)]);
        // From the middle of the aborted transaction on, from its marker on, and behind it.
        for (offset, count) in [(4, 1), (5, 1), (6, 0)] {
            let rest = fetch_committed(&mut client, offset).await;
            assert_eq!(
                rest.aborted_transactions.expect("an index").len(),
                count,
                "from {offset}"
            );
        }
        let uncommitted = client.fetch("t", 0, 0, 0).await;
        assert_eq!(uncommitted.aborted_transactions, None);
        assert_eq!(read(uncommitted.records).len(), 7, "markers are records too");
    }
}

#[tokio::test]
async fn an_open_transaction_bounds_who_reads_committed() {
    let (broker, mut client) = started().await;
    let mut producer = TransactionalProducer::init(RawClient::connect(&broker).await, EXPLICIT, "tx").await;
    client.produce("t", 0, batch(&["before"])).await;
    producer.produce("t", 0, &["open"]).await;
    client.produce("t", 0, batch(&["behind"])).await;
    let bounded = fetch_committed(&mut client, 0).await;
    assert_eq!((bounded.high_watermark, bounded.last_stable_offset), (3, 1));
    assert_eq!(values(&bounded), ["before"]);
    assert_eq!(read(client.fetch("t", 0, 0, 0).await.records).len(), 3);
    assert_eq!((latest(&mut client, 1).await, latest(&mut client, 0).await), (1, 3));
    let at_the_bound = fetch_committed(&mut client, 2).await;
    assert_eq!((at_the_bound.error_code, read(at_the_bound.records).len()), (0, 0));
    producer.end(true).await;
    assert_eq!(
        values(&fetch_committed(&mut client, 0).await),
        ["before", "open", "behind"]
    );
    assert_eq!(latest(&mut client, 1).await, 4);
}

#[tokio::test]
async fn a_waiting_fetch_is_answered_by_the_marker() {
    let (broker, mut client) = started().await;
    let mut producer = TransactionalProducer::init(RawClient::connect(&broker).await, IMPLICIT, "tx").await;
    producer.produce("t", 0, &["held back"]).await;
    let asked = Instant::now();
    client.send(12, &committed_only(fetch_request("t", 0, 0, 20_000))).await;
    // A batch of somebody else is no reason to answer.
    let mut other = RawClient::connect(&broker).await;
    other.produce("t", 0, batch(&["behind"])).await;
    producer.end(true).await;
    let mut answer = client.answer::<FetchRequest>(12).await.expect("an answer");
    let fetched = answer.responses.remove(0).partitions.remove(0);
    assert_eq!(values(&fetched), ["held back", "behind"]);
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_newer_producer_fences_the_older_and_aborts_its_transaction() {
    for protocol in [EXPLICIT, IMPLICIT] {
        let (broker, mut client) = started().await;
        let mut old = TransactionalProducer::init(RawClient::connect(&broker).await, protocol, "tx").await;
        old.produce("t", 0, &["left open"]).await;
        let mut new = TransactionalProducer::init(RawClient::connect(&broker).await, protocol, "tx").await;
        assert_eq!(new.producer_id, old.producer_id);
        assert!(new.producer_epoch > old.producer_epoch);
        assert_eq!(values(&fetch_committed(&mut client, 0).await), [""; 0], "{protocol:?}");
        assert_eq!(
            old.produce_only("t", 0, &["zombie"]).await,
            ErrorCode::INVALID_PRODUCER_EPOCH
        );
        assert_eq!(old.add_partitions("t", &[0]).await, ErrorCode::PRODUCER_FENCED);
        assert_eq!(old.ask_end(true).await.error_code, ErrorCode::PRODUCER_FENCED.code());
        new.produce("t", 0, &["new"]).await;
        assert_eq!(new.end(true).await, ErrorCode::NONE);
        assert_eq!(values(&fetch_committed(&mut client, 0).await), ["new"]);
    }
}

#[tokio::test]
async fn what_is_not_in_a_transaction_is_refused() {
    let (broker, mut client) = started().await;
    let mut producer = TransactionalProducer::init(RawClient::connect(&broker).await, EXPLICIT, "tx").await;
    let refused = producer.produce_only("t", 0, &["not added"]).await;
    assert_eq!(refused, ErrorCode::INVALID_TXN_STATE);
    producer.protocol.produce = 11;
    let refused = producer.produce_only("t", 0, &["not added"]).await;
    assert_eq!(refused, ErrorCode::TRANSACTION_ABORTABLE);
    assert_eq!(producer.end(true).await, ErrorCode::INVALID_TXN_STATE);
    assert_eq!(
        producer.add_partitions("t", &[0, 99]).await,
        ErrorCode::OPERATION_NOT_ATTEMPTED
    );
    producer.transactional_id = "nobody's".to_owned();
    assert_eq!(
        producer.add_partitions("t", &[0]).await,
        ErrorCode::INVALID_PRODUCER_ID_MAPPING
    );
    assert_eq!(latest(&mut client, 0).await, 0, "nothing was kept");
    for (timeout_ms, code) in [
        (0, ErrorCode::INVALID_TRANSACTION_TIMEOUT),
        (15 * 60_000 + 1, ErrorCode::INVALID_TRANSACTION_TIMEOUT),
        (15 * 60_000, ErrorCode::NONE),
    ] {
        let answer = client.ask(4, &init_request("timeouts", timeout_ms)).await;
        assert_eq!(ErrorCode::from(answer.error_code), code, "{timeout_ms} ms");
    }
}

#[tokio::test]
async fn a_repeated_end_is_answered_as_the_first() {
    let (broker, _) = started().await;
    for (protocol, id) in [(EXPLICIT, "explicit"), (IMPLICIT, "implicit")] {
        let mut producer = TransactionalProducer::init(RawClient::connect(&broker).await, protocol, id).await;
        producer.produce("t", 0, &["a"]).await;
        let first = producer.ask_end(true).await;
        let again = producer.ask_end(true).await;
        assert_eq!(first.error_code, 0);
        assert_eq!(again, first, "{protocol:?}");
        let other = producer.ask_end(false).await;
        assert_eq!(
            ErrorCode::from(other.error_code),
            ErrorCode::INVALID_TXN_STATE,
            "{protocol:?}"
        );
    }
}

#[tokio::test]
async fn a_producer_bumps_its_own_epoch_and_may_ask_twice() {
    let (broker, mut client) = started().await;
    let producer = TransactionalProducer::init(RawClient::connect(&broker).await, EXPLICIT, "tx").await;
    let request = init_request("tx", 60_000)
        .with_producer_id(ProducerId(producer.producer_id))
        .with_producer_epoch(producer.producer_epoch);
    for _ in 0..2 {
        let bumped = client.ask(4, &request).await;
        let expected = (0, producer.producer_id, producer.producer_epoch + 1);
        assert_eq!(
            (bumped.error_code, bumped.producer_id.0, bumped.producer_epoch),
            expected
        );
    }
    let newer = client.ask(4, &init_request("tx", 60_000)).await;
    assert_eq!(newer.producer_epoch, producer.producer_epoch + 2);
    for (version, code) in [(4, ErrorCode::PRODUCER_FENCED), (3, ErrorCode::INVALID_PRODUCER_EPOCH)] {
        let fenced = client.ask(version, &request).await;
        assert_eq!(ErrorCode::from(fenced.error_code), code, "v{version}");
    }
}

#[tokio::test]
async fn a_transaction_that_takes_too_long_is_aborted() {
    let (broker, mut client) = started().await;
    let connection = RawClient::connect(&broker).await;
    let mut producer = TransactionalProducer::init_with(connection, EXPLICIT, "tx", 100).await;
    producer.produce("t", 0, &["late"]).await;
    let mut waiting = RawClient::connect(&broker).await;
    let request = committed_only(fetch_request("t", 0, 0, 20_000));
    let fetched = waiting.ask(12, &request).await.responses.remove(0).partitions.remove(0);
    assert_eq!(values(&fetched), [""; 0]);
    assert_eq!(fetched.last_stable_offset, 2);
    assert_eq!(state(&mut client).await, "CompleteAbort");
    assert_eq!(
        producer.produce_only("t", 0, &["later"]).await,
        ErrorCode::INVALID_PRODUCER_EPOCH
    );
    assert_eq!(producer.end(true).await, ErrorCode::PRODUCER_FENCED);
}

#[tokio::test]
async fn offsets_of_a_transaction_count_when_it_is_committed() {
    for protocol in [EXPLICIT, IMPLICIT] {
        let (broker, mut client) = started().await;
        let mut producer = TransactionalProducer::init(RawClient::connect(&broker).await, protocol, "tx").await;
        let nobody = ("", -1);
        if protocol.offsets < 5 {
            let refused = producer.commit_offset("g", "t", 5, nobody).await;
            assert_eq!(
                refused,
                ErrorCode::INVALID_TXN_STATE,
                "the group is not in the transaction"
            );
            assert_eq!(producer.add_group("g").await, ErrorCode::NONE);
        }
        for (offset, is_committed, before, after) in [(5, true, -1, 5), (9, false, 5, 5), (7, true, 5, 7)] {
            if protocol.offsets < 5 {
                assert_eq!(producer.add_group("g").await, ErrorCode::NONE);
            }
            assert_eq!(producer.commit_offset("g", "t", offset, nobody).await, ErrorCode::NONE);
            assert_eq!(position(&mut client, false).await, (ErrorCode::NONE, before));
            assert_eq!(
                position(&mut client, true).await,
                (ErrorCode::UNSTABLE_OFFSET_COMMIT, -1)
            );
            assert_eq!(producer.end(is_committed).await, ErrorCode::NONE);
            assert_eq!(
                position(&mut client, true).await,
                (ErrorCode::NONE, after),
                "{protocol:?}"
            );
        }
        let mut zombie = TransactionalProducer::init(RawClient::connect(&broker).await, protocol, "tx").await;
        zombie.producer_epoch -= 1;
        let refused = zombie.commit_offset("g", "t", 8, nobody).await;
        assert_eq!(refused, ErrorCode::INVALID_PRODUCER_EPOCH);
    }
}

#[tokio::test]
async fn a_member_that_the_group_does_not_know_commits_no_offsets() {
    let (broker, mut client) = started().await;
    let mut producer = TransactionalProducer::init(RawClient::connect(&broker).await, IMPLICIT, "tx").await;
    for (member, code) in [
        (("a stranger", 1), ErrorCode::UNKNOWN_MEMBER_ID),
        (("", 3), ErrorCode::UNKNOWN_MEMBER_ID),
        (("", -1), ErrorCode::NONE),
    ] {
        let answer = producer.commit_offset("g", "t", 5, member).await;
        assert_eq!(answer, code, "{member:?}");
    }
    producer.end(false).await;
    assert_eq!(position(&mut client, true).await, (ErrorCode::NONE, -1));
}

#[tokio::test]
async fn transactions_are_listed_and_described() {
    let (broker, mut client) = started().await;
    let mut producer = TransactionalProducer::init(RawClient::connect(&broker).await, EXPLICIT, "tx").await;
    assert_eq!(state(&mut client).await, "Empty");
    producer.produce("t", 0, &["a"]).await;
    assert_eq!(state(&mut client).await, "Ongoing");
    for (states, found) in [(vec![], 1), (vec!["Ongoing"], 1), (vec!["Empty", "Nonsense"], 0)] {
        let filters = states.iter().map(|state| string(state)).collect();
        let request = ListTransactionsRequest::default().with_state_filters(filters);
        let listed = client.ask(0, &request).await;
        assert_eq!(listed.transaction_states.len(), found, "{states:?}");
        assert_eq!(
            listed.unknown_state_filters.len(),
            usize::from(states.contains(&"Nonsense"))
        );
    }
    producer.end(false).await;
    assert_eq!(state(&mut client).await, "CompleteAbort");
    let unknown = DescribeTransactionsRequest::default().with_transactional_ids(vec![TransactionalId(string("no"))]);
    let unknown = client.ask(0, &unknown).await.transaction_states.remove(0);
    assert_eq!(
        ErrorCode::from(unknown.error_code),
        ErrorCode::TRANSACTIONAL_ID_NOT_FOUND
    );
}

#[tokio::test]
async fn at_the_bound_the_id_that_was_idle_longest_is_forgotten() {
    let broker = start_with(BrokerConfig {
        transactional_ids_max: 2,
        ..BrokerConfig::default()
    })
    .await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    let mut open = TransactionalProducer::init(RawClient::connect(&broker).await, EXPLICIT, "open").await;
    open.produce("t", 0, &["a"]).await;
    let mut idle = TransactionalProducer::init(RawClient::connect(&broker).await, EXPLICIT, "idle").await;
    let mut third = TransactionalProducer::init(RawClient::connect(&broker).await, EXPLICIT, "third").await;
    assert_eq!(
        idle.add_partitions("t", &[0]).await,
        ErrorCode::INVALID_PRODUCER_ID_MAPPING
    );
    assert_eq!(third.add_partitions("t", &[0]).await, ErrorCode::NONE);
    let full = client.ask(4, &init_request("fourth", 60_000)).await;
    assert_eq!(ErrorCode::from(full.error_code), ErrorCode::COORDINATOR_NOT_AVAILABLE);
    assert_eq!(open.end(true).await, ErrorCode::NONE);
}

#[tokio::test]
async fn the_protocol_of_transactions_is_told_as_a_feature() {
    for (level, finalized) in [(2, vec![2]), (0, vec![])] {
        let broker = start_with(BrokerConfig {
            transaction_version: level,
            ..BrokerConfig::default()
        })
        .await;
        let mut client = RawClient::connect(&broker).await;
        for (version, lowest) in [(3, 1), (4, 0)] {
            let answer = client.ask(version, &ApiVersionsRequest::default()).await;
            let is_this = |feature: &&_| {
                let feature: &engine_wire::messages::api_versions_response::SupportedFeatureKey = feature;
                feature.name.as_str() == "transaction.version"
            };
            let supported = answer.supported_features.iter().find(is_this).expect("named");
            assert_eq!(
                (supported.min_version, supported.max_version),
                (lowest, 2),
                "v{version}"
            );
            let levels: Vec<i16> = answer
                .finalized_features
                .iter()
                .map(|one| one.max_version_level)
                .collect();
            assert_eq!(levels, finalized);
        }
    }
}

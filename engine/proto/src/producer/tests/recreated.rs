//! Topics that are deleted and created anew under a running producer (KIP-516).

use std::collections::BTreeSet;

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use engine_wire::messages::{BrokerId, MetadataResponse, StrBytes, TopicName};
use engine_wire::record_batch::{BatchHeader, RawBatch};
use fastrand::Rng;
use uuid::Uuid;

use super::bench::{Bench, MS, TOPIC, options};
use super::partition_log::Log;
use crate::cluster::ClusterMetadata;
use crate::producer::ProducerOptions;
use crate::producer::delivery::DeliveryError;
use crate::producer::outcome::RequestOutcome;
use crate::producer::request::RequestPlan;

const OLD: Uuid = Uuid::from_u128(7);
const NEW: Uuid = Uuid::from_u128(8);

/// An answer about the topic with this id, led by broker 0.
fn answer(topic_id: Uuid, partitions: i32, leader_epoch: i32) -> MetadataResponse {
    let broker = MetadataResponseBroker::default()
        .with_node_id(BrokerId(0))
        .with_host(StrBytes::from_static_str("localhost"))
        .with_port(9_000);
    let partitions = (0..partitions).map(|index| {
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(BrokerId(0))
            .with_leader_epoch(leader_epoch)
    });
    let topic = MetadataResponseTopic::default()
        .with_name(Some(TopicName(StrBytes::from_static_str(TOPIC))))
        .with_topic_id(topic_id)
        .with_partitions(partitions.collect());
    MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_topics(vec![topic])
}

/// A bench whose topic has been led for some time, and the cache that told it so.
fn bench(options: ProducerOptions, partitions: i32) -> (Bench, ClusterMetadata) {
    let mut bench = Bench::new(options, partitions as usize);
    let mut metadata = ClusterMetadata::default();
    metadata.apply(&answer(OLD, partitions, 5));
    bench.machine.handle_metadata(&metadata);
    (bench, metadata)
}

/// The topic is deleted and created anew: an empty log, and metadata whose epochs begin again.
fn recreate(bench: &mut Bench, metadata: &mut ClusterMetadata, partitions: i32) {
    bench.logs = (0..partitions).map(|_| Log::default()).collect();
    metadata.apply(&answer(NEW, partitions, 0));
    bench.machine.handle_metadata(metadata);
}

fn header_of(plan: &RequestPlan) -> BatchHeader {
    RawBatch::parse(plan.batches[0].records.clone()).unwrap().header
}

/// Pitfall 13: the old topic's higher epochs do not hide the new topic, and its sequences begin again.
#[test]
fn a_recreated_topic_gets_what_the_old_one_refused_under_fresh_sequences() {
    let (mut bench, mut metadata) = bench(options(), 1);
    let first = bench.in_flight(0, 1);
    assert_eq!(first.batches[0].topic_id, Some(OLD));
    bench.deliver(&first);
    let refused = [bench.in_flight(0, 2), bench.in_flight(0, 3)];
    bench.refuse(&refused[0], ErrorCode::UNKNOWN_TOPIC_ID);
    assert!(bench.machine.poll_metadata_wanted());
    recreate(&mut bench, &mut metadata, 1);
    bench.now += 200 * MS;
    assert!(bench.request().is_none(), "one of the old topic's is still out");
    bench.refuse(&refused[1], ErrorCode::UNKNOWN_TOPIC_ID);
    let again = bench.request().expect("the new topic gave no reason to wait");
    let header = header_of(&again);
    assert_eq!(again.batches[0].topic_id, Some(NEW));
    assert_eq!((header.producer_epoch, header.base_sequence), (1, 0));
    assert!(bench.request().is_none(), "the log does not know the producer yet");
    bench.deliver(&again);
    bench.settle();
    assert_eq!(bench.logs[0].values, [2, 3]);
    assert!(bench.failures().is_empty());
}

#[test]
fn a_topic_that_is_recreated_behind_an_answer_without_ids_is_another_one_all_the_same() {
    let (mut bench, _) = bench(options(), 1);
    let first = bench.in_flight(0, 1);
    bench.deliver(&first);
    // A cache that forgot the topic in between hears of it from a broker that gives no ids.
    let mut metadata = ClusterMetadata::default();
    metadata.apply(&answer(Uuid::nil(), 1, 5));
    bench.machine.handle_metadata(&metadata);
    recreate(&mut bench, &mut metadata, 1);
    let second = bench.in_flight(0, 2);
    let header = header_of(&second);
    assert_eq!(second.batches[0].topic_id, Some(NEW));
    assert_eq!((header.producer_epoch, header.base_sequence), (1, 0));
}

#[test]
fn what_may_be_in_the_new_topic_already_is_sent_again_with_its_sequence() {
    let (mut bench, mut metadata) = bench(options(), 1);
    let first = bench.in_flight(0, 1);
    bench.deliver(&first);
    let plan = bench.in_flight(0, 2);
    // By name, the request reaches the new topic before anybody has heard of it.
    bench.logs = vec![Log::default()];
    let _ = bench.apply(&plan);
    bench.finish(&plan, RequestOutcome::Lost("reset".into()));
    metadata.apply(&answer(NEW, 1, 0));
    bench.machine.handle_metadata(&metadata);
    bench.settle();
    assert_eq!(
        bench.logs[0].values,
        [2],
        "found by its sequence, and not written twice"
    );
    let next = bench.in_flight(0, 3);
    bench.deliver(&next);
    assert_eq!(bench.logs[0].values, [2, 3]);
    assert!(bench.failures().is_empty());
}

#[test]
fn a_recreated_topic_that_refuses_strangers_in_the_middle_of_a_sequence_gets_everything() {
    let (mut bench, mut metadata) = bench(options(), 1);
    let first = bench.in_flight(0, 1);
    bench.deliver(&first);
    let lost = bench.in_flight(0, 2);
    bench.finish(&lost, RequestOutcome::Lost("reset".into()));
    recreate(&mut bench, &mut metadata, 1);
    bench.logs[0].refuses_unknown_producers = true;
    bench.append(0, 3).unwrap();
    bench.settle();
    assert_eq!(bench.logs[0].values, [2, 3]);
    assert_eq!(bench.machine.stats().sequence_restarts, 1);
    assert!(bench.failures().is_empty());
}

#[test]
fn batches_go_one_by_one_while_a_topic_is_missing_and_by_name_keep_their_order_in_the_next() {
    let (mut bench, _) = bench(options(), 1);
    let first = bench.in_flight(0, 1);
    bench.deliver(&first);
    let missing = bench.in_flight(0, 2);
    bench.refuse(&missing, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    bench.append(0, 3).unwrap();
    bench.machine.flush();
    bench.now += 200 * MS;
    let again = bench.request().expect("it waited for long enough");
    assert!(
        bench.request().is_none(),
        "the new topic could be there for the second and not for the first"
    );
    bench.refuse(&again, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    bench.logs = vec![Log::default()];
    bench.settle();
    assert_eq!(bench.logs[0].values, [2, 3]);
    assert!(bench.failures().is_empty());
}

#[test]
fn a_partition_that_the_new_topic_does_not_have_expires_and_the_others_go_on() {
    let options = ProducerOptions {
        delivery_timeout: 100 * MS,
        ..options()
    };
    let (mut bench, mut metadata) = bench(options, 2);
    recreate(&mut bench, &mut metadata, 1);
    bench.append(0, 1).unwrap();
    let gone = bench.append(1, 2).unwrap_err();
    assert_eq!(gone.to_string(), "orders has partitions 0 to 0, not 1");
    bench.settle();
    assert_eq!(bench.logs[0].values, [1]);
    assert!(bench.failures().is_empty());
}

#[test]
fn a_topic_that_stays_deleted_ends_its_records_in_time_and_says_that_they_were_not_written() {
    let options = ProducerOptions {
        delivery_timeout: 300 * MS,
        ..options()
    };
    let (mut bench, metadata) = bench(options, 1);
    bench.append(0, 1).unwrap();
    bench.machine.flush();
    let mut attempts = 0;
    while !bench.machine.is_idle() {
        if let Some(plan) = bench.request() {
            attempts += 1;
            bench.refuse(&plan, ErrorCode::UNKNOWN_TOPIC_ID);
            bench.machine.handle_metadata(&metadata);
        }
        bench.now += MS;
    }
    assert!((4..20).contains(&attempts), "with pauses that grow: {attempts}");
    let failures = bench.failures();
    assert!(
        matches!(&failures[..], [DeliveryError::Expired { may_be_written: false, last_error, .. }] if last_error.contains("UNKNOWN_TOPIC_ID")),
        "{failures:?}"
    );
}

#[test]
fn topics_without_ids_go_by_their_names() {
    let mut bench = Bench::new(options(), 1);
    let plan = bench.in_flight(0, 1);
    assert!(!plan.has_topic_ids());
    bench.deliver(&plan);
    let mut metadata = ClusterMetadata::default();
    metadata.apply(&answer(OLD, 1, 0));
    bench.machine.handle_metadata(&metadata);
    let plan = bench.in_flight(0, 2);
    assert!(plan.has_topic_ids());
    assert_eq!(header_of(&plan).producer_epoch, 0, "it is the same topic");
}

#[test]
fn inside_a_transaction_the_new_log_gets_sequence_zero_of_the_same_epoch() {
    let (mut bench, mut metadata) = bench(options(), 1);
    for queue in &mut bench.machine.partitions {
        queue.is_transactional = true;
    }
    let first = bench.in_flight(0, 1);
    bench.machine.handle_sent_by_topic_id(first.request_id);
    bench.deliver(&first);
    // An attempt by id is lost: it may be in the old topic, and cannot be in the new one.
    let lost = bench.in_flight(0, 2);
    bench.machine.handle_sent_by_topic_id(lost.request_id);
    bench.finish(&lost, RequestOutcome::Lost("reset".into()));
    recreate(&mut bench, &mut metadata, 1);
    let again = bench.request().expect("the new topic gave no reason to wait");
    let header = header_of(&again);
    assert_eq!((header.producer_epoch, header.base_sequence), (0, 0));
    bench.deliver(&again);
    // By name, it may be anywhere.
    let lost = bench.in_flight(0, 3);
    bench.finish(&lost, RequestOutcome::Lost("reset".into()));
    metadata.apply(&answer(Uuid::from_u128(9), 1, 0));
    bench.machine.handle_metadata(&metadata);
    let again = bench.request().expect("the new topic gave no reason to wait");
    assert_eq!(header_of(&again).base_sequence, 1);
}

#[test]
fn inside_a_transaction_a_log_that_was_reached_by_name_goes_on_where_it_is() {
    let (mut bench, mut metadata) = bench(options(), 1);
    bench.machine.partitions[0].is_transactional = true;
    for value in [1, 2] {
        // The second of them is in the new topic already, and nobody has noticed.
        bench.logs = vec![Log::default()];
        let plan = bench.in_flight(0, value);
        bench.deliver(&plan);
    }
    metadata.apply(&answer(NEW, 1, 0));
    bench.machine.handle_metadata(&metadata);
    let next = bench.in_flight(0, 3);
    let header = header_of(&next);
    assert_eq!((header.producer_epoch, header.base_sequence), (0, 2));
    bench.deliver(&next);
    assert_eq!(bench.logs[0].values, [2, 3]);
}

/// Requests go by id, answers get lost before and after the append, and the topic is created anew again and again,
/// which the producer hears of later.
#[test]
fn whatever_is_lost_each_log_holds_records_once_and_in_order_and_no_record_is_missing_from_all() {
    for seed in 0..200 {
        let mut rng = Rng::with_seed(seed);
        let (mut bench, mut metadata) = bench(options(), 1);
        bench.machine.partitions[0].is_established = false; // No log knows the producer yet.
        let (mut current, mut heard) = (OLD, OLD);
        let mut away: Vec<RequestPlan> = Vec::new();
        let (mut written, mut first_of_last_log) = (BTreeSet::new(), 0);
        for value in 0..120 {
            bench.append(0, value).unwrap();
            if rng.u8(..3) == 0 {
                bench.machine.flush();
            }
            bench.now += MS * rng.u32(..4);
            if let Some(plan) = bench.request() {
                bench.machine.handle_sent_by_topic_id(plan.request_id);
                away.push(plan);
            }
            if value % 25 == 24 {
                take_log(&bench.logs[0], &mut written, seed);
                bench.logs = vec![Log::default()];
                current = Uuid::from_u128(current.as_u128() + 1);
                first_of_last_log = value + 1;
            }
            // The broker works on requests in their order; their ends come in any.
            if !away.is_empty() && rng.bool() {
                let plan = away.remove(0);
                let reaches = plan.batches[0].topic_id == Some(current);
                match (rng.u8(..4), reaches) {
                    (0, true) => {
                        let _ = bench.apply(&plan);
                        bench.finish(&plan, RequestOutcome::Lost("the answer is lost".into()));
                    }
                    (1, _) | (0, false) => bench.finish(&plan, RequestOutcome::Lost("the request is lost".into())),
                    (_, true) => bench.deliver(&plan),
                    (_, false) => bench.refuse(&plan, ErrorCode::UNKNOWN_TOPIC_ID),
                }
            }
            if bench.machine.poll_metadata_wanted() && rng.bool() && heard != current {
                heard = current;
                metadata.apply(&answer(heard, 1, 0));
                bench.machine.handle_metadata(&metadata);
            }
        }
        metadata.apply(&answer(current, 1, 0));
        bench.machine.handle_metadata(&metadata);
        for plan in away {
            match plan.batches[0].topic_id == Some(current) {
                true => bench.deliver(&plan),
                false => bench.refuse(&plan, ErrorCode::UNKNOWN_TOPIC_ID),
            }
        }
        bench.settle();
        take_log(&bench.logs[0], &mut written, seed);
        assert!(written.into_iter().eq(0..120), "seed {seed}");
        let last = bench.logs[0].values.iter().copied();
        let last = last.filter(|value| *value >= first_of_last_log);
        assert!(last.eq(first_of_last_log..120), "seed {seed}");
        assert!(bench.failures().is_empty(), "seed {seed}");
        assert_eq!(bench.machine.stats().buffered_bytes, 0, "seed {seed}");
    }
}

/// Nothing twice and nothing out of order. What is left out was acknowledged by the topic before.
fn take_log(log: &Log, written: &mut BTreeSet<u64>, seed: u64) {
    let rises = log.values.windows(2).all(|pair| pair[1] > pair[0]);
    assert!(rises, "seed {seed}: {:?}", log.values);
    written.extend(&log.values);
}

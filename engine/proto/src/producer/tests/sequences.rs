//! Sequences through retries, new leaders and brokers that forget.

use engine_wire::error_code::ErrorCode;
use engine_wire::record_batch::{RawBatch, sequence_after};

use super::bench::{Bench, MS, epoch_of, metadata, options};
use crate::cluster::ClusterMetadata;
use crate::producer::outcome::RequestOutcome;
use crate::producer::request::RequestPlan;
use crate::producer::{ProducerMachine, ProducerOptions};
use crate::sequence::ProducerIdentity;

#[test]
fn five_batches_are_in_flight_and_the_sixth_waits() {
    let mut bench = Bench::new(options(), 1);
    let plans: Vec<_> = (0..5).map(|value| bench.in_flight(0, value)).collect();
    bench.append(0, 5).unwrap();
    bench.machine.flush();
    assert!(bench.request().is_none());
    for plan in &plans {
        bench.deliver(plan);
    }
    bench.settle();
    assert_eq!(bench.logs[0].values, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_lost_batch_is_never_more_than_five_behind_the_newest() {
    // Brokers recognise a duplicate only among the last five batches.
    let mut bench = Bench::new(options(), 1);
    let lost = bench.in_flight(0, 0);
    let later: Vec<_> = (1..5).map(|value| bench.in_flight(0, value)).collect();
    let _ = bench.apply(&lost);
    for plan in &later {
        bench.deliver(plan);
    }
    bench.finish(&lost, RequestOutcome::Lost("reset".into()));
    for value in 5..20 {
        bench.append(0, value).unwrap();
        bench.machine.flush();
        assert!(bench.request().is_none(), "nothing overtakes the unresolved batch");
    }
    bench.settle();
    assert_eq!(bench.logs[0].values, (0..20).collect::<Vec<_>>());
}

#[test]
fn sequence_survives_a_retry_on_a_new_leader() {
    let mut bench = Bench::new(options(), 1);
    let plan = bench.in_flight(0, 1);
    bench.refuse(&plan, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    assert!(bench.machine.poll_metadata_wanted());
    assert!(bench.request().is_none(), "the old leader gave a reason to wait");
    bench.machine.handle_metadata(&metadata(&[2], 1));
    let again = bench.request().expect("the new leader gave none");
    assert_eq!(again.node_id, 2);
    assert_eq!(again.batches[0].records, plan.batches[0].records);
    bench.deliver(&again);
    assert!(bench.failures().is_empty());
}

/// Pitfall 7: the broker has it, whatever its answer is called.
#[test]
fn a_duplicate_is_success() {
    let mut bench = Bench::new(options(), 1);
    let plan = bench.in_flight(0, 1);
    bench.refuse(&plan, ErrorCode::DUPLICATE_SEQUENCE_NUMBER);
    let outcome = bench.machine.poll_outcome().unwrap();
    assert_eq!(outcome.result.unwrap().base_offset, None);
    assert!(bench.machine.is_idle());
}

/// Pitfall 9: retention or DeleteRecords took the producer's last batch, and the broker forgot its place (KIP-360).
#[test]
fn an_unknown_producer_starts_again_under_the_next_epoch() {
    let mut bench = Bench::new(options(), 1);
    let plan = bench.in_flight(0, 1);
    bench.deliver(&plan);
    bench.logs[0].refuses_unknown_producers = true;
    bench.logs[0].forget_producers();
    let plan = bench.in_flight(0, 2);
    bench.deliver(&plan);
    bench.settle();
    assert_eq!(bench.logs[0].values, [1, 2]);
    assert_eq!(bench.machine.stats().sequence_restarts, 1);
    assert!(bench.failures().is_empty());
}

/// Pitfall 8: another partition's batches in flight keep their epoch.
#[test]
fn out_of_order_on_one_partition_leaves_the_epoch_of_the_others_alone() {
    let mut bench = Bench::new(options(), 2);
    let first = bench.in_flight(0, 1);
    let other = bench.in_flight(1, 10);
    bench.refuse(&first, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    bench.now += 200 * MS;
    let again = bench.request().unwrap();
    assert_eq!((epoch_of(&first), epoch_of(&again)), (0, 1));
    bench.deliver(&other);
    bench.deliver(&again);
    let next = bench.in_flight(1, 11);
    assert_eq!(epoch_of(&next), 0, "partition 1 has nothing to do with it");
    bench.deliver(&next);
    assert_eq!(
        (bench.logs[0].values.as_slice(), bench.logs[1].values.as_slice()),
        (&[1][..], &[10, 11][..])
    );
}

#[test]
fn sequences_start_again_only_when_nothing_of_the_partition_is_in_flight() {
    let mut bench = Bench::new(options(), 1);
    let first = bench.in_flight(0, 1);
    let second = bench.in_flight(0, 2);
    bench.refuse(&first, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    bench.now += 200 * MS;
    assert!(bench.request().is_none(), "the second is still out under the old epoch");
    bench.refuse(&second, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    bench.settle();
    assert_eq!(bench.logs[0].values, [1, 2]);
    assert_eq!(bench.machine.stats().sequence_restarts, 1);
}

#[test]
fn out_of_order_behind_an_unresolved_batch_is_no_reason_to_start_again() {
    let mut bench = Bench::new(options(), 1);
    let first = bench.in_flight(0, 1);
    let second = bench.in_flight(0, 2);
    bench.refuse(&second, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    bench.finish(&first, RequestOutcome::Lost("reset".into()));
    bench.settle();
    assert_eq!(bench.logs[0].values, [1, 2]);
    assert_eq!(bench.machine.stats().sequence_restarts, 0);
}

#[test]
fn used_up_epochs_ask_for_a_new_producer_id() {
    let mut bench = Bench::new(options(), 1);
    let mut machine = ProducerMachine::new(options(), 1);
    machine.handle_metadata(&metadata(&[0], 0));
    machine.handle_producer_id(ProducerIdentity {
        producer_id: 7,
        producer_epoch: i16::MAX - 1,
    });
    bench.machine = machine;
    let plan = bench.in_flight(0, 1);
    bench.refuse(&plan, ErrorCode::UNKNOWN_PRODUCER_ID);
    assert!(bench.machine.needs_producer_id());
    bench.now += 200 * MS;
    assert!(bench.request().is_none());
    bench.machine.handle_producer_id(ProducerIdentity {
        producer_id: 8,
        producer_epoch: 0,
    });
    bench.settle();
    assert_eq!(bench.logs[0].values, [1]);
}

#[test]
fn without_idempotence_batches_carry_no_sequence_and_need_no_producer_id() {
    let mut machine = ProducerMachine::new(
        ProducerOptions {
            is_idempotent: false,
            ..options()
        },
        1,
    );
    machine.handle_metadata(&metadata(&[0], 0));
    assert!(!machine.needs_producer_id());
    let mut bench = Bench::new(options(), 1);
    bench.machine = machine;
    let plan = bench.in_flight(0, 1);
    let header = RawBatch::parse(plan.batches[0].records.clone()).unwrap().header;
    assert_eq!((header.producer_id, header.base_sequence), (-1, -1));
    bench.finish(&plan, RequestOutcome::Written);
    assert!(bench.failures().is_empty());
}

#[test]
fn the_first_batch_goes_alone_because_a_broker_takes_any_sequence_of_a_stranger() {
    let mut bench = Bench::unknown_to_the_broker(options(), 1);
    let first = bench.in_flight(0, 1);
    bench.append(0, 2).unwrap();
    bench.machine.flush();
    assert!(bench.request().is_none(), "the broker could take it before the first");
    bench.refuse(&first, ErrorCode::NOT_ENOUGH_REPLICAS);
    bench.settle();
    assert_eq!(bench.logs[0].values, [1, 2]);
    let third = bench.in_flight(0, 3);
    let fourth = bench.in_flight(0, 4);
    bench.deliver(&third);
    bench.deliver(&fourth);
    assert_eq!(bench.logs[0].values, [1, 2, 3, 4], "now the broker knows the producer");
}

/// Pitfall 6: a broker that restarts does not know its topics yet.
#[test]
fn a_topic_that_is_missing_for_a_moment_costs_neither_the_sequence_nor_a_record() {
    let mut bench = Bench::new(options(), 1);
    let first = bench.in_flight(0, 1);
    bench.deliver(&first);
    let missing = bench.in_flight(0, 2);
    bench.refuse(&missing, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert!(bench.machine.poll_metadata_wanted());
    bench.machine.handle_metadata(&ClusterMetadata::default()); // A restarting broker knows nothing.
    bench.now += 200 * MS;
    let again = bench.request().expect("the leader is still known");
    assert_eq!(
        again.batches[0].records, missing.batches[0].records,
        "the same sequence"
    );
    bench.deliver(&again);
    assert_eq!(bench.logs[0].values, [1, 2]);
    assert_eq!(bench.machine.stats().sequence_restarts, 0);
}

/// Pitfall 7: the answer was lost, and the log has it already.
#[test]
fn a_possibly_written_batch_is_sent_again_with_its_sequence_and_written_once() {
    let mut bench = Bench::new(options(), 1);
    let plan = bench.in_flight(0, 1);
    let _ = bench.apply(&plan); // Written, but the answer is lost.
    bench.finish(&plan, RequestOutcome::Lost("reset".into()));
    bench.now += 200 * MS;
    let again = bench.request().unwrap();
    assert_eq!(again.batches[0].records, plan.batches[0].records);
    bench.deliver(&again);
    assert_eq!(bench.logs[0].values, [1]);
    assert!(bench.failures().is_empty());
}

#[test]
fn sequences_go_on_at_zero_after_the_largest_whatever_is_lost_on_the_way() {
    for distance in 0..8 {
        let mut bench = Bench::new(options(), 1);
        bench.machine.partitions[0].next_sequence = i32::MAX - distance;
        let plans: Vec<_> = [0, 2, 3, 5, 6]
            .into_iter()
            .zip([2, 1, 2, 1, 2])
            .map(|(first, count)| {
                for value in first..first + count {
                    bench.append(0, value).unwrap();
                }
                bench.machine.flush();
                bench.request().expect("five may be in flight")
            })
            .collect();
        let mut expected = i32::MAX - distance;
        for plan in &plans {
            let header = RawBatch::parse(plan.batches[0].records.clone()).unwrap().header;
            assert_eq!(header.base_sequence, expected);
            expected = sequence_after(expected, header.record_count);
            assert!(expected >= 0);
        }
        bench.deliver(&plans[0]);
        let _ = bench.apply(&plans[1]);
        bench.finish(
            &plans[1],
            RequestOutcome::Lost("written, but nobody hears of it".into()),
        );
        bench.finish(&plans[2], RequestOutcome::Lost("not even written".into()));
        bench.refuse(&plans[3], ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
        bench.refuse(&plans[4], ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
        bench.settle();
        bench.append(0, 8).unwrap();
        bench.settle();
        assert_eq!(
            bench.logs[0].values,
            (0..9).collect::<Vec<_>>(),
            "{distance} before the end"
        );
        assert_eq!(bench.machine.stats().sequence_restarts, 0);
        assert!(bench.failures().is_empty());
    }
}

#[test]
fn the_halves_of_a_batch_have_its_sequences_also_across_the_largest() {
    for distance in 0..5 {
        let mut bench = Bench::new(options(), 1);
        bench.machine.partitions[0].next_sequence = i32::MAX - distance;
        for value in 0..4 {
            bench.append(0, value).unwrap();
        }
        bench.machine.flush();
        let large = bench.request().unwrap();
        bench.refuse(&large, ErrorCode::MESSAGE_TOO_LARGE);
        let halves = [bench.request().unwrap(), bench.request().unwrap()];
        let header = |plan: &RequestPlan| RawBatch::parse(plan.batches[0].records.clone()).unwrap().header;
        let sequences = halves.each_ref().map(|half| header(half).base_sequence);
        let first = i32::MAX - distance;
        assert_eq!(sequences, [first, sequence_after(first, 2)]);
        for half in &halves {
            bench.deliver(half);
        }
        assert_eq!(bench.logs[0].values, [0, 1, 2, 3]);
    }
}

//! How batches end: halved, refused, left out, expired, aborted.

use std::time::Duration;

use engine_wire::error_code::ErrorCode;
use engine_wire::record_batch::Header;

use super::bench::{Bench, MS, metadata, options};
use crate::producer::ProducerOptions;
use crate::producer::append::{AppendError, TopicRecord};
use crate::producer::delivery::DeliveryError;
use crate::producer::outcome::RequestOutcome;
use crate::producer::request::RequestPlan;

#[test]
fn a_batch_that_is_too_large_is_halved_and_keeps_its_place() {
    let mut bench = Bench::new(options(), 1);
    let first = bench.in_flight(0, 0);
    let header = [
        Header { key: b"k", value: None },
        Header {
            key: b"k",
            value: Some(b"v"),
        },
    ];
    for value in 1_u64..=4 {
        let (now, bytes) = (bench.now, value.to_be_bytes());
        let record = TopicRecord {
            partition: Some(0),
            timestamp: Some(value as i64),
            key: None,
            value: Some(&bytes),
            headers: &header,
        };
        bench.machine.append(0, &record, || (now, 0, 77)).unwrap();
    }
    bench.machine.flush();
    let large = bench.request().unwrap();
    let behind = bench.in_flight(0, 5);
    bench.deliver(&first);
    bench.refuse(&large, ErrorCode::MESSAGE_TOO_LARGE);
    bench.refuse(&behind, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    bench.settle();
    assert_eq!(bench.logs[0].values, [0, 1, 2, 3, 4, 5]);
    assert_eq!(bench.machine.stats().splits, 1);
    assert_eq!(bench.machine.stats().sequence_restarts, 0);
    assert_eq!(bench.machine.stats().buffered_bytes, 0);
    let outcomes: Vec<_> = std::iter::from_fn(|| bench.machine.poll_outcome())
        .filter(|outcome| outcome.token == 77)
        .map(|outcome| {
            (
                outcome.first_record,
                outcome.record_count,
                outcome.result.unwrap().base_offset,
            )
        })
        .collect();
    assert_eq!(outcomes, [(0, 2, Some(1)), (2, 2, Some(3))]);
}

#[test]
fn a_single_record_that_is_too_large_fails_and_those_behind_it_arrive() {
    let mut bench = Bench::new(options(), 1);
    let large = bench.in_flight(0, 0);
    let behind = bench.in_flight(0, 1);
    bench.refuse(&large, ErrorCode::MESSAGE_TOO_LARGE);
    bench.deliver(&behind);
    bench.settle();
    assert_eq!(bench.logs[0].values, [1]);
    assert!(matches!(bench.failures()[..], [DeliveryError::Refused { .. }]));
}

#[test]
fn a_partition_that_the_answer_leaves_out_is_sent_again() {
    let mut bench = Bench::new(options(), 1);
    let plan = bench.in_flight(0, 1);
    bench.finish(&plan, RequestOutcome::Answered(Vec::new()));
    bench.settle();
    assert_eq!(bench.logs[0].values, [1]);
}

#[test]
fn answers_twice_or_for_others_change_nothing() {
    let mut bench = Bench::new(options(), 1);
    let plan = bench.in_flight(0, 1);
    let RequestOutcome::Answered(mut answers) = bench.apply(&plan) else {
        unreachable!("the log answers")
    };
    let mut other = answers[0].clone();
    other.partition = i32::MAX;
    let mut second = answers[0].clone();
    second.code = ErrorCode::INVALID_RECORD;
    answers.extend([other, second]);
    bench.finish(&plan, RequestOutcome::Answered(answers));
    bench.finish(&plan, RequestOutcome::Lost("late".into()));
    assert!(bench.failures().is_empty());
    assert!(bench.machine.is_idle());
}

#[test]
fn a_batch_without_leader_expires_with_the_reason() {
    let mut bench = Bench::new(
        ProducerOptions {
            delivery_timeout: 100 * MS,
            ..options()
        },
        1,
    );
    bench.machine.handle_metadata(&metadata(&[-1], 1));
    bench.append(0, 1).unwrap();
    bench.now += 10 * MS;
    assert!(bench.request().is_none());
    assert!(bench.machine.poll_metadata_wanted());
    bench.now += 90 * MS;
    bench.machine.handle_timeout(bench.now);
    let failures = bench.failures();
    assert_eq!(
        failures[0].to_string(),
        "orders-0: not acknowledged within 100 ms, 0 attempts; last: the partition has no leader; the records were not written"
    );
    assert_eq!(bench.machine.stats().buffered_bytes, 0);
}

#[test]
fn expiry_in_flight_is_told_in_time_and_once() {
    let mut bench = Bench::new(
        ProducerOptions {
            delivery_timeout: 100 * MS,
            ..options()
        },
        1,
    );
    let plan = bench.in_flight(0, 1);
    bench.now += 100 * MS;
    bench.machine.handle_timeout(bench.now);
    assert!(matches!(
        bench.failures()[..],
        [DeliveryError::Expired { attempts: 1, .. }]
    ));
    assert!(!bench.machine.is_idle(), "its answer says what the broker has");
    bench.deliver(&plan);
    assert!(bench.failures().is_empty());
    assert!(bench.machine.is_idle());
    let plan = bench.in_flight(0, 2);
    bench.deliver(&plan);
    assert_eq!(bench.logs[0].values, [1, 2]);
}

#[test]
fn a_throttled_broker_is_left_alone_for_that_long() {
    let mut bench = Bench::new(options(), 1);
    let plan = bench.in_flight(0, 1);
    let outcome = bench.apply(&plan);
    bench
        .machine
        .handle_outcome(bench.now, plan.request_id, outcome, 300 * MS);
    bench.append(0, 2).unwrap();
    bench.machine.flush();
    assert!(bench.request().is_none());
    bench.now += 300 * MS;
    assert!(bench.request().is_some());
}

#[test]
fn an_aborted_producer_tells_every_record_and_takes_no_more() {
    let mut bench = Bench::new(options(), 2);
    let plan = bench.in_flight(0, 1);
    bench.append(1, 2).unwrap();
    bench.machine.abort(&"closed after 0 ms".into());
    assert_eq!(bench.failures().len(), 2);
    assert!(bench.machine.is_idle());
    let reason = "closed after 0 ms".into();
    assert_eq!(bench.append(0, 3), Err(AppendError::GaveUp { reason }));
    bench.deliver(&plan);
    assert!(bench.failures().is_empty(), "a late answer changes nothing");
}

#[test]
fn a_throttle_beyond_all_reason_lasts_a_minute() {
    let mut bench = Bench::new(options(), 1);
    let plan = bench.in_flight(0, 1);
    let outcome = bench.apply(&plan);
    let throttle = i32::MAX as u32 * MS;
    bench
        .machine
        .handle_outcome(bench.now, plan.request_id, outcome, throttle);
    bench.append(0, 2).unwrap();
    bench.machine.flush();
    bench.now += 59_000 * MS;
    assert!(bench.request().is_none());
    bench.now += 1_000 * MS;
    assert!(bench.request().is_some());
}

#[test]
fn the_longer_of_two_throttles_counts() {
    let mut bench = Bench::new(options(), 1);
    let plans = [bench.in_flight(0, 1), bench.in_flight(0, 2)];
    for (plan, throttle) in plans.iter().zip([300 * MS, 50 * MS]) {
        let outcome = bench.apply(plan);
        bench
            .machine
            .handle_outcome(bench.now, plan.request_id, outcome, throttle);
    }
    bench.append(0, 3).unwrap();
    bench.machine.flush();
    bench.now += 299 * MS;
    assert!(bench.request().is_none());
    bench.now += MS;
    assert!(bench.request().is_some());
}

#[test]
fn an_answer_without_an_offset_gives_none() {
    let mut bench = Bench::new(options(), 1);
    let plan = bench.in_flight(0, 1);
    bench.refuse(&plan, ErrorCode::NONE); // With base offset -1.
    let outcome = bench.machine.poll_outcome().unwrap();
    assert_eq!(outcome.result.unwrap().base_offset, None);
}

#[test]
fn what_expires_says_whether_it_may_have_been_written() {
    let silent = |bench: &mut Bench, _: &RequestPlan| bench.now += 100 * MS;
    let lost = |bench: &mut Bench, plan: &RequestPlan| bench.finish(plan, RequestOutcome::Lost("reset".into()));
    let left_out = |bench: &mut Bench, plan: &RequestPlan| bench.finish(plan, RequestOutcome::Answered(Vec::new()));
    let cannot_be_asked =
        |bench: &mut Bench, plan: &RequestPlan| bench.finish(plan, RequestOutcome::Impossible("too old".into()));
    type Ending = dyn Fn(&mut Bench, &RequestPlan);
    for (what, ending, may_be_written) in [
        ("silence", &silent as &Ending, true),
        ("a cut connection", &lost, true),
        ("an answer about others", &left_out, true),
        ("a broker that cannot be asked", &cannot_be_asked, false),
    ] {
        told(what, ending, may_be_written);
    }
    for (code, may_be_written) in [
        (ErrorCode::REQUEST_TIMED_OUT, true),
        (ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND, true),
        (ErrorCode::NOT_LEADER_OR_FOLLOWER, true), // It may have led when it appended.
        (ErrorCode::KAFKA_STORAGE_ERROR, true),
        (ErrorCode::UNKNOWN_SERVER_ERROR, true),
        (ErrorCode::from(i16::MAX), true),
        (ErrorCode::NOT_ENOUGH_REPLICAS, false),
        (ErrorCode::UNKNOWN_TOPIC_ID, false),
        (ErrorCode::TOPIC_AUTHORIZATION_FAILED, false),
        (ErrorCode::INVALID_RECORD, false),
        (ErrorCode::MESSAGE_TOO_LARGE, false),
    ] {
        let refused = |bench: &mut Bench, plan: &RequestPlan| bench.refuse(plan, code);
        told(code.name(), &refused, may_be_written);
    }
}

/// One attempt that ends so, and then nothing until the delivery timeout.
fn told(what: &str, ending: &dyn Fn(&mut Bench, &RequestPlan), may_be_written: bool) {
    let options = ProducerOptions {
        delivery_timeout: 100 * MS,
        ..options()
    };
    let mut bench = Bench::new(options, 1);
    let plan = bench.in_flight(0, 1);
    ending(&mut bench, &plan);
    bench.now += 100 * MS;
    bench.machine.handle_timeout(bench.now);
    let failures = bench.failures();
    let told: Vec<bool> = failures.iter().map(DeliveryError::may_be_written).collect();
    assert_eq!(told, [may_be_written], "{what}: {failures:?}");
    let text = failures[0].to_string();
    assert_eq!(
        text.contains("the records may have been written"),
        may_be_written,
        "{text}"
    );
}

#[test]
fn what_is_aborted_says_whether_it_may_have_been_written() {
    let mut bench = Bench::new(options(), 2);
    let lost = bench.in_flight(0, 1);
    bench.finish(&lost, RequestOutcome::Lost("reset".into()));
    let _in_flight = bench.in_flight(1, 2);
    bench.append(1, 3).unwrap();
    bench.machine.abort(&"closed after 0 ms".into());
    let mut told: Vec<bool> = bench.failures().iter().map(DeliveryError::may_be_written).collect();
    told.sort_unstable();
    assert_eq!(told, [false, true, true]);
}

/// A split makes six batches of five. Were all of them in doubt at once, the broker would not know the oldest any more when
/// it comes again, and take the refusal for a lost sequence: its records would be written twice.
#[test]
fn a_split_leaves_no_more_batches_in_doubt_than_the_broker_remembers() {
    let mut bench = Bench::new(options(), 1);
    let first = bench.in_flight(0, 0);
    bench.append(0, 1).unwrap();
    let large = bench.in_flight(0, 2);
    let behind: Vec<_> = (3..6).map(|value| bench.in_flight(0, value)).collect();
    bench.apply(&first);
    bench.finish(&first, RequestOutcome::Lost("connection reset".into()));
    bench.refuse(&large, ErrorCode::MESSAGE_TOO_LARGE);
    for plan in &behind {
        bench.finish(plan, RequestOutcome::Lost("connection reset".into()));
    }
    bench.now += 1_000 * MS; // Beyond any backoff.
    let again: Vec<_> = std::iter::from_fn(|| bench.request()).collect();
    for plan in &again {
        bench.apply(plan);
    }
    bench.apply(&behind[2]); // What was given up arrives late.
    for plan in &again {
        bench.finish(plan, RequestOutcome::Lost("connection reset".into()));
    }
    bench.settle();
    assert_eq!(bench.logs[0].values, [0, 1, 2, 3, 4, 5]);
    assert_eq!(bench.machine.stats().sequence_restarts, 0);
}

#[test]
fn a_throttle_beyond_all_reason_ends_after_a_minute() {
    let mut bench = Bench::new(options(), 1);
    let plan = bench.in_flight(0, 1);
    let outcome = bench.apply(&plan);
    let forever = Duration::from_millis(i32::MAX as u64);
    bench
        .machine
        .handle_outcome(bench.now, plan.request_id, outcome, forever);
    bench.append(0, 2).unwrap();
    bench.machine.flush();
    bench.now += 59_999 * MS;
    assert!(bench.request().is_none());
    bench.now += MS;
    assert!(bench.request().is_some());
}

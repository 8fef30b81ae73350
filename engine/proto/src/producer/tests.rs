//! The machine step by step: one situation per test.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use engine_wire::{
    error_code::ErrorCode,
    record_batch::{Header, RawBatch},
};

use super::{
    AppendError, DeliveryError, PartitionAnswer, ProducerMachine, ProducerOptions, RequestOutcome, RequestPlan,
    TopicRecord,
    simulation::{Log, metadata, options, seal_all, start},
};
use crate::sequence::ProducerIdentity;

const MS: Duration = Duration::from_millis(1);

/// A machine, one log per partition, and the time.
struct Bench {
    machine: ProducerMachine<u64>,
    logs: Vec<Log>,
    now: Instant,
    next_token: u64,
}

impl Bench {
    fn new(options: ProducerOptions, partitions: usize) -> Self {
        let mut machine = ProducerMachine::new(options, 1);
        machine.handle_metadata(&metadata(&vec![0; partitions], 0));
        machine.handle_producer_id(ProducerIdentity {
            producer_id: 7,
            producer_epoch: 0,
        });
        let logs = (0..partitions).map(|_| Log::default()).collect();
        Self {
            machine,
            logs,
            now: start(),
            next_token: 0,
        }
    }

    fn append(&mut self, partition: i32, value: u64) -> Result<u64, AppendError> {
        let value = value.to_be_bytes();
        let record = TopicRecord {
            partition: Some(partition),
            value: Some(&value),
            ..TopicRecord::default()
        };
        let (now, token) = (self.now, &mut self.next_token);
        let appended = self.machine.append(0, &record, || {
            *token += 1;
            (now, 1_000, *token)
        })?;
        Ok(*appended.token)
    }

    /// One request, as soon as there is one without waiting.
    fn request(&mut self) -> Option<RequestPlan> {
        self.machine.handle_timeout(self.now);
        seal_all(&mut self.machine);
        self.machine.poll_request(self.now, |_| true)
    }

    /// A batch of one record of its own, in flight.
    fn in_flight(&mut self, partition: i32, value: u64) -> RequestPlan {
        self.append(partition, value).unwrap();
        self.machine.flush();
        self.request().expect("nothing keeps the batch back")
    }

    /// What the broker says to the request after appending it.
    fn apply(&mut self, plan: &RequestPlan) -> RequestOutcome {
        let answers = plan.batches.iter().map(|batch| {
            let (code, base_offset) = self.logs[batch.partition as usize].append(&batch.records);
            PartitionAnswer {
                topic: Arc::clone(&batch.topic),
                partition: batch.partition,
                code,
                base_offset,
                log_append_time_ms: None,
                message: None,
            }
        });
        RequestOutcome::Answered(answers.collect())
    }

    fn finish(&mut self, plan: &RequestPlan, outcome: RequestOutcome) {
        self.machine
            .handle_outcome(self.now, plan.request_id, outcome, Duration::ZERO);
    }

    fn deliver(&mut self, plan: &RequestPlan) {
        let outcome = self.apply(plan);
        self.finish(plan, outcome);
    }

    fn refuse(&mut self, plan: &RequestPlan, code: ErrorCode) {
        let answers = plan.batches.iter().map(|batch| PartitionAnswer {
            topic: Arc::clone(&batch.topic),
            partition: batch.partition,
            code,
            base_offset: -1,
            log_append_time_ms: None,
            message: None,
        });
        self.finish(plan, RequestOutcome::Answered(answers.collect()));
    }

    /// Lets time and a perfect network run until nothing is left.
    fn settle(&mut self) {
        self.machine.flush();
        for _ in 0..1_000 {
            while let Some(plan) = self.request() {
                self.deliver(&plan);
            }
            match self.machine.poll_deadline(self.now) {
                Some(deadline) => self.now = self.now.max(deadline),
                None => return,
            }
        }
        panic!("the producer does not settle");
    }

    fn failures(&mut self) -> Vec<DeliveryError> {
        let outcomes = std::iter::from_fn(|| self.machine.poll_outcome());
        outcomes.filter_map(|outcome| outcome.result.err()).collect()
    }
}

fn epoch_of(plan: &RequestPlan) -> i16 {
    RawBatch::parse(plan.batches[0].records.clone())
        .unwrap()
        .header
        .producer_epoch
}

#[test]
fn a_batch_waits_for_linger_and_not_longer() {
    let mut bench = Bench::new(options(), 1);
    bench.append(0, 1).unwrap();
    assert!(bench.request().is_none());
    assert_eq!(bench.machine.poll_deadline(bench.now), Some(bench.now + 5 * MS));
    bench.now += 5 * MS;
    let plan = bench.request().unwrap();
    bench.deliver(&plan);
    assert_eq!(bench.logs[0].values, [1]);
    assert!(bench.machine.is_idle());
    assert_eq!(bench.machine.poll_deadline(bench.now), None);
}

#[test]
fn a_full_batch_goes_at_once() {
    let mut bench = Bench::new(options(), 1);
    let first = bench.append(0, 1).unwrap();
    let mut value = 2;
    while bench.append(0, value).unwrap() == first {
        value += 1;
    }
    assert!(bench.request().is_some(), "full after {value} records");
    assert!(bench.request().is_none(), "the next one lingers");
}

#[test]
fn a_batch_that_could_not_be_sent_anyway_goes_on_filling() {
    let mut bench = Bench::new(
        ProducerOptions {
            in_flight_max: 1,
            ..options()
        },
        1,
    );
    let plan = bench.in_flight(0, 1);
    let token = bench.append(0, 2).unwrap();
    bench.now += 50 * MS;
    assert!(bench.request().is_none());
    assert_eq!(
        bench.append(0, 3).unwrap(),
        token,
        "still the same batch, long after linger"
    );
    bench.deliver(&plan);
    let plan = bench.request().unwrap();
    bench.deliver(&plan);
    assert_eq!(bench.logs[0].values, [1, 2, 3]);
}

#[test]
fn a_full_buffer_refuses_until_a_batch_is_resolved() {
    let mut bench = Bench::new(options(), 1);
    let mut value = 0;
    while bench.append(0, value).is_ok() {
        value += 1;
    }
    assert!(matches!(bench.append(0, value), Err(AppendError::BufferFull { .. })));
    assert!(bench.machine.stats().buffered_bytes <= options().buffer_bytes_max);
    let plan = bench.request().expect("what lingers goes now");
    bench.deliver(&plan);
    bench.settle();
    assert_eq!(bench.machine.stats().buffered_bytes, 0);
    bench.append(0, value).unwrap();
}

#[test]
fn a_record_that_no_request_could_carry_is_refused_and_nothing_is_appended() {
    let mut bench = Bench::new(options(), 1);
    let value = vec![0; options().request_bytes_max];
    let record = TopicRecord {
        value: Some(&value),
        ..TopicRecord::default()
    };
    let now = bench.now;
    let refused = bench
        .machine
        .append(0, &record, || (now, 0, 1))
        .map(|_| ())
        .unwrap_err();
    assert!(
        matches!(refused, AppendError::RecordTooLarge { bytes_max: 700, .. }),
        "{refused}"
    );
    assert!(bench.machine.is_idle());
    let wrong = bench.append(9, 1).unwrap_err();
    assert_eq!(wrong.to_string(), "orders has partitions 0 to 0, not 9");
}

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

#[test]
fn a_duplicate_is_success() {
    let mut bench = Bench::new(options(), 1);
    let plan = bench.in_flight(0, 1);
    bench.refuse(&plan, ErrorCode::DUPLICATE_SEQUENCE_NUMBER);
    let outcome = bench.machine.poll_outcome().unwrap();
    assert_eq!(outcome.result.unwrap().base_offset, None);
    assert!(bench.machine.is_idle());
}

#[test]
fn an_unknown_producer_starts_again_under_the_next_epoch() {
    let mut bench = Bench::new(options(), 1);
    let plan = bench.in_flight(0, 1);
    bench.deliver(&plan);
    bench.logs[0].forget_producers();
    let plan = bench.in_flight(0, 2);
    bench.deliver(&plan);
    bench.settle();
    assert_eq!(bench.logs[0].values, [1, 2]);
    assert_eq!(bench.machine.stats().sequence_restarts, 1);
    assert!(bench.failures().is_empty());
}

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
        "orders-0: not acknowledged within 100 ms, 0 attempts; last: the partition has no leader"
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
fn a_flush_covers_what_was_appended_before_it_and_nothing_later() {
    let mut bench = Bench::new(options(), 2);
    bench.append(0, 1).unwrap();
    let mark = bench.machine.flush();
    assert!(!bench.machine.is_flushed(mark));
    bench.append(1, 2).unwrap();
    let plan = bench.request().unwrap();
    assert_eq!(plan.batches.len(), 1, "the later batch lingers");
    bench.deliver(&plan);
    assert!(bench.machine.is_flushed(mark));
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
    assert_eq!(bench.append(0, 3), Err(AppendError::Closed));
    bench.deliver(&plan);
    assert!(bench.failures().is_empty(), "a late answer changes nothing");
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
fn records_without_key_stick_to_a_partition_until_its_batch_is_complete() {
    let mut bench = Bench::new(options(), 4);
    let mut runs: Vec<(i32, u32)> = Vec::new();
    for value in 0_u64..60 {
        let (now, bytes) = (bench.now, value.to_be_bytes());
        let record = TopicRecord {
            value: Some(&bytes),
            ..TopicRecord::default()
        };
        let partition = bench.machine.append(0, &record, || (now, 0, 0)).unwrap().partition;
        match runs.last_mut() {
            Some((last, count)) if *last == partition => *count += 1,
            _ => runs.push((partition, 1)),
        }
    }
    assert!(runs.len() > 3, "{runs:?}");
    assert!(runs[..runs.len() - 1].iter().all(|(_, count)| *count >= 5), "{runs:?}");
}

#[test]
fn keys_go_where_the_java_client_puts_them() {
    let mut bench = Bench::new(options(), 4);
    for key in ["21", "foobar", "a-little-bit-long-string"] {
        let now = bench.now;
        let record = TopicRecord {
            key: Some(key.as_bytes()),
            ..TopicRecord::default()
        };
        let partition = bench.machine.append(0, &record, || (now, 0, 0)).unwrap().partition;
        assert_eq!(partition, crate::partitioner::partition_for_key(key.as_bytes(), 4));
    }
}

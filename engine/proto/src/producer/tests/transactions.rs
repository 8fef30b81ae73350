//! Batches inside transactions: when they may go, and what an end does to them.

use engine_wire::error_code::ErrorCode;
use engine_wire::record_batch::RawBatch;

use super::bench::{Bench, MS, epoch_of, metadata, options};
use crate::backoff::BackoffPolicy;
use crate::producer::append::AppendError;
use crate::producer::delivery::DeliveryError;
use crate::producer::outcome::RequestOutcome;
use crate::producer::transaction::error::TransactionError;
use crate::producer::transaction::request::{
    TransactionAnswer, TransactionEnd, TransactionOutcome, TransactionProtocol, TransactionRequest,
};
use crate::producer::{ProducerMachine, ProducerOptions};
use crate::sequence::ProducerIdentity;

/// A coordinator that does whatever it is asked, at once.
fn coordinate(bench: &mut Bench, version: i16, epoch: &mut i16) -> Vec<TransactionRequest> {
    let mut asked = Vec::new();
    while let Some(request) = bench.machine.poll_transaction_request(bench.now) {
        let identity = match &request {
            TransactionRequest::InitProducerId { identity: None } => Some(0),
            TransactionRequest::InitProducerId { .. } => Some(1),
            TransactionRequest::EndTxn { .. } if version >= 2 => Some(1),
            _ => None,
        };
        let identity = identity.map(|raise| {
            *epoch += raise;
            ProducerIdentity {
                producer_id: 7,
                producer_epoch: *epoch,
            }
        });
        let answer = TransactionAnswer {
            codes: vec![(None, ErrorCode::NONE)],
            identity,
            transaction_version: version,
        };
        bench
            .machine
            .handle_transaction_outcome(bench.now, &TransactionOutcome::Answered(answer));
        asked.push(request);
    }
    asked
}

fn transactional(version: i16, options: ProducerOptions) -> (Bench, i16) {
    let mut bench = Bench::new(options, 2);
    bench.machine = ProducerMachine::new(options, 1).with_transactions("t".into());
    bench.machine.handle_metadata(&metadata(&[0, 0], 0));
    assert!(!bench.machine.needs_producer_id(), "the coordinator gives it");
    bench.machine.init_transactions().unwrap();
    let mut epoch = 0;
    coordinate(&mut bench, version, &mut epoch);
    assert_eq!(bench.machine.poll_initialized(), Some(Ok(())));
    (bench, epoch)
}

#[test]
fn nothing_is_appended_outside_of_a_transaction() {
    let (mut bench, _) = transactional(0, options());
    let refused = bench.append(0, 1);
    assert!(
        matches!(refused, Err(AppendError::Transaction(TransactionError::State { .. }))),
        "{refused:?}"
    );
    bench.machine.begin_transaction().unwrap();
    bench.append(0, 1).unwrap();
}

#[test]
fn a_batch_waits_until_its_partition_is_in_the_transaction() {
    let (mut bench, mut epoch) = transactional(0, options());
    bench.machine.begin_transaction().unwrap();
    bench.append(1, 1).unwrap();
    bench.machine.flush();
    assert!(bench.request().is_none(), "the coordinator does not know the partition");
    let asked = coordinate(&mut bench, 0, &mut epoch);
    let [TransactionRequest::AddPartitions { partitions, .. }] = &asked[..] else {
        panic!("{asked:?}")
    };
    assert_eq!(partitions[0].to_string(), "orders-1");
    let plan = bench.request().expect("now it does");
    assert_eq!(plan.transaction, Some(TransactionProtocol::Explicit));
    let header = RawBatch::parse(plan.batches[0].records.clone()).unwrap().header;
    assert!(header.is_transactional());
    bench.deliver(&plan);
    // The same partition again needs no request, also not in a later batch.
    bench.append(1, 2).unwrap();
    assert_eq!(coordinate(&mut bench, 0, &mut epoch), []);
}

#[test]
fn sequences_go_on_after_an_end_without_a_new_epoch_and_begin_anew_with_one() {
    for (version, expected) in [(0, [(0, 0), (0, 1)]), (2, [(0, 0), (1, 0)])] {
        let (mut bench, mut epoch) = transactional(version, options());
        let mut stamps = Vec::new();
        for value in 0..2 {
            bench.machine.begin_transaction().unwrap();
            bench.append(0, value).unwrap();
            let number = bench.machine.end_transaction(TransactionEnd::Commit).unwrap();
            coordinate(&mut bench, version, &mut epoch);
            let plan = bench.request().expect("a commit does not linger");
            let header = RawBatch::parse(plan.batches[0].records.clone()).unwrap().header;
            stamps.push((header.producer_epoch, header.base_sequence));
            assert_eq!(coordinate(&mut bench, version, &mut epoch), [], "a batch is unresolved");
            bench.deliver(&plan);
            coordinate(&mut bench, version, &mut epoch);
            assert_eq!(
                bench.machine.poll_ended(number, TransactionEnd::Commit),
                Some(Ok(())),
                "version {version}"
            );
        }
        assert_eq!(stamps, expected, "version {version}");
        assert_eq!(bench.logs[0].values, [0, 1], "version {version}");
    }
}

#[test]
fn an_abort_drops_what_was_not_sent_and_waits_for_what_was() {
    for version in [0, 2] {
        let (mut bench, mut epoch) = transactional(version, options());
        bench.machine.begin_transaction().unwrap();
        bench.append(0, 0).unwrap();
        coordinate(&mut bench, version, &mut epoch);
        bench.machine.flush();
        let plan = bench.request().unwrap();
        bench.append(0, 1).unwrap();
        bench.append(1, 2).unwrap();
        let number = bench.machine.end_transaction(TransactionEnd::Abort).unwrap();
        assert_eq!(bench.failures().len(), 2);
        assert_eq!(coordinate(&mut bench, version, &mut epoch), [], "one is in flight");
        bench.deliver(&plan);
        let asked = coordinate(&mut bench, version, &mut epoch);
        assert!(
            matches!(
                asked[..],
                [TransactionRequest::EndTxn {
                    end: TransactionEnd::Abort,
                    ..
                }]
            ),
            "{asked:?}"
        );
        assert_eq!(bench.machine.poll_ended(number, TransactionEnd::Abort), Some(Ok(())));
        // The next transaction's sequences follow on what the broker has.
        bench.machine.begin_transaction().unwrap();
        bench.append(0, 3).unwrap();
        coordinate(&mut bench, version, &mut epoch);
        bench.settle();
        assert_eq!(bench.logs[0].values, [0, 3], "version {version}");
        assert_eq!(bench.machine.stats().buffered_bytes, 0);
    }
}

#[test]
fn a_batch_that_meets_the_markers_of_the_transaction_before_goes_again_soon() {
    let slow = ProducerOptions {
        retry_backoff: BackoffPolicy {
            initial: 100 * MS,
            max: 1_000 * MS,
        },
        ..options()
    };
    let (mut bench, _) = transactional(2, slow);
    bench.machine.begin_transaction().unwrap();
    bench.append(0, 0).unwrap();
    bench.machine.flush();
    for _ in 0..5 {
        let plan = bench.request().expect("20 ms are over");
        bench.refuse(&plan, ErrorCode::CONCURRENT_TRANSACTIONS);
        assert!(bench.request().is_none(), "not as fast as the network can");
        bench.now += 20 * MS;
    }
    let plan = bench.request().unwrap();
    bench.deliver(&plan);
    assert_eq!(bench.logs[0].values, [0]);
}

#[test]
fn a_batch_that_may_be_written_is_sent_again_with_its_sequence_inside_the_transaction() {
    let (mut bench, mut epoch) = transactional(0, options());
    bench.machine.begin_transaction().unwrap();
    bench.append(0, 0).unwrap();
    bench.machine.end_transaction(TransactionEnd::Commit).unwrap();
    coordinate(&mut bench, 0, &mut epoch);
    let plan = bench.request().unwrap();
    let _ = bench.apply(&plan); // Written, but the answer is lost.
    bench.finish(&plan, RequestOutcome::Lost("reset".into()));
    bench.now += 200 * MS;
    let again = bench.request().unwrap();
    assert_eq!(again.batches[0].records, plan.batches[0].records);
    bench.deliver(&again);
    assert_eq!(bench.logs[0].values, [0]);
    assert!(bench.failures().is_empty());
    assert_eq!(coordinate(&mut bench, 0, &mut epoch).len(), 1, "EndTxn");
}

#[test]
fn a_lost_batch_that_is_aborted_costs_an_epoch_so_that_no_sequence_is_missing() {
    let (mut bench, mut epoch) = transactional(0, options());
    bench.machine.begin_transaction().unwrap();
    bench.append(0, 0).unwrap();
    bench.append(1, 1).unwrap();
    bench.machine.flush();
    coordinate(&mut bench, 0, &mut epoch);
    let plan = bench.request().unwrap();
    bench.machine.end_transaction(TransactionEnd::Abort).unwrap();
    bench.finish(&plan, RequestOutcome::Lost("reset".into())); // Never written.
    let asked = coordinate(&mut bench, 0, &mut epoch);
    assert!(
        matches!(
            asked[..],
            [
                TransactionRequest::EndTxn { .. },
                TransactionRequest::InitProducerId { identity: Some(_) }
            ]
        ),
        "{asked:?}"
    );
    bench.machine.begin_transaction().unwrap();
    bench.append(0, 2).unwrap();
    bench.machine.flush();
    coordinate(&mut bench, 0, &mut epoch);
    let plan = bench.request().unwrap();
    assert_eq!(epoch_of(&plan), 1);
    bench.deliver(&plan);
    assert_eq!(bench.logs[0].values, [2]);
}

/// Pitfall 8: inside a transaction, whose epoch is all partitions' own, a gap aborts.
#[test]
fn a_gap_in_one_partition_aborts_the_transaction_and_raises_no_epoch_under_it() {
    let (mut bench, mut epoch) = transactional(0, options());
    bench.machine.begin_transaction().unwrap();
    bench.append(0, 0).unwrap();
    bench.append(1, 1).unwrap();
    bench.machine.flush();
    coordinate(&mut bench, 0, &mut epoch);
    let plan = bench.request().unwrap();
    bench.refuse(&plan, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(bench.machine.stats().sequence_restarts, 0);
    let why = bench.machine.transaction_failure().cloned();
    let expected = Some(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert!(
        matches!(&why, Some(DeliveryError::Refused { code, .. }) if *code == expected),
        "{why:?}"
    );
    let refused = bench.append(1, 2).unwrap_err().to_string();
    assert!(
        refused.contains("must be aborted: orders-0") && refused.contains("OUT_OF_ORDER"),
        "{refused}"
    );
    let refused = bench.machine.end_transaction(TransactionEnd::Commit);
    assert!(
        matches!(refused, Err(TransactionError::MustAbort { .. })),
        "{refused:?}"
    );
    bench.machine.end_transaction(TransactionEnd::Abort).unwrap();
    coordinate(&mut bench, 0, &mut epoch);
    bench.machine.begin_transaction().unwrap();
    assert_eq!(bench.machine.transaction_failure(), None);
}

#[test]
fn a_batch_that_expires_makes_the_commit_fail() {
    let short = ProducerOptions {
        delivery_timeout: 50 * MS,
        ..options()
    };
    let (mut bench, mut epoch) = transactional(0, short);
    bench.machine.begin_transaction().unwrap();
    bench.append(0, 0).unwrap();
    let number = bench.machine.end_transaction(TransactionEnd::Commit).unwrap();
    coordinate(&mut bench, 0, &mut epoch);
    let plan = bench.request().unwrap();
    bench.now += 60 * MS;
    bench.machine.handle_timeout(bench.now);
    let told = bench
        .machine
        .poll_ended(number, TransactionEnd::Commit)
        .unwrap()
        .unwrap_err();
    assert!(told.to_string().contains("not acknowledged within 50 ms"), "{told}");
    bench.machine.end_transaction(TransactionEnd::Abort).unwrap();
    assert_eq!(coordinate(&mut bench, 0, &mut epoch), [], "it may still be written");
    bench.deliver(&plan);
    let asked = coordinate(&mut bench, 0, &mut epoch);
    assert!(
        matches!(asked.first(), Some(TransactionRequest::EndTxn { .. })),
        "{asked:?}"
    );
}

#[test]
fn a_fenced_producer_gives_everything_up_and_says_why_ever_after() {
    let (mut bench, mut epoch) = transactional(0, options());
    bench.machine.begin_transaction().unwrap();
    bench.append(0, 0).unwrap();
    bench.append(1, 1).unwrap();
    bench.machine.flush();
    coordinate(&mut bench, 0, &mut epoch);
    let plan = bench.request().unwrap();
    bench.append(1, 2).unwrap();
    bench.refuse(&plan, ErrorCode::INVALID_PRODUCER_EPOCH);
    assert_eq!(bench.failures().len(), 3);
    assert!(bench.machine.is_idle());
    for refused in [
        bench.machine.begin_transaction(),
        bench.machine.end_transaction(TransactionEnd::Abort).map(|_| ()),
        bench.machine.init_transactions(),
    ] {
        assert!(matches!(refused, Err(TransactionError::Fenced { .. })), "{refused:?}");
    }
    assert_eq!(coordinate(&mut bench, 0, &mut epoch), []);
}

#[test]
fn a_closed_producer_aborts_its_transaction_and_gives_up_in_the_end() {
    let short = ProducerOptions {
        delivery_timeout: 50 * MS,
        ..options()
    };
    let (mut bench, mut epoch) = transactional(0, short);
    bench.machine.begin_transaction().unwrap();
    bench.append(0, 0).unwrap();
    bench.machine.flush();
    coordinate(&mut bench, 0, &mut epoch);
    let plan = bench.request().unwrap();
    bench.deliver(&plan);
    bench.machine.close();
    assert!(!bench.machine.is_done(), "the coordinator is to be told");
    let asked = bench.machine.poll_transaction_request(bench.now);
    assert!(
        matches!(
            asked,
            Some(TransactionRequest::EndTxn {
                end: TransactionEnd::Abort,
                ..
            })
        ),
        "{asked:?}"
    );
    bench.machine.handle_timeout(bench.now);
    bench.now = bench.machine.poll_deadline(bench.now).expect("a bound");
    bench.machine.handle_timeout(bench.now);
    assert!(bench.machine.is_done());
}

#[test]
fn a_closed_producer_finishes_its_commit_and_begins_nothing() {
    let (mut bench, mut epoch) = transactional(2, options());
    bench.machine.begin_transaction().unwrap();
    bench.append(0, 0).unwrap();
    let number = bench.machine.end_transaction(TransactionEnd::Commit).unwrap();
    bench.machine.close();
    let plan = bench.request().expect("it is still sent");
    bench.deliver(&plan);
    coordinate(&mut bench, 2, &mut epoch);
    assert_eq!(bench.machine.poll_ended(number, TransactionEnd::Commit), Some(Ok(())));
    assert!(bench.machine.is_done());
    let refused = bench.machine.begin_transaction().unwrap_err();
    assert_eq!(
        refused.to_string(),
        "begin_transaction is not possible now: the producer is closed"
    );
}

#[test]
fn without_a_transactional_id_there_are_no_transactions() {
    let mut bench = Bench::new(options(), 1);
    let refused = bench.machine.begin_transaction().unwrap_err();
    assert_eq!(
        refused.to_string(),
        "begin_transaction: the producer has no `transactional.id`"
    );
}

//! How transactions end, and answers that come late.

use engine_wire::error_code::ErrorCode;

use super::bench::{Bench, answer, identity, offsets};
use crate::producer::transaction::request::{Step, TransactionAnswer, TransactionEnd, TransactionOutcome};
use crate::producer::transaction::state::BatchesFate;

#[test]
fn a_commit_waits_for_batches_partitions_and_offsets_in_this_order() {
    let mut bench = Bench::open(0);
    bench.transaction.want_partition(1);
    let ticket = bench
        .transaction
        .send_offsets(offsets("g"))
        .unwrap()
        .expect("none before it");
    assert_eq!(
        bench.transaction.send_offsets(offsets("g")).unwrap(),
        None,
        "one at a time"
    );
    let number = bench.transaction.end(TransactionEnd::Commit).unwrap();
    assert!(!bench.transaction.may_send(1));
    for step in [Step::AddPartitions, Step::AddOffsets, Step::CommitOffsets] {
        bench.expect(step);
        assert_eq!(
            bench.transaction.poll_step(bench.now, true),
            None,
            "one request at a time"
        );
        assert_eq!(bench.transaction.poll_offsets(ticket), None);
        bench.answer(answer(ErrorCode::NONE));
    }
    assert_eq!(bench.transaction.poll_offsets(ticket), Some(Ok(())));
    assert!(bench.transaction.may_send(1));
    assert_eq!(
        bench.transaction.poll_step(bench.now, false),
        None,
        "a batch is unresolved"
    );
    assert_eq!(bench.transaction.poll_ended(number, TransactionEnd::Commit), None);
    bench.end();
    assert_eq!(
        bench.transaction.poll_ended(number, TransactionEnd::Commit),
        Some(Ok(()))
    );
}

#[test]
fn with_the_newer_protocol_nothing_is_added_and_every_end_raises_the_epoch() {
    let mut bench = Bench::open(2);
    bench.expect_nothing();
    bench.transaction.send_offsets(offsets("g")).unwrap();
    bench.expect(Step::CommitOffsets);
    bench.answer(answer(ErrorCode::NONE));
    for end in [TransactionEnd::Commit, TransactionEnd::Abort] {
        let epoch = bench.epoch;
        bench.transaction.end(end).unwrap();
        bench.end();
        let identity = bench.transaction.identity().unwrap();
        assert_eq!((identity.producer_id, identity.producer_epoch), (7, epoch + 1));
        bench.transaction.begin().unwrap();
        bench.add(0);
    }
}

/// Pitfall 15 of the stream engine: the coordinator never hears of it.
#[test]
fn an_empty_transaction_ends_without_a_request() {
    for version in [0, 2] {
        for end in [TransactionEnd::Commit, TransactionEnd::Abort] {
            let mut bench = Bench::ready(version);
            bench.transaction.begin().unwrap();
            let number = bench.transaction.end(end).unwrap();
            bench.expect_nothing();
            assert_eq!(bench.transaction.poll_ended(number, end), Some(Ok(())));
        }
    }
}

#[test]
fn an_end_whose_caller_went_away_is_told_when_it_is_asked_for_again() {
    let mut bench = Bench::open(0);
    let number = bench.transaction.end(TransactionEnd::Commit).unwrap();
    bench.end();
    assert!(bench.transaction.end(TransactionEnd::Abort).is_err(), "it is committed");
    assert_eq!(bench.transaction.end(TransactionEnd::Commit), Ok(number));
    assert_eq!(
        bench.transaction.poll_ended(number, TransactionEnd::Commit),
        Some(Ok(()))
    );
    assert!(bench.transaction.end(TransactionEnd::Commit).is_err(), "told once");
}

#[test]
fn a_failed_batch_fails_the_commit_and_a_gap_costs_an_epoch_with_the_older_protocol() {
    for (version, was_sent, raises_epoch) in [(0, true, true), (0, false, false), (2, true, false)] {
        let mut bench = Bench::open(version);
        let number = bench.transaction.end(TransactionEnd::Commit).unwrap();
        bench
            .transaction
            .handle_batch_failed(&"orders-0: expired".into(), was_sent);
        let told = bench.transaction.poll_ended(number, TransactionEnd::Commit).unwrap();
        assert_eq!(
            told.unwrap_err().to_string(),
            "the transaction must be aborted: orders-0: expired"
        );
        assert!(matches!(bench.transaction.batches_fate(), BatchesFate::Finish(_)));
        bench.expect_nothing();
        bench.transaction.end(TransactionEnd::Abort).unwrap();
        bench.end();
        if raises_epoch {
            assert_eq!(bench.transaction.poll_ended(number, TransactionEnd::Abort), None);
            bench.expect(Step::InitProducerId);
            bench.answer(identity(1, 0));
        }
        assert_eq!(
            bench.transaction.poll_ended(number, TransactionEnd::Abort),
            Some(Ok(()))
        );
        bench.transaction.begin().unwrap();
    }
}

#[test]
fn a_transaction_that_the_coordinator_forgot_is_ended_by_a_new_epoch() {
    let mut bench = Bench::open(0);
    bench.transaction.end(TransactionEnd::Abort).unwrap();
    bench.expect(Step::EndTxn);
    bench.answer(answer(ErrorCode::INVALID_PRODUCER_ID_MAPPING));
    bench.expect(Step::InitProducerId);
    bench.answer(identity(1, 0));
    assert_eq!(bench.state(), "ready");
}

#[test]
fn an_abort_after_a_lost_first_request_takes_whatever_the_coordinator_knows() {
    for code in [ErrorCode::NONE, ErrorCode::INVALID_TXN_STATE] {
        let mut bench = Bench::ready(0);
        bench.transaction.begin().unwrap();
        bench.transaction.want_partition(0);
        bench.expect(Step::AddPartitions);
        bench.answer(TransactionOutcome::Lost("reset".into()));
        bench.transaction.end(TransactionEnd::Abort).unwrap();
        bench.expect(Step::EndTxn);
        bench.answer(answer(code));
        assert_eq!(bench.state(), "ready", "{code}");
    }
}

#[test]
fn an_answer_that_comes_after_the_abort_was_asked_for_changes_nothing_but_what_the_coordinator_knows() {
    for (outcome, ends) in [
        (answer(ErrorCode::NONE), true),
        (answer(ErrorCode::TOPIC_AUTHORIZATION_FAILED), false),
        (answer(ErrorCode::CONCURRENT_TRANSACTIONS), false),
        (TransactionOutcome::Lost("reset".into()), true),
    ] {
        let mut bench = Bench::ready(0);
        bench.transaction.begin().unwrap();
        bench.transaction.want_partition(0);
        bench.expect(Step::AddPartitions);
        bench.transaction.end(TransactionEnd::Abort).unwrap();
        bench.answer(outcome.clone());
        assert_eq!(bench.state(), "aborting", "{outcome:?}");
        if ends {
            bench.end();
        } else {
            bench.expect_nothing();
        }
        assert_eq!(bench.state(), "ready", "{outcome:?}");
    }
}

#[test]
fn the_gravest_of_many_codes_counts() {
    let mut bench = Bench::open(0);
    bench.transaction.want_partition(1);
    bench.expect(Step::AddPartitions);
    let tp = |partition| Some(crate::TopicPartition::new("orders", partition));
    bench.answer(TransactionOutcome::Answered(TransactionAnswer {
        codes: vec![
            (tp(0), ErrorCode::OPERATION_NOT_ATTEMPTED),
            (tp(1), ErrorCode::TOPIC_AUTHORIZATION_FAILED),
        ],
        ..TransactionAnswer::default()
    }));
    let error = bench.transaction.check_open("send").unwrap_err().to_string();
    assert!(
        error.contains("AddPartitionsToTxn of orders-1: TOPIC_AUTHORIZATION_FAILED"),
        "{error}"
    );
}

#[test]
fn a_request_that_cannot_be_sent_ends_the_producer_with_its_reason() {
    let mut bench = Bench::in_state("initializing");
    bench.expect(Step::InitProducerId);
    bench.answer(TransactionOutcome::Impossible("the broker is too old".into()));
    let told = bench.transaction.poll_initialized().unwrap().unwrap_err();
    assert_eq!(
        told.to_string(),
        "transactional id orders: the producer cannot go on: InitProducerId: the broker is too old"
    );
    assert!(matches!(bench.transaction.batches_fate(), BatchesFate::Drop(_)));
}

#[test]
fn an_answer_that_names_nobody_ends_the_producer_instead_of_opening_transactions() {
    let mut bench = Bench::in_state("initializing");
    bench.expect(Step::InitProducerId);
    bench.answer(answer(ErrorCode::NONE));
    let told = bench.transaction.poll_initialized().unwrap().unwrap_err();
    assert!(
        told.to_string().contains("neither a producer id nor an error"),
        "{told}"
    );
}

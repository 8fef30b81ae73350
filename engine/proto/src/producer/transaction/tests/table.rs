//! Every event in every state, and every answer in every class.

use engine_wire::error_code::ErrorCode;

use super::bench::{Bench, answer, offsets, start};
use crate::producer::transaction::request::{Step, TransactionEnd};
use crate::producer::transaction::state::Transaction;

#[test]
fn every_event_in_every_state_leads_where_the_diagram_says() {
    let states = [
        "uninitialized",
        "initializing",
        "ready",
        "open",
        "committing",
        "aborting",
        "abortable",
        "fatal",
    ];
    type Event = (&'static str, fn(&mut Transaction) -> bool, [&'static str; 8]);
    // Where each state leads; "-" for a refusal that changes nothing.
    let events: [Event; 10] = [
        (
            "init",
            |t| t.initialize().is_ok(),
            ["initializing", "initializing", "ready", "-", "-", "-", "-", "-"],
        ),
        (
            "begin",
            |t| t.begin().is_ok(),
            ["-", "-", "open", "-", "-", "-", "-", "-"],
        ),
        (
            "commit",
            |t| t.end(TransactionEnd::Commit).is_ok(),
            ["-", "-", "-", "committing", "committing", "-", "-", "-"],
        ),
        (
            "abort",
            |t| t.end(TransactionEnd::Abort).is_ok(),
            ["-", "-", "-", "aborting", "-", "aborting", "aborting", "-"],
        ),
        (
            "offsets",
            |t| t.send_offsets(offsets("g")).is_ok(),
            ["-", "-", "-", "open", "-", "-", "-", "-"],
        ),
        (
            "record",
            |t| t.check_open("send").is_ok(),
            ["-", "-", "-", "open", "-", "-", "-", "-"],
        ),
        (
            "failed batch",
            |t| {
                t.handle_batch_failed(&"it expired".into(), true);
                true
            },
            [
                "uninitialized",
                "initializing",
                "ready",
                "abortable",
                "abortable",
                "aborting",
                "abortable",
                "fatal",
            ],
        ),
        (
            "fenced",
            |t| {
                t.fence(&"INVALID_PRODUCER_EPOCH".into());
                true
            },
            ["fatal"; 8],
        ),
        (
            "close",
            |t| {
                t.close();
                true
            },
            [
                "fatal",
                "fatal",
                "ready",
                "aborting",
                "committing",
                "aborting",
                "aborting",
                "fatal",
            ],
        ),
        (
            "late answer",
            |t| {
                t.handle_outcome(start(), &answer(ErrorCode::PRODUCER_FENCED));
                true
            },
            states,
        ),
    ];
    for (name, event, expected) in events {
        for (before, after) in states.into_iter().zip(expected) {
            let mut bench = Bench::in_state(before);
            let is_accepted = event(&mut bench.transaction);
            assert_eq!(is_accepted, after != "-", "{name} in {before}");
            let after = if after == "-" { before } else { after };
            assert_eq!(bench.state(), after, "{name} in {before}");
        }
    }
}

#[test]
fn an_answer_to_each_request_leads_where_its_class_says() {
    for (step, code, expected) in [
        (Step::InitProducerId, ErrorCode::CONCURRENT_TRANSACTIONS, "initializing"),
        (Step::InitProducerId, ErrorCode::PRODUCER_FENCED, "fatal"),
        (Step::InitProducerId, ErrorCode::INVALID_TRANSACTION_TIMEOUT, "fatal"),
        (Step::AddPartitions, ErrorCode::CONCURRENT_TRANSACTIONS, "open"),
        (Step::AddPartitions, ErrorCode::TOPIC_AUTHORIZATION_FAILED, "abortable"),
        (Step::AddPartitions, ErrorCode::PRODUCER_FENCED, "fatal"),
        (Step::AddOffsets, ErrorCode::NOT_COORDINATOR, "open"),
        (Step::AddOffsets, ErrorCode::GROUP_AUTHORIZATION_FAILED, "abortable"),
        (Step::CommitOffsets, ErrorCode::ILLEGAL_GENERATION, "abortable"),
        (Step::CommitOffsets, ErrorCode::INVALID_PRODUCER_EPOCH, "fatal"),
        (Step::EndTxn, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS, "committing"),
        (Step::EndTxn, ErrorCode::TRANSACTION_ABORTABLE, "abortable"),
        (Step::EndTxn, ErrorCode::INVALID_PRODUCER_ID_MAPPING, "abortable"),
        (Step::EndTxn, ErrorCode::PRODUCER_FENCED, "fatal"),
        (Step::EndTxn, ErrorCode::INVALID_TXN_STATE, "fatal"),
    ] {
        let mut bench = match step {
            Step::InitProducerId => Bench::in_state("initializing"),
            Step::EndTxn => Bench::in_state("committing"),
            _ => Bench::open(0),
        };
        match step {
            Step::AddPartitions => bench.transaction.want_partition(1),
            Step::AddOffsets | Step::CommitOffsets => {
                bench.transaction.send_offsets(offsets("g")).unwrap();
            }
            _ => {}
        }
        if step == Step::CommitOffsets {
            bench.expect(Step::AddOffsets);
            bench.answer(answer(ErrorCode::NONE));
        }
        bench.expect(step);
        bench.answer(answer(code));
        assert_eq!(bench.state(), expected, "{code} to {step:?}");
        if code.is_retriable() {
            assert_eq!(bench.transaction.poll_step(bench.now, true), None, "not at once");
            bench.expect(step);
        }
    }
}

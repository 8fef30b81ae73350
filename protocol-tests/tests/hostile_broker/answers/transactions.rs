//! Lies to transactional producers.

use engine_wire::messages::*;

use super::{UNKNOWN_CODE, case};
use crate::cases::{Expected, Lie, run};
use crate::operations::Operation::{self, *};

const TRANSACTIONS: &[(&str, Operation, ApiKey, Lie)] = &[
    ("an unknown error", Transact, ApiKey::EndTxn, |x| {
        x.changed(|answer: &mut EndTxnResponse| answer.error_code = UNKNOWN_CODE)
    }),
    ("nobody's id", Transact, ApiKey::EndTxn, |x| {
        x.changed(|answer: &mut EndTxnResponse| {
            (answer.producer_id, answer.producer_epoch) = (ProducerId(i64::MIN), i16::MIN);
        })
    }),
    ("another's id", Transact, ApiKey::EndTxn, |x| {
        x.changed(|answer: &mut EndTxnResponse| {
            (answer.producer_id, answer.producer_epoch) = (ProducerId(i64::MAX), 7);
        })
    }),
    ("nothing", Transact, ApiKey::TxnOffsetCommit, |x| {
        x.changed(|answer: &mut TxnOffsetCommitResponse| answer.topics.clear())
    }),
    ("an unknown error", Transact, ApiKey::TxnOffsetCommit, |x| {
        x.changed(|answer: &mut TxnOffsetCommitResponse| {
            for topic in &mut answer.topics {
                topic
                    .partitions
                    .iter_mut()
                    .for_each(|partition| partition.error_code = UNKNOWN_CODE);
            }
        })
    }),
    ("nothing", TransactExplicitly, ApiKey::AddPartitionsToTxn, |x| {
        x.changed(|answer: &mut AddPartitionsToTxnResponse| answer.results_by_topic_v3_and_below.clear())
    }),
    (
        "an unknown error",
        TransactExplicitly,
        ApiKey::AddPartitionsToTxn,
        |x| {
            x.changed(|answer: &mut AddPartitionsToTxnResponse| {
                for topic in &mut answer.results_by_topic_v3_and_below {
                    topic
                        .results_by_partition
                        .iter_mut()
                        .for_each(|result| result.partition_error_code = UNKNOWN_CODE);
                }
            })
        },
    ),
    (
        "other partitions",
        TransactExplicitly,
        ApiKey::AddPartitionsToTxn,
        |x| {
            x.changed(|answer: &mut AddPartitionsToTxnResponse| {
                for topic in &mut answer.results_by_topic_v3_and_below {
                    topic
                        .results_by_partition
                        .iter_mut()
                        .for_each(|result| result.partition_index = -7);
                }
            })
        },
    ),
    ("an unknown error", TransactExplicitly, ApiKey::AddOffsetsToTxn, |x| {
        x.changed(|answer: &mut AddOffsetsToTxnResponse| answer.error_code = UNKNOWN_CODE)
    }),
];

#[test]
fn transactional_producers_survive_odd_answers() {
    let cases = TRANSACTIONS.iter();
    run(cases
        .map(|(what, operation, api, lie)| case(*operation, *api, what, *lie, Expected::AnEnd))
        .collect());
}

//! What a producer does about an answer.
//!
//! A pure function of the error code and the batch's situation, so that the whole table is one
//! test. Never here: queues, timers.

use engine_wire::error_code::{ErrorClass, ErrorCode};

/// The situation in which the batch was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Situation {
    pub(super) is_idempotent: bool,
    pub(super) is_transactional: bool,
    /// Nothing older of the partition was unresolved when the batch was sent.
    pub(super) was_head: bool,
    pub(super) record_count: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The broker has it.
    Delivered,
    /// Send again with the same sequence.
    Retry { refresh_metadata: bool },
    /// The broker lost our place in the sequence, and does not have this batch: start again under
    /// the next epoch.
    RestartSequence,
    /// Send in two halves.
    Split,
    /// Give up; a transaction must be aborted then.
    Fail,
    /// Another producer has our transactional id, or we may not use it: end the producer.
    End,
}

pub(super) fn verdict(code: ErrorCode, situation: Situation) -> Verdict {
    const RETRY: Verdict = Verdict::Retry {
        refresh_metadata: false,
    };
    match code {
        ErrorCode::NONE | ErrorCode::DUPLICATE_SEQUENCE_NUMBER => Verdict::Delivered,
        ErrorCode::MESSAGE_TOO_LARGE | ErrorCode::RECORD_LIST_TOO_LARGE if situation.record_count > 1 => Verdict::Split,
        ErrorCode::PRODUCER_FENCED
        | ErrorCode::INVALID_PRODUCER_EPOCH
        | ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED
            if situation.is_transactional =>
        {
            Verdict::End
        }
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER
        | ErrorCode::UNKNOWN_PRODUCER_ID
        | ErrorCode::INVALID_PRODUCER_EPOCH
            if situation.is_idempotent =>
        {
            // Behind an unresolved batch it only says that the older one is missing. The epoch of a transactional
            // producer is that of all its partitions: it rises with the abort.
            match situation {
                Situation { was_head: false, .. } => RETRY,
                Situation {
                    is_transactional: true, ..
                } => Verdict::Fail,
                _ => Verdict::RestartSequence,
            }
        }
        // The generic broker-side failure; the Java client gives up here too.
        ErrorCode::UNKNOWN_SERVER_ERROR => Verdict::Fail,
        code => match code.class() {
            ErrorClass::Success => Verdict::Delivered,
            ErrorClass::Retriable => RETRY,
            ErrorClass::RefreshMetadata => Verdict::Retry { refresh_metadata: true },
            ErrorClass::Fenced | ErrorClass::Abortable | ErrorClass::Fatal => Verdict::Fail,
        },
    }
}

/// Whether a broker that answers so has not appended the batch. Others may come from one that has: of a leader that
/// moved away or timed out while it waited for the replicas, for example.
pub(super) fn is_not_written(code: ErrorCode) -> bool {
    [
        ErrorCode::CLUSTER_AUTHORIZATION_FAILED,
        ErrorCode::CONCURRENT_TRANSACTIONS,
        ErrorCode::CORRUPT_MESSAGE,
        ErrorCode::INCONSISTENT_TOPIC_ID,
        ErrorCode::INVALID_PRODUCER_EPOCH,
        ErrorCode::INVALID_PRODUCER_ID_MAPPING,
        ErrorCode::INVALID_RECORD,
        ErrorCode::INVALID_REQUIRED_ACKS,
        ErrorCode::INVALID_TIMESTAMP,
        ErrorCode::INVALID_TOPIC_EXCEPTION,
        ErrorCode::INVALID_TXN_STATE,
        ErrorCode::LEADER_NOT_AVAILABLE,
        ErrorCode::MESSAGE_TOO_LARGE,
        ErrorCode::NOT_ENOUGH_REPLICAS,
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
        ErrorCode::PRODUCER_FENCED,
        ErrorCode::RECORD_LIST_TOO_LARGE,
        ErrorCode::TOPIC_AUTHORIZATION_FAILED,
        ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        ErrorCode::TRANSACTION_ABORTABLE,
        ErrorCode::UNKNOWN_PRODUCER_ID,
        ErrorCode::UNKNOWN_TOPIC_ID,
        ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
        ErrorCode::UNSUPPORTED_FOR_MESSAGE_FORMAT,
    ]
    .contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_has_its_consequence() {
        let head = Situation {
            is_idempotent: true,
            is_transactional: false,
            was_head: true,
            record_count: 10,
        };
        let behind = Situation {
            was_head: false,
            ..head
        };
        let single = Situation {
            record_count: 1,
            ..head
        };
        let plain = Situation {
            is_idempotent: false,
            ..head
        };
        let in_transaction = Situation {
            is_transactional: true,
            ..head
        };
        let behind_in_transaction = Situation {
            is_transactional: true,
            ..behind
        };
        let retry = Verdict::Retry {
            refresh_metadata: false,
        };
        let elsewhere = Verdict::Retry { refresh_metadata: true };
        for (code, situation, expected) in [
            (ErrorCode::NONE, head, Verdict::Delivered),
            (ErrorCode::DUPLICATE_SEQUENCE_NUMBER, head, Verdict::Delivered),
            (ErrorCode::NOT_LEADER_OR_FOLLOWER, head, elsewhere),
            (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, head, elsewhere),
            (ErrorCode::LEADER_NOT_AVAILABLE, head, elsewhere),
            (ErrorCode::FENCED_LEADER_EPOCH, head, elsewhere),
            (ErrorCode::UNKNOWN_TOPIC_ID, head, elsewhere),
            (ErrorCode::INCONSISTENT_TOPIC_ID, head, elsewhere),
            (ErrorCode::KAFKA_STORAGE_ERROR, head, elsewhere),
            (ErrorCode::NOT_ENOUGH_REPLICAS, head, retry),
            (ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND, head, retry),
            (ErrorCode::REQUEST_TIMED_OUT, head, retry),
            (ErrorCode::CORRUPT_MESSAGE, head, retry),
            (ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, behind, retry),
            (ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, head, Verdict::RestartSequence),
            (ErrorCode::UNKNOWN_PRODUCER_ID, head, Verdict::RestartSequence),
            (ErrorCode::INVALID_PRODUCER_EPOCH, head, Verdict::RestartSequence),
            (ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, plain, Verdict::Fail),
            (ErrorCode::MESSAGE_TOO_LARGE, head, Verdict::Split),
            (ErrorCode::MESSAGE_TOO_LARGE, single, Verdict::Fail),
            (ErrorCode::TOPIC_AUTHORIZATION_FAILED, head, Verdict::Fail),
            (ErrorCode::UNKNOWN_SERVER_ERROR, head, Verdict::Fail),
            (ErrorCode::PRODUCER_FENCED, head, Verdict::Fail),
            (ErrorCode::INVALID_RECORD, head, Verdict::Fail),
            (ErrorCode::NONE, in_transaction, Verdict::Delivered),
            (ErrorCode::DUPLICATE_SEQUENCE_NUMBER, in_transaction, Verdict::Delivered),
            (ErrorCode::NOT_LEADER_OR_FOLLOWER, in_transaction, elsewhere),
            (ErrorCode::CONCURRENT_TRANSACTIONS, in_transaction, retry),
            (ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, behind_in_transaction, retry),
            (ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, in_transaction, Verdict::Fail),
            (ErrorCode::UNKNOWN_PRODUCER_ID, in_transaction, Verdict::Fail),
            (ErrorCode::MESSAGE_TOO_LARGE, in_transaction, Verdict::Split),
            (ErrorCode::INVALID_TXN_STATE, in_transaction, Verdict::Fail),
            (ErrorCode::TRANSACTION_ABORTABLE, in_transaction, Verdict::Fail),
            (ErrorCode::INVALID_PRODUCER_ID_MAPPING, in_transaction, Verdict::Fail),
            (ErrorCode::PRODUCER_FENCED, in_transaction, Verdict::End),
            (ErrorCode::INVALID_PRODUCER_EPOCH, in_transaction, Verdict::End),
            (ErrorCode::INVALID_PRODUCER_EPOCH, behind_in_transaction, Verdict::End),
            (
                ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
                in_transaction,
                Verdict::End,
            ),
            (ErrorCode::INVALID_REQUIRED_ACKS, head, Verdict::Fail),
            (ErrorCode::from(i16::MAX), head, Verdict::Fail),
        ] {
            assert_eq!(verdict(code, situation), expected, "{code} {situation:?}");
        }
    }
}

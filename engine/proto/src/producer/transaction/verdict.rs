//! What a transactional producer does about an answer of a coordinator.
//!
//! A pure function of the request and the code, after the handlers of the Java client's TransactionManager, so that the
//! whole table is one test. Never here: states.

use engine_wire::error_code::ErrorCode;

use super::request::Step;

/// From the mildest to the gravest: of many codes in one answer the gravest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    Done,
    /// The same again, after a while; the driver looks for the coordinator if it moved.
    Retry,
    /// The transaction is lost, the producer is not.
    Abort,
    /// The same, and the coordinator does not know it any more: a new epoch ends it.
    AbortUnknown,
    Fatal,
    Fence,
}

pub(super) fn verdict(step: Step, code: ErrorCode) -> Verdict {
    match (step, code) {
        (_, ErrorCode::NONE) => Verdict::Done,
        // Older coordinators say INVALID_PRODUCER_EPOCH for PRODUCER_FENCED.
        (_, ErrorCode::PRODUCER_FENCED | ErrorCode::INVALID_PRODUCER_EPOCH) => Verdict::Fence,
        // Another partition of the answer says why.
        (Step::AddPartitions, ErrorCode::OPERATION_NOT_ATTEMPTED) => Verdict::Retry,
        (_, code) if code.is_retriable() => Verdict::Retry,
        (Step::InitProducerId, _) => Verdict::Fatal,
        (_, ErrorCode::INVALID_PRODUCER_ID_MAPPING | ErrorCode::UNKNOWN_PRODUCER_ID) => Verdict::AbortUnknown,
        (_, ErrorCode::TRANSACTION_ABORTABLE) => Verdict::Abort,
        (
            _,
            ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED
            | ErrorCode::CLUSTER_AUTHORIZATION_FAILED
            | ErrorCode::INVALID_TXN_STATE
            | ErrorCode::UNSUPPORTED_VERSION,
        ) => Verdict::Fatal,
        // What is wrong with a partition, a group or a member is wrong with this transaction only.
        (Step::AddPartitions, _) => Verdict::Abort,
        (
            Step::AddOffsets | Step::CommitOffsets,
            ErrorCode::GROUP_AUTHORIZATION_FAILED
            | ErrorCode::TOPIC_AUTHORIZATION_FAILED
            | ErrorCode::FENCED_INSTANCE_ID
            | ErrorCode::UNKNOWN_MEMBER_ID
            | ErrorCode::ILLEGAL_GENERATION
            | ErrorCode::STALE_MEMBER_EPOCH
            | ErrorCode::FENCED_MEMBER_EPOCH
            | ErrorCode::REBALANCE_IN_PROGRESS
            | ErrorCode::INVALID_GROUP_ID
            | ErrorCode::OFFSET_METADATA_TOO_LARGE
            | ErrorCode::INVALID_COMMIT_OFFSET_SIZE,
        ) => Verdict::Abort,
        (Step::AddOffsets | Step::CommitOffsets | Step::EndTxn, _) => Verdict::Fatal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_has_its_consequence() {
        let all = [
            Step::InitProducerId,
            Step::AddPartitions,
            Step::AddOffsets,
            Step::CommitOffsets,
            Step::EndTxn,
        ];
        // The verdicts in the order of `all`.
        use Verdict::{Abort, AbortUnknown, Done, Fatal, Fence, Retry};
        for (code, expected) in [
            (ErrorCode::NONE, [Done; 5]),
            (ErrorCode::NOT_COORDINATOR, [Retry; 5]),
            (ErrorCode::COORDINATOR_NOT_AVAILABLE, [Retry; 5]),
            (ErrorCode::COORDINATOR_LOAD_IN_PROGRESS, [Retry; 5]),
            (ErrorCode::CONCURRENT_TRANSACTIONS, [Retry; 5]),
            (ErrorCode::REQUEST_TIMED_OUT, [Retry; 5]),
            (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, [Retry; 5]),
            (ErrorCode::PRODUCER_FENCED, [Fence; 5]),
            (ErrorCode::INVALID_PRODUCER_EPOCH, [Fence; 5]),
            (ErrorCode::OPERATION_NOT_ATTEMPTED, [Fatal, Retry, Fatal, Fatal, Fatal]),
            (ErrorCode::TRANSACTION_ABORTABLE, [Fatal, Abort, Abort, Abort, Abort]),
            (
                ErrorCode::INVALID_PRODUCER_ID_MAPPING,
                [Fatal, AbortUnknown, AbortUnknown, AbortUnknown, AbortUnknown],
            ),
            (
                ErrorCode::UNKNOWN_PRODUCER_ID,
                [Fatal, AbortUnknown, AbortUnknown, AbortUnknown, AbortUnknown],
            ),
            (ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED, [Fatal; 5]),
            (ErrorCode::CLUSTER_AUTHORIZATION_FAILED, [Fatal; 5]),
            (
                ErrorCode::INVALID_TRANSACTION_TIMEOUT,
                [Fatal, Abort, Fatal, Fatal, Fatal],
            ),
            (ErrorCode::INVALID_TXN_STATE, [Fatal; 5]),
            (ErrorCode::UNSUPPORTED_VERSION, [Fatal; 5]),
            (
                ErrorCode::TOPIC_AUTHORIZATION_FAILED,
                [Fatal, Abort, Abort, Abort, Fatal],
            ),
            (
                ErrorCode::GROUP_AUTHORIZATION_FAILED,
                [Fatal, Abort, Abort, Abort, Fatal],
            ),
            (ErrorCode::ILLEGAL_GENERATION, [Fatal, Abort, Abort, Abort, Fatal]),
            (ErrorCode::UNKNOWN_MEMBER_ID, [Fatal, Abort, Abort, Abort, Fatal]),
            (ErrorCode::FENCED_INSTANCE_ID, [Fatal, Abort, Abort, Abort, Fatal]),
            (
                ErrorCode::OFFSET_METADATA_TOO_LARGE,
                [Fatal, Abort, Abort, Abort, Fatal],
            ),
            (ErrorCode::UNKNOWN_SERVER_ERROR, [Fatal, Abort, Fatal, Fatal, Fatal]),
            (ErrorCode::from(i16::MAX), [Fatal, Abort, Fatal, Fatal, Fatal]),
        ] {
            let told = all.map(|step| verdict(step, code));
            assert_eq!(told, expected, "{code}");
        }
    }
}

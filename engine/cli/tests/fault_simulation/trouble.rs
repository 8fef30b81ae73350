//! What can go wrong at a step, and where it shall.

use std::time::Duration;

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::ApiKey;

use crate::step::{Step, step};

/// What happens at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The broker refuses with this code.
    Error(ErrorCode),
    /// The connection ends before the request is handled.
    Disconnect,
    /// The request is handled, and the connection ends without an answer.
    ApplyThenDisconnect,
    /// The request is handled and never answered; the connection stays open.
    Silence,
    /// The answer comes late.
    Delay,
    /// The broker crashes before the request is handled, and comes back.
    Restart,
    /// The engine is killed before the request is handled.
    KillBefore,
    /// The engine is killed when the request is handled, before it can know.
    KillAfter,
    /// The lake's folder cannot be used any more from here on, until the engine has ended.
    LakeGone,
}

/// How late a late answer is.
pub(crate) const LATE: Duration = Duration::from_millis(300);
/// How long a crashed broker is away.
pub(crate) const DOWN: Duration = Duration::from_millis(150);

/// Where: the first request of `step` when `after_commits` commits have been asked for, `skip` of its kind left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) step: Step,
    pub(crate) after_commits: usize,
    pub(crate) skip: usize,
}

/// One trouble at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) place: Place,
    pub(crate) trouble: Trouble,
}

/// What can happen to any request.
const ANYWHERE: [Trouble; 7] = [
    Trouble::Disconnect,
    Trouble::ApplyThenDisconnect,
    Trouble::Silence,
    Trouble::Delay,
    Trouble::Restart,
    Trouble::KillBefore,
    Trouble::KillAfter,
];

/// The codes that a broker may refuse an API with: of each class that it has for it, one and more where they are treated
/// apart.
fn refusals(step: Step) -> &'static [ErrorCode] {
    const LOADING: ErrorCode = ErrorCode::COORDINATOR_LOAD_IN_PROGRESS;
    const MOVED: ErrorCode = ErrorCode::NOT_COORDINATOR;
    match step.api {
        ApiKey::Produce => &[
            ErrorCode::NOT_LEADER_OR_FOLLOWER,
            ErrorCode::NOT_ENOUGH_REPLICAS,
            ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND,
            ErrorCode::REQUEST_TIMED_OUT,
            ErrorCode::KAFKA_STORAGE_ERROR,
            ErrorCode::INVALID_PRODUCER_EPOCH,
            ErrorCode::TOPIC_AUTHORIZATION_FAILED,
        ],
        ApiKey::Fetch => &[
            ErrorCode::NOT_LEADER_OR_FOLLOWER,
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            ErrorCode::KAFKA_STORAGE_ERROR,
            ErrorCode::TOPIC_AUTHORIZATION_FAILED,
        ],
        ApiKey::ListOffsets => &[
            ErrorCode::NOT_LEADER_OR_FOLLOWER,
            ErrorCode::LEADER_NOT_AVAILABLE,
            ErrorCode::TOPIC_AUTHORIZATION_FAILED,
        ],
        ApiKey::FindCoordinator => &[
            ErrorCode::COORDINATOR_NOT_AVAILABLE,
            LOADING,
            ErrorCode::GROUP_AUTHORIZATION_FAILED,
        ],
        ApiKey::InitProducerId => &[
            LOADING,
            MOVED,
            ErrorCode::CONCURRENT_TRANSACTIONS,
            ErrorCode::PRODUCER_FENCED,
            ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        ],
        ApiKey::AddPartitionsToTxn | ApiKey::AddOffsetsToTxn | ApiKey::EndTxn => &[
            LOADING,
            MOVED,
            ErrorCode::CONCURRENT_TRANSACTIONS,
            ErrorCode::PRODUCER_FENCED,
            ErrorCode::INVALID_TXN_STATE,
            ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        ],
        ApiKey::TxnOffsetCommit => &[
            LOADING,
            MOVED,
            ErrorCode::ILLEGAL_GENERATION,
            ErrorCode::UNKNOWN_MEMBER_ID,
            ErrorCode::INVALID_PRODUCER_EPOCH,
            ErrorCode::GROUP_AUTHORIZATION_FAILED,
        ],
        ApiKey::OffsetCommit => &[
            LOADING,
            MOVED,
            ErrorCode::REBALANCE_IN_PROGRESS,
            ErrorCode::ILLEGAL_GENERATION,
            ErrorCode::UNKNOWN_MEMBER_ID,
            ErrorCode::GROUP_AUTHORIZATION_FAILED,
        ],
        ApiKey::OffsetFetch => &[
            LOADING,
            MOVED,
            ErrorCode::UNSTABLE_OFFSET_COMMIT,
            ErrorCode::GROUP_AUTHORIZATION_FAILED,
        ],
        ApiKey::JoinGroup => &[LOADING, MOVED, ErrorCode::UNKNOWN_MEMBER_ID],
        ApiKey::SyncGroup => &[
            LOADING,
            MOVED,
            ErrorCode::REBALANCE_IN_PROGRESS,
            ErrorCode::UNKNOWN_MEMBER_ID,
        ],
        ApiKey::Heartbeat => &[
            LOADING,
            MOVED,
            ErrorCode::REBALANCE_IN_PROGRESS,
            ErrorCode::UNKNOWN_MEMBER_ID,
        ],
        ApiKey::Metadata => &[ErrorCode::LEADER_NOT_AVAILABLE, ErrorCode::TOPIC_AUTHORIZATION_FAILED],
        _ => &[],
    }
}

/// Every trouble that this step can meet.
pub(crate) fn troubles_at(step: Step) -> Vec<Trouble> {
    let mut troubles: Vec<_> = refusals(step).iter().copied().map(Trouble::Error).collect();
    troubles.extend(ANYWHERE);
    if matches!(step.api, ApiKey::EndTxn | ApiKey::OffsetCommit) {
        troubles.push(Trouble::LakeGone);
    }
    troubles
}

/// The steps of a run's beginning, in their order.
pub(crate) fn first_steps(exactly_once: bool) -> Vec<Step> {
    let mut steps = vec![
        step(ApiKey::ApiVersions, ""),
        step(ApiKey::Metadata, ""),
        step(ApiKey::InitProducerId, ""),
        step(ApiKey::FindCoordinator, "group"),
        step(ApiKey::JoinGroup, ""),
        step(ApiKey::SyncGroup, ""),
        step(ApiKey::OffsetFetch, ""),
        step(ApiKey::ListOffsets, "state"),
        step(ApiKey::ListOffsets, "events"),
        step(ApiKey::Fetch, "events"),
    ];
    if exactly_once {
        steps.push(step(ApiKey::FindCoordinator, "transaction"));
    }
    steps
}

/// The steps of one checkpoint, in their order.
pub(crate) fn checkpoint_steps(exactly_once: bool, transaction_version: i16) -> Vec<Step> {
    let mut steps = Vec::new();
    if exactly_once && transaction_version < 2 {
        steps.push(step(ApiKey::AddPartitionsToTxn, ""));
    }
    steps.extend([
        step(ApiKey::Produce, "results"),
        step(ApiKey::Produce, "dead"),
        step(ApiKey::Produce, "state"),
    ]);
    if exactly_once && transaction_version < 2 {
        steps.push(step(ApiKey::AddOffsetsToTxn, ""));
    }
    match exactly_once {
        true => steps.extend([step(ApiKey::TxnOffsetCommit, ""), step(ApiKey::EndTxn, "commit")]),
        false => steps.push(step(ApiKey::OffsetCommit, "")),
    }
    steps
}

//! Committing offsets under the identity that the application knows of itself.
//!
//! A commit is refused here, before it is sent, if the member has lost or rejoined what the
//! application still believes to own. Never here: which offsets to commit.

use engine_proto::{TopicPartition, producer::ConsumerGroupMetadata};
use engine_wire::error_code::{ErrorClass, ErrorCode};

use super::{error::CommitError, group_requests, machines::Shared};
use crate::{
    cluster::Cluster,
    connection::now,
    offsets::{
        CommittedOffset,
        committed::{Committer, commit_once, forget_if_moved},
    },
};

/// Commits until all is committed, refused for good, or `default.api.timeout.ms` have passed.
pub(super) async fn commit(
    shared: &Shared,
    cluster: &Cluster,
    offsets: &[(TopicPartition, CommittedOffset)],
) -> Result<(), CommitError> {
    let group = shared.config.group_id.as_deref().ok_or(CommitError::NoGroup)?;
    let timeout = cluster.config().default_api_timeout;
    let deadline = now() + timeout;
    let mut open = offsets.to_vec();
    loop {
        let committer = committer(shared, &open)?;
        let mut last = ErrorCode::NONE;
        match commit_once(cluster, group, &committer, &open).await {
            Ok(codes) => {
                for (tp, code) in codes {
                    if code.is_ok() {
                        open.retain(|(open, _)| *open != tp);
                        continue;
                    }
                    check_commit(shared, cluster, group, &committer, &tp, code)?;
                    last = code;
                }
            }
            Err(error) if error.is_retriable() => {
                cluster.forget_coordinator(group);
                last = ErrorCode::NETWORK_EXCEPTION;
            }
            Err(error) => return Err(CommitError::Request(error)),
        }
        if open.is_empty() {
            return Ok(());
        }
        if now() >= deadline {
            return Err(CommitError::TimedOut { timeout, last });
        }
        tokio::time::sleep(cluster.config().retry_backoff).await;
    }
}

/// What a transactional producer needs to commit on behalf of this member.
pub(super) fn group_metadata(shared: &Shared) -> Result<ConsumerGroupMetadata, CommitError> {
    let group_id = shared.config.group_id.clone().ok_or(CommitError::NoGroup)?;
    let committer = committer(shared, &[])?;
    Ok(ConsumerGroupMetadata {
        group_id,
        generation_id: committer.generation_id,
        member_id: committer.member_id,
        group_instance_id: committer.group_instance_id,
    })
}

/// Under which identity to commit. A member whose application holds another generation than
/// the machine is stale already.
pub(super) fn committer(
    shared: &Shared,
    offsets: &[(TopicPartition, CommittedOffset)],
) -> Result<Committer, CommitError> {
    let state = shared.lock();
    let Some(membership) = state.membership.as_ref().filter(|member| member.is_subscribed()) else {
        return Ok(Committer::outsider());
    };
    if let Some((tp, _)) = offsets.iter().find(|(tp, _)| !state.owned.contains(tp)) {
        return Err(CommitError::NotAssigned { tp: tp.clone() });
    }
    match (membership.commit_generation(), state.delivered_generation) {
        (Some(current), Some(delivered)) if current == delivered => Ok(Committer {
            member_id: membership.member_id().to_owned(),
            group_instance_id: shared.config.group_instance_id.clone(),
            generation_id: current,
        }),
        (_, Some(_)) if membership.keeps_partitions() => Err(CommitError::RebalanceInProgress),
        _ => Err(CommitError::MembershipLost {
            code: ErrorCode::ILLEGAL_GENERATION,
        }),
    }
}

/// Ok if another attempt may help.
fn check_commit(
    shared: &Shared,
    cluster: &Cluster,
    group: &str,
    committer: &Committer,
    tp: &TopicPartition,
    code: ErrorCode,
) -> Result<(), CommitError> {
    let mut state = shared.lock();
    state.count_error(code.name());
    let error = group_requests::group_error(code);
    let is_membership = [
        ErrorCode::UNKNOWN_MEMBER_ID,
        ErrorCode::ILLEGAL_GENERATION,
        ErrorCode::FENCED_INSTANCE_ID,
        ErrorCode::REBALANCE_IN_PROGRESS,
    ];
    if is_membership.contains(&code) {
        let mut is_kept = false;
        if let Some(membership) = &mut state.membership {
            // The group may have moved on with us while the commit was under way.
            let has_moved_on = membership.commit_generation() != Some(committer.generation_id);
            is_kept = code == ErrorCode::ILLEGAL_GENERATION && has_moved_on && membership.keeps_partitions();
            membership.handle_commit_refused(now(), committer.generation_id, error);
        }
        drop(state);
        shared.wake_driver.notify_one();
        return Err(match code {
            ErrorCode::REBALANCE_IN_PROGRESS => CommitError::RebalanceInProgress,
            _ if is_kept => CommitError::RebalanceInProgress,
            code => CommitError::MembershipLost { code },
        });
    }
    forget_if_moved(cluster, group, code);
    match code.class() {
        ErrorClass::Retriable | ErrorClass::RefreshMetadata => Ok(()),
        _ => Err(CommitError::Partition { tp: tp.clone(), code }),
    }
}

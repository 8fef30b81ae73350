//! Asking the coordinator whether this member is still one, now.
//!
//! Heartbeats say so too, but nobody waits for them: a process that slept works on until the next answer. Whoever must not
//! write anything as a former owner asks here first.

use std::time::Duration;

use engine_wire::{
    error_code::{ErrorClass, ErrorCode},
    messages::{HeartbeatRequest, StrBytes},
};

use super::{commit::committer, error::CommitError, group_requests, machines::Shared};
use crate::{
    cluster::{Cluster, Lane, NodeTarget},
    connection::{RequestError, now},
    offsets::committed::{Committer, forget_if_moved},
};

/// Why the coordinator did not confirm a membership.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ConfirmationError {
    /// Only members of a group can be asked for.
    #[error("not a member of a group")]
    NoMember,
    /// The group has moved on without this member.
    #[error("the membership is lost: {}", .code.name())]
    Lost {
        /// UNKNOWN_MEMBER_ID, ILLEGAL_GENERATION or FENCED_INSTANCE_ID.
        code: ErrorCode,
    },
    /// The group is assigning; ask again after the next event.
    #[error("the membership was not confirmed, the group is rebalancing")]
    RebalanceInProgress,
    /// The coordinator refuses to say.
    #[error("the membership was not confirmed: {} ({})", .code.name(), .code.message())]
    Refused {
        /// Why.
        code: ErrorCode,
    },
    /// `default.api.timeout.ms` passed.
    #[error("the membership was not confirmed within {} ms, last error {}", .timeout.as_millis(), .last.name())]
    TimedOut {
        /// How long it took.
        timeout: Duration,
        /// The last error.
        last: ErrorCode,
    },
    /// The request failed.
    #[error("heartbeat failed")]
    Request(#[source] RequestError),
}

/// Asks until there is an answer, or `default.api.timeout.ms` have passed.
pub(super) async fn confirm(shared: &Shared, cluster: &Cluster) -> Result<(), ConfirmationError> {
    let group = shared.config.group_id.as_deref().ok_or(ConfirmationError::NoMember)?;
    let timeout = cluster.config().default_api_timeout;
    let deadline = now() + timeout;
    loop {
        let member = match committer(shared, &[]) {
            Ok(member) if member.generation_id >= 0 => member,
            Err(CommitError::MembershipLost { code }) => return Err(ConfirmationError::Lost { code }),
            Err(CommitError::RebalanceInProgress) => return Err(ConfirmationError::RebalanceInProgress),
            _ => return Err(ConfirmationError::NoMember),
        };
        let last = match ask(cluster, group, &member).await {
            // While the group waits for its members nobody else has been assigned anything yet.
            Ok(ErrorCode::NONE | ErrorCode::REBALANCE_IN_PROGRESS) => return Ok(()),
            Ok(code) => {
                check(shared, cluster, group, &member, code)?;
                code
            }
            Err(error) if error.is_retriable() => {
                cluster.forget_coordinator(group);
                ErrorCode::NETWORK_EXCEPTION
            }
            Err(error) => return Err(ConfirmationError::Request(error)),
        };
        if now() >= deadline {
            return Err(ConfirmationError::TimedOut { timeout, last });
        }
        tokio::time::sleep(cluster.config().retry_backoff).await;
    }
}

async fn ask(cluster: &Cluster, group: &str, member: &Committer) -> Result<ErrorCode, RequestError> {
    let request = HeartbeatRequest::default()
        .with_group_id(StrBytes::from_string(group.to_owned()).into())
        .with_generation_id(member.generation_id)
        .with_member_id(StrBytes::from_string(member.member_id.clone()));
    let build = |version: i16| match &member.group_instance_id {
        Some(id) if version >= 3 => request.with_group_instance_id(Some(StrBytes::from_string(id.clone()))),
        _ => request,
    };
    let (target, timeout) = (NodeTarget::GroupCoordinator(group), cluster.config().request_timeout);
    let answer = cluster
        .request_with(target, Lane::Heartbeat, None, build, timeout)
        .await?;
    Ok(ErrorCode::from(answer.error_code))
}

/// Ok if another attempt may help.
fn check(
    shared: &Shared,
    cluster: &Cluster,
    group: &str,
    member: &Committer,
    code: ErrorCode,
) -> Result<(), ConfirmationError> {
    let is_lost = [
        ErrorCode::UNKNOWN_MEMBER_ID,
        ErrorCode::ILLEGAL_GENERATION,
        ErrorCode::FENCED_INSTANCE_ID,
    ];
    let mut state = shared.lock();
    state.count_error(code.name());
    if is_lost.contains(&code) {
        if let Some(membership) = &mut state.membership {
            let error = group_requests::group_error(code);
            membership.handle_commit_refused(now(), member.generation_id, error);
        }
        drop(state);
        shared.wake_driver.notify_one();
        return Err(ConfirmationError::Lost { code });
    }
    drop(state);
    forget_if_moved(cluster, group, code);
    match code.class() {
        ErrorClass::Retriable | ErrorClass::RefreshMetadata => Ok(()),
        _ => Err(ConfirmationError::Refused { code }),
    }
}

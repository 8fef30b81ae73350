//! The membership's actions as requests, and the answers as outcomes.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use engine_proto::group::{
    action::{GroupAction, GroupError, Identity, Join, Joined, Sync},
    assignor::{GroupMember, PartitionCounts},
    consumer_protocol::Subscription,
};
use engine_wire::{
    error_code::{ErrorClass, ErrorCode},
    messages::{
        HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, StrBytes, SyncGroupRequest,
        join_group_request::JoinGroupRequestProtocol, leave_group_request::MemberIdentity,
        sync_group_request::SyncGroupRequestAssignment,
    },
};
use tracing::warn;

use crate::{
    cluster::{Cluster, Lane, NodeTarget},
    config::ConsumerConfig,
    connection::{RequestError, now},
};

/// The answer to an action, with what the machine needs to recognise it.
#[derive(Debug)]
pub(super) enum GroupOutcome {
    Coordinator(Result<i32, GroupError>),
    Joined {
        attempt: u64,
        answer: Result<Joined, GroupError>,
    },
    Counted {
        generation_id: i32,
        answer: Result<PartitionCounts, GroupError>,
    },
    Synced {
        generation_id: i32,
        answer: Result<Bytes, GroupError>,
    },
    Heartbeat {
        generation_id: i32,
        answer: Result<(), GroupError>,
    },
    Left,
}

/// What a code of the group's coordinator means for the membership.
pub(super) fn group_error(code: ErrorCode) -> GroupError {
    match code {
        ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE => GroupError::CoordinatorUnavailable,
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS => GroupError::CoordinatorLoading,
        ErrorCode::UNKNOWN_MEMBER_ID => GroupError::UnknownMemberId,
        ErrorCode::ILLEGAL_GENERATION => GroupError::IllegalGeneration,
        ErrorCode::REBALANCE_IN_PROGRESS => GroupError::RebalanceInProgress,
        ErrorCode::FENCED_INSTANCE_ID => GroupError::FencedInstanceId,
        code if matches!(code.class(), ErrorClass::Retriable | ErrorClass::RefreshMetadata) => {
            GroupError::CoordinatorLoading
        }
        code => GroupError::Fatal {
            name: code.name().to_owned(),
            message: code.message().to_owned(),
        },
    }
}

/// Carries one action out.
pub(super) async fn perform(cluster: &Cluster, config: &ConsumerConfig, action: GroupAction) -> GroupOutcome {
    let group = config.group_id.as_deref().unwrap_or_default();
    match action {
        GroupAction::FindCoordinator => {
            cluster.forget_coordinator(group);
            let found = cluster.group_coordinator(group).await;
            GroupOutcome::Coordinator(found.map_err(|error| request_failure(&error)))
        }
        GroupAction::Join(join) => {
            let attempt = join.attempt;
            GroupOutcome::Joined {
                attempt,
                answer: perform_join(cluster, config, join).await,
            }
        }
        GroupAction::CountPartitions { generation_id, topics } => GroupOutcome::Counted {
            generation_id,
            answer: count_partitions(cluster, &topics).await,
        },
        GroupAction::Sync(sync) => {
            let generation_id = sync.identity.generation_id;
            GroupOutcome::Synced {
                generation_id,
                answer: perform_sync(cluster, config, sync).await,
            }
        }
        GroupAction::Heartbeat(identity) => {
            let generation_id = identity.generation_id;
            let answer = perform_heartbeat(cluster, config, identity).await;
            GroupOutcome::Heartbeat { generation_id, answer }
        }
        GroupAction::Leave(identity) => {
            if let Err(error) = perform_leave(cluster, config, identity).await {
                warn!(%group, %error, "Could not leave the group; it will time the member out.");
            }
            GroupOutcome::Left
        }
    }
}

/// Partition counts that are no older than `retry.backoff.ms`. At a start the topics were just asked for: a second
/// request would have to keep its distance from the first, and every start would wait for that.
async fn count_partitions(cluster: &Cluster, topics: &[Arc<str>]) -> Result<PartitionCounts, GroupError> {
    let deadline = now() + cluster.config().request_timeout;
    let counts = || -> PartitionCounts {
        let metadata = cluster.metadata();
        let known = topics.iter();
        known
            .filter_map(|topic| Some((topic.clone(), metadata.partition_count(topic)?)))
            .collect()
    };
    let tracked = cluster.track_topics(topics.iter().map(|topic| &**topic));
    let ticket = tracked.max(cluster.freshen_metadata());
    let refreshed = cluster.wait_refreshed(ticket, deadline).await;
    refreshed.map_err(|error| request_failure(&error))?;
    if counts().len() < topics.len() {
        // One that is missing may be a topic that the request before created.
        let refreshed = cluster.wait_refreshed(cluster.refresh_metadata(), deadline).await;
        refreshed.map_err(|error| request_failure(&error))?;
    }
    Ok(counts())
}

async fn perform_join(cluster: &Cluster, config: &ConsumerConfig, join: Join) -> Result<Joined, GroupError> {
    let rebalance_timeout = config.rebalance_timeout.unwrap_or(config.poll_interval_max);
    let protocols = join.protocols.into_iter().map(|(name, metadata)| {
        JoinGroupRequestProtocol::default()
            .with_name(StrBytes::from_string(name))
            .with_metadata(metadata)
    });
    let request = JoinGroupRequest::default()
        .with_group_id(group_id(config).into())
        .with_session_timeout_ms(millis(config.session_timeout))
        .with_member_id(StrBytes::from_string(join.member_id))
        .with_protocol_type(PROTOCOL_TYPE)
        .with_protocols(protocols.collect());
    let build = |version: i16| {
        let request = match version >= 1 {
            true => request.with_rebalance_timeout_ms(millis(rebalance_timeout)),
            false => request,
        };
        if version >= 5 {
            request.with_group_instance_id(instance_id(config))
        } else {
            request
        }
    };
    let target = NodeTarget::Broker(join.coordinator);
    let timeout = rebalance_timeout.saturating_add(JOIN_MARGIN);
    let response = cluster.request_with(target, Lane::Group, None, build, timeout).await;
    let response = response.map_err(|error| request_failure(&error))?;
    let code = ErrorCode::from(response.error_code);
    if code == ErrorCode::MEMBER_ID_REQUIRED {
        return Err(GroupError::MemberIdRequired {
            member_id: response.member_id.to_string(),
        });
    }
    code.ok().map_err(group_error)?;
    let members = response.members.into_iter().map(|member| {
        let subscription = Subscription::decode(member.metadata).unwrap_or_else(|error| {
            warn!(member_id = %member.member_id, %error, "A member's subscription cannot be read; it gets nothing.");
            Subscription::default()
        });
        GroupMember {
            member_id: member.member_id.to_string(),
            group_instance_id: member.group_instance_id.map(|id| id.to_string()),
            subscription,
        }
    });
    Ok(Joined {
        generation_id: response.generation_id,
        member_id: response.member_id.to_string(),
        leader: response.leader.to_string(),
        protocol_name: response.protocol_name.map(|name| name.to_string()).unwrap_or_default(),
        members: members.collect(),
        skip_assignment: response.skip_assignment,
    })
}

async fn perform_sync(cluster: &Cluster, config: &ConsumerConfig, sync: Sync) -> Result<Bytes, GroupError> {
    let assignments = sync.assignments.into_iter().map(|(member_id, assignment)| {
        SyncGroupRequestAssignment::default()
            .with_member_id(StrBytes::from_string(member_id))
            .with_assignment(assignment)
    });
    let request = SyncGroupRequest::default()
        .with_group_id(group_id(config).into())
        .with_generation_id(sync.identity.generation_id)
        .with_member_id(StrBytes::from_string(sync.identity.member_id))
        .with_assignments(assignments.collect());
    let protocol_name = StrBytes::from_string(sync.protocol_name);
    let build = |version: i16| {
        let request = match version >= 3 {
            true => request.with_group_instance_id(instance_id(config)),
            false => request,
        };
        match version >= 5 {
            true => request
                .with_protocol_type(Some(PROTOCOL_TYPE))
                .with_protocol_name(Some(protocol_name)),
            false => request,
        }
    };
    let target = NodeTarget::Broker(sync.identity.coordinator);
    let rebalance_timeout = config.rebalance_timeout.unwrap_or(config.poll_interval_max);
    let timeout = rebalance_timeout.saturating_add(JOIN_MARGIN);
    let response = cluster.request_with(target, Lane::Group, None, build, timeout).await;
    let response = response.map_err(|error| request_failure(&error))?;
    ErrorCode::from(response.error_code).ok().map_err(group_error)?;
    Ok(response.assignment)
}

async fn perform_heartbeat(cluster: &Cluster, config: &ConsumerConfig, identity: Identity) -> Result<(), GroupError> {
    let request = HeartbeatRequest::default()
        .with_group_id(group_id(config).into())
        .with_generation_id(identity.generation_id)
        .with_member_id(StrBytes::from_string(identity.member_id));
    let build = |version: i16| match version >= 3 {
        true => request.with_group_instance_id(instance_id(config)),
        false => request,
    };
    let target = NodeTarget::Broker(identity.coordinator);
    // A heartbeat that takes longer than a session is worth nothing any more.
    let timeout = cluster.config().request_timeout.min(config.session_timeout);
    let response = cluster
        .request_with(target, Lane::Heartbeat, None, build, timeout)
        .await;
    let response = response.map_err(|error| request_failure(&error))?;
    ErrorCode::from(response.error_code).ok().map_err(group_error)
}

async fn perform_leave(cluster: &Cluster, config: &ConsumerConfig, identity: Identity) -> Result<(), GroupError> {
    let member_id = StrBytes::from_string(identity.member_id);
    let request = LeaveGroupRequest::default().with_group_id(group_id(config).into());
    let build = |version: i16| match version >= 3 {
        true => request.with_members(vec![MemberIdentity::default().with_member_id(member_id)]),
        false => request.with_member_id(member_id),
    };
    let target = NodeTarget::Broker(identity.coordinator);
    let timeout = cluster.config().request_timeout;
    let response = cluster
        .request_with(target, Lane::Heartbeat, None, build, timeout)
        .await;
    let response = response.map_err(|error| request_failure(&error))?;
    ErrorCode::from(response.error_code).ok().map_err(group_error)
}

fn request_failure(error: &RequestError) -> GroupError {
    match error {
        RequestError::Coordinator { code, .. } => group_error(*code),
        error if error.is_retriable() => GroupError::CoordinatorUnavailable,
        error => GroupError::Fatal {
            name: "REQUEST_FAILED".into(),
            message: with_causes(error),
        },
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", with_causes(cause)),
        None => error.to_string(),
    }
}

fn group_id(config: &ConsumerConfig) -> StrBytes {
    StrBytes::from_string(config.group_id.clone().unwrap_or_default())
}

fn instance_id(config: &ConsumerConfig) -> Option<StrBytes> {
    config.group_instance_id.clone().map(StrBytes::from_string)
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

const PROTOCOL_TYPE: StrBytes = StrBytes::from_static_str("consumer");
/// A parked JoinGroup is answered when the rebalance timeout ends; this is for the way back.
const JOIN_MARGIN: Duration = Duration::from_secs(5);

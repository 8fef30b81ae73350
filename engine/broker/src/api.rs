//! The APIs this broker answers, one file each, and the way from a request's bytes to its answer's.
//!
//! A request that cannot be read, or that asks for an API or version that is not in [`SUPPORTED`], closes its
//! connection, as with Apache Kafka; ApiVersions alone is always answered.

mod add_offsets_to_txn;
mod add_partitions_to_txn;
mod api_versions;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_transactions;
mod end_txn;
mod fetch;
mod find_coordinator;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_groups;
mod list_offsets;
mod list_transactions;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod sync_group;
mod txn_offset_commit;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine_wire::error_code::ErrorCode;
use engine_wire::messages::ApiKey;
use engine_wire::request::{RequestHeader, decode_request_body};
use engine_wire::response::encode_response;

use crate::exchange::{Answer, AnswerError, Asker};
use crate::fault::{FaultAction, ObservedRequest};
use crate::node::Node;
use crate::supported::SUPPORTED;

/// Answers one request, if need be after the fault that a test injected.
pub(crate) async fn answer(
    node: &Arc<Node>,
    peer: IpAddr,
    header: &RequestHeader,
    body: Bytes,
) -> Result<Answer, AnswerError> {
    let observed = ObservedRequest {
        api_key: header.api_key,
        api_version: header.api_version,
        client_id: header.client_id.as_deref().unwrap_or_default(),
        body: &body,
    };
    let action = node
        .observer
        .look(&observed)
        .or_else(|| node.faults.take(header.api_key));
    let Some(action) = action else {
        return dispatch(node, peer, header, body, Meets::default()).await;
    };
    let mut meets = Meets::default();
    match action {
        FaultAction::Delay(delay) => tokio::time::sleep(delay).await,
        FaultAction::Error(code) => meets.error = Some(code),
        FaultAction::Throttle(throttle) => meets.throttle = throttle,
        FaultAction::CorruptCrc => meets.corrupts_crc = true,
        FaultAction::MoveLeaders => {
            node.move_all_leaders();
            if header.api_key == ApiKey::Produce as i16 {
                meets.error = Some(ErrorCode::NOT_LEADER_OR_FOLLOWER);
            }
        }
        FaultAction::Disconnect => return Err(AnswerError::Fault),
        FaultAction::Restart(down) => {
            node.restarts.want(down);
            return Err(AnswerError::Fault);
        }
        FaultAction::ApplyThenDisconnect => {
            dispatch(node, peer, header, body, meets).await?;
            return Err(AnswerError::Fault);
        }
        FaultAction::Silence => {
            dispatch(node, peer, header, body, meets).await?;
            return Ok(Answer::Nothing);
        }
    }
    match dispatch(node, peer, header, body, meets).await? {
        Answer::Frame(pieces) if !meets.throttle.is_zero() => Ok(Answer::Throttled {
            pieces,
            mute: meets.throttle,
        }),
        answer => Ok(answer),
    }
}

/// What a fault changes in the handling of one request.
#[derive(Debug, Clone, Copy, Default)]
struct Meets {
    error: Option<ErrorCode>,
    throttle: Duration,
    corrupts_crc: bool,
}

impl Meets {
    fn throttle_ms(self) -> i32 {
        i32::try_from(self.throttle.as_millis()).unwrap_or(i32::MAX)
    }
}

async fn dispatch(
    node: &Arc<Node>,
    peer: IpAddr,
    header: &RequestHeader,
    body: Bytes,
    meets: Meets,
) -> Result<Answer, AnswerError> {
    let (fault, throttle_ms) = (meets.error, meets.throttle_ms());
    let RequestHeader {
        api_key,
        api_version: version,
        correlation_id,
        ..
    } = *header;
    let unsupported = AnswerError::Unsupported {
        api_key,
        api_version: version,
    };
    let Some((api, min, max)) = SUPPORTED.iter().find(|(api, ..)| *api as i16 == api_key) else {
        return Err(unsupported);
    };
    let refuses_version = *api == ApiKey::ApiVersions && fault == Some(ErrorCode::UNSUPPORTED_VERSION);
    if refuses_version || !(*min..=*max).contains(&version) {
        if *api == ApiKey::ApiVersions {
            let refused = api_versions::unsupported_version();
            let frame = encode_response(*api, 0, correlation_id, &refused)?;
            return Ok(Answer::Frame(vec![frame]));
        }
        return Err(unsupported);
    }
    let asker = Asker {
        version,
        client_id: header.client_id.as_deref().unwrap_or_default(),
        peer,
    };

    /// Decode, handle or fail as was asked for, encode.
    macro_rules! faulty {
        ($module:ident) => {{
            let request = decode_request_body(version, body)?;
            let mut response = match fault {
                Some(code) => $module::failed(asker, request, code),
                None => $module::handle(node, asker, request),
            };
            response.throttle_time_ms = throttle_ms;
            Answer::Frame(vec![encode_response(*api, version, correlation_id, &response)?])
        }};
    }
    Ok(match api {
        ApiKey::Produce => match produce::handle(node, asker, body, fault)? {
            Some(mut response) => {
                response.throttle_time_ms = throttle_ms;
                Answer::Frame(vec![encode_response(*api, version, correlation_id, &response)?])
            }
            None => Answer::Nothing,
        },
        ApiKey::Fetch => {
            let request = decode_request_body(version, body)?;
            Answer::Frame(fetch::handle(node, asker, correlation_id, request, meets).await)
        }
        ApiKey::JoinGroup => {
            let request = decode_request_body(version, body)?;
            let mut response = join_group::handle(node, asker, request, fault).await;
            response.throttle_time_ms = throttle_ms;
            Answer::Frame(vec![encode_response(*api, version, correlation_id, &response)?])
        }
        ApiKey::SyncGroup => {
            let request = decode_request_body(version, body)?;
            let mut response = sync_group::handle(node, asker, request, fault).await;
            response.throttle_time_ms = throttle_ms;
            Answer::Frame(vec![encode_response(*api, version, correlation_id, &response)?])
        }
        ApiKey::Metadata => faulty!(metadata),
        ApiKey::ListOffsets => faulty!(list_offsets),
        ApiKey::FindCoordinator => faulty!(find_coordinator),
        ApiKey::Heartbeat => faulty!(heartbeat),
        ApiKey::OffsetCommit => faulty!(offset_commit),
        ApiKey::OffsetFetch => faulty!(offset_fetch),
        ApiKey::InitProducerId => faulty!(init_producer_id),
        ApiKey::AddPartitionsToTxn => faulty!(add_partitions_to_txn),
        ApiKey::AddOffsetsToTxn => faulty!(add_offsets_to_txn),
        ApiKey::EndTxn => faulty!(end_txn),
        ApiKey::TxnOffsetCommit => faulty!(txn_offset_commit),
        ApiKey::DescribeTransactions => faulty!(describe_transactions),
        ApiKey::ListTransactions => faulty!(list_transactions),
        ApiKey::LeaveGroup => faulty!(leave_group),
        ApiKey::DescribeGroups => faulty!(describe_groups),
        ApiKey::ListGroups => faulty!(list_groups),
        ApiKey::ApiVersions => faulty!(api_versions),
        ApiKey::CreateTopics => faulty!(create_topics),
        ApiKey::DeleteTopics => faulty!(delete_topics),
        ApiKey::DeleteRecords => faulty!(delete_records),
        ApiKey::OffsetForLeaderEpoch => faulty!(offset_for_leader_epoch),
        ApiKey::DescribeConfigs => faulty!(describe_configs),
        ApiKey::CreatePartitions => faulty!(create_partitions),
        ApiKey::DeleteGroups => faulty!(delete_groups),
        ApiKey::IncrementalAlterConfigs => faulty!(incremental_alter_configs),
        ApiKey::OffsetDelete => faulty!(offset_delete),
        ApiKey::DescribeCluster => faulty!(describe_cluster),
        _ => return Err(unsupported),
    })
}

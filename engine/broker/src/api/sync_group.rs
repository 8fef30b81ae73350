//! SyncGroup: answered when the leader's assignment is there (see `group`).

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use engine_wire::error_code::ErrorCode;
use engine_wire::messages::{StrBytes, SyncGroupRequest, SyncGroupResponse};
use tokio::sync::oneshot;

use crate::exchange::Asker;
use crate::group::{SyncAnswer, SyncRequest};
use crate::node::Node;

pub(super) async fn handle(
    node: &Arc<Node>,
    asker: Asker<'_>,
    request: SyncGroupRequest,
    fault: Option<ErrorCode>,
) -> SyncGroupResponse {
    if let Some(code) = fault {
        return respond(asker, SyncAnswer::error(code));
    }
    let (reply, answer) = oneshot::channel();
    let group_id = request.group_id.to_string();
    let sync = resolve(request);
    let answer = match node
        .coordinator
        .with_existing(&group_id, |group| group.sync(Instant::now(), sync, reply))
    {
        None => SyncAnswer::error(ErrorCode::UNKNOWN_MEMBER_ID),
        Some(()) => answer
            .await
            .unwrap_or_else(|_| SyncAnswer::error(ErrorCode::COORDINATOR_NOT_AVAILABLE)),
    };
    respond(asker, answer)
}

fn resolve(request: SyncGroupRequest) -> SyncRequest {
    let assignments = request.assignments.into_iter();
    SyncRequest {
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.map(|id| id.to_string()),
        generation_id: request.generation_id,
        protocol_type: request.protocol_type.map(|name| name.to_string()),
        protocol_name: request.protocol_name.map(|name| name.to_string()),
        // Copied: assignments live longer than the frame they came in.
        assignments: assignments
            .map(|assigned| {
                (
                    assigned.member_id.to_string(),
                    Bytes::copy_from_slice(&assigned.assignment),
                )
            })
            .collect(),
    }
}

fn respond(asker: Asker<'_>, answer: SyncAnswer) -> SyncGroupResponse {
    let response = SyncGroupResponse::default()
        .with_error_code(answer.error.unwrap_or(ErrorCode::NONE).code())
        .with_assignment(answer.assignment);
    match asker.version {
        5.. => response
            .with_protocol_type(answer.protocol_type.map(StrBytes::from_string))
            .with_protocol_name(answer.protocol_name.map(StrBytes::from_string)),
        _ => response,
    }
}

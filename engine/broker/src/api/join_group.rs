//! JoinGroup: answered when the group's next generation begins (see `group`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use engine_wire::error_code::ErrorCode;
use engine_wire::messages::join_group_response::JoinGroupResponseMember;
use engine_wire::messages::{JoinGroupRequest, JoinGroupResponse, StrBytes};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::exchange::Asker;
use crate::group::{JoinAnswer, JoinRequest, JoinedMember};
use crate::node::{Node, random_id};

pub(super) async fn handle(
    node: &Arc<Node>,
    asker: Asker<'_>,
    request: JoinGroupRequest,
    fault: Option<ErrorCode>,
) -> JoinGroupResponse {
    let member_id = request.member_id.to_string();
    let refuse = |code| respond(asker, JoinAnswer::error(code, member_id.clone()));
    if let Some(code) = fault {
        return refuse(code);
    }
    if request.group_id.is_empty() {
        return refuse(ErrorCode::INVALID_GROUP_ID);
    }
    let (reply, answer) = oneshot::channel();
    let group_id = request.group_id.to_string();
    let join = resolve(asker, request);
    match node
        .coordinator
        .with(&group_id, |group| group.join(Instant::now(), join, reply))
    {
        Err(code) => refuse(code),
        Ok(()) => match answer.await {
            Ok(answer) => respond(asker, answer),
            Err(_) => refuse(ErrorCode::COORDINATOR_NOT_AVAILABLE), // The group was deleted meanwhile.
        },
    }
}

fn resolve(asker: Asker<'_>, request: JoinGroupRequest) -> JoinRequest {
    let milliseconds = |value: i32| Duration::from_millis(u64::try_from(value).unwrap_or(0));
    let rebalance_timeout = match asker.version {
        0 => request.session_timeout_ms,
        _ => request.rebalance_timeout_ms,
    };
    let instance_id = request.group_instance_id.map(|id| id.to_string());
    let id_prefix = instance_id.as_deref().unwrap_or(asker.client_id);
    JoinRequest {
        new_member_id: format!("{id_prefix}-{}", Uuid::from_u128(random_id())),
        member_id: request.member_id.to_string(),
        instance_id,
        client_id: asker.client_id.to_owned(),
        client_host: format!("/{}", asker.peer),
        session_timeout: milliseconds(request.session_timeout_ms),
        rebalance_timeout: milliseconds(rebalance_timeout),
        protocol_type: request.protocol_type.to_string(),
        // Copied: members live longer than the frame they came in.
        protocols: request
            .protocols
            .into_iter()
            .map(|protocol| (protocol.name.to_string(), Bytes::copy_from_slice(&protocol.metadata)))
            .collect(),
        member_id_required: asker.version >= 4,
        can_skip_assignment: asker.version >= 9,
    }
}

fn respond(asker: Asker<'_>, answer: JoinAnswer) -> JoinGroupResponse {
    let string = StrBytes::from_string;
    let member = |member: JoinedMember| {
        let response = JoinGroupResponseMember::default()
            .with_member_id(string(member.member_id))
            .with_metadata(member.metadata);
        match asker.version {
            5.. => response.with_group_instance_id(member.instance_id.map(string)),
            _ => response,
        }
    };
    // Before version 7 the protocol's name cannot be null.
    let protocol_name = answer.protocol_name.or((asker.version < 7).then(String::new));
    let response = JoinGroupResponse::default()
        .with_error_code(answer.error.unwrap_or(ErrorCode::NONE).code())
        .with_generation_id(answer.generation_id)
        .with_protocol_name(protocol_name.map(string))
        .with_leader(string(answer.leader))
        .with_member_id(string(answer.member_id))
        .with_members(answer.members.into_iter().map(member).collect());
    let response = match asker.version {
        7.. => response.with_protocol_type(answer.protocol_type.map(string)),
        _ => response,
    };
    match asker.version {
        9.. => response.with_skip_assignment(answer.skip_assignment),
        _ => response,
    }
}

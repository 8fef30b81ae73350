//! LeaveGroup: one member (up to version 2) or several leave at once.

use std::sync::Arc;
use std::time::Instant;

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::leave_group_response::MemberResponse;
use engine_wire::messages::{LeaveGroupRequest, LeaveGroupResponse};

use crate::exchange::Asker;
use crate::node::Node;

pub(super) fn handle(node: &Arc<Node>, asker: Asker<'_>, request: LeaveGroupRequest) -> LeaveGroupResponse {
    let leave = |member_id: &str, instance_id: Option<&str>| {
        let now = Instant::now();
        let left = node
            .coordinator
            .with_existing(&request.group_id, |group| group.leave(now, member_id, instance_id));
        left.unwrap_or(Err(ErrorCode::UNKNOWN_MEMBER_ID))
            .err()
            .unwrap_or(ErrorCode::NONE)
            .code()
    };
    if asker.version < 3 {
        return LeaveGroupResponse::default().with_error_code(leave(&request.member_id, None));
    }
    let members = request.members.iter().map(|member| {
        MemberResponse::default()
            .with_error_code(leave(&member.member_id, member.group_instance_id.as_deref()))
            .with_member_id(member.member_id.clone())
            .with_group_instance_id(member.group_instance_id.clone())
    });
    LeaveGroupResponse::default().with_members(members.collect())
}

pub(super) fn failed(_: Asker<'_>, _: LeaveGroupRequest, code: ErrorCode) -> LeaveGroupResponse {
    LeaveGroupResponse::default().with_error_code(code.code())
}

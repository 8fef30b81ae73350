//! Heartbeat: a member is alive, and hears of rebalances.

use std::sync::Arc;
use std::time::Instant;

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::{HeartbeatRequest, HeartbeatResponse};

use crate::exchange::Asker;
use crate::node::Node;

pub(super) fn handle(node: &Arc<Node>, asker: Asker<'_>, request: HeartbeatRequest) -> HeartbeatResponse {
    let instance_id = request.group_instance_id.as_deref();
    let heard = node.coordinator.with_existing(&request.group_id, |group| {
        group.heartbeat(Instant::now(), &request.member_id, instance_id, request.generation_id)
    });
    let code = heard
        .unwrap_or(Err(ErrorCode::UNKNOWN_MEMBER_ID))
        .err()
        .unwrap_or(ErrorCode::NONE);
    failed(asker, request, code)
}

pub(super) fn failed(_: Asker<'_>, _: HeartbeatRequest, code: ErrorCode) -> HeartbeatResponse {
    HeartbeatResponse::default().with_error_code(code.code())
}

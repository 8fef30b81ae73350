//! FindCoordinator: this broker coordinates every group and every transactional id.

use std::sync::Arc;

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::find_coordinator_response::Coordinator;
use engine_wire::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse, StrBytes};

use crate::exchange::Asker;
use crate::node::Node;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

pub(super) fn handle(node: &Arc<Node>, asker: Asker<'_>, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
    match request.key_type {
        GROUP | TRANSACTION => {}
        _ => {
            let code = ErrorCode::INVALID_REQUEST;
            return refused(asker, request, code, code.message());
        }
    }
    let (node_id, host, port) = (BrokerId(node.config.node_id), &node.host, i32::from(node.port));
    if asker.version < 4 {
        return FindCoordinatorResponse::default()
            .with_node_id(node_id)
            .with_host(StrBytes::from_string(host.clone()))
            .with_port(port);
    }
    let coordinator = |key| {
        Coordinator::default()
            .with_key(key)
            .with_node_id(node_id)
            .with_host(StrBytes::from_string(host.clone()))
            .with_port(port)
    };
    FindCoordinatorResponse::default()
        .with_coordinators(request.coordinator_keys.into_iter().map(coordinator).collect())
}

pub(super) fn failed(asker: Asker<'_>, request: FindCoordinatorRequest, code: ErrorCode) -> FindCoordinatorResponse {
    refused(asker, request, code, code.message())
}

fn refused(
    asker: Asker<'_>,
    request: FindCoordinatorRequest,
    code: ErrorCode,
    message: &'static str,
) -> FindCoordinatorResponse {
    let message = Some(StrBytes::from_static_str(message));
    if asker.version < 4 {
        return FindCoordinatorResponse::default()
            .with_error_code(code.code())
            .with_error_message(message)
            .with_node_id(BrokerId(-1))
            .with_port(-1);
    }
    let coordinator = |key| {
        Coordinator::default()
            .with_key(key)
            .with_error_code(code.code())
            .with_error_message(message.clone())
            .with_node_id(BrokerId(-1))
            .with_port(-1)
    };
    FindCoordinatorResponse::default()
        .with_coordinators(request.coordinator_keys.into_iter().map(coordinator).collect())
}

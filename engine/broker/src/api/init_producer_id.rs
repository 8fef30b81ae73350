//! InitProducerId: an id for an idempotent producer. Transactional ids are refused.

use std::sync::Arc;

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use crate::exchange::Asker;
use crate::node::Node;

pub(super) fn handle(node: &Arc<Node>, asker: Asker<'_>, request: InitProducerIdRequest) -> InitProducerIdResponse {
    if request.transactional_id.as_ref().is_some_and(|id| id.is_empty()) {
        return failed(asker, request, ErrorCode::INVALID_REQUEST);
    }
    if request.transactional_id.is_some() {
        // FindCoordinator, which comes before, says it in words.
        return failed(asker, request, ErrorCode::UNSUPPORTED_VERSION);
    }
    match node.allocate_producer_id() {
        Ok(id) => InitProducerIdResponse::default()
            .with_producer_id(ProducerId(id))
            .with_producer_epoch(0),
        Err(error) => {
            let (code, _) = node.storage_failed("record a block of producer ids", &error);
            failed(asker, request, code)
        }
    }
}

pub(super) fn failed(_: Asker<'_>, _: InitProducerIdRequest, code: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse::default()
        .with_error_code(code.code())
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1)
}

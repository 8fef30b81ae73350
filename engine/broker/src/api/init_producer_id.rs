//! InitProducerId: an id for an idempotent producer, a new epoch for a transactional one (KIP-98, KIP-360).

use std::sync::Arc;

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use crate::exchange::Asker;
use crate::node::Node;
use crate::transaction::Producer;

/// First version that knows PRODUCER_FENCED.
const FENCED: i16 = 4;

pub(super) fn handle(node: &Arc<Node>, asker: Asker<'_>, request: InitProducerIdRequest) -> InitProducerIdResponse {
    let granted = match &request.transactional_id {
        Some(transactional_id) => init_transactional(node, transactional_id, &request),
        None => node
            .allocate_producer_id()
            .map(|producer_id| Producer {
                producer_id,
                producer_epoch: 0,
            })
            .map_err(|error| node.storage_failed("record a block of producer ids", &error).0),
    };
    match granted {
        Ok(producer) => InitProducerIdResponse::default()
            .with_producer_id(ProducerId(producer.producer_id))
            .with_producer_epoch(producer.producer_epoch),
        Err(ErrorCode::PRODUCER_FENCED) if asker.version < FENCED => {
            failed(asker, request, ErrorCode::INVALID_PRODUCER_EPOCH)
        }
        Err(code) => failed(asker, request, code),
    }
}

pub(super) fn failed(_: Asker<'_>, _: InitProducerIdRequest, code: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse::default()
        .with_error_code(code.code())
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1)
}

fn init_transactional(
    node: &Node,
    transactional_id: &str,
    request: &InitProducerIdRequest,
) -> Result<Producer, ErrorCode> {
    let timeout_max = node.config.transaction_timeout_max.as_millis();
    let timeout_ms = request.transaction_timeout_ms;
    let expected = match (request.producer_id.0, request.producer_epoch) {
        (-1, -1) => None,
        (producer_id @ 0.., producer_epoch @ 0..) => Some(Producer {
            producer_id,
            producer_epoch,
        }),
        _ => return Err(ErrorCode::INVALID_REQUEST),
    };
    if transactional_id.is_empty() {
        return Err(ErrorCode::INVALID_REQUEST);
    }
    if timeout_ms <= 0 || timeout_ms as u128 > timeout_max {
        return Err(ErrorCode::INVALID_TRANSACTION_TIMEOUT);
    }
    node.init_transactional_producer(transactional_id, timeout_ms, expected)
}

//! AddOffsetsToTxn: a group's offsets join a transaction.

use std::sync::Arc;

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};

use crate::exchange::Asker;
use crate::node::Node;
use crate::transaction::{Part, Producer};

/// First version that knows PRODUCER_FENCED.
const FENCED: i16 = 2;

pub(super) fn handle(node: &Arc<Node>, asker: Asker<'_>, request: AddOffsetsToTxnRequest) -> AddOffsetsToTxnResponse {
    let producer = Producer {
        producer_id: request.producer_id.0,
        producer_epoch: request.producer_epoch,
    };
    let group = Part::Group(&request.group_id).scope();
    match node.add_to_transaction(&request.transactional_id, producer, group) {
        Ok(()) => AddOffsetsToTxnResponse::default(),
        Err(ErrorCode::PRODUCER_FENCED) if asker.version < FENCED => {
            failed(asker, request, ErrorCode::INVALID_PRODUCER_EPOCH)
        }
        Err(code) => failed(asker, request, code),
    }
}

pub(super) fn failed(_: Asker<'_>, _: AddOffsetsToTxnRequest, code: ErrorCode) -> AddOffsetsToTxnResponse {
    AddOffsetsToTxnResponse::default().with_error_code(code.code())
}

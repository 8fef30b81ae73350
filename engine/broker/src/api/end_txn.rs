//! EndTxn: commits or aborts; from version 5 on the answer has the producer's next epoch (KIP-890).

use std::sync::Arc;

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::{EndTxnRequest, EndTxnResponse, ProducerId};

use crate::exchange::Asker;
use crate::node::Node;
use crate::transaction::{Outcome, Producer};

/// First version that knows PRODUCER_FENCED.
const FENCED: i16 = 2;
/// First version whose answer has a producer.
const BUMPS: i16 = 5;

pub(super) fn handle(node: &Arc<Node>, asker: Asker<'_>, request: EndTxnRequest) -> EndTxnResponse {
    let producer = Producer {
        producer_id: request.producer_id.0,
        producer_epoch: request.producer_epoch,
    };
    let outcome = match request.committed {
        true => Outcome::Commit,
        false => Outcome::Abort,
    };
    let bumps = asker.version >= BUMPS;
    match node.end_transaction(&request.transactional_id, producer, outcome, bumps) {
        Ok(next) if bumps => EndTxnResponse::default()
            .with_producer_id(ProducerId(next.producer_id))
            .with_producer_epoch(next.producer_epoch),
        Ok(_) => EndTxnResponse::default(),
        Err(ErrorCode::PRODUCER_FENCED) if asker.version < FENCED => {
            failed(asker, request, ErrorCode::INVALID_PRODUCER_EPOCH)
        }
        Err(code) => failed(asker, request, code),
    }
}

pub(super) fn failed(_: Asker<'_>, _: EndTxnRequest, code: ErrorCode) -> EndTxnResponse {
    EndTxnResponse::default().with_error_code(code.code())
}

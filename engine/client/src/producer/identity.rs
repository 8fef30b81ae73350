//! The producer id of an idempotent producer without transactions: any broker gives one.
//!
//! Never here: the id of a transactional producer, which its coordinator gives (see `transaction_request`).

use engine_proto::{
    backoff::{Backoff, BackoffPolicy},
    sequence::ProducerIdentity,
};
use engine_wire::{
    error_code::ErrorCode,
    messages::{InitProducerIdRequest, ProducerId},
};
use tracing::debug;

use crate::{
    cluster::{Cluster, Lane, NodeTarget},
    connection::describe,
};

/// Asks for a producer id until there is one, or until it is refused for good.
pub(super) async fn obtain_identity(cluster: Cluster) -> Result<ProducerIdentity, String> {
    let config = cluster.config().clone();
    let policy = BackoffPolicy {
        initial: config.retry_backoff,
        max: config.retry_backoff_max,
    };
    let mut backoff = Backoff::new(policy, cluster.seed());
    loop {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(i32::MAX)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let answer = cluster
            .request(NodeTarget::Any, Lane::Control, request, config.request_timeout)
            .await;
        match answer {
            Ok(answer) => match ErrorCode::from(answer.error_code) {
                ErrorCode::NONE => {
                    let (id, epoch) = (answer.producer_id.0, answer.producer_epoch);
                    let named = ProducerIdentity::named(id, epoch);
                    return named.ok_or_else(|| format!("InitProducerId gave the producer id {id}, epoch {epoch}"));
                }
                code if code.is_retriable() => debug!(%code, "InitProducerId was refused for now."),
                code => return Err(format!("InitProducerId was refused: {code}")),
            },
            Err(error) if error.is_retriable() => debug!(%error, "InitProducerId failed."),
            Err(error) => return Err(describe(&error)),
        }
        tokio::time::sleep(backoff.fail()).await;
    }
}

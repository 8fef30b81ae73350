//! Becoming the owner of the state: an epoch is claimed, and what was kept is read.
//!
//! ```text
//! exactly once:   read ─▶ claim ─▶ commit the transaction
//! at least once:  read ─▶ claim ─▶ still a member? ─▶ claim, confirmed ─▶ read on, up to it
//! ```
//! Whoever was asleep meanwhile is stopped here, before it touches the lake or writes a manifest; and whoever takes over from
//! now on finds the claim, and has a higher epoch. What a former owner completes behind the claim does not count.

use engine_client::{ConfirmationError, Consumer};
use tracing::warn;

use crate::checkpoint::OwnerEpoch;
use crate::checkpoint::claim::Claim;
use crate::checkpoint::state_reader::StateReader;
use crate::checkpoint::state_table::RestoredState;
use crate::checkpoint::state_topic::{StateTopic, StateTopicError};
use crate::context::wall_clock_ns;
use crate::error_chain::describe;
use crate::refusal::Refusal;
use crate::run_error::RunError;
use crate::transaction::Transaction;

/// What was kept, and the epoch under which it goes on.
pub(super) struct TakenOver {
    pub(super) restored: Option<RestoredState>,
    pub(super) owner_epoch: OwnerEpoch,
}

/// `None` if the partitions are another process's by now.
pub(super) async fn take_over(
    group: &Consumer,
    state_topic: &mut StateTopic,
    transaction: Option<&Transaction>,
) -> Result<Option<TakenOver>, RunError> {
    let mut reader = StateReader::open(state_topic).await?;
    reader.read_to_end().await?;
    let owner_epoch = reader.table().next_owner_epoch();
    let mut claim = Claim {
        now_ms: wall_clock_ns() / 1_000_000,
        is_confirmed: transaction.is_some(),
    };
    state_topic.claim(owner_epoch, claim).await?;
    match transaction {
        Some(transaction) => {
            let claimed = transaction.commit_records().await;
            claimed.map_err(|failure| RunError::Transaction(failure.to_string()))?;
        }
        None => {
            match group.confirm_membership().await {
                Ok(()) => {}
                Err(error @ (ConfirmationError::Lost { .. } | ConfirmationError::RebalanceInProgress)) => {
                    warn!(%error, "The partitions went to another process while this one took them over.");
                    return Ok(None);
                }
                Err(error @ (ConfirmationError::TimedOut { .. } | ConfirmationError::Request(_))) => {
                    return Err(RunError::Membership(Refusal::of(&error)));
                }
                Err(error) => return Err(RunError::Group(describe(&error))),
            }
            claim.is_confirmed = true;
            state_topic.claim(owner_epoch, claim).await?;
            reader.read_to_claim(owner_epoch).await?;
            if reader.table().confirmed() > owner_epoch {
                warn!("The partitions went to another process while this one took them over.");
                return Ok(None);
            }
        }
    }
    let table = reader.close().await;
    state_topic.handle_left(table.keys_before(owner_epoch));
    let restored = table
        .restore()
        .map_err(|error| StateTopicError::damaged(state_topic.name(), &error))?;
    Ok(Some(TakenOver { restored, owner_epoch }))
}

//! Who leads the partitions now, and topics that are not the same any more.
//!
//! Never here: whom to ask for metadata (see `cluster`).

use super::Fetcher;
use crate::{
    fetch::{
        partition::{PartitionLeader, Phase},
        position::{FetchError, OffsetReset},
    },
    topic_partition::TopicPartition,
};

impl Fetcher {
    /// New metadata: `leader_of` says who leads a partition now, or `None` if nothing is known.
    pub fn handle_leaders(&mut self, leader_of: impl Fn(&TopicPartition) -> Option<PartitionLeader>) {
        for (tp, state) in &mut self.partitions {
            let Some(heard) = leader_of(tp) else { continue };
            let recreated = state.handle_leader(heard);
            if !recreated || matches!(state.phase, Phase::Assigned | Phase::Failed) {
                continue;
            }
            let offset = state.handed_out.map_or(-1, |position| position.offset);
            self.queued_bytes -= state.queued_bytes;
            state.forget_log();
            self.ready.retain(|ready| ready != tp);
            // All of the new topic is newer than what was read, so also `latest` begins at its start.
            let policy = match self.config.offset_reset {
                OffsetReset::Latest => OffsetReset::Earliest,
                policy => policy,
            };
            let error = FetchError::TopicRecreated { tp: tp.clone(), offset };
            self.errors.extend(state.reset(policy, error));
        }
    }
}

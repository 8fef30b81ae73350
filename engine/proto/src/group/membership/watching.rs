//! What the leader of a group watches: the partitions of the topics that it dealt.
//!
//! Only the leader knows what the others subscribe to, so nobody else would notice that there is more to deal.
//! Never here: the dealing (see `rebalance`).

use std::time::Instant;

use super::Membership;
use crate::group::{assignor::PartitionCounts, member_state::MemberState};

impl Membership {
    /// The cluster's partition counts changed; the leader rebalances if its group is concerned.
    pub fn handle_cluster(&mut self, now: Instant, counts: &PartitionCounts) {
        let (MemberState::Stable { generation_id }, Some(led)) = (self.state, &self.led_counts) else {
            return;
        };
        // A topic that is missing for a moment while a broker restarts has not lost its partitions.
        let grown = led
            .iter()
            .any(|(topic, count)| counts.get(topic).is_some_and(|n| n != count));
        if grown {
            self.rebalance(now, generation_id);
        }
    }

    /// Whether the metadata must be asked for: a topic of the group does not exist. It may be on its way from the
    /// controller to the brokers, and nobody reads it before it is looked for again.
    pub fn poll_metadata_wanted(&mut self, now: Instant) -> bool {
        let is_due = self.next_look().is_some_and(|look_at| look_at <= now);
        if is_due {
            self.look_at = Some(now + self.missing.fail());
        }
        is_due
    }

    /// When a missing topic is looked for next.
    pub(super) fn next_look(&self) -> Option<Instant> {
        let is_stable = matches!(self.state, MemberState::Stable { .. });
        self.look_at.filter(|_| is_stable && self.led_counts.is_some())
    }

    /// This member led, and dealt from these counts.
    pub(super) fn watch(&mut self, now: Instant, led: PartitionCounts) {
        self.missing.reset();
        let is_missing = led.values().any(|count| *count == 0);
        self.look_at = is_missing.then(|| now + self.missing.fail());
        self.led_counts = Some(led);
    }
}

//! Who has what already, as the members themselves say.
//!
//! Two members may claim one partition: one of them was away while the group gave it to the other. The later
//! generation is right, the earlier claim is dropped. Two claims of the same generation contradict each
//! other, so neither counts.
//! Never here: how a member says it (each sticky assignor has its own way), who gets what next.

use std::collections::HashMap;

use super::{GroupMember, PartitionCounts, is_subscribed};
use crate::topic_partition::TopicPartition;

/// What one member says it has.
#[derive(Debug, Default)]
pub(super) struct Claim {
    pub(super) partitions: Vec<TopicPartition>,
    /// Since when; -1 if it does not say, which is older than any.
    pub(super) generation_id: i32,
}

/// The claims of all members, with the place of each member in `members`.
#[derive(Debug, Default)]
pub(super) struct Claims {
    by_partition: HashMap<TopicPartition, Claimants>,
}

#[derive(Debug)]
struct Claimants {
    all: Vec<usize>,
    generation_id: i32,
    /// `None` if two claim it with equal right.
    rightful: Option<usize>,
}

impl Claims {
    /// Weighs the claims. Partitions that do not exist, and those of topics that the member does not want any more,
    /// are nobody's.
    pub(super) fn new(
        members: &[&GroupMember],
        partitions: &PartitionCounts,
        claim_of: impl Fn(&GroupMember) -> Claim,
    ) -> Claims {
        let mut by_partition: HashMap<TopicPartition, Claimants> = HashMap::new();
        for (place, member) in members.iter().enumerate() {
            let claim = claim_of(member);
            for tp in claim.partitions {
                let exists = partitions
                    .get(&tp.topic)
                    .is_some_and(|count| (0..*count).contains(&tp.partition));
                if !exists {
                    continue;
                }
                let wanted = is_subscribed(member, &tp.topic).then_some(place);
                let claimants = by_partition.entry(tp).or_insert(Claimants {
                    all: Vec::new(),
                    generation_id: i32::MIN,
                    rightful: None,
                });
                if claimants.all.last() == Some(&place) {
                    continue; // It says so twice.
                }
                claimants.all.push(place);
                if claim.generation_id > claimants.generation_id {
                    claimants.generation_id = claim.generation_id;
                    claimants.rightful = wanted;
                } else if claim.generation_id == claimants.generation_id {
                    claimants.rightful = None;
                }
            }
        }
        Claims { by_partition }
    }

    /// The member that keeps the partition if it can.
    pub(super) fn rightful(&self, tp: &TopicPartition) -> Option<usize> {
        self.by_partition.get(tp)?.rightful
    }

    /// Whether somebody besides the member at `place` may be reading the partition.
    pub(super) fn is_held_by_another(&self, tp: &TopicPartition, place: usize) -> bool {
        self.by_partition.get(tp).is_some_and(|claimants| {
            claimants.rightful != Some(place) && claimants.all.iter().any(|claimant| *claimant != place)
        })
    }
}

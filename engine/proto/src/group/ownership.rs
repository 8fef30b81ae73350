//! What a member owns, and what its application still has to be told.
//!
//! The application sees events later than they happen. An event that it has not seen when the
//! next one arrives is taken back: it never learns of an assignment that is already lost, and
//! `Lost` overtakes a `Revoked` that it has not seen.

use std::collections::{BTreeSet, VecDeque};

use crate::topic_partition::TopicPartition;

/// What the application must be told, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupEvent {
    /// The member owns these partitions from now on, besides those it kept. Sent once per
    /// generation, possibly empty.
    Assigned {
        /// The generation under which they may be committed.
        generation_id: i32,
        /// The new partitions, in order.
        partitions: Vec<TopicPartition>,
    },
    /// The application finishes these, commits, and says so; only then the member rejoins.
    Revoked {
        /// The generation under which they may still be committed.
        generation_id: i32,
        /// The partitions, in order.
        partitions: Vec<TopicPartition>,
    },
    /// Others may read these already: stop, and do not commit.
    Lost {
        /// The partitions, in order.
        partitions: Vec<TopicPartition>,
    },
}

/// Partitions owned and events not yet delivered. At most one event of each kind is queued per
/// generation, and losing takes the undelivered ones back, so the queue stays short.
#[derive(Debug, Default)]
pub struct Ownership {
    owned: BTreeSet<TopicPartition>,
    events: VecDeque<GroupEvent>,
}

impl Ownership {
    /// What the member owns, whether or not the application knows.
    pub fn owned(&self) -> &BTreeSet<TopicPartition> {
        &self.owned
    }

    /// The next event for the application.
    pub fn poll_event(&mut self) -> Option<GroupEvent> {
        self.events.pop_front()
    }

    /// Whether an event waits.
    pub fn has_event(&self) -> bool {
        !self.events.is_empty()
    }

    /// Whether the application still has to be told that it lost something.
    pub(crate) fn has_lost(&self) -> bool {
        self.events.iter().any(|event| matches!(event, GroupEvent::Lost { .. }))
    }

    /// Adds `added` and tells the application of the new generation.
    pub(crate) fn assign(&mut self, generation_id: i32, added: BTreeSet<TopicPartition>) {
        self.owned.extend(added.iter().cloned());
        self.events.push_back(GroupEvent::Assigned {
            generation_id,
            partitions: added.into_iter().collect(),
        });
    }

    /// Gives `revoked` back. False if the application never heard of any of them, so that there
    /// is nobody to wait for.
    pub(crate) fn revoke(&mut self, generation_id: i32, revoked: &BTreeSet<TopicPartition>) -> bool {
        let unseen = self.take_back_assigned(revoked);
        self.owned.retain(|tp| !revoked.contains(tp));
        let partitions: Vec<_> = revoked.difference(&unseen).cloned().collect();
        if partitions.is_empty() {
            return false;
        }
        self.events.push_back(GroupEvent::Revoked {
            generation_id,
            partitions,
        });
        true
    }

    /// Everything is gone, together with `revoking`: partitions whose revocation the application
    /// has been told of but has not finished.
    pub(crate) fn lose(&mut self, revoking: BTreeSet<TopicPartition>) {
        let mut lost: BTreeSet<_> = std::mem::take(&mut self.owned);
        let unseen = self.take_back_assigned(&lost);
        lost.retain(|tp| !unseen.contains(tp));
        lost.extend(revoking);
        self.events.retain(|event| match event {
            GroupEvent::Revoked { partitions, .. } => {
                lost.extend(partitions.iter().cloned());
                false
            }
            GroupEvent::Assigned { .. } => false,
            GroupEvent::Lost { .. } => true,
        });
        if !lost.is_empty() {
            let partitions = lost.into_iter().collect();
            self.events.push_back(GroupEvent::Lost { partitions });
        }
    }

    /// Removes `gone` from assignments that the application has not seen, and says which they were.
    fn take_back_assigned(&mut self, gone: &BTreeSet<TopicPartition>) -> BTreeSet<TopicPartition> {
        let mut unseen = BTreeSet::new();
        self.events.retain_mut(|event| {
            let GroupEvent::Assigned { partitions, .. } = event else {
                return true;
            };
            unseen.extend(partitions.extract_if(.., |tp| gone.contains(tp)));
            !partitions.is_empty()
        });
        unseen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(partitions: &[i32]) -> BTreeSet<TopicPartition> {
        partitions.iter().map(|p| TopicPartition::new("t", *p)).collect()
    }

    fn list(partitions: &[i32]) -> Vec<TopicPartition> {
        set(partitions).into_iter().collect()
    }

    #[test]
    fn an_assignment_nobody_saw_is_taken_back_without_a_word() {
        let mut ownership = Ownership::default();
        ownership.assign(1, set(&[0, 1]));
        ownership.lose(BTreeSet::new());
        assert_eq!(ownership.poll_event(), None);
    }

    #[test]
    fn lost_overtakes_a_revocation_nobody_saw() {
        let mut ownership = Ownership::default();
        ownership.assign(1, set(&[0, 1]));
        ownership.poll_event();
        assert!(ownership.revoke(1, &set(&[0])));
        ownership.lose(BTreeSet::new());
        let partitions = list(&[0, 1]);
        assert_eq!(ownership.poll_event(), Some(GroupEvent::Lost { partitions }));
        assert_eq!(ownership.poll_event(), None);
    }

    #[test]
    fn what_was_being_revoked_is_lost_with_the_rest() {
        let mut ownership = Ownership::default();
        ownership.assign(1, set(&[0, 1]));
        ownership.poll_event();
        ownership.revoke(1, &set(&[0, 1]));
        ownership.poll_event();
        ownership.lose(set(&[0, 1]));
        let partitions = list(&[0, 1]);
        assert_eq!(ownership.poll_event(), Some(GroupEvent::Lost { partitions }));
    }

    #[test]
    fn revoking_what_nobody_saw_needs_no_handshake() {
        let mut ownership = Ownership::default();
        ownership.assign(1, set(&[0, 1]));
        assert!(!ownership.revoke(1, &set(&[0, 1])));
        assert_eq!(ownership.poll_event(), None);
    }
}

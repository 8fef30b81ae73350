//! What a group has committed.

use std::collections::BTreeMap;

/// Committed offsets of one group, by topic and partition.
#[derive(Debug, Default)]
pub(crate) struct CommittedOffsets {
    by_topic: BTreeMap<String, BTreeMap<i32, CommittedOffset>>,
}

/// The next offset to read, as a member committed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommittedOffset {
    pub(crate) offset: i64,
    /// Of the last record read; -1 if the member did not say.
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: String,
}

impl CommittedOffsets {
    pub(crate) fn find(&self, topic: &str, partition: i32) -> Option<&CommittedOffset> {
        self.by_topic.get(topic)?.get(&partition)
    }

    pub(crate) fn put(&mut self, topic: &str, partition: i32, committed: CommittedOffset) {
        match self.by_topic.get_mut(topic) {
            Some(partitions) => partitions.insert(partition, committed),
            None => self
                .by_topic
                .entry(topic.to_owned())
                .or_default()
                .insert(partition, committed),
        };
    }

    pub(crate) fn remove(&mut self, topic: &str, partition: i32) {
        if let Some(partitions) = self.by_topic.get_mut(topic) {
            partitions.remove(&partition);
            if partitions.is_empty() {
                self.by_topic.remove(topic);
            }
        }
    }

    /// Forgets a deleted topic; returns the partitions that had offsets.
    pub(crate) fn remove_topic(&mut self, topic: &str) -> Vec<i32> {
        self.by_topic
            .remove(topic)
            .map(|partitions| partitions.into_keys().collect())
            .unwrap_or_default()
    }

    pub(crate) fn topics(&self) -> impl Iterator<Item = (&str, &BTreeMap<i32, CommittedOffset>)> {
        self.by_topic
            .iter()
            .map(|(topic, partitions)| (topic.as_str(), partitions))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_topic.is_empty()
    }
}

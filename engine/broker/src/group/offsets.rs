//! What a group has committed.

use std::collections::BTreeMap;

/// Committed offsets of one group, by topic and partition.
#[derive(Debug, Default)]
pub(crate) struct CommittedOffsets {
    by_topic: BTreeMap<String, BTreeMap<i32, CommittedOffset>>,
    /// Offsets of open transactions by producer id, then topic and partition (KIP-98).
    pending: BTreeMap<i64, BTreeMap<(String, i32), CommittedOffset>>,
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

    /// Keeps an offset that counts when the producer's transaction is committed.
    pub(crate) fn put_pending(&mut self, producer_id: i64, topic: &str, partition: i32, offset: CommittedOffset) {
        let of_producer = self.pending.entry(producer_id).or_default();
        of_producer.insert((topic.to_owned(), partition), offset);
    }

    /// Whether an open transaction will change what is committed for this partition.
    pub(crate) fn is_pending(&self, topic: &str, partition: i32) -> bool {
        let is_this = |(pending, index): &(String, i32)| pending == topic && *index == partition;
        self.pending.values().any(|offsets| offsets.keys().any(is_this))
    }

    /// Topics and partitions of all pending offsets.
    pub(crate) fn pending(&self) -> impl Iterator<Item = (&str, i32)> {
        let all = self.pending.values().flat_map(BTreeMap::keys);
        all.map(|(topic, partition)| (topic.as_str(), *partition))
    }

    /// Producer, topic and partition of all pending offsets.
    pub(crate) fn pending_by_producer(&self) -> impl Iterator<Item = (i64, &str, i32)> {
        let all = self.pending.iter();
        all.flat_map(|(producer_id, offsets)| {
            let keys = offsets.keys();
            keys.map(|(topic, partition)| (*producer_id, topic.as_str(), *partition))
        })
    }

    /// The pending offsets of a producer.
    pub(crate) fn pending_of(&self, producer_id: i64) -> impl Iterator<Item = (&str, i32, &CommittedOffset)> {
        let all = self.pending.get(&producer_id).into_iter().flatten();
        all.map(|((topic, partition), offset)| (topic.as_str(), *partition, offset))
    }

    /// The producer's transaction is ended: what was pending for it is committed where `is_committed` says so, else
    /// dropped.
    pub(crate) fn end_pending(&mut self, producer_id: i64, is_committed: impl Fn(&str) -> bool) {
        for ((topic, partition), offset) in self.pending.remove(&producer_id).into_iter().flatten() {
            if is_committed(&topic) {
                self.put(&topic, partition, offset);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_topic.is_empty() && self.pending.is_empty()
    }
}

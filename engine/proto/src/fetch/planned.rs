//! One partition of a fetch, as the request and the broker's session know it.

use uuid::Uuid;

use crate::topic_partition::TopicPartition;

/// One partition of a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedPartition {
    /// Which.
    pub tp: TopicPartition,
    /// Its topic's id, where brokers give one.
    pub topic_id: Option<Uuid>,
    /// The next offset.
    pub offset: i64,
    /// The epoch of the leader as we know it, -1 if we do not. Fences us from old leaders and
    /// old leaders from us.
    pub leader_epoch: i32,
    /// The epoch of the record before `offset`, -1 if we do not know: a leader whose log has another one there says
    /// so (KIP-320, KIP-595).
    pub last_fetched_epoch: i32,
    /// Bound on this partition's share.
    pub bytes_max: i32,
}

impl PlannedPartition {
    /// Whether its topic can go by an id: a zero id must never be sent.
    pub(crate) fn has_topic_id(&self) -> bool {
        self.topic_id.is_some_and(|id| !id.is_nil())
    }
}

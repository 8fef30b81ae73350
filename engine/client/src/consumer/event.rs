//! What a consumer tells its application.

use engine_proto::{TopicPartition, fetch::partition::Fetched};

/// What happened, in order. Group events come before batches that are ready.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// These partitions are ours now, besides those before; possibly none. Nothing is fetched
    /// until [`Consumer::start`](super::Consumer::start) says where.
    Assigned(Vec<TopicPartition>),
    /// The group rebalances and these go back. Finish what is under way, commit, then call
    /// [`Consumer::revoked_done`](super::Consumer::revoked_done): only then the member rejoins.
    /// Whoever takes longer than the rebalance timeout gets [`Event::Lost`] instead. What was prefetched is
    /// dropped already, and the partitions have no position any more.
    Revoked(Vec<TopicPartition>),
    /// Others may own these already: stop, and do not commit. The member rejoins by itself. Also
    /// ends a revocation that was not done yet.
    Lost(Vec<TopicPartition>),
    /// Batches of one partition.
    Fetched(Fetched),
}

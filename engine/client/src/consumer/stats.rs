//! What a consumer counts. Naming and exporting is the runtime's.

use std::{collections::BTreeMap, time::Duration};

use engine_proto::{
    TopicPartition, fetch::fetcher::FetchStats, group::member_state::MembershipStats, latency_stats::LatencyStats,
};

/// Counters since the start, and the state of now.
#[derive(Debug, Clone, Default)]
pub struct ConsumerStats {
    /// Fetches: answers, bytes, records, latency.
    pub fetch: FetchStats,
    /// Rebalances, heartbeats, losses; zero without a group.
    pub membership: MembershipStats,
    /// Commits.
    pub commits: CommitStats,
    /// Bytes that are prefetched and not yet polled.
    pub prefetched_bytes: usize,
    /// Offsets behind the end, by partition, as of the last fetch of each.
    pub lag: Vec<(TopicPartition, u64)>,
    /// Errors by Kafka's name.
    pub errors: BTreeMap<&'static str, u64>,
}

/// Commits since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CommitStats {
    /// Commits that succeeded.
    pub succeeded: u64,
    /// Commits that failed.
    pub failed: u64,
    /// How long they took, retries included.
    pub latency: LatencyStats,
}

impl CommitStats {
    pub(super) fn finished(&mut self, took: Duration, succeeded: bool) {
        self.latency.record(took);
        self.succeeded += u64::from(succeeded);
        self.failed += u64::from(!succeeded);
    }
}

//! What a broker is told before it starts.
//!
//! Plain data with defaults that suit a first run and tests: loopback, memory, topics created on first use.
//! Never here: what the values do (see `broker`, `log`, `group`).

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Settings of an embedded [`Broker`](crate::Broker).
///
/// Every limit says what happens when it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerConfig {
    /// Address to bind. Port 0 takes a free port; [`Broker::address`](crate::Broker::address) tells which.
    pub listen: SocketAddr,
    /// Host name that clients are told to connect to. `None`: the bound address, or `localhost` when that is
    /// the unspecified address (`0.0.0.0`), which no client can connect to.
    pub advertised_host: Option<String>,
    /// Directory that holds the logs, topics and committed offsets. `None` keeps everything in memory.
    ///
    /// The directory is locked by one process at a time; a second broker on it fails to start.
    pub data: Option<PathBuf>,
    /// When a durable broker calls fsync.
    pub fsync: FsyncPolicy,
    /// Size at which a partition's segment file is closed and the next one begun. Retention deletes whole segments.
    pub segment_bytes: u64,
    /// This broker's node id.
    pub node_id: i32,
    /// Partitions of a topic that is created without a count (CreateTopics with -1, or on first use).
    pub default_partitions: i32,
    /// Most partitions one topic may have; more is answered with INVALID_PARTITIONS.
    pub partitions_max: i32,
    /// Most topics; more is answered with POLICY_VIOLATION.
    pub topics_max: usize,
    /// Whether Metadata for an unknown topic creates it (if the client allows that too).
    pub auto_create_topics: bool,
    /// Most open connections; one more is closed as soon as it is accepted.
    pub connections_max: usize,
    /// A connection that sends nothing for this long is closed (`connections.max.idle.ms`). The time in which the
    /// broker works on a request does not count.
    pub connection_idle_max: Duration,
    /// Largest request frame; a larger one closes its connection (as `socket.request.max.bytes`).
    pub frame_bytes_max: usize,
    /// Largest record batch, unless the topic sets `max.message.bytes`; larger is MESSAGE_TOO_LARGE.
    pub message_bytes_max: usize,
    /// Most fetch sessions (`max.incremental.fetch.session.cache.slots`). One more takes the place of the one that was
    /// used longest ago, whose client begins a new one; with 0 there are none, and clients go without.
    pub fetch_sessions_max: usize,
    /// Most record bytes in one Fetch response, whatever the client asks for. One batch is always returned.
    pub fetch_bytes_max: usize,
    /// Most bytes a partition keeps, unless its topic sets `retention.bytes`. The oldest batches are dropped
    /// and the log start offset advances; a consumer that was still behind it gets OFFSET_OUT_OF_RANGE.
    pub retention_bytes_per_partition: Option<u64>,
    /// Most bytes that all partitions keep together. The oldest batches of the largest partition go first.
    /// Topics with `cleanup.policy=compact` count, but are compacted instead of cut.
    ///
    /// `None` is [`MEMORY_RETENTION_BYTES`](Self::MEMORY_RETENTION_BYTES) in memory and no limit on disk.
    pub retention_bytes_total: Option<u64>,
    /// How long the first member of an empty group waits for others (`group.initial.rebalance.delay.ms`).
    pub group_initial_rebalance_delay: Duration,
    /// Shortest session timeout a member may ask for; Kafka's default is 6 s, tests want less.
    pub group_session_timeout_min: Duration,
    /// Longest session timeout a member may ask for.
    pub group_session_timeout_max: Duration,
    /// Most members in one group; one more is GROUP_MAX_SIZE_REACHED.
    pub group_members_max: usize,
    /// Most groups; one more is answered with GROUP_MAX_SIZE_REACHED.
    pub groups_max: usize,
    /// Longest metadata string of a committed offset, at most 32 KiB; longer is OFFSET_METADATA_TOO_LARGE.
    pub offset_metadata_bytes_max: usize,
    /// Longest transaction timeout a producer may ask for (`transaction.max.timeout.ms`); longer is
    /// INVALID_TRANSACTION_TIMEOUT.
    pub transaction_timeout_max: Duration,
    /// Most transactional ids. At the bound the one that was idle longest is forgotten, and its producer gets
    /// INVALID_PRODUCER_ID_MAPPING; if all have open transactions, a new one gets COORDINATOR_NOT_AVAILABLE.
    pub transactional_ids_max: usize,
    /// The feature `transaction.version` that clients are told: 2 for the protocol of KIP-890, which bumps the
    /// producer's epoch with every transaction; 0 for the one before it. Requests of both are always answered.
    pub transaction_version: i16,
}

impl BrokerConfig {
    /// Bound on the record bytes of a broker in memory when none is configured: 2 GiB.
    pub const MEMORY_RETENTION_BYTES: u64 = 2 << 30;

    /// The total bound in force: what was configured, or the default of the mode.
    pub(crate) fn retention_total(&self) -> Option<u64> {
        match (self.retention_bytes_total, &self.data) {
            (Some(bytes), _) => Some(bytes),
            (None, None) => Some(Self::MEMORY_RETENTION_BYTES),
            (None, Some(_)) => None,
        }
    }
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9092)),
            advertised_host: None,
            data: None,
            fsync: FsyncPolicy::OperatingSystem,
            segment_bytes: 256 << 20,
            node_id: 1,
            default_partitions: 4,
            partitions_max: 10_000,
            topics_max: 10_000,
            auto_create_topics: true,
            connections_max: 1_000,
            connection_idle_max: Duration::from_secs(10 * 60),
            frame_bytes_max: 100 << 20,
            message_bytes_max: (1 << 20) + 12,
            fetch_sessions_max: 1_000,
            fetch_bytes_max: 55 << 20,
            retention_bytes_per_partition: None,
            retention_bytes_total: None,
            group_initial_rebalance_delay: Duration::ZERO,
            group_session_timeout_min: Duration::from_millis(100),
            group_session_timeout_max: Duration::from_secs(30 * 60),
            group_members_max: 1_000,
            groups_max: 10_000,
            offset_metadata_bytes_max: 4_096,
            transaction_timeout_max: Duration::from_secs(15 * 60),
            transactional_ids_max: 10_000,
            transaction_version: 2,
        }
    }
}

/// When a durable broker asks the disk to keep what it was given.
///
/// Whatever the policy, an acknowledged batch has been handed to the operating system, so it survives a kill of
/// the process; the policy decides what a power failure or a kernel crash may take. A clean shutdown always
/// syncs. Recovery checks every batch's CRC and cuts a torn tail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FsyncPolicy {
    /// The operating system writes back when it likes, as Apache Kafka does by default.
    OperatingSystem,
    /// fsync before every acknowledgement: of the segment on Produce, of the journal on OffsetCommit. Slow.
    EveryAppend,
}

//! The producer: records in, Produce requests out, every record's fate told once.
//!
//! [`ProducerMachine`] holds the batches of all partitions, the memory budget, sequences and
//! retries. Answers race timers and each other here, so it does no I/O and reads no clock; a
//! seeded simulation (`tests/simulation`) drops, delays and reorders what it sends and checks the broker's log for
//! exactly once, in order.
//! Never here: sockets, tokio, compression (the driver seals batches on other threads).

mod answer;
mod append;
mod delivery;
mod outcome;
mod partition;
mod request;
mod seal;
mod stats;
#[cfg(test)]
mod tests;
mod transaction;

pub use append::{AppendError, Appended, TopicRecord};
pub use delivery::{BatchDelivered, BatchOutcome, DeliveryError, FlushMark};
pub use outcome::{PartitionAnswer, RequestOutcome};
pub use request::{PlannedBatch, RequestPlan};
pub use seal::{SealDone, SealJob};
pub use stats::ProducerStats;
pub use transaction::{
    error::TransactionError,
    request::{
        ConsumerGroupMetadata, OffsetsTicket, OffsetsToCommit, TransactionAnswer, TransactionEnd, TransactionOffset,
        TransactionOutcome, TransactionProtocol, TransactionRequest,
    },
};

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use fastrand::Rng;
use uuid::Uuid;

use crate::{
    accumulator::{BatchId, Memory},
    backoff::BackoffPolicy,
    cluster::ClusterMetadata,
    partitioner::StickyPartitioner,
    sequence::ProducerIdentity,
};
use partition::PartitionQueue;
use transaction::state::Transaction;

/// How a producer behaves; durations and limits are those of `ProducerConfig` in `client`.
#[derive(Debug, Clone, Copy)]
pub struct ProducerOptions {
    /// Retries neither duplicate nor reorder.
    pub is_idempotent: bool,
    /// How long a batch waits for more records.
    pub linger: Duration,
    /// A batch takes no record that would make it larger than this, except its first.
    pub batch_bytes_max: usize,
    /// Bytes of all batches that are not resolved.
    pub buffer_bytes_max: usize,
    /// Bytes of the batches in one request, and of one record.
    pub request_bytes_max: usize,
    /// Requests in flight per broker, and unresolved batches per partition.
    pub in_flight_max: usize,
    /// From a batch's opening to its acknowledgement.
    pub delivery_timeout: Duration,
    /// Attempts after the first.
    pub retries: u32,
    /// Between attempts.
    pub retry_backoff: BackoffPolicy,
    /// Keys do not choose the partition.
    pub ignores_keys: bool,
    /// Slow partitions get fewer records without key.
    pub is_adaptive: bool,
    /// An adaptive choice leaves out the partitions of a broker that has taken nothing for longer than this although
    /// something was ready for it. Zero: it does not.
    pub availability_timeout: Duration,
}

/// All decisions of one producer. `T` is a token that the driver ties to each batch.
#[derive(Debug)]
pub struct ProducerMachine<T> {
    options: ProducerOptions,
    topics: Vec<TopicState>,
    topic_indexes: HashMap<Arc<str>, usize>,
    partitions: Vec<PartitionQueue<T>>,
    /// Partitions with batches, by index.
    active: BTreeSet<usize>,
    nodes: HashMap<i32, NodeState>,
    requests: HashMap<u64, SentRequest>,
    next_request_id: u64,
    next_batch_id: BatchId,
    /// Open batches with a lower id do not linger.
    flush_before: BatchId,
    memory: Memory,
    /// An append found no room: open batches do not linger until there is some again.
    is_memory_short: bool,
    identity: Option<ProducerIdentity>,
    needs_identity: bool,
    seal_queue: VecDeque<(usize, BatchId)>,
    outcomes: VecDeque<BatchOutcome<T>>,
    wants_metadata: bool,
    is_closed: bool,
    /// Why nothing goes on, if that was nobody's wish.
    gave_up: Option<Arc<str>>,
    transaction: Option<Transaction>,
    /// When a transaction that a closed producer cannot end is left to its timeout.
    give_up_at: Option<Instant>,
    /// The partition to look at first, so that all get their turn.
    next_turn: usize,
    rng: Rng,
    stats: ProducerStats,
}

#[derive(Debug)]
struct TopicState {
    name: Arc<str>,
    /// As the cluster told it last; `None` as long as no broker gave one.
    topic_id: Option<Uuid>,
    /// Indexes into the machine's partitions, by the topic's own numbering.
    partitions: Vec<usize>,
    partition_count: i32,
    sticky: StickyPartitioner,
}

#[derive(Debug, Default)]
struct NodeState {
    in_flight: usize,
    muted_until: Option<Instant>,
    /// Since when nothing could be sent to it although something is ready.
    blocked_since: Option<Instant>,
    /// For longer than `partitioner.availability.timeout.ms`.
    is_slow: bool,
}

#[derive(Debug)]
struct SentRequest {
    node_id: i32,
    sent: Instant,
    /// Topics go by their ids, not by their names.
    is_by_topic_id: bool,
    batches: Vec<(usize, BatchId, Option<Uuid>)>,
}

impl<T: Clone> ProducerMachine<T> {
    /// A producer without topics; `seed` is for jitter and the sticky choice.
    pub fn new(options: ProducerOptions, seed: u64) -> Self {
        Self {
            options,
            topics: Vec::new(),
            topic_indexes: HashMap::new(),
            partitions: Vec::new(),
            active: BTreeSet::new(),
            nodes: HashMap::new(),
            requests: HashMap::new(),
            next_request_id: 0,
            next_batch_id: 0,
            flush_before: 0,
            memory: Memory::new(options.buffer_bytes_max, options.batch_bytes_max),
            is_memory_short: false,
            identity: None,
            needs_identity: options.is_idempotent,
            seal_queue: VecDeque::new(),
            outcomes: VecDeque::new(),
            wants_metadata: false,
            is_closed: false,
            gave_up: None,
            transaction: None,
            give_up_at: None,
            next_turn: 0,
            rng: Rng::with_seed(seed),
            stats: ProducerStats::default(),
        }
    }

    /// Takes topics, partitions and leaders over. Topics never go; partitions without leader wait.
    pub fn handle_metadata(&mut self, metadata: &ClusterMetadata) {
        for topic in metadata.topics() {
            let count = topic.partitions.len();
            if count == 0 {
                continue;
            }
            let topic_index = match self.topic_indexes.get(&topic.name) {
                Some(index) => *index,
                None => {
                    self.topic_indexes.insert(Arc::clone(&topic.name), self.topics.len());
                    self.topics.push(TopicState {
                        name: Arc::clone(&topic.name),
                        topic_id: None,
                        partitions: Vec::new(),
                        partition_count: 0,
                        sticky: StickyPartitioner::default(),
                    });
                    self.topics.len() - 1
                }
            };
            let state = &mut self.topics[topic_index];
            let another = topic
                .topic_id
                .filter(|heard| state.topic_id.is_some_and(|known| known != *heard));
            // An answer without one, of an older broker, must not hide that the next one names another topic.
            state.topic_id = topic.topic_id.or(state.topic_id);
            state.partition_count = count as i32;
            if state.sticky.current().is_some_and(|current| current >= count as i32) {
                state.sticky = StickyPartitioner::default();
            }
            while state.partitions.len() < count {
                let partition = state.partitions.len() as i32;
                state.partitions.push(self.partitions.len());
                let is_transactional = self.transaction.is_some();
                let mut queue = PartitionQueue::new(Arc::clone(&topic.name), topic_index, partition, is_transactional);
                if let Some(identity) = self.identity {
                    queue.identify(identity);
                }
                self.partitions.push(queue);
            }
            for (partition, index) in state.partitions.iter().enumerate() {
                let leader = metadata.leader_for(&topic.name, partition as i32);
                let queue = &mut self.partitions[*index];
                let node_id = leader.map(|leader| leader.node_id);
                if node_id.is_some() && node_id != queue.leader_id {
                    queue.retry_at = None; // The new leader has given no reason to wait.
                }
                queue.leader_id = node_id;
            }
            if let Some(topic_id) = another {
                for partition in state.partitions.clone() {
                    self.partitions[partition].begin_log(topic_id);
                    self.try_restart(partition);
                }
            }
        }
    }

    /// Whether an InitProducerId request must be made.
    pub fn needs_producer_id(&self) -> bool {
        self.needs_identity
    }

    /// Takes the answer of InitProducerId.
    pub fn handle_producer_id(&mut self, identity: ProducerIdentity) {
        self.identity = Some(identity);
        self.needs_identity = false;
        for queue in &mut self.partitions {
            queue.identify(identity);
        }
    }

    /// Whether fresh metadata is wanted; asking resets it.
    pub fn poll_metadata_wanted(&mut self) -> bool {
        std::mem::take(&mut self.wants_metadata)
    }
}

//! The producer: records in, Produce requests out, every record's fate told once.
//!
//! [`ProducerMachine`] holds the batches of all partitions, the memory budget, sequences and
//! retries. Answers race timers and each other here, so it does no I/O and reads no clock; a
//! seeded simulation drops, delays and reorders what it sends and checks the broker's log for
//! exactly once, in order.
//! Never here: sockets, tokio, compression (the driver seals batches on other threads).

mod answer;
mod append;
mod delivery;
mod partition;
#[cfg(test)]
mod simulation;
mod stats;
#[cfg(test)]
mod tests;

pub use append::{AppendError, Appended, TopicRecord};
pub use delivery::{BatchDelivered, BatchOutcome, DeliveryError, FlushMark};
pub use stats::{LatencyStats, ProducerStats};

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use engine_wire::{
    compression::{CompressError, Compression, Compressor},
    error_code::ErrorCode,
    record_batch::{BatchBuilder, ProducerStamp},
};
use fastrand::Rng;

use crate::{
    accumulator::{Batch, BatchId, BatchState, Memory, Sealed, split},
    backoff::BackoffPolicy,
    cluster::ClusterMetadata,
    partitioner::StickyPartitioner,
    sequence::ProducerIdentity,
};
use answer::{Situation, Verdict, verdict};
use partition::{PartitionQueue, Restart};

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
    /// The partition to look at first, so that all get their turn.
    next_turn: usize,
    rng: Rng,
    stats: ProducerStats,
}

#[derive(Debug)]
struct TopicState {
    name: Arc<str>,
    /// Indexes into the machine's partitions, by the topic's own numbering.
    partitions: Vec<usize>,
    partition_count: i32,
    sticky: StickyPartitioner,
}

#[derive(Debug, Default)]
struct NodeState {
    in_flight: usize,
    muted_until: Option<Instant>,
}

#[derive(Debug)]
struct SentRequest {
    node_id: i32,
    sent: Instant,
    batches: Vec<(usize, BatchId)>,
}

/// A batch for the driver to seal, on whichever thread.
#[derive(Debug)]
pub struct SealJob {
    job: SealJobId,
    builder: BatchBuilder,
    spare: Vec<u8>,
}

/// A job that is done.
#[derive(Debug)]
pub struct SealDone {
    job: SealJobId,
    sealed: Result<Sealed, CompressError>,
    arena: Vec<u8>,
}

impl SealJob {
    /// Compresses and stamps the batch: the expensive part of a batch's life.
    pub fn run(mut self, compression: Compression, compressor: &mut Compressor) -> SealDone {
        let sealed = self.builder.seal(compression, compressor, self.spare);
        let sealed = sealed.map(|mut batch| {
            let records = batch.stamp(self.job.stamp);
            Sealed { batch, records }
        });
        SealDone {
            job: self.job,
            sealed,
            arena: self.builder.into_buffer(),
        }
    }
}

/// Names a seal job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SealJobId {
    partition: usize,
    batch: BatchId,
    stamp: ProducerStamp,
}

/// One Produce request to send.
#[derive(Debug)]
pub struct RequestPlan {
    /// Hand back with the outcome.
    pub request_id: u64,
    /// The leader of all its partitions.
    pub node_id: i32,
    /// One batch per partition.
    pub batches: Vec<PlannedBatch>,
}

/// One batch of a request.
#[derive(Debug)]
pub struct PlannedBatch {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The stamped batch.
    pub records: Bytes,
}

/// What a broker said about one partition of a request.
#[derive(Debug, Clone)]
pub struct PartitionAnswer {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The error, or `NONE`.
    pub code: ErrorCode,
    /// The first record's offset.
    pub base_offset: i64,
    /// The time of the append under LogAppendTime.
    pub log_append_time_ms: Option<i64>,
    /// The broker's explanation of the error.
    pub message: Option<String>,
}

/// How a request ended.
#[derive(Debug, Clone)]
pub enum RequestOutcome {
    /// With an answer. Partitions that it leaves out are retried.
    Answered(Vec<PartitionAnswer>),
    /// With the write; `acks = 0` has no answer.
    Written,
    /// Without an answer; the broker may have the batches or not.
    Lost(Arc<str>),
    /// It cannot be sent to this broker at all.
    Impossible(Arc<str>),
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
            memory: Memory::new(options.buffer_bytes_max),
            is_memory_short: false,
            identity: None,
            needs_identity: options.is_idempotent,
            seal_queue: VecDeque::new(),
            outcomes: VecDeque::new(),
            wants_metadata: false,
            is_closed: false,
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
                        partitions: Vec::new(),
                        partition_count: 0,
                        sticky: StickyPartitioner::default(),
                    });
                    self.topics.len() - 1
                }
            };
            let state = &mut self.topics[topic_index];
            state.partition_count = count as i32;
            if state.sticky.current().is_some_and(|current| current >= count as i32) {
                state.sticky = StickyPartitioner::default();
            }
            while state.partitions.len() < count {
                let partition = state.partitions.len() as i32;
                state.partitions.push(self.partitions.len());
                let mut queue = PartitionQueue::new(Arc::clone(&topic.name), topic_index, partition);
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

    /// A batch to seal.
    pub fn poll_seal(&mut self) -> Option<SealJob> {
        while let Some((partition, batch_id)) = self.seal_queue.pop_front() {
            let queue = &mut self.partitions[partition];
            let Some(index) = queue.find(batch_id) else {
                continue; // Expired meanwhile.
            };
            let batch = &mut queue.batches[index];
            let BatchState::Closed(builder) = std::mem::replace(&mut batch.state, BatchState::Sealing) else {
                unreachable!("batches in the seal queue are closed");
            };
            let stamp = batch.stamp();
            let job = SealJobId {
                partition,
                batch: batch_id,
                stamp,
            };
            let spare = self.memory.take_spare();
            return Some(SealJob { job, builder, spare });
        }
        None
    }

    /// Takes a sealed batch back. An error fails the batch.
    pub fn handle_sealed(&mut self, done: SealDone) {
        let SealDone { job, sealed, arena } = done;
        self.memory.keep_spare(arena);
        let queue = &mut self.partitions[job.partition];
        let Some(index) = queue.find(job.batch) else {
            return; // Aborted meanwhile.
        };
        match sealed {
            Ok(_) if queue.batches[index].is_reported => {
                self.resolve(job.partition, index, Ok(BatchDelivered::UNKNOWN));
            }
            Ok(sealed) => {
                queue.batches[index].state = BatchState::Ready {
                    sealed,
                    stamp: job.stamp,
                }
            }
            Err(reason) => {
                let error = DeliveryError::NotWritable {
                    topic: Arc::clone(&queue.topic),
                    partition: queue.partition,
                    source: reason,
                };
                self.resolve(job.partition, index, Err(error));
            }
        }
    }

    /// A request to send now, if any: to a node for which `is_connected` holds, with every batch that may
    /// go there. `is_connected` is asked only about nodes that something is for.
    pub fn poll_request(&mut self, now: Instant, mut is_connected: impl FnMut(i32) -> bool) -> Option<RequestPlan> {
        let mut node_id = None;
        let mut refused = BTreeSet::new();
        let mut bytes = 0;
        let mut chosen = Vec::new();
        let turn = self.next_turn;
        for &partition in self.active.range(turn..).chain(self.active.range(..turn)) {
            let queue = &self.partitions[partition];
            let Some(index) = queue.sendable(now, self.options.in_flight_max, self.options.is_idempotent) else {
                continue;
            };
            let Some(leader_id) = queue.leader_id else {
                self.wants_metadata = true;
                continue;
            };
            if node_id.is_some_and(|node_id| node_id != leader_id) || refused.contains(&leader_id) {
                continue;
            }
            if node_id.is_none() {
                let node = self.nodes.entry(leader_id).or_default();
                let is_muted = node.muted_until.is_some_and(|until| until > now);
                if is_muted || node.in_flight >= self.options.in_flight_max || !is_connected(leader_id) {
                    refused.insert(leader_id);
                    continue;
                }
            }
            let BatchState::Ready { sealed, .. } = &queue.batches[index].state else {
                unreachable!("a sendable batch is ready");
            };
            if !chosen.is_empty() && bytes + sealed.records.len() > self.options.request_bytes_max {
                break;
            }
            bytes += sealed.records.len();
            node_id = Some(leader_id);
            chosen.push((partition, index));
        }
        let node_id = node_id?;
        self.next_turn = chosen.last().map_or(0, |(partition, _)| partition + 1);
        Some(self.plan(now, node_id, bytes, &chosen))
    }

    fn plan(&mut self, now: Instant, node_id: i32, bytes: usize, chosen: &[(usize, usize)]) -> RequestPlan {
        let mut batches = Vec::with_capacity(chosen.len());
        let mut sent = Vec::with_capacity(chosen.len());
        for &(partition, index) in chosen {
            let queue = &mut self.partitions[partition];
            let was_head = index == 0;
            let batch = &mut queue.batches[index];
            let wanted = batch.stamp();
            let BatchState::Ready { mut sealed, stamp } = std::mem::replace(&mut batch.state, BatchState::Sealing)
            else {
                unreachable!("a chosen batch is ready");
            };
            // The stamp is there from sealing, unless sequences started again since.
            if stamp != wanted {
                sealed.records = sealed.batch.stamp(wanted);
            }
            let records = sealed.records.clone();
            batch.state = BatchState::InFlight {
                sealed,
                stamp: wanted,
                was_head,
            };
            self.stats.retries += u64::from(batch.attempts > 0);
            batch.attempts += 1;
            sent.push((partition, batch.id));
            batches.push(PlannedBatch {
                topic: Arc::clone(&queue.topic),
                partition: queue.partition,
                records,
            });
        }
        self.stats.requests += 1;
        self.stats.batches_sent += batches.len() as u64;
        self.stats.bytes_sent += bytes as u64;
        self.nodes.entry(node_id).or_default().in_flight += 1;
        let request_id = self.next_request_id;
        self.next_request_id += 1;
        self.requests.insert(
            request_id,
            SentRequest {
                node_id,
                sent: now,
                batches: sent,
            },
        );
        RequestPlan {
            request_id,
            node_id,
            batches,
        }
    }

    /// Takes the end of a request. `throttle` mutes the broker for that long (KIP-219).
    pub fn handle_outcome(&mut self, now: Instant, request_id: u64, outcome: RequestOutcome, throttle: Duration) {
        let Some(request) = self.requests.remove(&request_id) else {
            return; // Told twice.
        };
        let node = self.nodes.entry(request.node_id).or_default();
        node.in_flight -= 1;
        if !throttle.is_zero() {
            node.muted_until = Some(now + throttle);
        }
        let mut answers = HashMap::new();
        match &outcome {
            RequestOutcome::Answered(partitions) => {
                self.stats.latency.record(now.saturating_duration_since(request.sent));
                for answer in partitions {
                    // A second answer for the same partition is ignored.
                    answers.entry((&*answer.topic, answer.partition)).or_insert(answer);
                }
            }
            RequestOutcome::Lost(_) => self.wants_metadata = true,
            RequestOutcome::Written | RequestOutcome::Impossible(_) => {}
        }
        for (partition, batch_id) in request.batches {
            let queue = &self.partitions[partition];
            let answer = answers.get(&(&*queue.topic, queue.partition)).copied();
            self.handle_batch_outcome(now, partition, batch_id, &outcome, answer);
        }
    }

    fn handle_batch_outcome(
        &mut self,
        now: Instant,
        partition: usize,
        batch_id: BatchId,
        outcome: &RequestOutcome,
        answer: Option<&PartitionAnswer>,
    ) {
        let queue = &mut self.partitions[partition];
        let Some(index) = queue.find(batch_id) else {
            return; // Aborted meanwhile.
        };
        let batch = &mut queue.batches[index];
        let BatchState::InFlight {
            sealed,
            stamp,
            was_head,
        } = std::mem::replace(&mut batch.state, BatchState::Sealing)
        else {
            unreachable!("a batch has at most one request in flight");
        };
        batch.state = BatchState::Ready { sealed, stamp };
        let (verdict, code, reason): (Verdict, Option<ErrorCode>, Arc<str>) = match (outcome, answer) {
            (_, Some(answer)) => {
                let situation = Situation {
                    is_idempotent: self.options.is_idempotent,
                    was_head,
                    record_count: batch.record_count,
                };
                let reason = match &answer.message {
                    Some(message) => format!("{} ({message})", answer.code),
                    None if answer.code.is_ok() => String::new(),
                    None => answer.code.to_string(),
                };
                (verdict(answer.code, situation), Some(answer.code), reason.into())
            }
            (RequestOutcome::Written, None) => (Verdict::Delivered, None, "".into()),
            (RequestOutcome::Lost(reason), None) => {
                let refresh_metadata = true;
                (Verdict::Retry { refresh_metadata }, None, Arc::clone(reason))
            }
            (RequestOutcome::Impossible(reason), None) => (Verdict::Fail, None, Arc::clone(reason)),
            (RequestOutcome::Answered(_), None) => {
                let refresh_metadata = true;
                (
                    Verdict::Retry { refresh_metadata },
                    None,
                    "the answer left the partition out".into(),
                )
            }
        };
        if verdict != Verdict::Delivered {
            let class = code.map_or("Disconnected", |code| code.name());
            *self.stats.errors.entry(class).or_default() += 1;
            batch.last_error = Some(Arc::clone(&reason));
        }
        let refused = |queue: &PartitionQueue<T>| DeliveryError::Refused {
            topic: Arc::clone(&queue.topic),
            partition: queue.partition,
            code,
            reason: reason.to_string(),
        };
        match verdict {
            Verdict::Delivered => {
                queue.failures = 0;
                queue.retry_at = None;
                let delivered = BatchDelivered {
                    base_offset: answer
                        .filter(|answer| answer.code.is_ok())
                        .map(|answer| answer.base_offset),
                    log_append_time_ms: answer.and_then(|answer| answer.log_append_time_ms),
                };
                self.resolve(partition, index, Ok(delivered));
            }
            Verdict::Fail => {
                let error = refused(queue);
                self.resolve(partition, index, Err(error));
            }
            Verdict::Retry { refresh_metadata } => {
                self.wants_metadata |= refresh_metadata;
                self.retry(now, partition, index, was_head);
            }
            Verdict::RestartSequence => {
                queue.is_restarting = true;
                self.retry(now, partition, index, true);
            }
            Verdict::Split => self.split(partition, index),
        }
        self.try_restart(partition);
    }

    fn retry(&mut self, now: Instant, partition: usize, index: usize, backs_off: bool) {
        let queue = &mut self.partitions[partition];
        let batch = &queue.batches[index];
        if batch.is_reported || batch.deadline <= now || batch.attempts > self.options.retries {
            let error = queue.expired(index);
            self.resolve(partition, index, Err(error));
            return;
        }
        // A rejection behind an unresolved batch is that batch's failure, counted there; without any
        // wait, though, it would be repeated as fast as the network can.
        if backs_off {
            queue.failures = queue.failures.saturating_add(1);
        } else if queue.retry_at.is_some() {
            return;
        }
        let delay = self.options.retry_backoff.delay(queue.failures.max(1), &mut self.rng);
        queue.retry_at = Some(now + delay);
    }

    fn split(&mut self, partition: usize, index: usize) {
        let queue = &mut self.partitions[partition];
        let batch = &mut queue.batches[index];
        let BatchState::Ready { sealed, stamp } = &mut batch.state else {
            unreachable!("the answer has put it back");
        };
        let halves = split(&mut sealed.batch, *stamp);
        let Some(halves) = halves.filter(|_| !batch.is_reported) else {
            let error = queue.expired(index);
            self.resolve(partition, index, Err(error));
            return;
        };
        self.stats.splits += 1;
        let whole = &queue.batches[index];
        let mut charged_bytes = whole.charged_bytes;
        let mut first_record = whole.first_record;
        let mut is_first = true;
        let halves = halves.map(|builder| {
            let id = self.next_batch_id;
            self.next_batch_id += 1;
            // The halves together stay charged as the whole was.
            let charge = if is_first { charged_bytes / 2 } else { charged_bytes };
            is_first = false;
            charged_bytes -= charge;
            let half = Batch {
                id,
                token: whole.token.clone(),
                first_record,
                record_count: builder.record_count(),
                charged_bytes: charge,
                state: BatchState::Closed(builder),
                last_error: whole.last_error.clone(),
                ..*whole
            };
            first_record += half.record_count as u32;
            self.seal_queue.push_back((partition, id));
            half
        });
        queue.replace(index, halves);
    }

    fn try_restart(&mut self, partition: usize) {
        match self.partitions[partition].try_restart() {
            Restart::NotNow => {}
            Restart::Done => self.stats.sequence_restarts += 1,
            Restart::NeedsNewProducerId => {
                self.stats.sequence_restarts += 1;
                self.needs_identity = true;
            }
        }
    }
}

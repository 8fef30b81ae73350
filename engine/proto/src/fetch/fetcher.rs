//! The fetch machine: plans fetches within the prefetch budget and takes answers in.
//!
//! One fetch per broker is in flight, and the next one goes out while the application works on
//! the last: the budget is shared so that half of it can be in flight and half ready. Bytes
//! belong to the budget from the moment they are asked for until the application takes them.
//! At the bound nothing more is asked for; an answer may exceed what was asked by one batch.
//!
//! A paused partition keeps what was prefetched, up to half of the budget over all paused ones;
//! beyond that it is dropped and fetched again later, so that paused partitions cannot starve the
//! others.
//!
//! Never here: sockets, decoding of records, CRCs (the decoder's, on its own thread).

mod answers;
mod closing;
mod leaders;
mod lookups;

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    ops::Bound,
    time::{Duration, Instant},
};

use fastrand::Rng;

use crate::{
    backoff::BackoffPolicy,
    fetch::{
        partition::{Fetched, PartitionState, Phase},
        plan::FetchPlan,
        planned::PlannedPartition,
        position::{FetchError, OffsetReset, Position, StartAt},
        session::FetchSession,
    },
    latency_stats::LatencyStats,
    topic_partition::TopicPartition,
};

/// How a consumer fetches.
#[derive(Clone, Debug)]
pub struct FetchConfig {
    /// `isolation.level` is `read_committed`.
    pub read_committed: bool,
    /// `auto.offset.reset`.
    pub offset_reset: OffsetReset,
    /// `fetch.min.bytes`.
    pub fetch_bytes_min: usize,
    /// `fetch.max.bytes`.
    pub fetch_bytes_max: usize,
    /// `max.partition.fetch.bytes`.
    pub partition_bytes_max: usize,
    /// `fetch.max.wait.ms`.
    pub fetch_wait_max: Duration,
    /// `fetch.prefetch.bytes`.
    pub prefetch_bytes_max: usize,
    /// `client.rack`.
    pub rack_id: Option<String>,
    /// How long a follower is read from before the leader is asked again.
    pub read_replica_age_max: Duration,
    /// Pause after an error.
    pub backoff: BackoffPolicy,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FetchStats {
    /// Answers taken in.
    pub fetches: u64,
    /// Bytes of records that came, filtered and late ones included.
    pub bytes: u64,
    /// Records in the batches handed to the queue, by the batch headers.
    pub records: u64,
    /// Batches of aborted transactions left out.
    pub aborted_batches: u64,
    /// Answers for a partition that nobody waited for any more.
    pub late_answers: u64,
    /// Partitions of an answer that came with an error.
    pub errors: u64,
    /// Fetches that failed as a whole.
    pub failed_fetches: u64,
    /// Answers about a partition that a follower gave (KIP-392).
    pub from_followers: u64,
    /// Logs that were cut below a position (KIP-320).
    pub truncations: u64,
    /// Fetch sessions that a broker evicted or mixed up; everything was said anew.
    pub lost_sessions: u64,
    /// Partitions that an answer left out because nothing had changed (KIP-227).
    pub unchanged: u64,
    /// Answers that asked for a pause (KIP-219).
    pub throttled: u64,
    /// Time from the request to the answer.
    pub latency: LatencyStats,
}

/// All partitions of one consumer.
#[derive(Debug)]
pub struct Fetcher {
    config: FetchConfig,
    partitions: HashMap<TopicPartition, PartitionState>,
    in_flight: HashMap<i32, InFlight>,
    /// One for each broker that was ever read from.
    sessions: HashMap<i32, FetchSession>,
    /// Brokers that asked for less load, and until when nothing is fetched from them (KIP-219).
    muted: HashMap<i32, Instant>,
    ready: VecDeque<TopicPartition>,
    errors: VecDeque<FetchError>,
    queued_bytes: usize,
    next_ticket: u64,
    /// The broker that was asked last.
    last_node: i32,
    metadata_wanted: bool,
    rng: Rng,
    stats: FetchStats,
}

#[derive(Debug)]
struct InFlight {
    ticket: u64,
    reserved_bytes: usize,
    sent_at: Instant,
}

impl Fetcher {
    /// A fetcher of nothing yet. `seed` spreads the backoff.
    pub fn new(config: FetchConfig, seed: u64) -> Fetcher {
        Fetcher {
            config,
            partitions: HashMap::new(),
            in_flight: HashMap::new(),
            sessions: HashMap::new(),
            muted: HashMap::new(),
            ready: VecDeque::new(),
            errors: VecDeque::new(),
            queued_bytes: 0,
            next_ticket: 1,
            last_node: i32::MIN,
            metadata_wanted: false,
            rng: Rng::with_seed(seed),
            stats: FetchStats::default(),
        }
    }

    /// Adds partitions; nothing is fetched until they are started. A known one stays as it is.
    pub fn assign(&mut self, partitions: impl IntoIterator<Item = TopicPartition>) {
        for tp in partitions {
            self.partitions.entry(tp).or_insert_with(PartitionState::new);
        }
    }

    /// Removes partitions with everything that was prefetched.
    pub fn remove<'a>(&mut self, partitions: impl IntoIterator<Item = &'a TopicPartition>) {
        for tp in partitions {
            if let Some(state) = self.partitions.remove(tp) {
                self.queued_bytes -= state.queued_bytes;
            }
        }
        let partitions = &self.partitions;
        self.ready.retain(|tp| partitions.contains_key(tp));
        self.errors
            .retain(|error| partitions.contains_key(error_partition(error)));
    }

    /// Partitions that are assigned, in no order.
    pub fn assignment(&self) -> impl Iterator<Item = &TopicPartition> {
        self.partitions.keys()
    }

    /// Starts, or moves, a partition. False if it is not assigned.
    pub fn start(&mut self, tp: &TopicPartition, start: StartAt) -> bool {
        let Some(state) = self.partitions.get_mut(tp) else {
            return false;
        };
        self.queued_bytes -= state.queued_bytes;
        state.restart(start);
        self.ready.retain(|ready| ready != tp);
        self.errors.retain(|error| error_partition(error) != tp);
        true
    }

    /// Stops handing out and fetching a partition. False if it is not assigned.
    pub fn pause(&mut self, tp: &TopicPartition) -> bool {
        let Some(state) = self.partitions.get_mut(tp) else {
            return false;
        };
        state.paused = true;
        self.ready.retain(|ready| ready != tp);
        let paused = self.partitions.values().filter(|state| state.paused);
        let paused_bytes: usize = paused.map(|state| state.queued_bytes).sum();
        if paused_bytes > self.config.prefetch_bytes_max / 2 {
            let state = self.partitions.get_mut(tp).expect("looked up above");
            self.queued_bytes -= state.queued_bytes;
            state.rewind();
            self.queued_bytes += state.queued_bytes;
        }
        true
    }

    /// Ends a pause. False if the partition is not assigned.
    pub fn resume(&mut self, tp: &TopicPartition) -> bool {
        let Some(state) = self.partitions.get_mut(tp) else {
            return false;
        };
        if std::mem::take(&mut state.paused) && !state.queue.is_empty() {
            self.ready.push_back(tp.clone());
        }
        true
    }

    /// The next record the application will be given.
    pub fn position(&self, tp: &TopicPartition) -> Option<Position> {
        self.partitions.get(tp)?.handed_out
    }

    /// How many offsets the application is behind the end of what it may read, as of the last
    /// answer.
    pub fn lag(&self, tp: &TopicPartition) -> Option<u64> {
        let state = self.partitions.get(tp)?;
        let behind = state.end_offset?.saturating_sub(state.handed_out?.offset);
        Some(u64::try_from(behind).unwrap_or(0))
    }

    /// When a broker last answered where the end is: what [`lag`](Self::lag) says is as old as this.
    pub fn end_heard_at(&self, tp: &TopicPartition) -> Option<Instant> {
        self.partitions.get(tp)?.end_heard_at
    }

    /// Counts since the start.
    pub fn stats(&self) -> FetchStats {
        self.stats
    }

    /// Bytes that are ready for the application.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Whether [`Fetcher::poll_fetched`] has something.
    pub fn is_ready(&self) -> bool {
        !self.ready.is_empty() || !self.errors.is_empty()
    }

    /// The next batches, partitions in turn. They leave the budget here.
    pub fn poll_fetched(&mut self) -> Option<Result<Fetched, FetchError>> {
        // An error comes after what was read before it.
        let drained = |error: &FetchError| {
            self.partitions
                .get(error_partition(error))
                .is_none_or(|state| state.queue.is_empty())
        };
        if let Some(index) = self.errors.iter().position(drained) {
            return self.errors.remove(index).map(Err);
        }
        let tp = self.ready.pop_front()?;
        let state = self.partitions.get_mut(&tp).expect("ready partitions are assigned");
        let fetched = state.queue.pop_front().expect("ready partitions have something queued");
        state.handed_out = Some(fetched.next_position());
        state.queued_bytes -= fetched.charged_bytes();
        self.queued_bytes -= fetched.charged_bytes();
        if !state.queue.is_empty() {
            self.ready.push_back(tp);
        }
        Some(Ok(fetched))
    }

    /// Whether the metadata must be asked for again; says so once.
    pub fn poll_metadata_wanted(&mut self) -> bool {
        std::mem::take(&mut self.metadata_wanted)
    }

    /// The next fetch to send, if a broker is idle, partitions are hungry and the budget allows.
    pub fn poll_fetch(&mut self, now: Instant) -> Option<FetchPlan> {
        let mut by_node: BTreeMap<i32, Vec<(usize, u64, &TopicPartition)>> = BTreeMap::new();
        let mut nodes = HashSet::new();
        self.muted.retain(|_, until| *until > now);
        for (tp, state) in &mut self.partitions {
            state.pass_time(now);
            let Some(node_id) = state.fetch_node() else {
                let started = !matches!(state.phase, Phase::Assigned | Phase::Failed);
                if started && state.may_ask(now) {
                    // Nobody leads: ask again, but not in a tight loop.
                    self.metadata_wanted = true;
                    state.retry_at = Some(now + self.config.backoff.initial);
                }
                continue;
            };
            nodes.insert(node_id);
            let hungry = matches!(state.phase, Phase::Fetching { .. }) && !state.paused;
            let is_free = !self.in_flight.contains_key(&node_id) && !self.muted.contains_key(&node_id);
            if hungry && state.may_ask(now) && is_free {
                by_node
                    .entry(node_id)
                    .or_default()
                    .push((state.queued_bytes, state.served, tp));
            }
        }
        let share = self.config.prefetch_bytes_max / (2 * nodes.len().max(1));
        let bytes_max = self.config.fetch_bytes_max.min(share).max(1);
        let reserved: usize = self.in_flight.values().map(|fetch| fetch.reserved_bytes).sum();
        if self.queued_bytes + reserved + bytes_max > self.config.prefetch_bytes_max.max(1) {
            return None;
        }
        // Brokers have their turn, or one with much to say would take whatever the budget gives back.
        let behind_last = (Bound::Excluded(self.last_node), Bound::Unbounded);
        let next = by_node.range(behind_last).next().or(by_node.iter().next());
        let node_id = *next?.0;
        self.last_node = node_id;
        let mut hungry = by_node.remove(&node_id).expect("chosen among them");
        // Those with the least ready come first, then those that wait longest: brokers fill an answer
        // in this order.
        hungry.sort();
        let hungry: Vec<TopicPartition> = hungry.into_iter().map(|(_, _, tp)| tp.clone()).collect();
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let mut partitions = Vec::with_capacity(hungry.len());
        let mut leader_only = false;
        for tp in hungry {
            let state = self.partitions.get_mut(&tp).expect("collected above");
            let Phase::Fetching { position } = state.phase else {
                continue;
            };
            state.ticket = Some(ticket);
            leader_only |= state.leader_only_until.is_some();
            partitions.push(PlannedPartition {
                topic_id: state.leader.and_then(|leader| leader.topic_id),
                offset: position.offset,
                leader_epoch: state.leader.map_or(-1, |leader| leader.leader_epoch),
                last_fetched_epoch: position.leader_epoch.unwrap_or(-1),
                bytes_max: to_i32(self.config.partition_bytes_max.max(state.bytes_needed)),
                tp,
            });
        }
        let fetch = InFlight {
            ticket,
            reserved_bytes: bytes_max,
            sent_at: now,
        };
        self.in_flight.insert(node_id, fetch);
        let session = self.sessions.entry(node_id).or_default().fetch(&partitions);
        Some(FetchPlan {
            ticket,
            node_id,
            bytes_max: to_i32(bytes_max),
            bytes_min: to_i32(self.config.fetch_bytes_min),
            wait_max_ms: to_i32(self.config.fetch_wait_max.as_millis().try_into().unwrap_or(usize::MAX)),
            isolation_level: i8::from(self.config.read_committed),
            rack_id: self.config.rack_id.clone().filter(|_| !leader_only).unwrap_or_default(),
            partitions,
            session,
        })
    }

    /// When to poll again if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let waiting = self
            .partitions
            .values()
            .filter(|state| state.ticket.is_none() && !matches!(state.phase, Phase::Assigned | Phase::Failed));
        let retries = waiting.filter_map(|state| state.retry_at);
        retries.chain(self.muted.values().copied()).min()
    }
}

fn back_off(state: &mut PartitionState, now: Instant, policy: &BackoffPolicy, rng: &mut Rng) {
    state.failures = state.failures.saturating_add(1);
    state.retry_at = Some(now + policy.delay(state.failures, rng));
}

fn error_partition(error: &FetchError) -> &TopicPartition {
    match error {
        FetchError::OffsetOutOfRange { tp, .. }
        | FetchError::NoCommittedOffset { tp }
        | FetchError::LogTruncated { tp, .. }
        | FetchError::TopicRecreated { tp, .. }
        | FetchError::Refused { tp, .. }
        | FetchError::Malformed { tp, .. } => tp,
    }
}

fn to_i32(size: usize) -> i32 {
    i32::try_from(size).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;

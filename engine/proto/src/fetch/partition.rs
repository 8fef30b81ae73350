//! One partition's way from an assignment to a position that moves.
//!
//! ```text
//!            start                    answered            epoch known
//!  Assigned ───────▶ Looking (committed, list offsets) ───────────────▶ Validating
//!                      ▲    └───────────── no epoch ─────▶ Fetching ◀───────┘  ▲
//!                      └── out of range, reset policy ───────┘ └─ leader epoch ┘
//!  any ── an error that only the application can heal ──▶ Failed ── start ──▶ Looking
//! ```
//!
//! Every question to the cluster carries a ticket. Whatever makes an answer late (a seek, a new
//! leader, a revocation, the start of a validation) forgets the ticket, so that the answer finds
//! nobody: it can neither duplicate nor skip records.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use engine_wire::record_batch::RawBatch;
use uuid::Uuid;

use crate::{
    fetch::position::{FetchError, OffsetReset, Position, StartAt},
    topic_partition::TopicPartition,
};

/// Whole batches of one partition from one answer, handed to the application.
///
/// The batches are slices of the answer, which stays in memory as long as one of them does. Their
/// CRC is **not** checked yet: whoever decodes them does that, on its own thread
/// ([`RawBatch::verify_crc`]). The first batch may begin before `first_offset`: Kafka gives
/// whole batches, and records below `first_offset` are to be skipped.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The partition.
    pub tp: TopicPartition,
    /// The first record that the application has not had yet.
    pub first_offset: i64,
    /// In offset order, without control batches and (`read_committed`) without aborted ones; may
    /// be empty, when there was nothing else.
    pub batches: Vec<RawBatch>,
    /// What to read, or to commit, next. Beyond the last batch where control or aborted batches followed.
    pub next_offset: i64,
    /// The leader epoch of the last batch, for the commit.
    pub leader_epoch: Option<i32>,
    /// The end of the log as far as it is replicated.
    pub high_watermark: i64,
    /// The end of what `read_committed` may read; -1 if the broker did not say.
    pub last_stable_offset: i64,
    /// Bytes of the answer that this partition took, filtered ones included.
    pub bytes: usize,
}

impl Fetched {
    /// What it is charged to the prefetch budget: its bytes, and the handles of its batches, which matters where batches
    /// hold a record or two.
    pub(crate) fn charged_bytes(&self) -> usize {
        size_of::<Self>() + self.bytes + self.batches.capacity() * size_of::<RawBatch>()
    }

    /// The position behind these batches.
    pub fn next_position(&self) -> Position {
        Position {
            offset: self.next_offset,
            leader_epoch: self.leader_epoch,
        }
    }
}

/// Where a partition stands; see the diagram above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nobody said where to start.
    Assigned,
    /// Asking the cluster for a position.
    Looking { start: StartAt },
    /// Asking the leader whether the log still agrees with the position.
    Validating { position: Position },
    /// Reading from here on.
    Fetching { position: Position },
    /// Stopped by an error that the application has been told.
    Failed,
}

/// Who can be asked about a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionLeader {
    /// The leader; `None` while there is none.
    pub node_id: Option<i32>,
    /// Its epoch; -1 if brokers do not tell.
    pub leader_epoch: i32,
    /// The topic's id; `None` if brokers do not tell.
    pub topic_id: Option<Uuid>,
}

#[derive(Debug)]
pub(crate) struct PartitionState {
    pub(crate) phase: Phase,
    pub(crate) ticket: Option<u64>,
    pub(crate) retry_at: Option<Instant>,
    pub(crate) failures: u32,
    pub(crate) paused: bool,
    pub(crate) leader: Option<PartitionLeader>,
    /// The follower to read from, and until when (KIP-392).
    pub(crate) read_replica: Option<(i32, Instant)>,
    /// A follower failed: the leader must not send us back to it before this.
    pub(crate) leader_only_until: Option<Instant>,
    /// A batch that is larger than the configured share needs at least this.
    pub(crate) bytes_needed: usize,
    /// The fetch that last brought something: who waits longest comes first.
    pub(crate) served: u64,
    pub(crate) queue: VecDeque<Fetched>,
    pub(crate) queued_bytes: usize,
    /// What the application gets next.
    pub(crate) handed_out: Option<Position>,
    pub(crate) end_offset: Option<i64>,
    /// When the broker last said where the end is.
    pub(crate) end_heard_at: Option<Instant>,
}

impl PartitionState {
    pub(crate) fn new() -> PartitionState {
        PartitionState {
            phase: Phase::Assigned,
            ticket: None,
            retry_at: None,
            failures: 0,
            paused: false,
            leader: None,
            read_replica: None,
            leader_only_until: None,
            bytes_needed: 0,
            served: 0,
            queue: VecDeque::new(),
            queued_bytes: 0,
            handed_out: None,
            end_offset: None,
            end_heard_at: None,
        }
    }

    /// Drops what was prefetched and whatever is under way.
    pub(crate) fn restart(&mut self, start: StartAt) {
        self.clear_queue();
        self.enter(Phase::Looking { start });
        self.handed_out = None;
        self.bytes_needed = 0;
        if let StartAt::Offset { offset, leader_epoch } = start {
            self.found(Position { offset, leader_epoch });
        }
    }

    /// The cluster, or the application, gave a position.
    pub(crate) fn found(&mut self, position: Position) {
        self.handed_out = Some(position);
        self.fetch_from(position);
    }

    /// Reads from `position`, after asking the leader if the epoch can tell truncation.
    pub(crate) fn fetch_from(&mut self, position: Position) {
        let can_validate = position.leader_epoch.is_some();
        self.enter(match can_validate {
            true => Phase::Validating { position },
            false => Phase::Fetching { position },
        });
    }

    /// Nothing that was read or heard of the log holds any more: the topic is another one.
    pub(crate) fn forget_log(&mut self) {
        self.clear_queue();
        self.handed_out = None;
        self.end_offset = None;
        self.end_heard_at = None;
        self.bytes_needed = 0;
    }

    pub(crate) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.ticket = None;
        self.retry_at = None;
        self.failures = 0;
    }

    pub(crate) fn fail(&mut self) {
        self.enter(Phase::Failed);
    }

    pub(crate) fn clear_queue(&mut self) {
        self.queue.clear();
        self.queued_bytes = 0;
    }

    /// Drops what was prefetched and will be fetched again from what the application has.
    pub(crate) fn rewind(&mut self) {
        if let (Phase::Fetching { .. }, Some(handed_out), false) = (self.phase, self.handed_out, self.queue.is_empty())
        {
            self.clear_queue();
            self.enter(Phase::Fetching { position: handed_out });
        }
    }

    /// New metadata. True if the topic is another one by the same name now.
    pub(crate) fn handle_leader(&mut self, heard: PartitionLeader) -> bool {
        let Some(known) = self.leader else {
            self.leader = Some(heard);
            return false;
        };
        let recreated = matches!(
            (known.topic_id, heard.topic_id),
            (Some(known), Some(heard)) if known != heard
        );
        if !recreated && heard.leader_epoch >= 0 && heard.leader_epoch < known.leader_epoch {
            return false; // A stale broker must not move the partition back.
        }
        let topic_id = heard.topic_id.or(known.topic_id);
        self.leader = Some(PartitionLeader { topic_id, ..heard });
        if recreated || heard.node_id != known.node_id {
            self.read_replica = None;
            self.retry_at = None;
            self.ticket = None; // The old leader's answer is late from now on.
        }
        if let Phase::Fetching { position } = self.phase
            && heard.leader_epoch > known.leader_epoch
            && !recreated
        {
            self.fetch_from(position);
        }
        recreated
    }

    /// Where the reset policy leads, or the error it makes.
    pub(crate) fn reset(&mut self, policy: OffsetReset, error: FetchError) -> Option<FetchError> {
        let start = match policy {
            OffsetReset::Earliest => StartAt::Earliest,
            OffsetReset::Latest => StartAt::Latest,
            OffsetReset::ByDuration(duration) => StartAt::Ago(duration),
            OffsetReset::None => {
                self.fail();
                return Some(error);
            }
        };
        self.enter(Phase::Looking { start });
        None
    }

    /// Lets the time of follower and backoff run out. A timer that ran out must not wake the caller again while
    /// something else holds the partition back. A follower that is being asked stays one until it has answered.
    pub(crate) fn pass_time(&mut self, now: Instant) {
        let is_asked = self.ticket.is_some();
        self.retry_at = self.retry_at.filter(|retry_at| *retry_at > now);
        self.read_replica = self.read_replica.filter(|(_, until)| is_asked || *until > now);
        self.leader_only_until = self.leader_only_until.filter(|until| *until > now);
    }

    /// Goes back to the leader after a failure. True if it was a follower that failed: then, for a while, the leader
    /// is not told where we are, or it would send us there again although only we cannot reach it.
    pub(crate) fn leave_follower(&mut self, now: Instant) -> bool {
        let left = self.read_replica.take().is_some();
        if left {
            self.leader_only_until = Some(now + FOLLOWER_REST);
        }
        left
    }

    /// The broker to fetch from.
    pub(crate) fn fetch_node(&self) -> Option<i32> {
        match self.read_replica {
            Some((node_id, _)) => Some(node_id),
            None => self.leader?.node_id,
        }
    }

    pub(crate) fn may_ask(&self, now: Instant) -> bool {
        self.ticket.is_none() && self.retry_at.is_none_or(|retry_at| retry_at <= now)
    }
}

/// How long the leader serves a partition itself after a follower failed.
const FOLLOWER_REST: Duration = Duration::from_secs(10);

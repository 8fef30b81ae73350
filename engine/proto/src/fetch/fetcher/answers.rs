//! Answers to fetches: which are late, what they hold, and what their errors mean.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use engine_wire::{
    error_code::{ErrorClass, ErrorCode},
    messages::{Encodable, FetchResponse, fetch_response::PartitionData},
    record_batch::split_batches,
};

use super::{Fetcher, back_off};
use crate::{
    fetch::{
        aborted::AbortedFilter,
        partition::{Fetched, PartitionState, Phase},
        plan::FetchPlan,
        planned::PlannedPartition,
        position::{FetchError, Position},
        session::{FetchSession, is_session_error},
    },
    topic_partition::TopicPartition,
};

impl Fetcher {
    /// The fetch got no answer: the connection broke, or it timed out.
    pub fn handle_fetch_failed(&mut self, now: Instant, plan: &FetchPlan) {
        self.finish(now, plan);
        self.session(plan).handle_lost(None);
        self.stats.failed_fetches += 1;
        self.metadata_wanted = true;
        for planned in &plan.partitions {
            if let Some(state) = waiting_for(&mut self.partitions, planned, plan) {
                state.ticket = None;
                state.leave_follower(now);
                back_off(state, now, &self.config.backoff, &mut self.rng);
            }
        }
    }

    /// Answer to a fetch that went out in `version`.
    pub fn handle_fetch(&mut self, now: Instant, plan: &FetchPlan, version: i16, response: FetchResponse) {
        self.heed_throttle(now, plan.node_id, version, response.throttle_time_ms);
        let code = ErrorCode::from(response.error_code);
        if !code.is_ok() {
            return self.handle_refused(now, plan, version, code);
        }
        self.finish(now, plan);
        self.stats.fetches += 1;
        let answer_bytes = response.compute_size(version).unwrap_or(usize::MAX);
        let mut taken_bytes = 0;
        let mut place = 0;
        let mut is_complete = true;
        for topic in response.responses {
            for data in topic.partitions {
                self.stats.bytes += data.records.as_ref().map_or(0, |r| r.len() as u64);
                let index = data.partition_index;
                let planned = plan.find(version, &topic.topic, topic.topic_id, index, &mut place);
                let waiting = planned.filter(|planned| waiting_for(&mut self.partitions, planned, plan).is_some());
                match waiting {
                    Some(planned) => {
                        taken_bytes += data.records.as_ref().map_or(0, Bytes::len);
                        self.handle_partition(now, plan.ticket, planned, data);
                    }
                    // Late after a seek, a revocation or a new leader; sent twice; or not asked for.
                    None => {
                        self.stats.late_answers += 1;
                        // What the broker believes to have told us, nobody took.
                        is_complete &= planned.is_none();
                    }
                }
            }
        }
        if answer_bytes > 2 * taken_bytes + ANSWER_BESIDE_RECORDS_BYTES {
            self.leave_answer(plan);
        }
        let is_incremental = plan.is_incremental(version);
        for planned in &plan.partitions {
            let Some(state) = waiting_for(&mut self.partitions, planned, plan) else {
                continue;
            };
            state.ticket = None;
            match state.end_offset {
                // In a session silence says that nothing changed, the end of the log least of all.
                Some(_) if is_incremental => {
                    self.stats.unchanged += 1;
                    state.failures = 0;
                    state.end_heard_at = Some(now);
                }
                _ => {
                    is_complete = false; // Asked again, with the next fetch.
                    back_off(state, now, &self.config.backoff, &mut self.rng);
                }
            }
        }
        let session = self.session(plan);
        session.handle_answer(&plan.session, &plan.partitions, response.session_id, is_complete);
    }

    /// Copies what was taken of an answer that is mostly something else: a slice would keep all of it alive.
    fn leave_answer(&mut self, plan: &FetchPlan) {
        for planned in &plan.partitions {
            let state = self.partitions.get_mut(&planned.tp);
            let state = state.filter(|state| state.served == plan.ticket);
            let Some(fetched) = state.and_then(|state| state.queue.back_mut()) else {
                continue;
            };
            for batch in &mut fetched.batches {
                batch.bytes = Bytes::copy_from_slice(&batch.bytes);
            }
        }
    }

    /// The answer is an error as a whole. A session that the broker does not know any more costs nothing but to
    /// say everything anew.
    fn handle_refused(&mut self, now: Instant, plan: &FetchPlan, version: i16, code: ErrorCode) {
        if !plan.is_incremental(version) || !is_session_error(code) {
            self.handle_fetch_failed(now, plan);
            self.session(plan).handle_lost(Some(code));
            return;
        }
        self.finish(now, plan);
        self.session(plan).handle_lost(Some(code));
        self.stats.lost_sessions += 1;
        for planned in &plan.partitions {
            if let Some(state) = waiting_for(&mut self.partitions, planned, plan) {
                state.ticket = None;
            }
        }
    }

    fn session(&mut self, plan: &FetchPlan) -> &mut FetchSession {
        self.sessions.entry(plan.node_id).or_default()
    }

    /// Brokers answer at once and mute the connection for as long as they say (KIP-219); the next request before
    /// that would wait there unread. Older versions were held back by the broker before the answer.
    fn heed_throttle(&mut self, now: Instant, node_id: i32, version: i16, throttle_time_ms: i32) {
        let throttle = Duration::from_millis(u64::try_from(throttle_time_ms).unwrap_or(0)).min(THROTTLE_MAX);
        if version >= FIRST_CLIENT_THROTTLED && !throttle.is_zero() {
            self.stats.throttled += 1;
            self.muted.insert(node_id, now + throttle);
        }
    }

    fn finish(&mut self, now: Instant, plan: &FetchPlan) {
        if let Some(fetch) = self.in_flight.get(&plan.node_id)
            && fetch.ticket == plan.ticket
        {
            self.stats.latency.record(now.saturating_duration_since(fetch.sent_at));
            self.in_flight.remove(&plan.node_id);
        }
    }

    fn handle_partition(&mut self, now: Instant, ticket: u64, planned: &PlannedPartition, data: PartitionData) {
        let tp = &planned.tp;
        let state = self.partitions.get_mut(tp).expect("it waits for this answer");
        let Phase::Fetching { position } = state.phase else {
            unreachable!("{tp}: leaving Fetching forgets the ticket");
        };
        assert_eq!(
            position.offset, planned.offset,
            "{tp}: moved while a fetch was under way"
        );
        state.ticket = None;
        let code = ErrorCode::from(data.error_code);
        if !code.is_ok() {
            self.stats.errors += 1;
            return self.handle_partition_error(now, planned, code);
        }
        let diverging = Position {
            offset: data.diverging_epoch.end_offset,
            leader_epoch: Some(data.diverging_epoch.epoch).filter(|epoch| *epoch >= 0),
        };
        if diverging.offset >= 0 && diverging.leader_epoch.is_some() {
            return self.handle_diverging(now, tp, position, diverging);
        }
        state.retry_at = None;
        state.end_offset = Some(match self.config.read_committed && data.last_stable_offset >= 0 {
            true => data.last_stable_offset,
            false => data.high_watermark,
        });
        state.end_heard_at = Some(now);
        let preferred = data.preferred_read_replica.0;
        self.stats.from_followers += u64::from(state.read_replica.is_some());
        if preferred >= 0 && self.config.rack_id.is_some() {
            state.read_replica = Some((preferred, now + self.config.read_replica_age_max));
        }
        let (fetched, error) = self.take_batches(now, planned, position, data);
        if let Some(fetched) = fetched {
            let state = self.partitions.get_mut(tp).expect("looked up above");
            state.served = ticket;
            state.phase = Phase::Fetching {
                position: fetched.next_position(),
            };
            state.queued_bytes += fetched.charged_bytes();
            self.queued_bytes += fetched.charged_bytes();
            state.queue.push_back(fetched);
            if state.paused {
                self.pause(tp); // It was paused meanwhile: the bound on paused ones holds here, too.
            } else if state.queue.len() == 1 {
                self.ready.push_back(tp.clone());
            }
        }
        if let Some(error) = error {
            self.partitions.get_mut(tp).expect("looked up above").fail();
            self.errors.push_back(error);
        }
    }

    /// The log of the broker has another record before the position (KIP-320).
    fn handle_diverging(&mut self, now: Instant, tp: &TopicPartition, position: Position, end: Position) {
        self.metadata_wanted = true;
        let state = self.partitions.get_mut(tp).expect("it waits for this answer");
        if state.leave_follower(now) {
            return; // A follower may be behind: ask the leader.
        }
        if end.offset >= position.offset && position.leader_epoch <= end.leader_epoch {
            back_off(state, now, &self.config.backoff, &mut self.rng); // It contradicts itself.
            return;
        }
        self.handle_epoch_end(tp, position, end);
    }

    /// The batches from `position` on. Control, aborted and empty batches move the position but
    /// are left out.
    fn take_batches(
        &mut self,
        now: Instant,
        planned: &PlannedPartition,
        position: Position,
        data: PartitionData,
    ) -> (Option<Fetched>, Option<FetchError>) {
        let records = data.records.unwrap_or_default();
        let bytes = records.len();
        let mut aborted = self.config.read_committed.then(|| {
            let list = data.aborted_transactions.unwrap_or_default();
            AbortedFilter::new(list.iter().map(|txn| (txn.producer_id.0, txn.first_offset)))
        });
        let mut next = position;
        let mut kept = Vec::new();
        let mut error = None;
        let mut batches = split_batches(records);
        for batch in &mut batches {
            let batch = match batch {
                Ok(batch) => batch,
                Err(source) => {
                    let (tp, offset) = (planned.tp.clone(), next.offset);
                    error = Some(FetchError::Malformed { tp, offset, source });
                    break;
                }
            };
            let is_aborted = aborted.as_mut().is_some_and(|filter| filter.is_aborted(&batch));
            if batch.header.next_offset() <= next.offset {
                continue; // It lies below the position, or goes backwards.
            }
            let is_left_out = is_aborted || batch.header.is_control() || batch.header.record_count == 0;
            // The decoder checks the others. Of these nobody would notice that a broken bit made them what they are, and
            // their records would be gone without a word.
            if is_left_out && let Err(source) = batch.verify_crc() {
                let (tp, offset) = (planned.tp.clone(), next.offset);
                error = Some(FetchError::Malformed { tp, offset, source });
                break;
            }
            next.offset = batch.header.next_offset();
            if batch.header.partition_leader_epoch >= 0 {
                next.leader_epoch = Some(batch.header.partition_leader_epoch);
            }
            self.stats.aborted_batches += u64::from(is_aborted);
            if !is_left_out {
                self.stats.records += u64::try_from(batch.header.record_count).unwrap_or(0);
                kept.push(batch);
            }
        }
        kept.shrink_to_fit();
        let state = self.partitions.get_mut(&planned.tp).expect("it waits for this answer");
        let moved = next.offset > position.offset;
        let bytes_needed = match batches.truncated_tail() {
            Some(needed) if !moved => needed.min(self.config.fetch_bytes_max),
            _ => 0,
        };
        if !moved && bytes > 0 && bytes_needed <= state.bytes_needed {
            // Bytes, but nothing to read, and asking for more does not change it: not as fast as the
            // network can.
            back_off(state, now, &self.config.backoff, &mut self.rng);
        } else {
            state.failures = 0;
        }
        state.bytes_needed = bytes_needed;
        let fetched = moved.then(|| Fetched {
            tp: planned.tp.clone(),
            first_offset: position.offset,
            batches: kept,
            next_offset: next.offset,
            leader_epoch: next.leader_epoch,
            high_watermark: data.high_watermark,
            last_stable_offset: data.last_stable_offset,
            bytes,
        });
        (fetched, error)
    }

    fn handle_partition_error(&mut self, now: Instant, planned: &PlannedPartition, code: ErrorCode) {
        let tp = planned.tp.clone();
        let state = self.partitions.get_mut(&tp).expect("it waits for this answer");
        let was_follower = state.leave_follower(now);
        if code == ErrorCode::OFFSET_OUT_OF_RANGE && was_follower {
            return; // A follower may be behind: ask the leader.
        }
        if code == ErrorCode::OFFSET_OUT_OF_RANGE {
            let error = FetchError::OffsetOutOfRange {
                tp,
                offset: planned.offset,
            };
            self.errors.extend(state.reset(self.config.offset_reset, error));
            return;
        }
        match code.class() {
            ErrorClass::Retriable | ErrorClass::RefreshMetadata | ErrorClass::Fenced => {
                self.metadata_wanted = true;
                back_off(state, now, &self.config.backoff, &mut self.rng);
            }
            // A broker's own mishap, as the Java client sees it too: it may be over at the next fetch.
            _ if code == ErrorCode::UNKNOWN_SERVER_ERROR => {
                self.metadata_wanted = true;
                back_off(state, now, &self.config.backoff, &mut self.rng);
            }
            _ => {
                state.fail();
                self.errors.push_back(FetchError::Refused {
                    tp,
                    offset: planned.offset,
                    code,
                });
            }
        }
    }
}

fn waiting_for<'a>(
    partitions: &'a mut HashMap<TopicPartition, PartitionState>,
    planned: &PlannedPartition,
    plan: &FetchPlan,
) -> Option<&'a mut PartitionState> {
    partitions
        .get_mut(&planned.tp)
        .filter(|state| state.ticket == Some(plan.ticket))
}

/// From this version on the client keeps the pause that the broker asks for.
const FIRST_CLIENT_THROTTLED: i16 = 8;

/// What an honest answer holds besides records, generously: a few hundred partitions, some aborted transactions.
const ANSWER_BESIDE_RECORDS_BYTES: usize = 64 << 10;

/// Kafka's quotas pause for at most their window, 11 s by default; a number beyond all reason must not stop a
/// consumer for days.
const THROTTLE_MAX: Duration = Duration::from_secs(60);

//! What the end of a request does to its batches: delivered, sent again, split or given up.
//!
//! What an answer means is a table (see `answer`); this file carries the verdict out.
//! Never here: timers, and how a batch's end is told (see `delivery`).

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use engine_wire::error_code::ErrorCode;
use uuid::Uuid;

use super::{
    ProducerMachine,
    answer::{Situation, Verdict, is_not_written, verdict},
    delivery::{BatchDelivered, DeliveryError},
    partition::{PartitionQueue, Restart},
    transaction::steps::CONCURRENT_BACKOFF,
};
use crate::accumulator::{Batch, BatchId, BatchState, split};

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
    /// The request goes out in a version that names topics by id: it cannot reach a topic that is created anew.
    pub fn handle_sent_by_topic_id(&mut self, request_id: u64) {
        if let Some(request) = self.requests.get_mut(&request_id) {
            request.is_by_topic_id = true;
        }
    }

    /// Takes the end of a request. `throttle` mutes the broker for that long (KIP-219), a minute at most.
    pub fn handle_outcome(&mut self, now: Instant, request_id: u64, outcome: RequestOutcome, throttle: Duration) {
        let Some(request) = self.requests.remove(&request_id) else {
            return; // Told twice.
        };
        let node = self.nodes.entry(request.node_id).or_default();
        node.in_flight -= 1;
        if !throttle.is_zero() {
            // Pipelined answers may each name one; the later end counts.
            node.muted_until = node.muted_until.max(Some(now + throttle.min(THROTTLE_MAX)));
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
        for (partition, batch_id, topic_id) in request.batches {
            let queue = &self.partitions[partition];
            let answer = answers.get(&(&*queue.topic, queue.partition)).copied();
            let topic_id = topic_id.filter(|_| request.is_by_topic_id);
            self.handle_batch_outcome(now, (partition, batch_id, topic_id), &outcome, answer);
        }
        self.settle_transaction();
    }

    fn handle_batch_outcome(
        &mut self,
        now: Instant,
        (partition, batch_id, topic_id): (usize, BatchId, Option<Uuid>),
        outcome: &RequestOutcome,
        answer: Option<&PartitionAnswer>,
    ) {
        let queue = &mut self.partitions[partition];
        let Some(index) = queue.find(batch_id) else {
            return; // Aborted meanwhile.
        };
        queue.went_by_name |= topic_id.is_none();
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
                    is_transactional: self.transaction.is_some(),
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
        let is_not_written = match (outcome, code) {
            (RequestOutcome::Impossible(_), None) => true,
            (_, code) => code.is_some_and(is_not_written),
        };
        if !is_not_written {
            batch.doubt = batch.doubt.with(topic_id);
        }
        if verdict != Verdict::Delivered {
            let class = code.map_or("Disconnected", ErrorCode::name);
            *self.stats.errors.entry(class).or_default() += 1;
            batch.last_error = Some(Arc::clone(&reason));
        }
        let may_be_written = batch.may_be_written();
        let refused = |queue: &PartitionQueue<T>| DeliveryError::Refused {
            topic: Arc::clone(&queue.topic),
            partition: queue.partition,
            code,
            reason: reason.to_string(),
            may_be_written,
        };
        match verdict {
            Verdict::Delivered => {
                queue.failures = 0;
                queue.retry_at = None;
                queue.is_established = true;
                let delivered = BatchDelivered {
                    base_offset: answer
                        .filter(|answer| answer.code.is_ok() && answer.base_offset >= 0)
                        .map(|answer| answer.base_offset),
                    log_append_time_ms: answer.and_then(|answer| answer.log_append_time_ms),
                };
                self.resolve(partition, index, Ok(delivered));
            }
            Verdict::End => {
                let error = refused(queue);
                let text = error.to_string().into();
                match (&mut self.transaction, code) {
                    (Some(transaction), Some(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED)) => {
                        transaction.give_up(&text);
                    }
                    (Some(transaction), _) => transaction.fence(&text),
                    (None, _) => {}
                }
                self.resolve(partition, index, Err(error));
            }
            Verdict::Fail => {
                let error = refused(queue);
                self.resolve(partition, index, Err(error));
            }
            Verdict::Retry { refresh_metadata } => {
                self.wants_metadata |= refresh_metadata;
                // The topic may come back as another one by the same name, which knows no sequences. It must not take the
                // second of two batches after it did not yet take the first.
                queue.is_established &= code != Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
                self.retry(now, (partition, index), was_head, code);
            }
            Verdict::RestartSequence => {
                queue.is_restarting = true;
                self.retry(now, (partition, index), true, code);
            }
            Verdict::Split => self.split(partition, index),
        }
        self.try_restart(partition);
    }

    fn retry(&mut self, now: Instant, (partition, index): (usize, usize), backs_off: bool, code: Option<ErrorCode>) {
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
        // The markers of the transaction before are being written. The first batches of every transaction may meet that.
        let delay = match code {
            Some(ErrorCode::CONCURRENT_TRANSACTIONS) => delay.min(CONCURRENT_BACKOFF),
            _ => delay,
        };
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
        let mut first_record = whole.first_record;
        // The halves are not compressed, and may for a while take more than the budget has left.
        self.memory.release(whole.charged_bytes);
        let halves = halves.map(|builder| {
            let id = self.next_batch_id;
            self.next_batch_id += 1;
            let charged_bytes = builder.capacity_bytes();
            self.memory.charge(charged_bytes);
            let half = Batch {
                id,
                token: whole.token.clone(),
                first_record,
                record_count: builder.record_count(),
                charged_bytes,
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

    pub(super) fn try_restart(&mut self, partition: usize) {
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

/// Kafka's quotas pause for at most their window, 11 s by default; a number beyond all reason must not stop a
/// producer for days.
const THROTTLE_MAX: Duration = Duration::from_secs(60);

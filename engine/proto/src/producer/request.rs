//! Which batches go out next, and in which request.
//!
//! One request takes the first sendable batch of every partition that a broker leads, as far as its
//! size allows; partitions have their turn. Never here: what becomes of a request (see `outcome`).

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use bytes::Bytes;
use uuid::Uuid;

use super::{ProducerMachine, SentRequest, transaction::request::TransactionProtocol};
use crate::accumulator::BatchState;

/// One Produce request to send.
#[derive(Debug)]
pub struct RequestPlan {
    /// Hand back with the outcome.
    pub request_id: u64,
    /// The leader of all its partitions.
    pub node_id: i32,
    /// The protocol of the transaction that its batches belong to.
    pub transaction: Option<TransactionProtocol>,
    /// One batch per partition.
    pub batches: Vec<PlannedBatch>,
}

/// One batch of a request.
#[derive(Debug)]
pub struct PlannedBatch {
    /// The topic.
    pub topic: Arc<str>,
    /// The topic's id; `None` where brokers give none.
    pub topic_id: Option<Uuid>,
    /// The partition.
    pub partition: i32,
    /// The stamped batch.
    pub records: Bytes,
}

impl RequestPlan {
    /// Whether the request may go out in a version that names topics by id (from 13 on, KIP-516): a zero id must
    /// never be sent.
    pub fn has_topic_ids(&self) -> bool {
        self.batches.iter().all(|batch| batch.topic_id.is_some())
    }
}

impl<T: Clone> ProducerMachine<T> {
    /// A request to send now, if any: to a node for which `is_connected` holds, with every batch that may
    /// go there. `is_connected` is asked only about nodes that something is for.
    pub fn poll_request(&mut self, now: Instant, mut is_connected: impl FnMut(i32) -> bool) -> Option<RequestPlan> {
        let mut node_id = None;
        let mut refused = BTreeSet::new();
        let mut bytes = 0;
        let mut chosen = Vec::new();
        let turn = self.next_turn;
        for &partition in self.active.range(turn..).chain(self.active.range(..turn)) {
            if self
                .transaction
                .as_ref()
                .is_some_and(|transaction| !transaction.may_send(partition))
            {
                continue;
            }
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
                    let blocked_since = *node.blocked_since.get_or_insert(now);
                    let timeout = self.options.availability_timeout;
                    node.is_slow = !timeout.is_zero() && now.saturating_duration_since(blocked_since) > timeout;
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
            let topic_id = self.topics[queue.topic_index].topic_id;
            sent.push((partition, batch.id, topic_id));
            batches.push(PlannedBatch {
                topic: Arc::clone(&queue.topic),
                topic_id,
                partition: queue.partition,
                records,
            });
        }
        self.stats.requests += 1;
        self.stats.batches_sent += batches.len() as u64;
        self.stats.bytes_sent += bytes as u64;
        let node = self.nodes.entry(node_id).or_default();
        node.in_flight += 1;
        (node.blocked_since, node.is_slow) = (None, false);
        let request_id = self.next_request_id;
        self.next_request_id += 1;
        self.requests.insert(
            request_id,
            SentRequest {
                node_id,
                sent: now,
                is_by_topic_id: false,
                batches: sent,
            },
        );
        if let Some(transaction) = &mut self.transaction {
            transaction.handle_sent();
        }
        RequestPlan {
            request_id,
            node_id,
            transaction: self.transaction_protocol(),
            batches,
        }
    }
}

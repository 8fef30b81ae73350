//! What the nodes do about each request.
//!
//! Never here: who is up and who leads (see `cluster`), fetches (see `fetch_requests`).

use std::time::Duration;

use bytes::Bytes;
use engine_proto::TopicPartition;
use engine_proto::fetch::lookup::{Found, Lookup};
use engine_proto::fetch::plan::FetchPlan;
use engine_proto::producer::{
    PartitionAnswer, RequestPlan, TransactionAnswer, TransactionProtocol, TransactionRequest,
};
use engine_proto::sequence::ProducerIdentity;
use engine_wire::error_code::ErrorCode;
use engine_wire::messages::{FetchResponse, MetadataResponse};
use engine_wire::record_batch::{BatchHeader, RawBatch};

use crate::cluster::{Cluster, Happening};
use crate::network::{Line, MS};
use crate::transaction_coordinator::Marker;

#[derive(Debug)]
pub(crate) enum Request {
    Metadata,
    ProducerId,
    Produce(RequestPlan),
    Coordinate {
        coordinator: usize,
        request: TransactionRequest,
    },
    Fetch {
        plan: FetchPlan,
        version: i16,
    },
    Lookup(Lookup),
}

#[derive(Debug)]
pub(crate) enum Answer {
    Metadata(MetadataResponse),
    ProducerId(ProducerIdentity),
    Produced {
        answers: Vec<PartitionAnswer>,
        throttle: Duration,
    },
    Coordinated(TransactionAnswer),
    Fetched(FetchResponse),
    Found(Found),
}

/// A Produce request that waits until all replicas in sync have it.
#[derive(Debug)]
pub(crate) struct PendingProduce {
    id: u64,
    answers: Vec<PartitionAnswer>,
    /// Place of the answer, partition, leader epoch at the append, and where its batch ends.
    waiting: Vec<(usize, usize, i32, i64)>,
}

impl Cluster {
    pub(crate) fn handle(&mut self, id: u64, line: Line, request: Request) {
        match request {
            Request::Metadata => {
                let stale = self.network.rng.u32(0..4) == 0;
                let metadata = self.stale_metadata.clone().filter(|_| stale);
                let metadata = metadata.unwrap_or_else(|| self.metadata());
                self.network.answer(id, Answer::Metadata(metadata));
            }
            Request::ProducerId => {
                let producer_id = self.next_producer_id;
                self.next_producer_id += 1;
                let identity = ProducerIdentity {
                    producer_id,
                    producer_epoch: 0,
                };
                self.network.answer(id, Answer::ProducerId(identity));
            }
            Request::Produce(plan) => self.produce(id, line, plan),
            Request::Coordinate { coordinator, request } => self.coordinate(id, coordinator, &request),
            Request::Fetch { plan, version } => {
                let response = self.fetch(line.node_id, &plan, version);
                self.network.answer(id, Answer::Fetched(response));
            }
            Request::Lookup(lookup) => {
                let found = self.look_up(line.node_id, &lookup);
                self.network.answer(id, Answer::Found(found));
            }
        }
    }

    /// Answers whoever waited for what all replicas have now, or will never have.
    pub(crate) fn settle(&mut self) {
        let mut done = Vec::new();
        let partitions = &self.partitions;
        self.pending.retain_mut(|pending| {
            let answers = &mut pending.answers;
            pending.waiting.retain(|(place, partition, leader_epoch, end_offset)| {
                let partition = &partitions[*partition];
                if partition.leader_epoch != *leader_epoch {
                    answers[*place].code = ErrorCode::NOT_LEADER_OR_FOLLOWER;
                    answers[*place].base_offset = -1;
                    return false;
                }
                partition.high_watermark < *end_offset
            });
            if pending.waiting.is_empty() {
                done.push((pending.id, std::mem::take(answers)));
            }
            !pending.waiting.is_empty()
        });
        for (id, answers) in done {
            self.answer_produce(id, answers);
        }
        let partitions = &self.partitions;
        let mut again = Vec::new();
        let mut written = Vec::new();
        self.markers.retain(|(coordinator, marker, leader_epoch, end_offset)| {
            let partition = &partitions[marker.partition];
            let is_written = partition.leader_epoch == *leader_epoch && partition.high_watermark >= *end_offset;
            if is_written {
                written.push((*coordinator, marker.partition));
            } else if partition.leader_epoch != *leader_epoch {
                again.push((*coordinator, *marker));
            } else {
                return true;
            }
            false
        });
        for (coordinator, partition) in written {
            self.coordinators[coordinator].handle_marker_written(partition);
        }
        for (coordinator, marker) in again {
            self.send_marker(coordinator, marker);
        }
    }

    pub(crate) fn write_marker(&mut self, coordinator: usize, marker: Marker) {
        let Marker {
            partition: index,
            record,
            producer_id,
            epoch,
        } = marker;
        let partition = &mut self.partitions[index];
        match partition.append_marker(record, producer_id, epoch) {
            Some(end_offset) => {
                let leader_epoch = partition.leader_epoch;
                self.markers.push((coordinator, marker, leader_epoch, end_offset));
                self.copy_soon(index);
            }
            None => self.send_marker(coordinator, marker),
        }
    }

    fn send_marker(&mut self, coordinator: usize, marker: Marker) {
        let after = MS * self.rng().u32(1..40);
        self.network.schedule(after, Happening::Marker { coordinator, marker });
    }

    /// Followers copy at once, or a while later.
    fn copy_soon(&mut self, partition: usize) {
        let after = MS * self.rng().u32(1..60);
        self.network.schedule(after, Happening::Replicate { partition });
        if self.rng().u32(0..3) > 0 {
            self.replicate(partition);
        }
    }

    fn produce(&mut self, id: u64, line: Line, plan: RequestPlan) {
        let mut answers = Vec::new();
        let mut waiting = Vec::new();
        for batch in plan.batches {
            let place = self.place(&TopicPartition::new(batch.topic.clone(), batch.partition));
            let is_refused = self.network.rng.f64() < self.trouble.refused;
            let (code, base_offset) = if self.partitions[place].leader != Some(line.node_id) {
                (ErrorCode::NOT_LEADER_OR_FOLLOWER, -1)
            } else if is_refused && self.rng().bool() {
                (ErrorCode::NOT_ENOUGH_REPLICAS, -1)
            } else {
                match self.append(place, &batch.records) {
                    (ErrorCode::NONE, _) if is_refused => (ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND, -1),
                    answer => answer,
                }
            };
            if code.is_ok() {
                let count = i64::from(header(&batch.records).record_count);
                let leader_epoch = self.partitions[place].leader_epoch;
                waiting.push((answers.len(), place, leader_epoch, base_offset + count));
            } else {
                self.count(code.name());
            }
            answers.push(PartitionAnswer {
                topic: batch.topic,
                partition: batch.partition,
                code,
                base_offset,
                log_append_time_ms: None,
                message: None,
            });
        }
        let places: Vec<usize> = waiting.iter().map(|(_, place, ..)| *place).collect();
        self.pending.push(PendingProduce { id, answers, waiting });
        self.settle();
        for place in places {
            self.copy_soon(place);
        }
    }

    fn append(&mut self, place: usize, records: &Bytes) -> (ErrorCode, i64) {
        let header = header(records);
        let bytes_max = self.trouble.message_bytes_max.unwrap_or(usize::MAX);
        if records.len() > bytes_max && header.record_count > 1 {
            return (ErrorCode::MESSAGE_TOO_LARGE, -1);
        }
        if header.is_transactional() {
            let mut coordinators = self.coordinators.iter_mut();
            let coordinator = coordinators.find(|coordinator| coordinator.producer_id == header.producer_id);
            let code = coordinator.expect("a coordinator gave the id").verify(place, &header);
            if !code.is_ok() {
                return (code, -1);
            }
        }
        self.partitions[place].append(records)
    }

    fn answer_produce(&mut self, id: u64, answers: Vec<PartitionAnswer>) {
        let is_throttled = self.trouble.throttles && self.rng().u32(0..10) == 0;
        let throttle = if is_throttled { 30 * MS } else { Duration::ZERO };
        self.network.answer(id, Answer::Produced { answers, throttle });
    }

    fn coordinate(&mut self, id: u64, coordinator: usize, request: &TransactionRequest) {
        // In the older protocol nothing tells a request of one transaction from that of the next, so that one which was given
        // up must not arrive later (KIP-890); nor must the one that fences its own sender.
        let may_be_late = match request {
            TransactionRequest::InitProducerId { .. } => false,
            TransactionRequest::CommitOffsets { protocol, .. } | TransactionRequest::EndTxn { protocol, .. } => {
                *protocol == TransactionProtocol::Implicit
            }
            TransactionRequest::AddPartitions { .. } | TransactionRequest::AddOffsets { .. } => false,
        };
        if !may_be_late && !self.network.is_awaited(id) {
            return;
        }
        if self.network.rng.f64() < self.trouble.refused {
            let refusals = [
                ErrorCode::CONCURRENT_TRANSACTIONS,
                ErrorCode::NOT_COORDINATOR,
                ErrorCode::COORDINATOR_NOT_AVAILABLE,
                ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
            ];
            let answer = TransactionAnswer {
                codes: vec![(None, refusals[self.rng().usize(0..4)])],
                ..TransactionAnswer::default()
            };
            self.network.answer(id, Answer::Coordinated(answer));
            return;
        }
        let mut model = self.coordinators.swap_remove(coordinator);
        let (answer, markers) = model.handle(request, |tp| self.place(tp));
        self.coordinators.push(model);
        let last = self.coordinators.len() - 1;
        self.coordinators.swap(coordinator, last);
        for marker in markers {
            self.send_marker(coordinator, marker);
        }
        self.network.answer(id, Answer::Coordinated(answer));
    }
}

fn header(records: &Bytes) -> BatchHeader {
    RawBatch::parse(records.clone())
        .expect("the producer writes whole batches")
        .header
}

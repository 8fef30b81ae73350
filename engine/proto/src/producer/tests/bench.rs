//! A machine, one log per partition, and the time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine_wire::compression::{Codec, Compression, Compressor};
use engine_wire::error_code::ErrorCode;
use engine_wire::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use engine_wire::messages::{BrokerId, MetadataResponse, StrBytes, TopicName};
use engine_wire::record_batch::RawBatch;

use super::partition_log::Log;
use crate::backoff::BackoffPolicy;
use crate::cluster::ClusterMetadata;
use crate::producer::append::{AppendError, TopicRecord};
use crate::producer::delivery::DeliveryError;
use crate::producer::outcome::{PartitionAnswer, RequestOutcome};
use crate::producer::request::RequestPlan;
use crate::producer::{ProducerMachine, ProducerOptions};
use crate::sequence::ProducerIdentity;

pub(super) const MS: Duration = Duration::from_millis(1);

pub(super) const TOPIC: &str = "orders";

/// The one place in these tests that reads a clock: an arbitrary start.
#[expect(clippy::disallowed_methods)]
pub(super) fn start() -> Instant {
    Instant::now()
}

pub(super) fn options() -> ProducerOptions {
    ProducerOptions {
        is_idempotent: true,
        linger: 5 * MS,
        batch_bytes_max: 200,
        buffer_bytes_max: 4_000,
        request_bytes_max: 700,
        in_flight_max: 5,
        delivery_timeout: 1_000_000 * MS,
        retries: u32::MAX,
        retry_backoff: BackoffPolicy {
            initial: 10 * MS,
            max: 100 * MS,
        },
        ignores_keys: false,
        is_adaptive: true,
        availability_timeout: Duration::ZERO,
    }
}

pub(super) fn metadata(leaders: &[i32], leader_epoch: i32) -> ClusterMetadata {
    let brokers = (0..3).map(|node_id| {
        MetadataResponseBroker::default()
            .with_node_id(BrokerId(node_id))
            .with_host(StrBytes::from_static_str("localhost"))
            .with_port(9_000 + node_id)
    });
    let partitions = leaders.iter().enumerate().map(|(index, leader)| {
        MetadataResponsePartition::default()
            .with_partition_index(index as i32)
            .with_leader_id(BrokerId(*leader))
            .with_leader_epoch(leader_epoch)
    });
    let topic = MetadataResponseTopic::default()
        .with_name(Some(TopicName(StrBytes::from_static_str(TOPIC))))
        .with_partitions(partitions.collect());
    let mut metadata = ClusterMetadata::default();
    metadata.apply(
        &MetadataResponse::default()
            .with_brokers(brokers.collect())
            .with_topics(vec![topic]),
    );
    metadata
}

pub(super) fn seal_all(machine: &mut ProducerMachine<u64>) {
    while let Some(job) = machine.poll_seal() {
        let done = job.run(Compression::from(Codec::Lz4), &mut Compressor::new());
        machine.handle_sealed(done);
    }
}

/// A machine, one log per partition, and the time.
pub(super) struct Bench {
    pub(super) machine: ProducerMachine<u64>,
    pub(super) logs: Vec<Log>,
    pub(super) now: Instant,
    pub(super) next_token: u64,
}

impl Bench {
    /// A producer whose place in the sequence the brokers know, so that batches need not go one by one.
    pub(super) fn new(options: ProducerOptions, partitions: usize) -> Self {
        let mut bench = Self::unknown_to_the_broker(options, partitions);
        for queue in &mut bench.machine.partitions {
            queue.is_established = true;
        }
        bench
    }

    pub(super) fn unknown_to_the_broker(options: ProducerOptions, partitions: usize) -> Self {
        let mut machine = ProducerMachine::new(options, 1);
        machine.handle_metadata(&metadata(&vec![0; partitions], 0));
        machine.handle_producer_id(ProducerIdentity {
            producer_id: 7,
            producer_epoch: 0,
        });
        let logs = (0..partitions).map(|_| Log::default()).collect();
        Self {
            machine,
            logs,
            now: start(),
            next_token: 0,
        }
    }

    pub(super) fn append(&mut self, partition: i32, value: u64) -> Result<u64, AppendError> {
        let value = value.to_be_bytes();
        let record = TopicRecord {
            partition: Some(partition),
            value: Some(&value),
            ..TopicRecord::default()
        };
        let (now, token) = (self.now, &mut self.next_token);
        let appended = self.machine.append(0, &record, || {
            *token += 1;
            (now, 1_000, *token)
        })?;
        Ok(*appended.token)
    }

    /// One request, as soon as there is one without waiting.
    pub(super) fn request(&mut self) -> Option<RequestPlan> {
        self.machine.handle_timeout(self.now);
        seal_all(&mut self.machine);
        self.machine.poll_request(self.now, |_| true)
    }

    /// A batch of one record of its own, in flight.
    pub(super) fn in_flight(&mut self, partition: i32, value: u64) -> RequestPlan {
        self.append(partition, value).unwrap();
        self.machine.flush();
        self.request().expect("nothing keeps the batch back")
    }

    /// What the broker says to the request after appending it.
    pub(super) fn apply(&mut self, plan: &RequestPlan) -> RequestOutcome {
        let answers = plan.batches.iter().map(|batch| {
            let (code, base_offset) = self.logs[batch.partition as usize].append(&batch.records);
            PartitionAnswer {
                topic: Arc::clone(&batch.topic),
                partition: batch.partition,
                code,
                base_offset,
                log_append_time_ms: None,
                message: None,
            }
        });
        RequestOutcome::Answered(answers.collect())
    }

    pub(super) fn finish(&mut self, plan: &RequestPlan, outcome: RequestOutcome) {
        self.machine
            .handle_outcome(self.now, plan.request_id, outcome, Duration::ZERO);
    }

    pub(super) fn deliver(&mut self, plan: &RequestPlan) {
        let outcome = self.apply(plan);
        self.finish(plan, outcome);
    }

    pub(super) fn refuse(&mut self, plan: &RequestPlan, code: ErrorCode) {
        let answers = plan.batches.iter().map(|batch| PartitionAnswer {
            topic: Arc::clone(&batch.topic),
            partition: batch.partition,
            code,
            base_offset: -1,
            log_append_time_ms: None,
            message: None,
        });
        self.finish(plan, RequestOutcome::Answered(answers.collect()));
    }

    /// Lets time and a perfect network run until nothing is left.
    pub(super) fn settle(&mut self) {
        self.machine.flush();
        for _ in 0..1_000 {
            while let Some(plan) = self.request() {
                self.deliver(&plan);
            }
            match self.machine.poll_deadline(self.now) {
                Some(deadline) => self.now = self.now.max(deadline),
                None => return,
            }
        }
        panic!("the producer does not settle");
    }

    pub(super) fn failures(&mut self) -> Vec<DeliveryError> {
        let outcomes = std::iter::from_fn(|| self.machine.poll_outcome());
        outcomes.filter_map(|outcome| outcome.result.err()).collect()
    }
}

pub(super) fn epoch_of(plan: &RequestPlan) -> i16 {
    RawBatch::parse(plan.batches[0].records.clone())
        .unwrap()
        .header
        .producer_epoch
}

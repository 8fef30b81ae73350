//! A producer's machine with what the driver of the real client does for it, and a book of what it was told.
//!
//! Never here: what is produced, and whether that arrived as it should.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine_proto::TopicPartition;
use engine_proto::backoff::BackoffPolicy;
use engine_proto::cluster::ClusterMetadata;
use engine_proto::producer::{
    AppendError, ProducerMachine, ProducerOptions, RequestOutcome, TopicRecord, TransactionOutcome,
};
use engine_wire::compression::{Codec, Compression, Compressor};

use crate::cluster::{Cluster, Happening, NODES};
use crate::network::{Line, MS};
use crate::requests::{Answer, Request};

pub(crate) fn options() -> ProducerOptions {
    ProducerOptions {
        is_idempotent: true,
        linger: 5 * MS,
        batch_bytes_max: 200,
        buffer_bytes_max: 4_000,
        request_bytes_max: 700,
        in_flight_max: 5,
        delivery_timeout: NEVER,
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

pub(crate) const NEVER: Duration = Duration::from_secs(1_000_000);

pub(crate) struct ProducerClient {
    pub(crate) client: usize,
    pub(crate) machine: ProducerMachine<u64>,
    /// Each record, by its batch's token and its place: partition and value, and whether it was delivered, once told.
    pub(crate) told: BTreeMap<(u64, u32), Record>,
    /// The coordinator of its transactional id, by number.
    coordinator: Option<usize>,
    metadata: ClusterMetadata,
    in_flight: HashMap<u64, Sent>,
    asks_metadata: bool,
    asks_producer_id: bool,
    next_token: u64,
}

/// One record's way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    /// Among those of all topics.
    pub(crate) partition: usize,
    pub(crate) value: u64,
    pub(crate) is_delivered: Option<bool>,
}

enum Sent {
    Metadata,
    ProducerId,
    Produce { request_id: u64 },
    Coordinate,
}

impl ProducerClient {
    pub(crate) fn new(client: usize, options: ProducerOptions, seed: u64) -> Self {
        Self {
            client,
            machine: ProducerMachine::new(options, seed),
            told: BTreeMap::new(),
            coordinator: None,
            metadata: ClusterMetadata::default(),
            in_flight: HashMap::new(),
            asks_metadata: true,
            asks_producer_id: false,
            next_token: 0,
        }
    }

    pub(crate) fn transactional(client: usize, options: ProducerOptions, seed: u64, coordinator: usize) -> Self {
        let this = Self::new(client, options, seed);
        Self {
            machine: this.machine.with_transactions("t".into()),
            coordinator: Some(coordinator),
            ..this
        }
    }

    /// Appends a record that carries `value`. False if there is no room, or the topic is not known yet.
    pub(crate) fn append(
        &mut self,
        cluster: &mut Cluster,
        topic: &str,
        partition: usize,
        value: u64,
    ) -> Result<bool, AppendError> {
        let Some(index) = self.machine.topic_index(topic) else {
            return Ok(false);
        };
        let mut bytes = vec![0; cluster.rng().usize(8..60)];
        bytes[..8].copy_from_slice(&value.to_be_bytes());
        let record = TopicRecord {
            partition: Some(partition as i32),
            value: Some(&bytes),
            ..TopicRecord::default()
        };
        let (now, token) = (cluster.now(), &mut self.next_token);
        let appended = self.machine.append(index, &record, || {
            *token += 1;
            (now, 0, *token)
        });
        match appended {
            Ok(appended) => {
                let key = (*appended.token, appended.record);
                let record = Record {
                    partition: cluster.place(&TopicPartition::new(topic, partition as i32)),
                    value,
                    is_delivered: None,
                };
                self.told.insert(key, record);
                Ok(true)
            }
            Err(AppendError::BufferFull { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends what there is to send.
    pub(crate) fn drive(&mut self, cluster: &mut Cluster) {
        let now = cluster.now();
        self.machine.handle_timeout(now);
        while let Some(job) = self.machine.poll_seal() {
            let codec = [Codec::None, Codec::Lz4][cluster.rng().usize(0..2)];
            let done = job.run(Compression { codec, level: None }, &mut Compressor::new());
            self.machine.handle_sealed(done);
        }
        if let (Some(coordinator), Some(request)) = (self.coordinator, self.machine.poll_transaction_request(now)) {
            let request = Request::Coordinate { coordinator, request };
            self.send_anywhere(cluster, request, Sent::Coordinate);
        }
        let mut is_refused = false;
        loop {
            let rng = cluster.rng();
            let plan = self.machine.poll_request(now, |_| {
                let is_connected = rng.f64() < 0.9;
                is_refused |= !is_connected;
                is_connected
            });
            let Some(plan) = plan else { break };
            let request_id = plan.request_id;
            let line = Line {
                client: self.client,
                node_id: plan.node_id,
            };
            let id = cluster.network.send(line, Request::Produce(plan));
            self.in_flight.insert(id, Sent::Produce { request_id });
        }
        if is_refused {
            cluster.network.schedule(3 * MS, Happening::Wake);
        }
        self.take_outcomes(cluster);
        self.asks_metadata |= self.machine.poll_metadata_wanted();
        if self.asks_metadata && !self.in_flight.values().any(|sent| matches!(sent, Sent::Metadata)) {
            self.asks_metadata = false;
            self.send_anywhere(cluster, Request::Metadata, Sent::Metadata);
        }
        if self.machine.needs_producer_id() && !std::mem::replace(&mut self.asks_producer_id, true) {
            self.send_anywhere(cluster, Request::ProducerId, Sent::ProducerId);
        }
    }

    /// When to drive it again if nothing is heard before.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        let deadline = self.machine.poll_deadline(now);
        deadline.map(|deadline| deadline.max(now + MS / 10))
    }

    pub(crate) fn handle_answer(&mut self, cluster: &Cluster, id: u64, answer: Answer) {
        let sent = self.in_flight.remove(&id);
        match (answer, sent.expect("each request ends once")) {
            (Answer::Metadata(response), Sent::Metadata) => {
                self.metadata.apply(&response);
                self.machine.handle_metadata(&self.metadata);
            }
            (Answer::ProducerId(identity), Sent::ProducerId) => {
                self.asks_producer_id = false;
                self.machine.handle_producer_id(identity);
            }
            (Answer::Produced { answers, throttle }, Sent::Produce { request_id }) => {
                let outcome = RequestOutcome::Answered(answers);
                self.machine
                    .handle_outcome(cluster.now(), request_id, outcome, throttle);
            }
            (Answer::Coordinated(answer), Sent::Coordinate) => {
                let outcome = TransactionOutcome::Answered(answer);
                self.machine.handle_transaction_outcome(cluster.now(), &outcome);
            }
            (answer, _) => panic!("{answer:?} answers another request"),
        }
        self.take_outcomes(cluster);
    }

    pub(crate) fn handle_lost(&mut self, cluster: &Cluster, id: u64) {
        let reason: Arc<str> = "connection reset".into();
        match self.in_flight.remove(&id).expect("each request ends once") {
            Sent::Metadata => self.asks_metadata = true,
            Sent::ProducerId => self.asks_producer_id = false,
            Sent::Produce { request_id } => {
                let outcome = RequestOutcome::Lost(reason);
                self.machine
                    .handle_outcome(cluster.now(), request_id, outcome, Duration::ZERO);
            }
            Sent::Coordinate => {
                let outcome = TransactionOutcome::Lost(reason);
                self.machine.handle_transaction_outcome(cluster.now(), &outcome);
            }
        }
        self.take_outcomes(cluster);
    }

    fn send_anywhere(&mut self, cluster: &mut Cluster, request: Request, sent: Sent) {
        let line = Line {
            client: self.client,
            node_id: cluster.rng().i32(0..NODES),
        };
        let id = cluster.network.send(line, request);
        self.in_flight.insert(id, sent);
    }

    /// Each record is told of once, and its receipt names its own place in a log of one topic.
    fn take_outcomes(&mut self, cluster: &Cluster) {
        while let Some(outcome) = self.machine.poll_outcome() {
            for place in 0..outcome.record_count {
                let key = (outcome.token, outcome.first_record + place);
                let record = self.told.get_mut(&key).expect("told of what was appended");
                assert_eq!(record.is_delivered, None, "each record is told once");
                record.is_delivered = Some(outcome.result.is_ok());
                if let Ok(delivered) = &outcome.result {
                    let base_offset = delivered.base_offset.expect("a broker that answers gives offsets");
                    let log = cluster.partitions[record.partition].log();
                    let offset = base_offset + i64::from(place);
                    let batch = log.batches.iter().find(|batch| batch.header.next_offset() > offset);
                    let batch = batch.expect("the receipt lies within the log");
                    let found = batch.values[(offset - batch.header.base_offset) as usize];
                    assert_eq!(found, record.value, "the receipt names the record's own offset");
                }
            }
        }
    }
}

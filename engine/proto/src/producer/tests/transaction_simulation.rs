//! Transactions against a simulated cluster: requests, answers and whole batches are lost, delayed and refused. What is
//! committed is the judge: each transaction is there whole, once and in order, or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine_wire::error_code::ErrorCode;
use fastrand::Rng;

use super::bench::{MS, TOPIC, metadata, options, seal_all, start};
use super::coordinator::Coordinator;
use crate::TopicPartition;
use crate::producer::append::{AppendError, TopicRecord};
use crate::producer::outcome::{PartitionAnswer, RequestOutcome};
use crate::producer::request::RequestPlan;
use crate::producer::transaction::error::TransactionError;
use crate::producer::transaction::request::{
    ConsumerGroupMetadata, OffsetsToCommit, TransactionAnswer, TransactionEnd, TransactionOffset, TransactionOutcome,
    TransactionRequest,
};
use crate::producer::{ProducerMachine, ProducerOptions};

const PARTITIONS: usize = 3;

enum Event {
    Produce { plan: RequestPlan, is_lost: bool },
    Produced { request_id: u64, outcome: RequestOutcome },
    Coordinated(TransactionOutcome),
}

struct Simulation {
    rng: Rng,
    lost: f64,
    refused: f64,
    now: Instant,
    events: BTreeMap<(Instant, u64), Event>,
    event_count: u64,
    machine: ProducerMachine<u64>,
    coordinator: Coordinator,
    next_value: u64,
    expected: Vec<Vec<u64>>,
    expected_offset: i64,
    aborted: usize,
}

impl Simulation {
    fn new(seed: u64, version: i16, lost: f64, refused: f64, delivery_timeout: Duration) -> Self {
        let options = ProducerOptions {
            delivery_timeout,
            ..options()
        };
        let mut machine = ProducerMachine::new(options, seed).with_transactions("t".into());
        machine.handle_metadata(&metadata(&[0, 1, 2], 0));
        Self {
            rng: Rng::with_seed(seed),
            lost,
            refused,
            now: start(),
            events: BTreeMap::new(),
            event_count: 0,
            machine,
            coordinator: Coordinator::new(version, PARTITIONS),
            next_value: 0,
            expected: vec![Vec::new(); PARTITIONS],
            expected_offset: 0,
            aborted: 0,
        }
    }

    fn run(&mut self, transactions: usize) {
        self.machine.init_transactions().unwrap();
        let initialized = self.until(|machine| machine.poll_initialized());
        initialized.expect("nobody fences us");
        for _ in 0..transactions {
            self.transaction();
        }
        // What was given up may still arrive, after everything else.
        while !self.events.is_empty() {
            self.step();
        }
        assert_eq!(self.coordinator.committed, self.expected);
        assert_eq!(self.machine.stats().buffered_bytes, 0);
    }

    fn transaction(&mut self) {
        self.machine.begin_transaction().unwrap();
        let mut appended = vec![Vec::new(); PARTITIONS];
        let offset = self.rng.bool().then(|| self.rng.i64(0..1_000_000));
        let outcome = self.fill(&mut appended, offset);
        let end = match outcome {
            Ok(()) if self.rng.u32(0..5) > 0 => TransactionEnd::Commit,
            _ => TransactionEnd::Abort,
        };
        match self.end(end) {
            Ok(()) if end == TransactionEnd::Commit => {
                for (expected, appended) in self.expected.iter_mut().zip(appended) {
                    expected.extend(appended);
                }
                self.expected_offset = offset.unwrap_or(self.expected_offset);
            }
            Ok(()) => self.aborted += 1,
            Err(TransactionError::MustAbort { .. }) => {
                self.end(TransactionEnd::Abort).expect("an abort leads on");
                self.aborted += 1;
            }
            Err(error) => panic!("{error}"),
        }
        assert_eq!(self.coordinator.committed_offset, self.expected_offset);
        assert_eq!(self.coordinator.committed, self.expected);
    }

    /// Some records, and perhaps an offset.
    fn fill(&mut self, appended: &mut [Vec<u64>], offset: Option<i64>) -> Result<(), TransactionError> {
        for _ in 0..self.rng.usize(0..60) {
            let partition = self.rng.usize(0..PARTITIONS);
            let value = self.next_value.to_be_bytes();
            let record = TopicRecord {
                partition: Some(partition as i32),
                value: Some(&value),
                ..TopicRecord::default()
            };
            let index = self.machine.topic_index(TOPIC).expect("is known");
            let (now, token) = (self.now, self.next_value);
            match self.machine.append(index, &record, || (now, 0, token)) {
                Ok(_) => {
                    appended[partition].push(self.next_value);
                    self.next_value += 1;
                }
                Err(AppendError::BufferFull { .. }) => {}
                Err(AppendError::Transaction(error)) => return Err(error),
                Err(error) => panic!("{error}"),
            }
            if self.rng.u32(0..4) == 0 {
                self.step();
            }
        }
        let Some(offset) = offset else {
            return Ok(());
        };
        let offsets = Arc::new(OffsetsToCommit {
            group: ConsumerGroupMetadata {
                group_id: "g".into(),
                generation_id: -1,
                member_id: String::new(),
                group_instance_id: None,
            },
            offsets: vec![TransactionOffset {
                tp: TopicPartition::new("in", 0),
                offset,
                leader_epoch: None,
                metadata: String::new(),
            }],
        });
        let ticket = self.machine.send_offsets(offsets)?.expect("no other call");
        self.until(|machine| machine.poll_offsets(ticket))
    }

    fn end(&mut self, end: TransactionEnd) -> Result<(), TransactionError> {
        let number = self.machine.end_transaction(end)?;
        self.until(|machine| machine.poll_ended(number, end))
    }

    fn until<R>(&mut self, mut poll: impl FnMut(&mut ProducerMachine<u64>) -> Option<R>) -> R {
        for _ in 0..100_000 {
            if let Some(result) = poll(&mut self.machine) {
                return result;
            }
            self.step();
        }
        panic!("the transaction makes no progress");
    }

    /// Sends what there is to send, then the next thing happens.
    fn step(&mut self) {
        self.machine.handle_timeout(self.now);
        seal_all(&mut self.machine);
        if let Some(request) = self.machine.poll_transaction_request(self.now) {
            self.coordinate(&request);
        }
        while let Some(plan) = self.machine.poll_request(self.now, |_| true) {
            let is_lost = self.rng.f64() < self.lost;
            if is_lost {
                // The client hears of it first; the broker gets the request before, after, or never.
                let outcome = RequestOutcome::Lost("connection reset".into());
                let request_id = plan.request_id;
                self.schedule(1, Event::Produced { request_id, outcome });
                if self.rng.bool() {
                    continue;
                }
            }
            let factor = self.rng.u32(1..4);
            self.schedule(factor, Event::Produce { plan, is_lost });
        }
        while self.machine.poll_outcome().is_some() {}
        let event = self.events.first_key_value().map(|((when, _), _)| *when);
        let timer = self
            .machine
            .poll_deadline(self.now)
            .map(|at| at.max(self.now + MS / 10));
        match (event, timer) {
            (Some(event), timer) if timer.is_none_or(|timer| event <= timer) => {
                self.now = self.now.max(event);
                let (_, event) = self.events.pop_first().expect("seen above");
                self.handle(event);
            }
            (_, Some(timer)) => self.now = timer,
            (_, None) => self.now += MS,
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Produce { plan, is_lost } => {
                let request_id = plan.request_id;
                let answers = self.produce(plan);
                if !is_lost {
                    let outcome = match self.rng.f64() < self.lost {
                        true => RequestOutcome::Lost("request timed out".into()),
                        false => RequestOutcome::Answered(answers),
                    };
                    self.schedule(1, Event::Produced { request_id, outcome });
                }
            }
            Event::Produced { request_id, outcome } => {
                self.machine
                    .handle_outcome(self.now, request_id, outcome, Duration::ZERO);
            }
            Event::Coordinated(outcome) => self.machine.handle_transaction_outcome(self.now, &outcome),
        }
    }

    fn produce(&mut self, plan: RequestPlan) -> Vec<PartitionAnswer> {
        let mut answers = Vec::new();
        for batch in plan.batches {
            let is_refused = self.rng.f64() < self.refused;
            let (code, base_offset) = if is_refused && self.rng.bool() {
                (ErrorCode::NOT_ENOUGH_REPLICAS, -1)
            } else {
                match self.coordinator.produce(batch.partition as usize, &batch.records) {
                    (ErrorCode::NONE, _) if is_refused => (ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND, -1),
                    answer => answer,
                }
            };
            answers.push(PartitionAnswer {
                topic: batch.topic,
                partition: batch.partition,
                code,
                base_offset,
                log_append_time_ms: None,
                message: None,
            });
        }
        answers
    }

    /// The coordinator's requests go one by one; a lost one was handled or was not.
    fn coordinate(&mut self, request: &TransactionRequest) {
        let refusals = [
            ErrorCode::CONCURRENT_TRANSACTIONS,
            ErrorCode::NOT_COORDINATOR,
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
        ];
        let outcome = if self.rng.f64() < self.refused {
            TransactionOutcome::Answered(TransactionAnswer {
                codes: vec![(None, refusals[self.rng.usize(0..3)])],
                ..TransactionAnswer::default()
            })
        } else if self.rng.f64() < self.lost {
            if self.rng.bool() {
                self.coordinator.handle(request);
            }
            TransactionOutcome::Lost("connection reset".into())
        } else {
            TransactionOutcome::Answered(self.coordinator.handle(request))
        };
        self.schedule(1, Event::Coordinated(outcome));
    }

    fn schedule(&mut self, factor: u32, event: Event) {
        self.event_count += 1;
        let after = Duration::from_micros(self.rng.u64(100..30_000)) * factor;
        self.events.insert((self.now + after, self.event_count), event);
    }
}

#[test]
fn every_transaction_is_committed_whole_once_and_in_order_or_not_at_all() {
    for seed in 0..60 {
        let version = [0, 2][seed as usize % 2];
        let lost = [0.0, 0.05, 0.2][seed as usize % 3];
        let refused = [0.0, 0.1][seed as usize / 2 % 2];
        let mut simulation = Simulation::new(seed, version, lost, refused, 1_000_000 * MS);
        println!("seed {seed}"); // Shown if it fails.
        simulation.run(12);
        let committed: usize = simulation.expected.iter().map(Vec::len).sum();
        assert!(committed > 0, "seed {seed}");
    }
}

#[test]
fn transactions_whose_records_expire_are_aborted_and_leave_nothing_behind() {
    let mut aborted = 0;
    for seed in 1_000..1_060 {
        let version = [0, 2][seed as usize % 2];
        let mut simulation = Simulation::new(seed, version, 0.3, 0.2, 150 * MS);
        println!("seed {seed}"); // Shown if it fails.
        simulation.run(12);
        aborted += simulation.aborted;
    }
    assert!(aborted > 200, "{aborted} of 720");
}

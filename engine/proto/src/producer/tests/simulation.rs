//! The producer against a simulated cluster: requests and answers are dropped, delayed and
//! reordered, leaders move, and what was given up may still arrive. The log is the judge.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use engine_wire::error_code::ErrorCode;
use fastrand::Rng;

use super::bench::{MS, TOPIC, metadata, options, seal_all, start};
use super::partition_log::Log;
use crate::cluster::ClusterMetadata;
use crate::producer::append::{AppendError, TopicRecord};
use crate::producer::outcome::{PartitionAnswer, RequestOutcome};
use crate::producer::request::RequestPlan;
use crate::producer::{ProducerMachine, ProducerOptions};
use crate::sequence::ProducerIdentity;

enum Event {
    Arrive {
        plan: RequestPlan,
        is_given_up: bool,
        answer_is_lost: bool,
    },
    Finish {
        request_id: u64,
        outcome: RequestOutcome,
    },
    Metadata(ClusterMetadata),
    MoveLeader,
    /// A connection opened: the machine is asked again.
    Connected,
}

/// How bad the network is.
#[derive(Clone, Copy)]
struct Faults {
    lost: f64,
    refused: f64,
    moves: bool,
    records_per_partition: u64,
    delivery_timeout: Duration,
}

struct Simulation {
    rng: Rng,
    faults: Faults,
    now: Instant,
    events: BTreeMap<(Instant, u64), Event>,
    event_count: u64,
    machine: ProducerMachine<u64>,
    logs: Vec<Log>,
    leaders: Vec<i32>,
    leader_epoch: i32,
    next_token: u64,
    /// Token and place of each record: partition and value.
    appended: HashMap<(u64, u32), (usize, u64)>,
    told: HashMap<(u64, u32), bool>,
}

impl Simulation {
    fn new(seed: u64, faults: Faults) -> Self {
        let options = ProducerOptions {
            delivery_timeout: faults.delivery_timeout,
            ..options()
        };
        let log = || {
            let mut log = Log::default();
            log.refuses_unknown_producers = seed % 7 < 3;
            log
        };
        let logs = (0..3).map(|_| log()).collect();
        Self {
            rng: Rng::with_seed(seed),
            faults,
            now: start(),
            events: BTreeMap::new(),
            event_count: 0,
            machine: ProducerMachine::new(options, seed),
            logs,
            leaders: vec![0, 1, 2],
            leader_epoch: 0,
            next_token: 0,
            appended: HashMap::new(),
            told: HashMap::new(),
        }
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.event_count += 1;
        self.events.insert((self.now + after, self.event_count), event);
    }

    fn delay(&mut self) -> Duration {
        Duration::from_micros(self.rng.u64(100..30_000))
    }

    fn run(&mut self) {
        self.machine.handle_metadata(&metadata(&self.leaders, 0));
        self.machine.handle_producer_id(ProducerIdentity {
            producer_id: 7,
            producer_epoch: 0,
        });
        if self.faults.moves {
            self.schedule(50 * MS, Event::MoveLeader);
        }
        let mut next_value = [0; 3];
        let mut steps = 0;
        loop {
            steps += 1;
            assert!(steps < 1_000_000, "the producer makes no progress");
            self.append_some(&mut next_value);
            if next_value.iter().all(|next| *next == self.faults.records_per_partition) {
                self.machine.flush();
                if self.machine.is_idle() {
                    break;
                }
            }
            self.machine.handle_timeout(self.now);
            seal_all(&mut self.machine);
            let (now, mut rng) = (self.now, self.rng.clone());
            let mut is_refused = false;
            while let Some(plan) = self.machine.poll_request(now, |_| {
                let is_connected = rng.f64() < 0.9;
                is_refused |= !is_connected;
                is_connected
            }) {
                self.send(plan);
            }
            self.rng = rng.fork();
            if is_refused {
                let after = self.delay();
                self.schedule(after, Event::Connected);
            }
            self.take_outcomes();
            if self.machine.poll_metadata_wanted() {
                let (after, metadata) = (self.delay(), metadata(&self.leaders, self.leader_epoch));
                self.schedule(after, Event::Metadata(metadata));
            }
            self.step();
        }
        self.take_outcomes();
        // What was given up may still arrive, after everything else.
        while !self.events.is_empty() {
            self.step();
        }
    }

    fn append_some(&mut self, next_value: &mut [u64; 3]) {
        for _ in 0..self.rng.usize(0..10) {
            let partition = self.rng.usize(0..3);
            if next_value[partition] == self.faults.records_per_partition {
                continue;
            }
            let mut value = vec![0; self.rng.usize(8..60)];
            value[..8].copy_from_slice(&next_value[partition].to_be_bytes());
            let record = TopicRecord {
                partition: Some(partition as i32),
                value: Some(&value),
                ..TopicRecord::default()
            };
            let (now, token) = (self.now, &mut self.next_token);
            let index = self.machine.topic_index(TOPIC).unwrap();
            match self.machine.append(index, &record, || {
                *token += 1;
                (now, 0, *token)
            }) {
                Ok(appended) => {
                    let place = (*appended.token, appended.record);
                    self.appended.insert(place, (partition, next_value[partition]));
                    next_value[partition] += 1;
                }
                Err(AppendError::BufferFull { .. }) => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn send(&mut self, plan: RequestPlan) {
        let request_id = plan.request_id;
        let is_given_up = self.rng.f64() < self.faults.lost;
        let answer_is_lost = self.rng.f64() < self.faults.lost;
        if is_given_up {
            // The client hears of it first; the broker gets the request before, after, or never.
            let outcome = RequestOutcome::Lost("connection reset".into());
            let after = self.delay();
            self.schedule(after, Event::Finish { request_id, outcome });
            if self.rng.bool() {
                return;
            }
        }
        let after = self.delay() * self.rng.u32(1..4);
        self.schedule(
            after,
            Event::Arrive {
                plan,
                is_given_up,
                answer_is_lost,
            },
        );
    }

    fn step(&mut self) {
        let event = self.events.first_key_value().map(|((when, _), _)| *when);
        let timer = self
            .machine
            .poll_deadline(self.now)
            .map(|when| when.max(self.now + MS / 10));
        match (event, timer) {
            (Some(event), timer) if timer.is_none_or(|timer| event <= timer) => {
                self.now = self.now.max(event);
                let (_, event) = self.events.pop_first().unwrap();
                self.handle(event);
            }
            (_, Some(timer)) => self.now = timer,
            (_, None) => self.now += MS,
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Arrive {
                plan,
                is_given_up,
                answer_is_lost,
            } => {
                let request_id = plan.request_id;
                let answers = self.apply(plan);
                if !is_given_up {
                    let outcome = match answer_is_lost {
                        true => RequestOutcome::Lost("request timed out".into()),
                        false => RequestOutcome::Answered(answers),
                    };
                    let after = self.delay();
                    self.schedule(after, Event::Finish { request_id, outcome });
                }
            }
            Event::Finish { request_id, outcome } => {
                self.machine
                    .handle_outcome(self.now, request_id, outcome, Duration::ZERO);
            }
            Event::Metadata(metadata) => self.machine.handle_metadata(&metadata),
            Event::Connected => {}
            Event::MoveLeader => {
                let partition = self.rng.usize(0..3);
                self.leaders[partition] = self.rng.i32(0..3);
                self.leader_epoch += 1;
                if !self.machine.is_idle() {
                    self.schedule(50 * MS, Event::MoveLeader);
                }
            }
        }
    }

    fn apply(&mut self, plan: RequestPlan) -> Vec<PartitionAnswer> {
        let mut answers = Vec::new();
        for batch in plan.batches {
            let partition = batch.partition as usize;
            let is_refused = self.rng.f64() < self.faults.refused;
            let (code, base_offset) = if self.leaders[partition] != plan.node_id {
                (ErrorCode::NOT_LEADER_OR_FOLLOWER, -1)
            } else if is_refused && self.rng.bool() {
                (ErrorCode::NOT_ENOUGH_REPLICAS, -1)
            } else {
                match self.logs[partition].append(&batch.records) {
                    (ErrorCode::NONE, _) if is_refused => (ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND, -1),
                    (ErrorCode::NONE, offset) => (ErrorCode::NONE, offset),
                    refused => refused,
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

    fn take_outcomes(&mut self) {
        while let Some(outcome) = self.machine.poll_outcome() {
            for place in 0..outcome.record_count {
                let key = (outcome.token, outcome.first_record + place);
                let (partition, value) = self.appended[&key];
                if let Ok(delivered) = &outcome.result {
                    let offset = delivered.base_offset.expect("a broker that answers gives offsets") as usize;
                    let found = self.logs[partition].values.get(offset + place as usize);
                    assert_eq!(found, Some(&value), "the receipt names the record's own offset");
                }
                let again = self.told.insert(key, outcome.result.is_ok());
                assert_eq!(again, None, "each record is told once");
            }
        }
    }
}

#[test]
fn every_record_arrives_exactly_once_in_order_whatever_the_network_does() {
    for seed in 0..90 {
        let faults = Faults {
            lost: [0.0, 0.05, 0.3][seed as usize % 3],
            refused: [0.0, 0.1][seed as usize % 2],
            moves: seed % 5 < 3,
            records_per_partition: 150,
            delivery_timeout: 1_000_000 * MS,
        };
        let mut simulation = Simulation::new(seed, faults);
        simulation.run();
        for (partition, log) in simulation.logs.iter().enumerate() {
            let expected: Vec<u64> = (0..faults.records_per_partition).collect();
            assert_eq!(log.values, expected, "seed {seed}, partition {partition}");
        }
        assert_eq!(simulation.told.len(), simulation.appended.len(), "seed {seed}");
        assert!(
            simulation.told.values().all(|is_delivered| *is_delivered),
            "seed {seed}"
        );
        assert_eq!(simulation.machine.stats().buffered_bytes, 0, "seed {seed}");
    }
}

#[test]
fn records_that_expire_leave_no_duplicate_and_no_disorder_behind() {
    for seed in 1_000..1_090 {
        let faults = Faults {
            lost: 0.3,
            refused: 0.2,
            moves: true,
            records_per_partition: 150,
            delivery_timeout: 150 * MS,
        };
        let mut simulation = Simulation::new(seed, faults);
        simulation.run();
        for (partition, log) in simulation.logs.iter().enumerate() {
            let is_rising = log.values.windows(2).all(|pair| pair[0] < pair[1]);
            assert!(is_rising, "seed {seed}, partition {partition}: {:?}", log.values);
        }
        assert_eq!(simulation.told.len(), simulation.appended.len(), "seed {seed}");
        for (place, is_delivered) in &simulation.told {
            let (partition, value) = simulation.appended[place];
            let is_there = simulation.logs[partition].values.contains(&value);
            assert!(
                is_there || !is_delivered,
                "seed {seed}: {value} was acknowledged and lost"
            );
        }
        assert_eq!(simulation.machine.stats().buffered_bytes, 0, "seed {seed}");
    }
}

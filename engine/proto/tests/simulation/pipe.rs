//! All machines in a row: a producer fills topics, a process reads them and writes what it read in transactions together with
//! its offsets, dies and starts again, and somebody reads the outcome.
//!
//! A record's number stays the same all the way, so that the outcome can be compared with the beginning.

mod process;

use engine_proto::TopicPartition;
use engine_proto::fetch::fetcher::FetchConfig;
use engine_proto::fetch::position::OffsetReset;
use engine_proto::producer::TransactionEnd;
use fastrand::Rng;

use process::{Process, ProcessState};

use crate::cluster::{Cluster, Heard, Trouble};
use crate::fetch_client::{FetchClient, config};
use crate::network::{MS, Weather};
use crate::producer_client::{ProducerClient, options};
use crate::reader::Reader;
use crate::seeds::for_each_seed;
use crate::transaction_coordinator::TransactionCoordinator;

const PARTITIONS: usize = 2;

const RECORDS: u64 = 60;

/// Whatever befalls network, nodes and the process in the middle: every record comes out once and in order, because records and
/// offsets are committed together or not at all. Meanwhile the logs are compacted, and what was processed is deleted.
#[test]
fn pipe_carries_every_record_to_its_end_once_and_in_order() {
    let mut total = Met::default();
    let is_whole = for_each_seed("pipe_carries", 40, |seed| {
        let mut pipe = Pipe::new(seed);
        pipe.run();
        total.crashes += pipe.met.crashes;
        total.aborts += pipe.met.aborts;
        total.deleted += pipe.met.deleted;
    });
    let enough = total.crashes > 10 && total.aborts > 40 && total.deleted > 10;
    assert!(!is_whole || enough, "{total:?}");
}

/// Or a seed that fails could not be looked into: no order of a hash map, no clock may get in.
#[test]
fn pipe_of_one_seed_is_the_same_each_time() {
    let run = |seed| {
        let mut pipe = Pipe::new(seed);
        let began = pipe.cluster.now();
        pipe.run();
        let records: Vec<_> = pipe
            .cluster
            .partitions
            .iter()
            .map(|partition| partition.records(false))
            .collect();
        (pipe.cluster.now() - began, pipe.cluster.happened, records)
    };
    for seed in 0..3 {
        assert_eq!(run(seed), run(seed));
    }
}

/// What the runs have met.
#[derive(Debug, Default)]
struct Met {
    crashes: u32,
    aborts: u32,
    deleted: u32,
}

struct Pipe {
    rng: Rng,
    seed: u64,
    cluster: Cluster,
    next_client: usize,
    source: ProducerClient,
    next_values: Vec<u64>,
    process: Process,
    sink: FetchClient,
    /// What the sink read.
    readers: Vec<Reader>,
    deletes: bool,
    met: Met,
}

impl Pipe {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let trouble = Trouble {
            refused: [0.0, 0.05, 0.1][rng.usize(0..3)],
            leader_moves: rng.bool(),
            restarts: rng.bool(),
            compaction: true,
            throttles: rng.bool(),
            evicts_sessions: rng.bool(),
            message_bytes_max: rng.bool().then_some(150),
            ..Trouble::default()
        };
        let topics = [("in", PARTITIONS), ("out", PARTITIONS)];
        let mut cluster = Cluster::new(seed, Weather::of(&mut rng), trouble, &topics);
        cluster.next_producer_id = 100;
        for producer_id in [7, 8] {
            let version = [0, 2][rng.usize(0..2)];
            cluster
                .coordinators
                .push(TransactionCoordinator::new(version, producer_id));
        }
        let mut source = ProducerClient::transactional(0, options(), seed, 0);
        source.machine.init_transactions().expect("the first thing asked for");
        let mut sink = FetchClient::new(1, fetch_config(&mut rng), 17, seed);
        let out = |partition| TopicPartition::new("out", partition as i32);
        let mut readers: Vec<Reader> = (0..PARTITIONS).map(|n| Reader::new(out(n), true, false)).collect();
        sink.fetcher.assign(readers.iter().map(|reader| reader.tp.clone()));
        for reader in &mut readers {
            reader.seek(&mut sink.fetcher, 0);
        }
        let process = Process::new(2, seed, &mut rng);
        Self {
            deletes: rng.bool(),
            rng,
            seed,
            cluster,
            next_client: 3,
            source,
            next_values: vec![0; PARTITIONS],
            process,
            sink,
            readers,
            met: Met::default(),
        }
    }

    fn run(&mut self) {
        let mut source = Source::Initializing;
        for step in 0.. {
            assert!(step < 300_000, "the pipe is stuck");
            self.fill(&mut source);
            if self.process.step(&mut self.cluster, &mut self.rng).is_err() {
                self.restart();
            }
            if self.deletes && self.rng.u32(0..40) == 0 {
                self.delete_processed();
            }
            self.read();
            self.exchange();
            if matches!(source, Source::Done) && self.is_through() {
                break;
            }
        }
        for partition in 0..PARTITIONS {
            let (input, output) = (
                &self.cluster.partitions[partition],
                &self.cluster.partitions[PARTITIONS + partition],
            );
            let out: Vec<u64> = output.records(true).iter().map(|(_, value)| *value).collect();
            assert!(out.is_sorted_by(|a, b| a < b), "partition {partition}: {out:?}");
            let input_records = input.records(true);
            let values: Vec<u64> = input_records.iter().map(|(_, value)| *value).collect();
            assert_eq!(
                values,
                (0..RECORDS).collect::<Vec<_>>(),
                "partition {partition} of the input"
            );
            let lost = input_records
                .iter()
                .find(|(offset, value)| out.binary_search(value).is_err() && !input.is_compacted(*offset));
            assert_eq!(lost, None, "partition {partition}");
            self.readers[partition].check(&self.cluster);
        }
    }

    /// Whether all of the input was read, its outcome committed, and that read.
    fn is_through(&self) -> bool {
        let process = &self.process;
        let is_idle =
            matches!(process.state, ProcessState::Reading) && process.backlog.is_empty() && process.appended == 0;
        let has_read = |partition: usize| {
            let tp = TopicPartition::new("in", partition as i32);
            let position = process.input.fetcher.position(&tp);
            let end = self.cluster.partitions[partition].last_stable_offset();
            position.is_some_and(|position| position.offset >= end)
        };
        let is_settled = self.cluster.coordinators.iter().all(TransactionCoordinator::is_empty);
        is_idle
            && is_settled
            && (0..PARTITIONS).all(has_read)
            && self.readers.iter().all(|reader| reader.is_done(&self.cluster))
            && self
                .cluster
                .partitions
                .iter()
                .all(|log| log.high_watermark == log.log().end_offset())
    }

    /// The source writes in transactions, of which it aborts some and does them again.
    fn fill(&mut self, state: &mut Source) {
        let machine = &mut self.source.machine;
        match state {
            Source::Initializing => {
                if let Some(result) = machine.poll_initialized() {
                    result.expect("nobody fences the source");
                    machine.begin_transaction().expect("initialized");
                    *state = Source::Writing(self.next_values.clone());
                }
            }
            Source::Writing(next_values) => {
                for _ in 0..self.rng.usize(0..4) {
                    let partition = self.rng.usize(0..PARTITIONS);
                    let value = next_values[partition];
                    if value < RECORDS {
                        let appended = self.source.append(&mut self.cluster, "in", partition, value);
                        next_values[partition] += u64::from(appended.expect("nothing expires"));
                    }
                }
                let is_done = next_values.iter().all(|next| *next == RECORDS);
                if is_done || self.rng.u32(0..30) == 0 {
                    let end = match self.rng.u32(0..4) {
                        0 => TransactionEnd::Abort,
                        _ => TransactionEnd::Commit,
                    };
                    let number = self.source.machine.end_transaction(end).expect("it is open");
                    *state = Source::Ending(number, end, std::mem::take(next_values));
                }
            }
            Source::Ending(number, end, next_values) => {
                if let Some(result) = machine.poll_ended(*number, *end) {
                    result.expect("nothing expires");
                    match end {
                        TransactionEnd::Commit => self.next_values = std::mem::take(next_values),
                        TransactionEnd::Abort => self.met.aborts += 1,
                    }
                    *state = Source::Done;
                    if self.next_values.iter().any(|next| *next < RECORDS) {
                        machine.begin_transaction().expect("the last one ended");
                        *state = Source::Writing(self.next_values.clone());
                    }
                }
            }
            Source::Done => {}
        }
    }

    /// The process is gone, with what it fetched; what it sent may still arrive.
    fn restart(&mut self) {
        self.met.crashes += 1;
        self.cluster.network.forget_client(self.process.input.client);
        let client = self.next_client;
        self.next_client += 1;
        self.process = Process::new(client, self.seed + client as u64, &mut self.rng);
    }

    /// What is committed as processed may go.
    fn delete_processed(&mut self) {
        for partition in 0..PARTITIONS {
            let tp = TopicPartition::new("in", partition as i32);
            if let Some(offset) = self.cluster.coordinators[1].offsets.get(&tp) {
                self.met.deleted += 1;
                self.cluster.partitions[partition].delete_below(*offset);
            }
        }
    }

    fn read(&mut self) {
        while let Some(fetched) = self.sink.fetcher.poll_fetched() {
            let fetched = fetched.expect("nothing of the output is deleted");
            let reader = self.readers.iter_mut().find(|reader| reader.tp == fetched.tp);
            reader.expect("assigned").handle_fetched(&self.cluster, &fetched);
        }
    }

    /// Everybody sends, and the next thing happens.
    fn exchange(&mut self) {
        let cluster = &mut self.cluster;
        let process = &mut self.process;
        self.source.drive(cluster);
        process.input.drive(cluster);
        process.output.drive(cluster);
        self.sink.drive(cluster);
        let now = cluster.now();
        let deadlines = [
            self.source.deadline(now),
            process.input.deadline(now),
            process.output.deadline(now),
            self.sink.deadline(now),
            Some(now + 5 * MS),
        ];
        let deadline = deadlines.into_iter().flatten().min();
        let (id, line, answer) = match cluster.next(deadline) {
            Some(Heard::Answer { id, line, answer }) => (id, line, Some(answer)),
            Some(Heard::Lost { id, line }) => (id, line, None),
            None => return,
        };
        let (source, sink) = (self.source.client, self.sink.client);
        match (line.client, answer) {
            (client, Some(answer)) if client == source => self.source.handle_answer(cluster, id, answer),
            (client, None) if client == source => self.source.handle_lost(cluster, id),
            (client, Some(answer)) if client == sink => self.sink.handle_answer(cluster, id, answer),
            (client, None) if client == sink => self.sink.handle_lost(cluster, id),
            (client, answer) if client == process.input.client => {
                let is_input = process.input.awaits(id);
                match answer {
                    Some(answer) if is_input => process.input.handle_answer(cluster, id, answer),
                    Some(answer) => process.output.handle_answer(cluster, id, answer),
                    None if is_input => process.input.handle_lost(cluster, id),
                    None => process.output.handle_lost(cluster, id),
                }
            }
            _ => {} // To a process that died.
        }
    }
}

/// ```text
/// Initializing ──▶ Writing ◀──▶ Ending ──▶ Done
/// ```
enum Source {
    Initializing,
    /// The next number of each partition, if this transaction is committed.
    Writing(Vec<u64>),
    Ending(u64, TransactionEnd, Vec<u64>),
    Done,
}

fn fetch_config(rng: &mut Rng) -> FetchConfig {
    FetchConfig {
        offset_reset: OffsetReset::None,
        rack_id: rng.bool().then(|| "rack".into()),
        ..config()
    }
}

//! Transactions under fire: what `read_committed` sees is the judge.

use std::sync::Arc;
use std::time::Duration;

use engine_proto::TopicPartition;
use engine_proto::producer::{
    AppendError, ConsumerGroupMetadata, OffsetsToCommit, ProducerMachine, ProducerOptions, TransactionEnd,
    TransactionError, TransactionOffset,
};
use fastrand::Rng;

use crate::cluster::{Cluster, Heard, Trouble};
use crate::network::{MS, Weather};
use crate::producer_client::{NEVER, ProducerClient, options};
use crate::seeds::for_each_seed;
use crate::transaction_coordinator::TransactionCoordinator;

const PARTITIONS: usize = 3;

/// Every transaction is there whole, once and in order, or not at all; also those whose process died in the middle, and those
/// whose commit nobody heard of.
#[test]
fn transactions_are_committed_whole_once_and_in_order_or_not_at_all() {
    let (mut committed, mut crashes, mut doubts) = (0, 0, 0);
    let is_whole = for_each_seed("transactions_are_committed", 100, |seed| {
        let mut application = Application::new(seed, NEVER);
        application.run(12);
        committed += application.committed.iter().map(Vec::len).sum::<usize>();
        crashes += application.crashes;
        doubts += application.doubts;
    });
    let enough = committed > 10_000 && crashes > 30 && doubts > 5;
    assert!(
        !is_whole || enough,
        "{committed} records, {crashes} crashes, {doubts} doubts"
    );
}

/// Records that are given up abort their transaction, and leave nothing behind.
///
/// Pitfall 8: a gap in one partition's sequence ends the transaction, not the next one.
#[test]
fn transactions_whose_records_expire_are_aborted_and_leave_nothing_behind() {
    let mut aborted = 0;
    let is_whole = for_each_seed("transactions_whose_records_expire", 100, |seed| {
        let mut application = Application::new(seed, 150 * MS);
        application.run(12);
        aborted += application.aborted;
    });
    assert!(!is_whole || aborted > 200, "{aborted} aborted");
}

struct Application {
    rng: Rng,
    seed: u64,
    options: ProducerOptions,
    cluster: Cluster,
    producer: ProducerClient,
    next_value: u64,
    /// What is committed for sure, by partition, and the group's offset.
    committed: Vec<Vec<u64>>,
    committed_offset: i64,
    /// The process dies after so many steps.
    steps_to_live: Option<u32>,
    aborted: usize,
    crashes: usize,
    doubts: usize,
}

/// What one transaction wrote.
struct Written {
    values: Vec<Vec<u64>>,
    offset: Option<i64>,
}

#[derive(Debug)]
enum Stopped {
    Crashed,
    Refused(TransactionError),
}

impl From<TransactionError> for Stopped {
    fn from(error: TransactionError) -> Self {
        Self::Refused(error)
    }
}

impl Application {
    fn new(seed: u64, delivery_timeout: Duration) -> Self {
        let mut rng = Rng::with_seed(seed);
        let trouble = Trouble {
            refused: [0.0, 0.05, 0.15][rng.usize(0..3)],
            leader_moves: rng.bool(),
            restarts: rng.bool(),
            throttles: rng.bool(),
            message_bytes_max: rng.bool().then_some(150),
            ..Trouble::default()
        };
        let mut cluster = Cluster::new(seed, Weather::of(&mut rng), trouble, &[("orders", PARTITIONS)]);
        let version = [0, 2][rng.usize(0..2)];
        cluster.coordinators.push(TransactionCoordinator::new(version, 7));
        let options = ProducerOptions {
            delivery_timeout,
            in_flight_max: rng.usize(1..=5),
            ..options()
        };
        Self {
            producer: ProducerClient::transactional(0, options, seed, 0),
            rng,
            seed,
            options,
            cluster,
            next_value: 0,
            committed: vec![Vec::new(); PARTITIONS],
            committed_offset: 0,
            steps_to_live: None,
            aborted: 0,
            crashes: 0,
            doubts: 0,
        }
    }

    fn run(&mut self, transactions: usize) {
        self.initialize();
        for _ in 0..transactions {
            self.transaction();
            self.check(false);
        }
        self.cluster.calm_down();
        while !self.cluster.network.is_quiet() || !self.cluster.coordinators[0].is_empty() {
            self.step();
        }
        self.check(true);
        assert_eq!(self.producer.machine.stats().buffered_bytes, 0);
    }

    fn initialize(&mut self) {
        self.steps_to_live = None;
        self.producer.machine.init_transactions().expect("nothing went before");
        let initialized = self.until(|machine| machine.poll_initialized());
        initialized.expect("no crash").expect("nobody fences us");
    }

    fn transaction(&mut self) {
        self.steps_to_live = (self.rng.u32(0..8) == 0).then(|| self.rng.u32(1..300));
        self.producer
            .machine
            .begin_transaction()
            .expect("the last one has ended");
        let mut written = Written {
            values: vec![Vec::new(); PARTITIONS],
            offset: self.rng.bool().then(|| self.rng.i64(1..1_000_000)),
        };
        let end = match self.fill(&mut written) {
            Ok(()) if self.rng.u32(0..5) > 0 => TransactionEnd::Commit,
            Ok(()) | Err(Stopped::Refused(TransactionError::MustAbort { .. })) => TransactionEnd::Abort,
            Err(Stopped::Crashed) => return self.recover(None),
            Err(Stopped::Refused(error)) => panic!("{error}"),
        };
        match self.end(end) {
            Ok(()) if end == TransactionEnd::Commit => self.take(written),
            Ok(()) => self.aborted += 1,
            Err(Stopped::Refused(TransactionError::MustAbort { .. })) => {
                self.aborted += 1;
                match self.end(TransactionEnd::Abort) {
                    Ok(()) => {}
                    Err(Stopped::Crashed) => self.recover(None),
                    Err(Stopped::Refused(error)) => panic!("{error}"),
                }
            }
            Err(Stopped::Crashed) => self.recover((end == TransactionEnd::Commit).then_some(written)),
            Err(Stopped::Refused(error)) => panic!("{error}"),
        }
    }

    fn take(&mut self, written: Written) {
        for (committed, values) in self.committed.iter_mut().zip(written.values) {
            committed.extend(values);
        }
        self.committed_offset = written.offset.unwrap_or(self.committed_offset);
    }

    /// The process starts again, and finds out what became of a commit that nobody heard of: all or nothing.
    fn recover(&mut self, in_doubt: Option<Written>) {
        self.crashes += 1;
        self.cluster.network.forget_client(self.producer.client);
        let client = self.producer.client + 1;
        self.producer = ProducerClient::transactional(client, self.options, self.seed + client as u64, 0);
        self.initialize();
        let Some(written) = in_doubt else {
            return;
        };
        let visible = self.visible();
        let more = visible
            .iter()
            .zip(&self.committed)
            .any(|(visible, known)| visible.len() > known.len());
        let is_committed = match written.values.iter().all(Vec::is_empty) {
            true => written.offset == Some(self.offset()),
            false => more,
        };
        if is_committed {
            self.doubts += 1;
            self.take(written);
        }
        self.check(true);
    }

    /// Some records, and perhaps an offset.
    fn fill(&mut self, written: &mut Written) -> Result<(), Stopped> {
        for _ in 0..self.rng.usize(0..60) {
            let partition = self.rng.usize(0..PARTITIONS);
            match self
                .producer
                .append(&mut self.cluster, "orders", partition, self.next_value)
            {
                Ok(true) => {
                    written.values[partition].push(self.next_value);
                    self.next_value += 1;
                }
                Ok(false) => {}
                Err(AppendError::Transaction(error)) => return Err(error.into()),
                Err(error) => panic!("{error}"),
            }
            if self.rng.u32(0..4) == 0 {
                self.live()?;
            }
        }
        let Some(offset) = written.offset else {
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
        let ticket = self.producer.machine.send_offsets(offsets)?.expect("no other call");
        Ok(self.until(|machine| machine.poll_offsets(ticket))??)
    }

    fn end(&mut self, end: TransactionEnd) -> Result<(), Stopped> {
        let number = self.producer.machine.end_transaction(end)?;
        Ok(self.until(|machine| machine.poll_ended(number, end))??)
    }

    fn until<R>(&mut self, mut poll: impl FnMut(&mut ProducerMachine<u64>) -> Option<R>) -> Result<R, Stopped> {
        for _ in 0..100_000 {
            if let Some(result) = poll(&mut self.producer.machine) {
                return Ok(result);
            }
            self.live()?;
        }
        panic!("the transaction makes no progress");
    }

    fn live(&mut self) -> Result<(), Stopped> {
        self.step();
        match &mut self.steps_to_live {
            Some(0) => return Err(Stopped::Crashed),
            Some(steps) => *steps -= 1,
            None => {}
        }
        Ok(())
    }

    fn step(&mut self) {
        let (cluster, producer) = (&mut self.cluster, &mut self.producer);
        producer.drive(cluster);
        let deadline = producer.deadline(cluster.now()).unwrap_or(cluster.now() + MS);
        match cluster.next(Some(deadline)) {
            Some(Heard::Answer { id, line, answer }) if line.client == producer.client => {
                producer.handle_answer(cluster, id, answer);
            }
            Some(Heard::Lost { id, line }) if line.client == producer.client => producer.handle_lost(cluster, id),
            _ => {} // Nobody waits for it any more.
        }
    }

    fn visible(&self) -> Vec<Vec<u64>> {
        let partitions = self.cluster.partitions.iter();
        let values = partitions.map(|partition| partition.visible(true).into_iter().map(|(_, value)| value).collect());
        values.collect()
    }

    fn offset(&self) -> i64 {
        let offsets = &self.cluster.coordinators[0].offsets;
        offsets.get(&TopicPartition::new("in", 0)).copied().unwrap_or(0)
    }

    /// While markers are being written a part of what is committed may not be visible yet.
    fn check(&self, is_settled: bool) {
        for (visible, committed) in self.visible().into_iter().zip(&self.committed) {
            assert!(committed.starts_with(&visible), "{visible:?} of {committed:?}");
            assert!(
                !is_settled || visible.len() == committed.len(),
                "{visible:?} of {committed:?}"
            );
        }
        assert!(!is_settled || self.offset() == self.committed_offset);
    }
}

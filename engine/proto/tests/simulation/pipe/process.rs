//! The process in the middle of the pipe, for one life: it reads, writes, and commits both together.
//!
//! Never here: what died with the process before, and whether the outcome is right (see `pipe`).

use std::sync::Arc;

use engine_proto::TopicPartition;
use engine_proto::producer::{
    AppendError, ConsumerGroupMetadata, OffsetsTicket, OffsetsToCommit, ProducerMachine, ProducerOptions,
    TransactionEnd, TransactionError, TransactionOffset,
};
use fastrand::Rng;

use super::{PARTITIONS, fetch_config};
use crate::cluster::Cluster;
use crate::fetch_client::{FetchClient, records};
use crate::network::MS;
use crate::producer_client::{ProducerClient, options};
use crate::reader::Reader;

/// The process in the middle, for one life.
pub(super) struct Process {
    pub(super) input: FetchClient,
    pub(super) output: ProducerClient,
    pub(super) state: ProcessState,
    /// The next offset of each input partition, of what was appended to the output.
    positions: Vec<i64>,
    /// Fetched and not appended yet.
    pub(super) backlog: Vec<(usize, i64, u64)>,
    pub(super) appended: usize,
    steps_to_live: u32,
}

/// ```text
/// Initializing ──▶ Reading ──▶ Offsets ──▶ Ending(Commit) ──▶ Reading
///                     └────────────┴───────────┴── fails ──▶ Ending(Abort) ──▶ died, as an application that cannot rewind
/// ```
pub(super) enum ProcessState {
    Initializing,
    Reading,
    Offsets(OffsetsTicket),
    Ending(u64, TransactionEnd),
}

/// The process ends; the next one begins at the committed offsets.
pub(super) struct Died;

impl Process {
    pub(super) fn new(client: usize, seed: u64, rng: &mut Rng) -> Self {
        let options = ProducerOptions {
            in_flight_max: rng.usize(1..=5),
            delivery_timeout: MS * rng.u32(300..3_000),
            ..options()
        };
        let mut output = ProducerClient::transactional(client, options, seed, 1);
        output.machine.init_transactions().expect("the first thing asked for");
        Self {
            input: FetchClient::new(client, fetch_config(rng), [6, 11, 12, 17][rng.usize(0..4)], seed),
            output,
            state: ProcessState::Initializing,
            positions: vec![0; PARTITIONS],
            backlog: Vec::new(),
            appended: 0,
            steps_to_live: match rng.u32(0..3) {
                0 => rng.u32(1..2_000),
                _ => u32::MAX,
            },
        }
    }

    pub(super) fn step(&mut self, cluster: &mut Cluster, rng: &mut Rng) -> Result<(), Died> {
        self.steps_to_live = self.steps_to_live.checked_sub(1).ok_or(Died)?;
        let machine = &mut self.output.machine;
        match &mut self.state {
            ProcessState::Initializing => {
                if let Some(result) = machine.poll_initialized() {
                    result.expect("nobody fences the newest");
                    machine.begin_transaction().expect("initialized");
                    self.start(cluster);
                    self.state = ProcessState::Reading;
                }
            }
            ProcessState::Reading => {
                self.take_input();
                self.process(cluster)?;
                if self.appended > 0 && rng.u32(0..20) == 0 {
                    let offsets = self.offsets();
                    match self.output.machine.send_offsets(offsets) {
                        Ok(ticket) => self.state = ProcessState::Offsets(ticket.expect("the only call")),
                        Err(error) => self.fail(&error)?,
                    }
                }
            }
            ProcessState::Offsets(ticket) => match machine.poll_offsets(*ticket) {
                Some(Ok(())) => match machine.end_transaction(TransactionEnd::Commit) {
                    Ok(number) => self.state = ProcessState::Ending(number, TransactionEnd::Commit),
                    Err(error) => self.fail(&error)?,
                },
                Some(Err(error)) => self.fail(&error)?,
                None => {}
            },
            ProcessState::Ending(number, end) => match machine.poll_ended(*number, *end) {
                Some(Ok(())) if *end == TransactionEnd::Commit => {
                    machine.begin_transaction().expect("the last one ended");
                    self.appended = 0;
                    self.state = ProcessState::Reading;
                }
                Some(Ok(())) => return Err(Died),
                Some(Err(error)) => self.fail(&error)?,
                None => {}
            },
        }
        Ok(())
    }

    /// Begins where the last transaction that was committed ended: nothing of it is open any more.
    fn start(&mut self, cluster: &Cluster) {
        for partition in 0..PARTITIONS {
            let tp = TopicPartition::new("in", partition as i32);
            let offset = cluster.coordinators[1].offsets.get(&tp).copied().unwrap_or(0);
            self.positions[partition] = offset;
            self.input.fetcher.assign([tp.clone()]);
            Reader::new(tp, true, false).seek(&mut self.input.fetcher, offset);
        }
    }

    fn take_input(&mut self) {
        if self.backlog.len() > 50 {
            return;
        }
        while let Some(fetched) = self.input.fetcher.poll_fetched() {
            match fetched {
                Ok(fetched) => {
                    let partition = fetched.tp.partition as usize;
                    let records = records(&fetched);
                    let records = records
                        .into_iter()
                        .map(|(offset, value, _)| (partition, offset + 1, value));
                    self.backlog.extend(records);
                }
                Err(error) => panic!("{error}"), // Only what was processed is deleted.
            }
        }
    }

    fn process(&mut self, cluster: &mut Cluster) -> Result<(), Died> {
        while let Some(&(partition, position, value)) = self.backlog.first() {
            match self.output.append(cluster, "out", partition, value) {
                Ok(true) => {
                    self.backlog.remove(0);
                    self.positions[partition] = position;
                    self.appended += 1;
                }
                Ok(false) => return Ok(()),
                Err(AppendError::Transaction(error)) => return self.fail(&error),
                Err(error) => panic!("{error}"),
            }
        }
        Ok(())
    }

    /// A transaction that must be aborted is, and then another process begins.
    fn fail(&mut self, error: &TransactionError) -> Result<(), Died> {
        let TransactionError::MustAbort { .. } = error else {
            panic!("{error}");
        };
        let machine: &mut ProducerMachine<u64> = &mut self.output.machine;
        let number = machine
            .end_transaction(TransactionEnd::Abort)
            .expect("an abort leads on");
        self.state = ProcessState::Ending(number, TransactionEnd::Abort);
        Ok(())
    }

    fn offsets(&self) -> Arc<OffsetsToCommit> {
        let offsets = self
            .positions
            .iter()
            .enumerate()
            .map(|(partition, offset)| TransactionOffset {
                tp: TopicPartition::new("in", partition as i32),
                offset: *offset,
                leader_epoch: None,
                metadata: String::new(),
            });
        Arc::new(OffsetsToCommit {
            group: ConsumerGroupMetadata {
                group_id: "g".into(),
                generation_id: -1,
                member_id: String::new(),
                group_instance_id: None,
            },
            offsets: offsets.collect(),
        })
    }
}

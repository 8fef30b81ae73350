//! A life of an engine: its steps, and what it decides with the product's own code.

use std::collections::{BTreeMap, VecDeque};

use engine_lake::{RecoveryAction, RecoveryConflict, StagedFile, StagedFiles};

use super::super::claim::Claim;
use super::super::commit_metadata::CommitMetadata;
use super::super::recovery::{self, PartitionFacts, StartPosition};
use super::super::segments::LiveSegments;
use super::super::state_key::StateKey;
use super::super::state_table::StateTable;
use super::super::{CheckpointId, OwnerEpoch};
use super::world::Guarantee::{AtLeastOnce, ExactlyOnce};
use super::world::{End, Guarantee, RECORDS, Row, STRIDE, StateRecord, WINDOW, World};

mod next_checkpoint;

const SOURCE: &str = "events";
const TOPIC: &str = "topic";
const WRITER: &str = "p.lake.0";

/// What a transaction holds until it commits.
#[derive(Debug, Clone, Default)]
struct Pending {
    results: Vec<Row>,
    state: Vec<StateRecord>,
}

/// One step that the brokers or the table see.
#[derive(Debug, Clone)]
enum Step {
    /// Takes the partitions, and under exactly once the transactional id.
    TakeOver,
    /// Reads what is there and takes an owner epoch (at least once).
    Look,
    /// Asks the group's coordinator whether the partitions are still ours (at least once).
    Confirm,
    /// Reads what is there and decides.
    Restore,
    /// Commits the claim of the owner epoch (exactly once), and plans the lake's recovery.
    Claim(Option<StagedFiles>),
    /// One action of the lake's recovery.
    Lake(RecoveryAction),
    /// Processes the next records and writes results.
    Process,
    /// Closes a lake file.
    Stage(String, Vec<Row>),
    /// Appends a record to the state topic.
    State(String, Option<Vec<u8>>),
    /// Commits the transaction, offsets included.
    CommitTransaction(i64, String),
    /// Commits the group's offsets (at least once).
    CommitOffsets(i64, String),
    /// Publishes one file: beside the next records, but before the next files are staged.
    Publish(StagedFile),
    /// The checkpoint is done.
    Whole,
}

pub(super) struct Life {
    guarantee: Guarantee,
    number: u32,
    producer_epoch: u32,
    owner_epoch: OwnerEpoch,
    checkpoint: CheckpointId,
    next_offset: i64,
    /// Open windows, and what was added to each since the last checkpoint.
    open: BTreeMap<i64, i64>,
    changes: BTreeMap<i64, i64>,
    live: LiveSegments,
    former_keys: Vec<StateKey>,
    /// Files of the newest checkpoint that are not published yet.
    publishing: Vec<StagedFile>,
    pending: Pending,
    steps: VecDeque<Step>,
    /// Steps taken.
    pub(super) taken: usize,
}

impl Life {
    pub(super) fn new(guarantee: Guarantee, number: u32) -> Life {
        Life {
            guarantee,
            number,
            producer_epoch: 0,
            owner_epoch: OwnerEpoch(0),
            checkpoint: CheckpointId(0),
            next_offset: 0,
            open: BTreeMap::new(),
            changes: BTreeMap::new(),
            live: LiveSegments::default(),
            former_keys: Vec::new(),
            publishing: Vec::new(),
            pending: Pending::default(),
            steps: match guarantee {
                ExactlyOnce => VecDeque::from([Step::TakeOver, Step::Restore]),
                AtLeastOnce => VecDeque::from([Step::TakeOver, Step::Look]),
            },
            taken: 0,
        }
    }

    /// Runs up to `steps` more steps. The world is checked after each.
    pub(super) fn run(&mut self, world: &mut World, steps: usize) -> Option<End> {
        for _ in 0..steps {
            if let Some(end) = self.step(world) {
                return Some(end);
            }
            world.check(self.guarantee);
        }
        None
    }

    pub(super) fn run_on(&mut self, world: &mut World) -> End {
        self.run(world, usize::MAX).expect("a life ends")
    }

    fn step(&mut self, world: &mut World) -> Option<End> {
        self.taken += 1;
        assert!(self.taken < 1_000, "a life ends");
        let Some(step) = self.steps.pop_front() else {
            return Some(End::Done);
        };
        match step {
            Step::TakeOver => {
                world.producer_epoch += 1;
                world.member += 1;
                assert_eq!(world.member, self.number, "lives are numbered as they take over");
                self.producer_epoch = world.producer_epoch;
            }
            Step::Look => {
                self.owner_epoch = self.read(world).next_owner_epoch();
                self.steps.extend([
                    self.claim_record(false),
                    Step::Confirm,
                    self.claim_record(true),
                    Step::Restore,
                ]);
            }
            Step::Confirm if world.member != self.number => return Some(End::Fenced),
            Step::Confirm => {}
            Step::Restore => return self.restore(world),
            Step::Claim(_) if world.producer_epoch != self.producer_epoch => return Some(End::Fenced),
            Step::Claim(kept) => return self.claim(world, kept.as_ref()),
            Step::Lake(action) => return world.act(&action),
            Step::Process => self.process(world),
            Step::Stage(name, rows) => {
                world.staged.insert(name, rows);
            }
            Step::State(key, value) => match self.guarantee {
                ExactlyOnce => self.pending.state.push((key, value)),
                AtLeastOnce => world.state_topic.push((key, value)),
            },
            Step::CommitTransaction(offset, metadata) => {
                if world.producer_epoch != self.producer_epoch {
                    return Some(End::Fenced);
                }
                let pending = std::mem::take(&mut self.pending);
                world.results.extend(pending.results);
                world.state_topic.extend(pending.state);
                world.committed = Some((offset, metadata));
            }
            Step::CommitOffsets(offset, metadata) => {
                if world.member != self.number {
                    return Some(End::Fenced);
                }
                world.committed = Some((offset, metadata));
            }
            Step::Publish(file) => return world.publish(&file),
            Step::Whole => self.plan_next(world),
        }
        None
    }

    fn read(&self, world: &World) -> StateTable {
        let mut table = StateTable::default();
        for (offset, (key, value)) in (0i64..).zip(&world.state_topic) {
            table
                .apply(offset, Some(key.as_bytes()), value.as_deref())
                .expect("the state topic has our records only");
        }
        table
    }

    fn claim_record(&self, is_confirmed: bool) -> Step {
        let value = Claim {
            now_ms: 0,
            is_confirmed,
        };
        let key = StateKey::Claim(self.owner_epoch);
        Step::State(key.to_string(), Some(value.to_string().into_bytes()))
    }

    fn restore(&mut self, world: &mut World) -> Option<End> {
        let table = self.read(world);
        match self.guarantee {
            ExactlyOnce => self.owner_epoch = table.next_owner_epoch(),
            // It slept behind its confirmation, and another has taken over.
            AtLeastOnce if table.confirmed() > self.owner_epoch => return Some(End::Fenced),
            AtLeastOnce => {}
        }
        self.former_keys = table.keys_before(self.owner_epoch);
        let restored = table.restore().expect("no crash damages state");
        let facts = [PartitionFacts {
            source: SOURCE.into(),
            topic: TOPIC.into(),
            partition: 0,
            committed: world.committed.clone(),
        }];
        let manifest = restored.as_ref().map(|restored| &restored.manifest);
        let decided = recovery::decide(&facts, manifest).expect("no crash makes offsets and state disagree");
        self.checkpoint = decided.restored.unwrap_or(CheckpointId(0));
        self.next_offset = match decided.starts[0] {
            StartPosition::Restored { offset, .. } => offset,
            StartPosition::Reset => 0,
            ref other => panic!("unexpected start {other:?}"),
        };
        if self.guarantee == ExactlyOnce {
            let expected = manifest.map(|manifest| (self.next_offset, manifest.checkpoint));
            let committed = world.committed.as_ref().map(|(offset, metadata)| {
                let metadata = CommitMetadata::parse(metadata).expect("ours");
                (*offset, metadata.checkpoint)
            });
            assert_eq!(committed, expected, "offsets and state are of one transaction");
        }
        for segment in restored
            .iter()
            .flat_map(|restored| restored.segments.values())
            .flatten()
        {
            for entry in segment.chunks_exact(16) {
                let number = |bytes: &[u8]| i64::from_le_bytes(bytes.try_into().unwrap());
                let (window, added) = (number(&entry[..8]), number(&entry[8..]));
                if (window + 1) * WINDOW > self.next_offset {
                    *self.open.entry(window).or_default() += added;
                }
            }
        }
        let kept = manifest.and_then(|manifest| manifest.lake.first());
        let kept = kept.map(|kept| StagedFiles::decode(kept.staged.as_bytes()).expect("as it was encoded"));
        match self.guarantee {
            ExactlyOnce => {
                self.steps.push_back(Step::Claim(kept));
                None
            }
            AtLeastOnce => self.plan_recovery(world, kept.as_ref()),
        }
    }

    fn claim(&mut self, world: &mut World, kept: Option<&StagedFiles>) -> Option<End> {
        let Step::State(key, value) = self.claim_record(true) else {
            unreachable!("it is a record of the state topic");
        };
        world.state_topic.push((key, value));
        self.plan_recovery(world, kept)
    }

    fn plan_recovery(&mut self, world: &World, kept: Option<&StagedFiles>) -> Option<End> {
        let facts = world.lake_facts(kept, self.owner_epoch);
        match engine_lake::decide(&facts) {
            Ok(actions) => self.steps.extend(actions.into_iter().map(Step::Lake)),
            Err(RecoveryConflict::Missing { .. }) => return Some(End::Conflict),
            Err(other) => panic!("{other}"),
        }
        self.steps.push_back(Step::Whole);
        None
    }

    /// Plans the next checkpoint, if there is anything left to do.
    fn plan_next(&mut self, world: &World) {
        let committed = world.committed.as_ref().map(|(offset, _)| *offset);
        // The table's thread may be quick or slow: every other checkpoint is published before the next records.
        if self.next_offset >= RECORDS || self.checkpoint.0.is_multiple_of(2) {
            self.plan_publishing();
        }
        if self.next_offset < RECORDS {
            self.steps.push_back(Step::Process);
        } else if committed != Some(self.next_offset) {
            // The group's offsets are behind the manifest: a crash came between the two.
            self.plan_checkpoint(&[]);
        }
    }

    fn plan_publishing(&mut self) {
        let files = std::mem::take(&mut self.publishing);
        self.steps.extend(files.into_iter().map(Step::Publish));
    }

    fn process(&mut self, world: &mut World) {
        let mut closed = Vec::new();
        for record in self.next_offset..(self.next_offset + STRIDE).min(RECORDS) {
            let window = record / WINDOW;
            *self.open.entry(window).or_default() += 1;
            *self.changes.entry(window).or_default() += 1;
            self.next_offset = record + 1;
            if self.next_offset % WINDOW == 0 {
                self.changes.remove(&window);
                closed.push((window, self.open.remove(&window).unwrap()));
            }
        }
        match self.guarantee {
            ExactlyOnce => self.pending.results.extend(&closed),
            AtLeastOnce => world.results.extend(&closed),
        }
        self.plan_publishing();
        self.plan_checkpoint(&closed);
    }
}

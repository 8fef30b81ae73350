//! Every crash point of the checkpoint protocol, and every takeover, by exhaustion.
//!
//! A model of the brokers and of a table runs lives of an engine step by step; what a life decides, it decides with the
//! product's own pure code: the state table, the manifest, the choice of segments, the start positions, the lake's
//! recovery. After every step no reader may see anything twice, and in the end every window is there once, with its
//! exact count.
//!
//! ```text
//! life A: n steps, crash                                      n over all steps
//! life A: n steps, crash · life B: m steps, crash             n × m
//! life A: n steps, asleep · life B: m steps · A wakes up and goes on until it is stopped · B goes on (or crashes)
//! ```
//! The last life always runs to its end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use engine_lake::{CommittedFile, RecoveryAction, RecoveryConflict, RecoveryFacts, StagedFile, StagedFiles};
use engine_stream::snapshot::SnapshotKind;
use engine_wire::compression::Compressor;

use super::commit_metadata::CommitMetadata;
use super::manifest::{MANIFEST_FORMAT, Manifest, PartitionState, SourceState, StagedTable};
use super::recovery::{self, PartitionFacts, StartPosition};
use super::segments::{LiveSegments, Segment};
use super::state_key::{ChunkKey, StateKey};
use super::state_table::StateTable;
use super::{CheckpointId, OwnerEpoch, chunk};

const SOURCE: &str = "events";
const TOPIC: &str = "topic";
const WRITER: &str = "p.lake.0";
/// Records of the source; `WINDOW` of them make a window, `STRIDE` are processed between two checkpoints.
const RECORDS: i64 = 16;
const WINDOW: i64 = 4;
const STRIDE: i64 = 3;
const WINDOWS: i64 = RECORDS / WINDOW;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guarantee {
    ExactlyOnce,
    AtLeastOnce,
}
use Guarantee::{AtLeastOnce, ExactlyOnce};

/// A window's number and its count.
type Row = (i64, i64);
/// Key and value, `None` for a tombstone.
type StateRecord = (String, Option<Vec<u8>>);

/// What the brokers and the table hold. Readers see `results` and `published`.
#[derive(Debug, Clone, Default)]
struct World {
    state_topic: Vec<StateRecord>,
    results: Vec<Row>,
    committed: Option<(i64, String)>,
    staged: BTreeMap<String, Vec<Row>>,
    published: BTreeMap<String, Vec<Row>>,
    /// Who has the transactional id.
    producer_epoch: u32,
    /// Who owns the partitions.
    member: u32,
}

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
    /// Reads what is there and decides; at least once, claims the owner epoch.
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
    /// Publishes one file.
    Publish(StagedFile),
    /// The checkpoint is done.
    Whole,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    /// All records are in.
    Done,
    /// Another life owns the partitions.
    Fenced,
    /// The table does not agree with the checkpoint.
    Conflict,
}

struct Life {
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
    pending: Pending,
    steps: VecDeque<Step>,
    /// Steps taken.
    taken: usize,
}

impl Life {
    fn new(guarantee: Guarantee, number: u32) -> Life {
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
            pending: Pending::default(),
            steps: VecDeque::from([Step::TakeOver, Step::Restore]),
            taken: 0,
        }
    }

    /// Runs up to `steps` more steps. The world is checked after each.
    fn run(&mut self, world: &mut World, steps: usize) -> Option<End> {
        for _ in 0..steps {
            if let Some(end) = self.step(world) {
                return Some(end);
            }
            world.check(self.guarantee);
        }
        None
    }

    fn run_on(&mut self, world: &mut World) -> End {
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

    fn restore(&mut self, world: &mut World) -> Option<End> {
        let mut table = StateTable::default();
        for (offset, (key, value)) in (0i64..).zip(&world.state_topic) {
            table
                .apply(offset, Some(key.as_bytes()), value.as_deref())
                .expect("the state topic has our records only");
        }
        self.owner_epoch = table.next_owner_epoch();
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
            // One step with reading, see `takeovers`.
            AtLeastOnce => self.claim(world, kept.as_ref()),
        }
    }

    fn claim(&mut self, world: &mut World, kept: Option<&StagedFiles>) -> Option<End> {
        let key = StateKey::Claim(self.owner_epoch).to_string();
        world.state_topic.push((key, Some(b"now".to_vec())));
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
        if self.next_offset < RECORDS {
            self.steps.push_back(Step::Process);
        } else if committed != Some(self.next_offset) {
            // The group's offsets are behind the manifest: a crash came between the two.
            self.plan_checkpoint(&[]);
        }
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
        self.plan_checkpoint(&closed);
    }

    fn plan_checkpoint(&mut self, closed: &[Row]) {
        self.checkpoint = self.checkpoint.next();
        let staged = self.staged(closed);
        for file in staged.files() {
            let rows = closed
                .iter()
                .filter(|(window, _)| file.path().contains(&part_of(*window)));
            let step = Step::Stage(file.staged_name().to_owned(), rows.copied().collect());
            self.steps.push_back(step);
        }
        let (records, manifest) = self.state(&staged);
        self.steps
            .extend(records.into_iter().map(|(key, value)| Step::State(key, value)));
        let metadata = CommitMetadata {
            checkpoint: self.checkpoint,
            watermark_ns: None,
        };
        let (offset, metadata) = (self.next_offset, metadata.to_string());
        let key = StateKey::Manifest(self.owner_epoch).to_string();
        self.steps.push_back(Step::State(key, Some(manifest.encode())));
        // Only a manifest that is there makes what it no longer names obsolete.
        for key in std::mem::take(&mut self.former_keys) {
            self.steps.push_back(Step::State(key.to_string(), None));
        }
        self.steps.push_back(match self.guarantee {
            ExactlyOnce => Step::CommitTransaction(offset, metadata),
            AtLeastOnce => Step::CommitOffsets(offset, metadata),
        });
        self.steps.extend(staged.files().iter().cloned().map(Step::Publish));
        self.steps.push_back(Step::Whole);
    }

    /// One file for each folder that has rows.
    fn staged(&self, closed: &[Row]) -> StagedFiles {
        let folders: BTreeSet<String> = closed.iter().map(|(window, _)| part_of(*window)).collect();
        let files = folders.iter().enumerate().map(|(sequence, folder)| {
            let (run, checkpoint) = (self.number, self.checkpoint.0);
            serde_json::json!({
                "staged": format!("{:08x}{run:08x}-{:06}.staged", self.owner_epoch.0, checkpoint * 10 + sequence as u64),
                "path": format!("{folder}/{WRITER}-{checkpoint:010}-{sequence:05}-{run:08x}.parquet"),
                "rows": 1,
                "bytes": 1,
            })
        });
        let files: Vec<_> = files.collect();
        let document = serde_json::json!({ "writer": WRITER, "checkpoint": self.checkpoint.0, "files": files });
        let document = document.to_string();
        let text = format!(
            "engine-lake-staged 1 {:08x}\n{document}",
            crc32c::crc32c(document.as_bytes())
        );
        StagedFiles::decode(text.as_bytes()).expect("the lake reads its own format")
    }

    /// The records of the state, and the manifest that completes them.
    fn state(&mut self, staged: &StagedFiles) -> (Vec<StateRecord>, Manifest) {
        let kind = self.live.next(1);
        let changes = std::mem::take(&mut self.changes);
        let entries = match kind {
            SnapshotKind::Full => &self.open,
            SnapshotKind::Changes => &changes,
        };
        let mut bytes = Vec::new();
        for (window, count) in entries {
            bytes.extend_from_slice(&window.to_le_bytes());
            bytes.extend_from_slice(&count.to_le_bytes());
        }
        let key = ChunkKey {
            owner_epoch: self.owner_epoch,
            checkpoint: self.checkpoint,
            source: SOURCE.into(),
            topic: TOPIC.into(),
            partition: 0,
            chunk: 0,
        };
        let values = chunk::encode(self.checkpoint, &bytes, &mut Compressor::default());
        let written = entries.keys().next_back().map(|latest| Segment {
            checkpoint: self.checkpoint,
            chunks: values.len() as u32,
            bytes: values.iter().map(|value| value.len() as u64).sum(),
            entries: entries.len() as u64,
            closed_at_ns: (latest + 1) * WINDOW,
        });
        let records = key.pieces(values.len() as u32).zip(values);
        let records = records
            .map(|(key, value)| (key.to_string(), Some(value.to_vec())))
            .collect();
        let held = self.open.len() as u64;
        let obsolete = self.live.handle_written(kind, written, held, Some(self.next_offset));
        for segment in obsolete {
            let of_segment = ChunkKey {
                checkpoint: segment.checkpoint,
                ..key.clone()
            };
            self.former_keys.extend(of_segment.pieces(segment.chunks));
        }
        let partition = PartitionState {
            topic: TOPIC.into(),
            partition: 0,
            next_offset: self.next_offset,
            leader_epoch: None,
            watermark_ns: None,
            segments: self.live.checkpoints(),
            chunks: self.live.chunks(),
            bytes: self.live.bytes(),
        };
        let manifest = Manifest {
            format: MANIFEST_FORMAT,
            checkpoint: self.checkpoint,
            owner_epoch: self.owner_epoch,
            created_ms: 0,
            sources: vec![SourceState {
                source: SOURCE.into(),
                watermark_ns: None,
                partitions: vec![partition],
            }],
            lake: vec![StagedTable {
                sink: "lake".into(),
                staged: staged.encode(),
            }],
        };
        (records, manifest)
    }
}

/// The folder of a window: two of them, so that a checkpoint may publish two files.
fn part_of(window: i64) -> String {
    format!("part={}", window % 2)
}

impl World {
    /// What the lake's recovery finds.
    fn lake_facts(&self, kept: Option<&StagedFiles>, owner_epoch: OwnerEpoch) -> RecoveryFacts {
        let files = kept.map(StagedFiles::files).unwrap_or_default();
        let committed = files.iter().map(|file| CommittedFile {
            file: file.clone(),
            staged_bytes: self.staged.contains_key(file.staged_name()).then_some(1),
            published_bytes: self.published.contains_key(file.path()).then_some(1),
            same_content: true,
        });
        let is_kept = |name: &&String| files.iter().any(|file| file.staged_name() == *name);
        // As `recover_below` does: what a life with a higher epoch has staged is left alone.
        let is_lower = |name: &&String| u64::from_str_radix(&name[..8], 16).unwrap() < owner_epoch.0;
        RecoveryFacts {
            committed: committed.collect(),
            is_recorded: false,
            uncommitted: self
                .staged
                .keys()
                .filter(|name| !is_kept(name) && is_lower(name))
                .cloned()
                .collect(),
        }
    }

    fn act(&mut self, action: &RecoveryAction) -> Option<End> {
        match action {
            RecoveryAction::Publish(file) => return self.publish(file),
            RecoveryAction::Delete(name) => {
                self.staged.remove(name);
            }
        }
        None
    }

    fn publish(&mut self, file: &StagedFile) -> Option<End> {
        match self.staged.remove(file.staged_name()) {
            Some(rows) => {
                self.published.insert(file.path().to_owned(), rows);
                None
            }
            None if self.published.contains_key(file.path()) => None,
            None => Some(End::Conflict),
        }
    }

    fn rows_of_lake(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = self.published.values().flatten().copied().collect();
        rows.sort_unstable();
        rows
    }

    /// At any instant: what readers see is exact, and in the lake (exactly once: everywhere) nothing is there twice.
    #[track_caller]
    fn check(&self, guarantee: Guarantee) {
        let lake = self.rows_of_lake();
        assert!(
            lake.windows(2).all(|pair| pair[0].0 < pair[1].0),
            "twice in the lake: {lake:?}"
        );
        assert!(
            lake.iter().chain(&self.results).all(|(_, count)| *count == WINDOW),
            "{self:?}"
        );
        if guarantee == ExactlyOnce {
            let windows: BTreeSet<i64> = self.results.iter().map(|(window, _)| *window).collect();
            assert_eq!(
                windows.len(),
                self.results.len(),
                "twice in the results: {:?}",
                self.results
            );
        }
    }

    /// In the end everything is there.
    #[track_caller]
    fn check_whole(&self, case: &str) {
        let expected: Vec<Row> = (0..WINDOWS).map(|window| (window, WINDOW)).collect();
        assert_eq!(self.rows_of_lake(), expected, "{case}: lake");
        let results: BTreeSet<Row> = self.results.iter().copied().collect();
        assert_eq!(results.into_iter().collect::<Vec<_>>(), expected, "{case}: results");
        assert!(
            self.staged.is_empty(),
            "{case}: staged files are left: {:?}",
            self.staged
        );
        assert_eq!(
            self.committed.as_ref().map(|(offset, _)| *offset),
            Some(RECORDS),
            "{case}"
        );
    }
}

/// What every case of one kind came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Cases {
    whole: usize,
    fenced: usize,
    conflicts: usize,
}

/// Steps of a life that nobody disturbs.
fn steps_of_a_clean_life(guarantee: Guarantee) -> usize {
    let (mut world, mut life) = (World::default(), Life::new(guarantee, 1));
    assert_eq!(life.run_on(&mut world), End::Done);
    world.check_whole("undisturbed");
    life.taken
}

fn finish(world: &mut World, guarantee: Guarantee, cases: &mut Cases, case: &str) {
    let mut last = Life::new(guarantee, world.member + 1);
    match last.run_on(world) {
        End::Done => {
            world.check_whole(case);
            cases.whole += 1;
        }
        End::Conflict => cases.conflicts += 1,
        End::Fenced => panic!("{case}: nobody is there to fence the last life"),
    }
}

fn one_and_two_crashes(guarantee: Guarantee) -> Cases {
    let mut cases = Cases::default();
    let steps = steps_of_a_clean_life(guarantee);
    for first in 0..=steps {
        for second in 0..=steps + 4 {
            let mut world = World::default();
            Life::new(guarantee, 1).run(&mut world, first);
            if second > 0 {
                Life::new(guarantee, world.member + 1).run(&mut world, second);
            }
            finish(
                &mut world,
                guarantee,
                &mut cases,
                &format!("crashes after {first} and {second} steps"),
            );
        }
    }
    cases
}

/// The first life sleeps after `n` steps and wakes up after the second has taken `m`; the second then crashes, or goes on.
fn takeovers(guarantee: Guarantee, crash_of_the_second: bool) -> Cases {
    let mut cases = Cases::default();
    let steps = steps_of_a_clean_life(guarantee);
    // At least once, a life that sleeps before it has read and claimed can supersede a successor that has claimed before it.
    let first_sleep = if guarantee == AtLeastOnce { 2 } else { 1 };
    for asleep in first_sleep..steps {
        for taken in 1..=steps + 4 {
            let case = format!("asleep after {asleep} steps, awake after {taken} of its successor");
            let mut world = World::default();
            let mut first = Life::new(guarantee, 1);
            if first.run(&mut world, asleep).is_some() {
                continue;
            }
            let mut second = Life::new(guarantee, 2);
            let second_ended = second.run(&mut world, taken);
            match first.run_on(&mut world) {
                End::Fenced => cases.fenced += 1,
                // It had nothing left to commit, or its files are the successor's by now.
                End::Done | End::Conflict => {}
            }
            if crash_of_the_second {
                finish(&mut world, guarantee, &mut cases, &case);
                continue;
            }
            match second_ended.unwrap_or_else(|| second.run_on(&mut world)) {
                End::Done => {
                    // What the sleeper left in its staging folder goes with the next start.
                    finish(&mut world, guarantee, &mut cases, &case);
                }
                End::Conflict => cases.conflicts += 1,
                End::Fenced => panic!("{case}: the successor was fenced"),
            }
        }
    }
    cases
}

#[test]
fn exactly_once_survives_every_crash_and_every_pair_of_crashes() {
    let cases = one_and_two_crashes(ExactlyOnce);
    println!("{cases:?}");
    assert_eq!((cases.fenced, cases.conflicts), (0, 0));
}

#[test]
fn exactly_once_survives_every_takeover_of_a_life_that_wakes_up_again() {
    for crash_of_the_second in [false, true] {
        let cases = takeovers(ExactlyOnce, crash_of_the_second);
        println!("the second crashes: {crash_of_the_second}: {cases:?}");
        assert_eq!(cases.conflicts, 0);
        assert!(cases.fenced > 0, "sleepers are fenced");
    }
}

#[test]
fn at_least_once_loses_nothing_in_any_crash_or_pair_of_crashes() {
    let cases = one_and_two_crashes(AtLeastOnce);
    println!("{cases:?}");
    assert_eq!((cases.fenced, cases.conflicts), (0, 0));
}

/// One gap is known: a life that sleeps between its files and its manifest, and whose successor dies before its own first
/// checkpoint, leaves a manifest whose files were deleted. The next life says so and stops.
#[test]
fn at_least_once_survives_takeovers_or_says_that_files_are_missing() {
    for crash_of_the_second in [false, true] {
        let cases = takeovers(AtLeastOnce, crash_of_the_second);
        println!("the second crashes: {crash_of_the_second}: {cases:?}");
        assert!(cases.fenced > 0, "sleepers are fenced");
        assert!(cases.conflicts < cases.whole / 20, "{cases:?}");
    }
}

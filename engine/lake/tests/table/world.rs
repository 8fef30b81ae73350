//! A table with everything that may look at it at any instant: what has committed, and what readers have seen.

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use engine_lake::{CompactionConfig, LakeConfig, LakeStore, LakeWriter, Snapshot, StagedFiles, recover};
use tempfile::TempDir;

use crate::folder::{batch, by_date, merge_all, read, schema, through_the_state, writer_id};

/// The last checkpoint of every scenario.
pub(crate) const CHECKPOINTS: u64 = 4;
/// Rows of a checkpoint; with an hour each, those of one checkpoint fall on two dates.
const ROWS: i64 = 30;

/// A table, its checkpoints, and a reader that remembers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct World(Arc<Mutex<State>>);

pub(crate) struct State {
    folder: Option<TempDir>,
    above: PathBuf,
    committed: Option<StagedFiles>,
    owner: u32,
    seen: BTreeSet<i64>,
    /// By inode, size and time: a file never changes under its inode.
    rows: HashMap<(u64, u64, i64), Vec<i64>>,
    pub(crate) looks: u64,
}

impl World {
    pub(crate) fn new() -> World {
        let folder = in_memory_folder();
        World(Arc::new(Mutex::new(State {
            above: folder.path().to_owned(),
            folder: Some(folder),
            committed: None,
            owner: 0,
            seen: BTreeSet::new(),
            rows: HashMap::new(),
            looks: 0,
        })))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// What a crash at this instant would leave.
    pub(crate) fn image(&self) -> World {
        let state = self.state();
        let folder = in_memory_folder();
        copy(&state.above, folder.path());
        World(Arc::new(Mutex::new(State {
            above: folder.path().to_owned(),
            folder: Some(folder),
            committed: state.committed.clone(),
            owner: state.owner,
            seen: state.seen.clone(),
            rows: HashMap::new(),
            looks: 0,
        })))
    }

    pub(crate) fn store(&self) -> LakeStore {
        let path = self.state().above.join("table");
        LakeStore::open(path.to_str().unwrap()).unwrap()
    }

    /// What a reader sees now: never a row twice, none that has not committed, and none gone that was there before.
    pub(crate) fn look(&self) {
        let mut state = self.state();
        state.looks += 1;
        let mut files = Vec::new();
        parquet_files(&state.above.join("table"), &mut files);
        let mut seen = BTreeSet::new();
        for path in files {
            let metadata = fs::metadata(&path).unwrap();
            let key = (metadata.ino(), metadata.len(), metadata.mtime_nsec());
            let rows = state.rows.entry(key).or_insert_with(|| values(&path));
            for row in rows.iter() {
                assert!(seen.insert(*row), "row {row} is there twice, also in {path:?}");
            }
        }
        let committed = state.committed.as_ref().map_or(0, StagedFiles::checkpoint_id);
        let committed = committed.cast_signed() * ROWS;
        assert!(
            seen.last().is_none_or(|row| *row < committed),
            "{seen:?} of {committed}"
        );
        let lost: Vec<_> = state.seen.difference(&seen).collect();
        assert!(lost.is_empty(), "{lost:?} are gone");
        state.seen = seen;
    }

    /// A process that owns the pipeline from now on: it recovers and goes on to the last checkpoint, unless another one
    /// takes over. `store` is its view of this world's table.
    pub(crate) fn live(&self, store: &LakeStore) -> Result<(), Box<dyn Error>> {
        let (me, committed) = self.take_over();
        recover(store, &writer_id(), committed.as_ref())?;
        self.go_on(store, me, committed.map_or(0, |staged| staged.checkpoint_id()))
    }

    pub(crate) fn take_over(&self) -> (u32, Option<StagedFiles>) {
        let mut state = self.state();
        state.owner += 1;
        (state.owner, state.committed.clone())
    }

    pub(crate) fn go_on(&self, store: &LakeStore, me: u32, checkpoint: u64) -> Result<(), Box<dyn Error>> {
        let mut writer = LakeWriter::open(store.clone(), merging_without_grace(), schema(), writer_id())?;
        let lived = self.write_checkpoints(&mut writer, me, checkpoint);
        if lived.is_err() {
            // kill -9: no destructor tidies up.
            std::mem::forget(writer);
        }
        lived
    }

    fn write_checkpoints(&self, writer: &mut LakeWriter, me: u32, checkpoint: u64) -> Result<(), Box<dyn Error>> {
        for checkpoint in checkpoint + 1..=CHECKPOINTS {
            let first = (checkpoint.cast_signed() - 1) * ROWS;
            // The dates repeat, so that every checkpoint adds to the same folders.
            writer.write(&batch(
                &(first..first + ROWS)
                    .map(|value| (Some((value % ROWS) * 3_600_000), Some("n".to_owned()), value))
                    .collect::<Vec<_>>(),
            ))?;
            let staged = writer.stage(checkpoint)?;
            {
                let mut state = self.state();
                if state.owner != me {
                    return Err("fenced".into());
                }
                state.committed = Some(through_the_state(&staged));
            }
            writer.publish(&staged)?;
            // A merge that fails is no reason to stop.
            for _ in 0..2 {
                let _ = merge_all(writer);
            }
        }
        Ok(())
    }

    /// The life after a finished scenario merges as ever, and deletes what the lives before it left beside the table.
    pub(crate) fn assert_can_merge(&self) {
        let store = self.store();
        let (_, committed) = self.take_over();
        recover(&store, &writer_id(), committed.as_ref()).unwrap();
        let mut writer = LakeWriter::open(store, merging_without_grace(), schema(), writer_id()).unwrap();
        assert!(writer.compaction_off().is_none(), "{:?}", writer.compaction_off());
        merge_all(&mut writer).unwrap();
        drop(writer);
        let names: Vec<_> = fs::read_dir(&self.state().above)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["table"]);
        let mut partial = Vec::new();
        all_files(&self.state().above, &mut partial);
        partial.retain(|path| path.to_str().unwrap().contains("_staging/"));
        assert_eq!(partial, Vec::<PathBuf>::new());
    }

    /// What a finished scenario leaves: all rows, and a manifest that says the same as the folders.
    pub(crate) fn assert_complete(&self) {
        self.look();
        let store = self.store();
        let state = self.state();
        let expected: BTreeSet<i64> = (0..CHECKPOINTS.cast_signed() * ROWS).collect();
        assert_eq!(state.seen, expected);
        let table = state.above.join("table");
        let mut files = Vec::new();
        parquet_files(&table, &mut files);
        files.sort();
        let snapshot = Snapshot::read(&store).unwrap();
        let listed: Vec<_> = snapshot.files.iter().map(|file| table.join(&file.path)).collect();
        assert_eq!(listed, files);
        assert_eq!(snapshot.rows(), expected.len() as u64);
        for file in &snapshot.files {
            assert_eq!(
                file.bytes,
                fs::metadata(table.join(&file.path)).unwrap().len(),
                "{}",
                file.path
            );
        }
        drop(state);
    }
}

impl Drop for State {
    fn drop(&mut self) {
        drop(self.folder.take());
    }
}

/// As `merging`, but what was replaced goes with the next look for work.
fn merging_without_grace() -> LakeConfig {
    LakeConfig {
        compaction: Some(CompactionConfig {
            interval: Duration::ZERO,
            files_min: 2,
            grace: Duration::ZERO,
        }),
        ..by_date()
    }
}

/// Every `*.parquet` below a folder, also in folders that most readers skip.
pub(crate) fn parquet_files(folder: &Path, found: &mut Vec<PathBuf>) {
    all_files(folder, found);
    found.retain(|path| path.extension().is_some_and(|extension| extension == "parquet"));
}

fn all_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            all_files(&entry.path(), found);
        } else {
            found.push(entry.path());
        }
    }
}

fn values(path: &Path) -> Vec<i64> {
    let values = read(path).into_iter().flat_map(|rows| {
        rows.column_by_name("value")
            .unwrap()
            .as_primitive::<Int64Type>()
            .values()
            .to_vec()
    });
    values.collect()
}

/// Thousands of scenarios with a sync at every other step: on a disk they would take hours.
fn in_memory_folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

#[test]
fn a_scenario_without_a_crash_merges_what_it_writes() {
    let world = World::new();
    world.live(&world.store()).unwrap();
    world.assert_complete();
    let mut files = Vec::new();
    parquet_files(&world.state().above.join("table"), &mut files);
    // Eight were written.
    assert!(files.len() <= 5, "{files:?}");
}

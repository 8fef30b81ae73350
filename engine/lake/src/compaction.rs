//! Small files of a partition folder become one, and a reader that lists the folder sees either them or it.
//!
//! A checkpoint every second makes 86,400 files a day in every partition. Merging them is easy; replacing them is not,
//! since no file system removes many names and adds one in a single step. So the whole folder is replaced: its successor
//! is prepared beside the table (the merged file, and a hard link to every file that stays), and the two folders change
//! places in one system call.
//!
//! ```text
//! begin ─▶ Merge::run (any thread) ─▶ finish: link what stays ─▶ plan ─▶ exchange ─▶ manifest ─▶ … a minute later: delete
//!          crash: nothing happened ◀──────────────────────────────────┘      └─▶ crash: the next recovery tells the manifest
//! ```
//!
//! A reader that listed the folder before and opens a file after finds it gone and has to list again: no file can stay
//! under its name without being listed twice. It is an error and never a wrong result, and [`CompactionConfig::interval`]
//! says how often it can be met.
//!
//! Only in partition folders (a table's own folder cannot be exchanged with one beside it without its `_staging`), only
//! on a local disk that can exchange folders, and only while no other writer has opened the table.

pub(crate) mod choice;
pub(crate) mod error;
pub(crate) mod merge;
pub(crate) mod workspace;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::time::Instant;

use self::choice::{Candidate, choose};
use self::error::{CompactionError, CompactionOff};
use self::merge::{Merge, MergeError, Merged};
use self::workspace::{Plan, SettleError, Settled, Workspace};
use crate::config::{CompactionConfig, LakeConfig};
use crate::encode::FileEncoding;
use crate::layout;
use crate::manifest::log::TableLog;
use crate::staged::StagedFiles;
use crate::store::LakeStore;
use crate::store::disk::Disk;
use crate::store::error::StoreError;
use crate::writer_id::WriterId;

/// Folders that wait for their turn; more are noticed when something is published into them again.
const DUE_FOLDERS_MAX: usize = 65_536;

/// The part of `buffer_bytes_max` that a merge may hold beside it.
const BUFFER_PART: usize = 4;

/// Files merged at once; the rest has its turn afterwards.
const INPUTS_MAX: usize = 10_000;

/// Files that were replaced by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compacted {
    /// The partition folder, relative to the table.
    pub folder: String,
    /// The files that are gone.
    pub files: u64,
    /// Their size.
    pub bytes_before: u64,
    /// The rows of the merged file.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
}

/// The compaction of one writer.
#[derive(Debug)]
pub(crate) struct Compactor {
    config: CompactionConfig,
    target_bytes: u64,
    buffer_bytes_max: usize,
    disk: Disk,
    workspace: Workspace,
    writer_id: WriterId,
    run: u32,
    next_number: u32,
    /// Folders that may have small files, and when to look.
    due: BTreeMap<String, Instant>,
    /// The checkpoint that was published last. Its files are left alone: a recovery has to find them.
    published: Option<u64>,
    /// Whether a [`Merge`] is on its way.
    is_merging: bool,
    /// Whether an exchange has to be settled.
    is_unsettled: bool,
    /// Folders that were replaced, oldest first. Bounded by the merges of one `grace`, which come one after another.
    replaced: VecDeque<(PathBuf, Instant)>,
}

impl Compactor {
    /// Without a compactor nothing is merged, and what former lives have replaced is deleted at once.
    pub(crate) fn open(
        store: &LakeStore,
        config: &LakeConfig,
        writer_id: &WriterId,
        run: u32,
        log: &TableLog,
    ) -> Result<Compactor, CompactionOff> {
        let opened = Compactor::try_open(store, config, writer_id, run, log);
        if let (Err(_), Some(disk)) = (&opened, store.disk())
            && let Err(error) = workspace::remove_retired(&disk)
        {
            tracing::warn!(lake = store.location(), %error, "Folders that were replaced by merges were not deleted.");
        }
        opened
    }

    fn try_open(
        store: &LakeStore,
        config: &LakeConfig,
        writer_id: &WriterId,
        run: u32,
        log: &TableLog,
    ) -> Result<Compactor, CompactionOff> {
        let wanted = config.compaction.clone().ok_or(CompactionOff::NotAskedFor)?;
        let disk = store.disk().ok_or(CompactionOff::NotOnADisk)?;
        if config.partition_by.is_empty() {
            return Err(CompactionOff::NoPartitions);
        }
        let staging = store
            .names_in(&layout::staging_root())
            .map_err(CompactionOff::CannotExchange)?;
        if let Some(other) = staging
            .iter()
            .find(|name| WriterId::new(name.as_str()).is_ok_and(|id| id != *writer_id))
        {
            return Err(CompactionOff::OtherWriter {
                folder: format!("{}/{other}", layout::staging_root()),
            });
        }
        let workspace = Workspace::open(disk.clone(), writer_id, run).map_err(CompactionOff::CannotExchange)?;
        let now = Instant::now();
        let retired = workspace::retired(&disk).map_err(CompactionOff::CannotExchange)?;
        let mut compactor = Compactor {
            target_bytes: config.target_file_bytes,
            buffer_bytes_max: config.buffer_bytes_max / BUFFER_PART,
            disk,
            workspace,
            writer_id: writer_id.clone(),
            run,
            next_number: 0,
            due: BTreeMap::new(),
            published: None,
            is_merging: false,
            is_unsettled: false,
            replaced: retired.into_iter().map(|folder| (folder, now + wanted.grace)).collect(),
            config: wanted,
        };
        compactor.note_small_files(log, now);
        Ok(compactor)
    }

    /// Files were published into these folders.
    pub(crate) fn handle_published(&mut self, staged: &StagedFiles, now: Instant) {
        self.published = Some(staged.checkpoint_id());
        for file in staged.files() {
            if let Some((folder, _)) = file.path().rsplit_once('/') {
                self.note(folder, now + self.config.interval);
            }
        }
    }

    /// When [`Compactor::begin`] may have something to do.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let folder = self
            .due
            .values()
            .min()
            .filter(|_| !self.is_merging && self.published.is_some());
        let replaced = self.replaced.front().map(|(_, until)| until);
        folder.into_iter().chain(replaced).min().copied()
    }

    /// Deletes what nobody lists any more, and finds the next folder that is worth it.
    pub(crate) fn begin(
        &mut self,
        now: Instant,
        encoding: &FileEncoding,
        store: &LakeStore,
        log: &mut TableLog,
    ) -> Result<Option<Merge>, CompactionError> {
        while let Some((folder, _)) = self.replaced.pop_front_if(|(_, until)| *until <= now) {
            if let Err(error) = self.disk.remove_folder(&folder) {
                self.replaced.push_back((folder, now + self.config.grace));
                return Err(error.into());
            }
        }
        // Whoever has published nothing yet may have been taken over without knowing it.
        if self.is_merging || self.published.is_none() {
            return Ok(None);
        }
        if self.is_unsettled
            && let Err(error) = self.settle(now, store, log)
        {
            // Whatever is due has to wait, and the caller asks again when something is due.
            let later = now + self.config.interval;
            self.due.values_mut().for_each(|at| *at = (*at).max(later));
            return Err(error.into());
        }
        while let Some(folder) = self
            .due
            .iter()
            .find(|(_, at)| **at <= now)
            .map(|(folder, _)| folder.clone())
        {
            // Whatever comes of it: not again before the interval is over.
            self.due.insert(folder.clone(), now + self.config.interval);
            let candidates = self.candidates(&folder)?;
            let mut inputs = choose(candidates, self.target_bytes, self.config.files_min);
            inputs.truncate(INPUTS_MAX);
            let checkpoints = inputs
                .iter()
                .filter_map(|file| layout::own_file(&file.name, &self.writer_id));
            let Some(checkpoint) = checkpoints.map(|own| own.checkpoint_id).max() else {
                self.due.remove(&folder);
                continue;
            };
            let name = layout::merged_name(&self.writer_id, checkpoint, self.next_number, self.run);
            self.next_number += 1;
            self.is_merging = true;
            return Ok(Some(Merge {
                disk: self.disk.clone(),
                new_folder: self.workspace.new_folder(),
                folder,
                inputs,
                name,
                schema: encoding.schema.clone(),
                properties: encoding.properties.clone(),
                buffer_bytes_max: self.buffer_bytes_max,
            }));
        }
        Ok(None)
    }

    /// Lets readers see the merged file instead of its inputs; forgets the merge if it came to nothing.
    pub(crate) fn finish(
        &mut self,
        merged: Result<Option<Merged>, MergeError>,
        now: Instant,
        store: &LakeStore,
        log: &mut TableLog,
    ) -> Result<Option<Compacted>, CompactionError> {
        self.is_merging = false;
        self.is_unsettled = true;
        let exchanged = match merged {
            Ok(None) => Ok(None),
            Ok(Some(merged)) => self.exchange(&merged).map(|()| Some(merged)),
            Err(error) => Err(error.into()),
        };
        let settled = self.settle(now, store, log);
        let Some(merged) = exchanged? else {
            settled?;
            return Ok(None);
        };
        if settled? != Settled::Done {
            return Err(CompactionError::Changed {
                folder: merged.merge.folder,
            });
        }
        Ok(Some(Compacted {
            files: merged.inputs.len() as u64,
            bytes_before: merged.inputs.iter().map(|file| file.bytes).sum(),
            rows: merged.rows,
            bytes: merged.bytes,
            folder: merged.merge.folder,
        }))
    }

    /// Whether no successor has taken the workspace away.
    pub(crate) fn is_ours(&self) -> bool {
        self.workspace.is_ours().unwrap_or(true)
    }

    fn note(&mut self, folder: &str, at: Instant) {
        if !self.due.contains_key(folder) && self.due.len() < DUE_FOLDERS_MAX {
            self.due.insert(folder.to_owned(), at);
        }
    }

    /// What earlier lives left small.
    fn note_small_files(&mut self, log: &TableLog, now: Instant) {
        let mut small: BTreeMap<&str, usize> = BTreeMap::new();
        for file in log
            .state()
            .files
            .values()
            .filter(|file| file.bytes < self.target_bytes / 2)
        {
            if let Some((folder, _)) = file.path.rsplit_once('/') {
                *small.entry(folder).or_default() += 1;
            }
        }
        for (folder, files) in small {
            if files >= self.config.files_min && layout::is_partition_path(folder) {
                self.note(folder, now + self.config.interval);
            }
        }
    }

    /// The files of a folder that this writer made and that no recovery will look for. None of a folder that is a link:
    /// somebody has room elsewhere, and it is the link that would be exchanged.
    fn candidates(&self, folder: &str) -> Result<Vec<Candidate>, StoreError> {
        let target = self.disk.table.join(folder);
        if !self.disk.is_folder(&target)? {
            return Ok(Vec::new());
        }
        let entries = self.disk.entries(&target)?.unwrap_or_default();
        let may_go = |name: &str| {
            layout::own_file(name, &self.writer_id)
                .is_some_and(|own| own.is_merged || Some(own.checkpoint_id) != self.published)
        };
        let candidates = entries
            .into_iter()
            .filter(|entry| entry.is_plain && may_go(&entry.name));
        Ok(candidates
            .map(|entry| Candidate {
                name: entry.name,
                bytes: entry.bytes,
            })
            .collect())
    }

    fn exchange(&self, merged: &Merged) -> Result<(), CompactionError> {
        let folder = &merged.merge.folder;
        let target = self.disk.table.join(folder);
        let entries = self.disk.entries(&target)?.unwrap_or_default();
        let inputs: HashSet<&str> = merged.inputs.iter().map(|file| file.name.as_str()).collect();
        let sizes: HashMap<&str, u64> = entries.iter().map(|entry| (entry.name.as_str(), entry.bytes)).collect();
        let found = |input: &Candidate| sizes.get(input.name.as_str()) == Some(&input.bytes);
        if !merged.inputs.iter().all(found) {
            return Err(CompactionError::Changed { folder: folder.clone() });
        }
        let mut kept = Vec::new();
        for entry in entries.iter().filter(|entry| !inputs.contains(entry.name.as_str())) {
            if !entry.is_plain {
                return Err(CompactionError::NotPlain {
                    folder: folder.clone(),
                    name: entry.name.clone(),
                });
            }
            self.disk
                .link(&target.join(&entry.name), &merged.merge.new_folder.join(&entry.name))?;
            kept.push(entry.name.clone());
        }
        self.workspace.exchange(&Plan {
            writer: self.writer_id.to_string(),
            folder: folder.clone(),
            merged: merged.merge.name.clone(),
            rows: merged.rows,
            bytes: merged.bytes,
            inputs: merged.inputs.iter().map(|file| file.name.clone()).collect(),
            kept,
        })?;
        Ok(())
    }

    fn settle(&mut self, now: Instant, store: &LakeStore, log: &mut TableLog) -> Result<Settled, SettleError> {
        let (settled, replaced) = self.workspace.settle(store, log)?;
        self.is_unsettled = false;
        self.replaced
            .extend(replaced.map(|folder| (folder, now + self.config.grace)));
        Ok(settled)
    }
}

impl Drop for Compactor {
    /// What a crash would leave is left if something is still in it: the next writer deletes it.
    fn drop(&mut self) {
        let _ = self.workspace.close();
    }
}

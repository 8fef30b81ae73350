//! The table's own account of its files: one small JSON file per change, and now and then a list of all.
//!
//! ```text
//! <table>/_manifest/00000000000000000101.json       what changed: files added and removed
//! <table>/_manifest/00000000000000000100.all.json   every file after change 100
//! ```
//!
//! A reader takes the newest list of all files and applies the changes after it, in order, until one is missing: that
//! is a snapshot of whole checkpoints. Readers that list the folders need none of this. A change is written after the
//! files have moved, so whoever finds a listed file gone reads the manifest again.
//!
//! This file says what is in such a document; `log` reads and appends them, `found` begins one.

mod found;
pub(crate) mod log;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::layout;
use crate::layout::partition_path::partition_values;
use crate::staged::StagedFiles;
use crate::writer_id::WriterId;

/// The version of the documents' form.
pub(crate) const FORMAT: u32 = 1;

/// Writer lives that a list of all files remembers the last checkpoint of. Only a process that slept through this many
/// restarts of its pipeline could still ask for an older one.
const PUBLISHED_RUNS_MAX: usize = 64;

/// A file of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Where it is, relative to the table.
    pub path: String,
    /// Its rows.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// The values of the partition columns, which are not in the file. `None` is null.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub partition: BTreeMap<String, Option<String>>,
}

impl ManifestFile {
    pub(crate) fn new(path: &str, rows: u64, bytes: u64) -> ManifestFile {
        ManifestFile {
            path: path.to_owned(),
            rows,
            bytes,
            partition: partition_values(path),
        }
    }
}

/// Why the files changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "snake_case")]
pub(crate) enum Operation {
    /// A checkpoint was published.
    Checkpoint {
        /// Its number.
        checkpoint: u64,
        /// The life of the writer that wrote the files.
        run: String,
    },
    /// Small files were merged.
    Compaction,
    /// The files were there before the manifest.
    Found,
}

/// One change of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    pub(crate) format: u32,
    pub(crate) version: u64,
    /// Milliseconds since 1970.
    pub(crate) time_ms: u64,
    pub(crate) writer: String,
    #[serde(flatten)]
    pub(crate) operation: Operation,
    pub(crate) added: Vec<ManifestFile>,
    pub(crate) removed: Vec<String>,
}

/// The last checkpoint that was published of one life of a writer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PublishedRun {
    pub(crate) writer: String,
    pub(crate) run: String,
    pub(crate) checkpoint: u64,
}

/// Every file after a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AllFiles {
    pub(crate) format: u32,
    pub(crate) version: u64,
    pub(crate) published: Vec<PublishedRun>,
    pub(crate) files: Vec<ManifestFile>,
}

/// What a manifest says at one version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TableState {
    pub(crate) version: u64,
    /// By path. About 300 bytes a file are held in memory.
    pub(crate) files: BTreeMap<String, ManifestFile>,
    /// The least recent first.
    published: Vec<PublishedRun>,
}

/// What a change is to consist of, before it has a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Draft {
    pub(crate) writer: String,
    pub(crate) operation: Operation,
    pub(crate) added: Vec<ManifestFile>,
    pub(crate) removed: Vec<String>,
}

impl Draft {
    /// The publishing of a checkpoint. `None` if it has no files.
    pub(crate) fn of_checkpoint(staged: &StagedFiles) -> Option<Draft> {
        let run = layout::run_of(staged.files().first()?.path())?;
        Some(Draft {
            writer: staged.writer_id().to_string(),
            operation: Operation::Checkpoint {
                checkpoint: staged.checkpoint_id(),
                run: run.to_owned(),
            },
            added: staged
                .files()
                .iter()
                .map(|file| ManifestFile::new(file.path(), file.rows(), file.bytes()))
                .collect(),
            removed: Vec::new(),
        })
    }

    /// What was in the table before it had a manifest.
    pub(crate) fn of_found(added: Vec<ManifestFile>) -> Draft {
        Draft {
            writer: String::new(),
            operation: Operation::Found,
            added,
            removed: Vec::new(),
        }
    }

    /// The merging of `removed` into `added`.
    pub(crate) fn of_compaction(writer: &str, added: ManifestFile, removed: Vec<String>) -> Draft {
        Draft {
            writer: writer.to_owned(),
            operation: Operation::Compaction,
            added: vec![added],
            removed,
        }
    }

    pub(crate) fn at(self, version: u64, time_ms: u64) -> Change {
        Change {
            format: FORMAT,
            version,
            time_ms,
            writer: self.writer,
            operation: self.operation,
            added: self.added,
            removed: self.removed,
        }
    }
}

impl TableState {
    pub(crate) fn of(all: AllFiles) -> TableState {
        TableState {
            version: all.version,
            files: all.files.into_iter().map(|file| (file.path.clone(), file)).collect(),
            published: all.published,
        }
    }

    pub(crate) fn to_all_files(&self) -> AllFiles {
        AllFiles {
            format: FORMAT,
            version: self.version,
            published: self.published.clone(),
            files: self.files.values().cloned().collect(),
        }
    }

    pub(crate) fn apply(&mut self, change: Change) {
        self.version = change.version;
        for path in &change.removed {
            self.files.remove(path);
        }
        self.files
            .extend(change.added.into_iter().map(|file| (file.path.clone(), file)));
        if let Operation::Checkpoint { checkpoint, run } = change.operation {
            let before = self
                .published
                .iter()
                .position(|known| known.run == run && known.writer == change.writer);
            let before = before.map(|index| self.published.remove(index));
            self.published.push(PublishedRun {
                writer: change.writer,
                run,
                checkpoint: checkpoint.max(before.map_or(0, |before| before.checkpoint)),
            });
            if self.published.len() > PUBLISHED_RUNS_MAX {
                self.published.remove(0);
            }
        }
    }

    /// Whether the files of this checkpoint have been published, also if they have been merged or deleted since.
    pub(crate) fn has_published(&self, staged: &StagedFiles) -> bool {
        let run = staged.files().first().and_then(|file| layout::run_of(file.path()));
        run.is_none_or(|run| self.has_published_run(staged.writer_id(), run, staged.checkpoint_id()))
    }

    fn has_published_run(&self, writer_id: &WriterId, run: &str, checkpoint: u64) -> bool {
        self.published
            .iter()
            .any(|known| known.writer == writer_id.as_str() && known.run == run && known.checkpoint >= checkpoint)
    }
}

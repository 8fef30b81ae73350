//! The checkpoint: what makes a restart continue where the last run stopped.
//!
//! One checkpoint covers all sources of a pipeline. With `guarantee = "exactly_once"` outputs, state, one
//! [`manifest::Manifest`] and the offsets (next to read, with [`commit_metadata::CommitMetadata`]) are one Kafka
//! transaction; lake files are staged before it commits and published after. With `at_least_once` the steps are, in this order:
//! flush the outputs, stage the lake files, append the state and then the manifest to the compacted state
//! topic, commit the offsets, delete state that is obsolete, publish the lake files.
//! The manifest is a single record, so a checkpoint is either there as a whole or not at all, and it names the
//! offsets that belong to its state, and the [`segments`] that its state is: a crash between any two steps never pairs one
//! checkpoint's state with another's offsets. What to do after a crash is decided by the pure function in [`recovery`].

pub mod chunk;
pub mod claim;
pub mod commit_metadata;
#[cfg(test)]
mod crash_points;
pub mod manifest;
pub mod recovery;
pub mod segments;
pub mod state_key;
pub(crate) mod state_reader;
pub mod state_table;
pub(crate) mod state_topic;

use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of a checkpoint: 1 for a pipeline's first, one more for each that follows, over all its runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CheckpointId(pub u64);

impl CheckpointId {
    /// The checkpoint after this one.
    pub fn next(self) -> CheckpointId {
        CheckpointId(self.0 + 1)
    }
}

impl fmt::Display for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which process life owned the partitions when it wrote: one more than any epoch found at restore, and claimed in the
/// state topic before anything is processed.
///
/// State keys carry it, so that a paused process that wakes up after its partitions moved writes beside its
/// successor's state and never over it; the highest epoch is the one that counts. What it completes after a successor's
/// confirmed [`claim`] does not count, also if the successor never completes anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OwnerEpoch(pub u64);

impl fmt::Display for OwnerEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

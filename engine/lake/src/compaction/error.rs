//! Why small files stay small: for as long as a writer lives, or this time.

use super::merge::MergeError;
use super::workspace::SettleError;
use crate::store::error::StoreError;

/// Why files are not merged.
#[derive(Debug, thiserror::Error)]
pub enum CompactionOff {
    /// Nobody wants it.
    #[error("it is not asked for")]
    NotAskedFor,
    /// The folder would be that of the table itself.
    #[error("without partition_by there is no folder that could be replaced in one step")]
    NoPartitions,
    /// An object store has no folders.
    #[error("the table is not on a local disk")]
    NotOnADisk,
    /// Another writer may publish into the folder at any moment.
    #[error("another writer uses the table: {folder:?} is its folder, remove it if that writer is gone for good")]
    OtherWriter {
        /// Its staging folder, relative to the table.
        folder: String,
    },
    /// Folders cannot be exchanged here.
    #[error(
        "folders cannot be exchanged here (it takes a file system with renameat2, and the right to write beside the table)"
    )]
    CannotExchange(#[source] StoreError),
    /// Another writer, or another life of this one, has recovered the table.
    #[error("another writer has opened the table")]
    TakenOver,
}

/// Files that were not merged, or were merged without the manifest having been told yet. The table is readable as ever;
/// the next [`crate::LakeWriter::begin_compaction`] goes on.
#[derive(Debug, thiserror::Error)]
pub enum CompactionError {
    /// The folder has other files than when the merge began.
    #[error("partition folder {folder:?} was changed by somebody else meanwhile")]
    Changed {
        /// The folder.
        folder: String,
    },
    /// The folder has something that cannot be linked.
    #[error("partition folder {folder:?} has {name:?}, which is not a plain file: its files stay as they are")]
    NotPlain {
        /// The folder.
        folder: String,
        /// What it has.
        name: String,
    },
    /// The merged file could not be written.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// What an exchange did could not be completed.
    #[error(transparent)]
    Settle(#[from] SettleError),
    /// Storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

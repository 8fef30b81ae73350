//! Letting readers see the files of a committed checkpoint.

use crate::decision::{RecoveryAction, RecoveryConflict, RecoveryFacts, committed_files, decide};
use crate::layout;
use crate::staged::StagedFiles;
use crate::store::LakeStore;
use crate::store::error::StoreError;

/// What [`publish`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Published {
    /// Files that became visible now.
    pub files: u64,
    /// Their rows.
    pub rows: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// Files that were visible already.
    pub files_before: u64,
}

/// Files that could not be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The table is not as the checkpoint says. Trying again does not help.
    #[error("cannot publish checkpoint {checkpoint_id} of {writer_id} in lake {location:?}")]
    Conflict {
        /// The checkpoint.
        checkpoint_id: u64,
        /// Its writer.
        writer_id: crate::WriterId,
        /// The table.
        location: String,
        /// What is wrong.
        #[source]
        source: RecoveryConflict,
    },
    /// Storage failed. Trying again may help.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Moves staged files to where readers see them, each in one step, and makes that durable. Idempotent: what is there
/// already stays as it is. The checkpoint must have committed, and the next one must not commit before this succeeds.
pub fn publish(store: &LakeStore, staged: &StagedFiles) -> Result<Published, PublishError> {
    let facts = RecoveryFacts {
        committed: committed_files(store, staged)?,
        uncommitted: Vec::new(),
    };
    let actions = decide(&facts).map_err(|source| PublishError::Conflict {
        checkpoint_id: staged.checkpoint_id(),
        writer_id: staged.writer_id().clone(),
        location: store.location().to_owned(),
        source,
    })?;
    let mut published = Published {
        files_before: staged.files().len() as u64,
        ..Published::default()
    };
    let mut paths = Vec::new();
    for action in actions {
        match action {
            RecoveryAction::Publish(file) => {
                let (from, to) = (
                    layout::staged_path(staged.writer_id(), &file.staged),
                    layout::checked_path(&file.path),
                );
                store.rename(&from, &to)?;
                paths.extend([from, to]);
                published.files += 1;
                published.rows += file.rows;
                published.bytes += file.bytes;
                published.files_before -= 1;
            }
            RecoveryAction::Delete(name) => store.delete(&layout::staged_path(staged.writer_id(), &name))?,
        }
    }
    // Also after a publish that did nothing: a crash may have come between its renames and its sync.
    paths.extend(staged.files().iter().map(|file| layout::checked_path(&file.path)));
    store.sync_folders(&paths)?;
    Ok(published)
}

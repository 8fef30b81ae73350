//! Letting readers see the files of a committed checkpoint.

use crate::decision::{RecoveryAction, RecoveryConflict, RecoveryFacts, committed_files, decide};
use crate::layout;
use crate::manifest::Draft;
use crate::manifest::log::{ManifestError, TableLog};
use crate::staged::StagedFiles;
use crate::store::LakeStore;
use crate::store::error::StoreError;
use crate::writer_id::WriterId;

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
        writer_id: WriterId,
        /// The table.
        location: String,
        /// What is wrong.
        #[source]
        source: RecoveryConflict,
    },
    /// The manifest could not be read or written. Trying again may help if storage was the cause.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Storage failed. Trying again may help.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Moves staged files to where readers see them, each in one step, makes that durable, and tells the manifest.
/// Idempotent: what is there already stays as it is, and so does what has been merged since. The checkpoint must have
/// committed, and the next one must not commit before this succeeds.
pub fn publish(store: &LakeStore, staged: &StagedFiles) -> Result<Published, PublishError> {
    if staged.files().is_empty() {
        return Ok(Published::default());
    }
    publish_logged(store, &mut TableLog::open(store)?, staged)
}

/// As [`publish`], with a manifest that has been read before.
pub(crate) fn publish_logged(
    store: &LakeStore,
    log: &mut TableLog,
    staged: &StagedFiles,
) -> Result<Published, PublishError> {
    let mut facts = RecoveryFacts {
        committed: committed_files(store, staged)?,
        is_recorded: log.state().has_published(staged),
        uncommitted: Vec::new(),
    };
    let mut actions = decide(&facts);
    if matches!(actions, Err(RecoveryConflict::Missing { .. })) {
        // Whoever slept may have a successor that has published and merged these files.
        log.reload(store)?;
        facts.is_recorded = log.state().has_published(staged);
        actions = decide(&facts);
    }
    let actions = actions.map_err(|source| PublishError::Conflict {
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
                // The description may come from anywhere.
                published.rows = published.rows.saturating_add(file.rows);
                published.bytes = published.bytes.saturating_add(file.bytes);
                published.files_before -= 1;
            }
            RecoveryAction::Delete(name) => store.delete(&layout::staged_path(staged.writer_id(), &name))?,
        }
    }
    // Also after a publish that did nothing: a crash may have come between its renames and its sync. Not for a folder
    // that has been deleted since.
    for file in &facts.committed {
        if file.staged_bytes.is_some() || file.published_bytes.is_some() {
            paths.push(layout::checked_path(&file.file.path));
        }
    }
    // Before the manifest: if it told of files whose names a power cut takes back, a recovery would believe that they had
    // been merged since.
    store.sync_folders(&paths)?;
    log.append(store, |state| {
        let is_news = !state.has_published(staged);
        is_news.then(|| Draft::of_checkpoint(staged)).flatten()
    })?;
    Ok(published)
}

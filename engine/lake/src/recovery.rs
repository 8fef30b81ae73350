//! What a restart does with the files that it finds: publish what was committed, delete the rest.

use crate::compaction::workspace::{self, SettleError, Settled};
use crate::decision::{RecoveryAction, RecoveryFacts, decide};
use crate::layout;
use crate::manifest::log::{ManifestError, TableLog};
use crate::publish::{PublishError, Published, publish_logged};
use crate::staged::StagedFiles;
use crate::store::LakeStore;
use crate::store::error::StoreError;
use crate::writer_id::WriterId;

/// What [`recover`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The committed files.
    pub published: Published,
    /// Merges that a crash had interrupted after the folders were exchanged.
    pub merges_completed: u64,
    /// Staged files of no committed checkpoint that were deleted.
    pub files_deleted: u64,
}

/// A recovery that did not finish. The table may be used again after it has.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The committed files could not be published.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The manifest could not be read or written.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A merge that a crash had interrupted could not be completed.
    #[error(transparent)]
    Settle(#[from] SettleError),
    /// Storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Brings the table to the last committed checkpoint: publishes its files, deletes what `writer_id` staged after it.
///
/// `committed` is `None` if no checkpoint has ever committed. It may be that of another writer whose work this process
/// takes over: then its files are published, and nothing else of it is touched. Files in the staging folder of any other
/// writer are never deleted, since that writer may be alive; but no writer that opened before merges files from now on,
/// since this one may publish next to them at any time. Idempotent.
///
/// With [`LakeConfig::fencing_token`](crate::LakeConfig::fencing_token), use [`recover_below`].
pub fn recover(
    store: &LakeStore,
    writer_id: &WriterId,
    committed: Option<&StagedFiles>,
) -> Result<Recovered, RecoverError> {
    recover_below(store, writer_id, committed, u32::MAX)
}

/// As [`recover`], but deletes only what was staged under lower fencing tokens than `token`. A process that was asleep and
/// goes on with its recovery when a successor is at work leaves the successor's files alone.
pub fn recover_below(
    store: &LakeStore,
    writer_id: &WriterId,
    committed: Option<&StagedFiles>,
    token: u32,
) -> Result<Recovered, RecoverError> {
    // The fence comes first: from here on no former life of any writer replaces a folder of the table.
    let disk = store.disk();
    let retired = disk
        .as_ref()
        .map(workspace::retire_all)
        .transpose()?
        .unwrap_or_default();
    let mut log = TableLog::open(store)?;
    let mut merges = 0;
    if let Some(disk) = &disk {
        for retired in &retired {
            if workspace::settle_retired(disk, retired, store, &mut log)? == Settled::Done {
                merges += 1;
            }
        }
    }
    let published = committed
        .map(|staged| publish_logged(store, &mut log, staged))
        .transpose()?
        .unwrap_or_default();
    let folder = layout::staging_folder(writer_id);
    let mut uncommitted = store.names_in(&folder)?;
    uncommitted.retain(|name| layout::token_of(name) < token);
    let facts = RecoveryFacts {
        uncommitted,
        ..RecoveryFacts::default()
    };
    let mut recovered = Recovered {
        published,
        merges_completed: merges,
        files_deleted: 0,
    };
    for action in decide(&facts).unwrap_or_default() {
        if let RecoveryAction::Delete(name) = action {
            store.delete_any(&folder, &name)?;
            recovered.files_deleted += 1;
        }
    }
    Ok(recovered)
}

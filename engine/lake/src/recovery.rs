//! What a restart does with the files that it finds: publish what was committed, delete the rest.

use crate::decision::{RecoveryAction, RecoveryFacts, decide};
use crate::layout;
use crate::publish::{PublishError, Published, publish};
use crate::staged::StagedFiles;
use crate::store::LakeStore;
use crate::store::error::StoreError;
use crate::writer_id::WriterId;

/// What [`recover`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The committed files.
    pub published: Published,
    /// Staged files of no committed checkpoint that were deleted.
    pub files_deleted: u64,
}

/// A recovery that did not finish. The table may be used again after it has.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The committed files could not be published.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// Storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Brings the table to the last committed checkpoint: publishes its files, deletes what `writer_id` staged after it.
///
/// `committed` is `None` if no checkpoint has ever committed. It may be that of another writer whose work this process
/// takes over: then its files are published, and nothing else of it is touched. Files in the staging folder of any other
/// writer are never deleted, since that writer may be alive. Idempotent.
pub fn recover(
    store: &LakeStore,
    writer_id: &WriterId,
    committed: Option<&StagedFiles>,
) -> Result<Recovered, RecoverError> {
    let published = committed
        .map(|staged| publish(store, staged))
        .transpose()?
        .unwrap_or_default();
    let folder = layout::staging_folder(writer_id);
    let uncommitted = store.names_in(&folder)?;
    let facts = RecoveryFacts {
        committed: Vec::new(),
        uncommitted,
    };
    let mut recovered = Recovered {
        published,
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

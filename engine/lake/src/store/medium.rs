//! What a table needs of the storage under it, and nothing that only one kind of storage could do.
//!
//! Paths are relative to the table. Every call blocks until storage has answered.
//!
//! **Never here:** what a path means (see `layout`), or which file comes first (see `decision`).

use std::fmt::Debug;

use bytes::Bytes;
use object_store::path::Path;

use super::disk::Disk;
use super::error::StoreError;

/// Storage that holds one table.
pub(crate) trait Medium: Debug + Send + Sync {
    /// Begins a file. Nobody sees it under its name before [`PartialFile::complete`].
    fn begin(&self, path: &Path) -> Result<Box<dyn PartialFile>, StoreError>;

    /// Creates a file with this content in one step, durably with its name. False if one of this name is there, whose
    /// content stays as it is.
    fn create(&self, path: &Path, content: &Bytes) -> Result<bool, StoreError>;

    /// The content of a file, `None` if there is none.
    fn read(&self, path: &Path) -> Result<Option<Bytes>, StoreError>;

    /// The size of a file, `None` if there is none.
    fn size_of(&self, path: &Path) -> Result<Option<u64>, StoreError>;

    /// Whether two files have the same bytes. Both exist.
    fn same_content(&self, left: &Path, right: &Path) -> Result<bool, StoreError>;

    /// Moves a file so that it appears at its new place in one step. A crash may leave it at both places, never at none.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError>;

    /// Deletes a file; one that is gone already is no error.
    fn delete(&self, path: &Path) -> Result<(), StoreError>;

    /// The names in `folder`, of files and folders, including those of interrupted uploads, sorted; none if there is no
    /// such folder.
    fn names_in(&self, folder: &Path) -> Result<Vec<String>, StoreError>;

    /// Creates a folder whose name survives a power cut.
    fn create_folder(&self, folder: &Path) -> Result<(), StoreError>;

    /// Makes the names in the folders of `paths`, and in the folders above them up to the table, durable.
    fn sync_folders(&self, paths: &[&Path]) -> Result<(), StoreError>;

    /// The disk that the table is on, if it is on one: what a compaction needs.
    fn disk(&self) -> Option<Disk> {
        None
    }
}

/// A file on its way into storage. Dropped, it leaves what it has written so far to a recovery.
pub(crate) trait PartialFile: Send {
    /// Appends `bytes`.
    fn append(&mut self, bytes: Bytes) -> Result<(), StoreError>;

    /// Gives the file its name and makes its content durable. The name is durable after [`Medium::sync_folders`].
    fn complete(self: Box<Self>) -> Result<(), StoreError>;

    /// Removes what was written.
    fn abort(self: Box<Self>) -> Result<(), StoreError>;
}

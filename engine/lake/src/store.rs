//! The storage under a table: `object_store`, and what it lacks for durability on a disk.
//!
//! `object_store` neither syncs files nor shows interrupted uploads, so the local disk is also touched directly, and
//! only here. An object store needs neither: an upload is durable once it is complete, and an interrupted one is
//! invisible. It will be a second way to open a [`LakeStore`]; no other file knows the difference.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path as DiskPath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};

/// The folder of one table. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LakeStore {
    objects: Arc<dyn ObjectStore>,
    disk: Arc<DiskPath>,
    location: Arc<str>,
}

/// Storage that did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A kind of storage that this build does not know.
    #[error("lake path {location:?}: only local folders are supported so far (a path or file:///…)")]
    Unsupported {
        /// What was asked for.
        location: String,
    },
    /// The object store failed.
    #[error("cannot {operation} {path:?} in lake {location:?}")]
    Object {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: String,
        /// In which table.
        location: String,
        /// Why.
        #[source]
        source: Box<object_store::Error>,
    },
    /// The disk failed.
    #[error("cannot {operation} {path:?}")]
    Disk {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl LakeStore {
    /// Opens the table at a local path or a `file://` URL. The folder is created, and made durable, if it is missing.
    pub fn open(location: &str) -> Result<LakeStore, StoreError> {
        let unsupported = || StoreError::Unsupported {
            location: location.to_owned(),
        };
        let folder = match location.split_once("://") {
            None if location.is_empty() => return Err(unsupported()),
            None => location,
            Some(("file", path)) if path.starts_with('/') => path,
            Some(_) => return Err(unsupported()),
        };
        let folder = DiskPath::new(folder);
        create_folder(folder)?;
        let disk = fs::canonicalize(folder).map_err(disk_error("open", folder))?;
        let objects = LocalFileSystem::new_with_prefix(&disk).map_err(|source| StoreError::Object {
            operation: "open",
            path: String::new(),
            location: location.to_owned(),
            source: Box::new(source),
        })?;
        Ok(LakeStore {
            objects: Arc::new(objects),
            disk: disk.into(),
            location: location.into(),
        })
    }

    /// Where the table is, as it was given to [`LakeStore::open`].
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Begins a file. Nobody sees it under its name before [`Upload::complete`].
    pub(crate) fn upload(&self, path: Path) -> Result<Upload, StoreError> {
        let parts = wait(self.objects.put_multipart(&path)).map_err(self.object_error("create", &path))?;
        Ok(Upload {
            store: self.clone(),
            path,
            parts,
        })
    }

    /// The size of a file, `None` if there is none.
    pub(crate) fn size_of(&self, path: &Path) -> Result<Option<u64>, StoreError> {
        match wait(self.objects.head(path)) {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(self.object_error("look up", path)(source)),
        }
    }

    /// Moves a file in one step. It is durable after [`LakeStore::sync_folders`] of both ends.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        wait(self.objects.rename(from, to)).map_err(self.object_error("publish", to))
    }

    /// Deletes a file; one that is gone already is no error.
    pub(crate) fn delete(&self, path: &Path) -> Result<(), StoreError> {
        match wait(self.objects.delete(path)) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(self.object_error("delete", path)(source)),
        }
    }

    /// The names in `folder`, including those of interrupted uploads; none if there is no such folder.
    pub(crate) fn names_in(&self, folder: &Path) -> Result<Vec<String>, StoreError> {
        let disk = self.disk.join(folder.as_ref());
        let entries = match fs::read_dir(&disk) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(disk_error("list", &disk)(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(disk_error("list", &disk))?;
            // Names that are not UTF-8 are not ours.
            names.extend(entry.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Deletes `name` in `folder`, also what an interrupted upload left there, which `object_store` refuses to touch.
    pub(crate) fn delete_any(&self, folder: &Path, name: &str) -> Result<(), StoreError> {
        let disk = self.disk.join(folder.as_ref()).join(name);
        match fs::remove_file(&disk) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(disk_error("delete", &disk)(error)),
        }
    }

    /// Creates a folder whose name survives a power cut.
    pub(crate) fn create_folder(&self, folder: &Path) -> Result<(), StoreError> {
        create_folder(&self.disk.join(folder.as_ref()))
    }

    /// Makes the names in the folders of `paths`, and in the folders above them up to the table, durable.
    pub(crate) fn sync_folders<'a>(&self, paths: impl IntoIterator<Item = &'a Path>) -> Result<(), StoreError> {
        let mut folders = BTreeSet::new();
        for path in paths {
            let mut folder = path.as_ref();
            while let Some((above, _)) = folder.rsplit_once('/') {
                if !folders.insert(above.to_owned()) {
                    break;
                }
                folder = above;
            }
            folders.insert(String::new());
        }
        // Deepest first: a folder is worth naming only once its content is there.
        folders
            .iter()
            .rev()
            .try_for_each(|folder| sync(&self.disk.join(folder)))
    }

    /// Whether two files have the same bytes.
    pub(crate) fn same_content(&self, left: &Path, right: &Path) -> Result<bool, StoreError> {
        let open = |path: &Path| {
            let disk = self.disk.join(path.as_ref());
            File::open(&disk)
                .map_err(disk_error("read", &disk))
                .map(|file| (disk, file))
        };
        let (left, mut left_file) = open(left)?;
        let (right, mut right_file) = open(right)?;
        let mut buffers = (vec![0; 64 << 10], vec![0; 64 << 10]);
        loop {
            let read = read_full(&mut left_file, &mut buffers.0).map_err(disk_error("read", &left))?;
            let other = read_full(&mut right_file, &mut buffers.1).map_err(disk_error("read", &right))?;
            if buffers.0[..read] != buffers.1[..other] {
                return Ok(false);
            }
            if read == 0 {
                return Ok(true);
            }
        }
    }

    fn object_error(&self, operation: &'static str, path: &Path) -> impl FnOnce(object_store::Error) -> StoreError {
        let (path, location) = (path.to_string(), self.location.to_string());
        move |source| StoreError::Object {
            operation,
            path,
            location,
            source: Box::new(source),
        }
    }
}

/// A file on its way into the store.
pub(crate) struct Upload {
    store: LakeStore,
    path: Path,
    parts: Box<dyn MultipartUpload>,
}

impl Upload {
    /// Appends `bytes`.
    pub(crate) fn append(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        wait(self.parts.put_part(PutPayload::from_bytes(bytes))).map_err(self.store.object_error("write", &self.path))
    }

    /// Gives the file its name and makes its content durable. The name is durable after
    /// [`LakeStore::sync_folders`].
    pub(crate) fn complete(mut self) -> Result<(), StoreError> {
        wait(self.parts.complete()).map_err(self.store.object_error("complete", &self.path))?;
        sync(&self.store.disk.join(self.path.as_ref()))
    }

    /// Removes what was written.
    pub(crate) fn abort(mut self) -> Result<(), StoreError> {
        wait(self.parts.abort()).map_err(self.store.object_error("abandon", &self.path))
    }
}

/// Local storage needs no reactor: outside a runtime its futures work in place, inside one on blocking threads.
fn wait<F: Future>(future: F) -> F::Output {
    futures::executor::block_on(future)
}

fn create_folder(folder: &DiskPath) -> Result<(), StoreError> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        create_folder(if above.as_os_str().is_empty() {
            DiskPath::new(".")
        } else {
            above
        })?;
    }
    match fs::create_dir(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
        Err(error) => return Err(disk_error("create folder", folder)(error)),
    }
    match folder.parent() {
        Some(above) if above.as_os_str().is_empty() => sync(DiskPath::new(".")),
        Some(above) => sync(above),
        None => Ok(()),
    }
}

/// Flushes a file, or the names in a folder, to the disk.
fn sync(path: &DiskPath) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(disk_error("sync", path))
}

fn read_full(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

fn disk_error(operation: &'static str, path: &DiskPath) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Disk {
        operation,
        path,
        source,
    }
}

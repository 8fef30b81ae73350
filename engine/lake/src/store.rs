//! The storage under a table. What it can do is said in `medium`; how a disk does it, in `local`; how a bucket, in `s3`.
//!
//! No file outside of this folder knows which kind of storage a table is on.

pub(crate) mod disk;
pub(crate) mod error;
pub(crate) mod local;
pub(crate) mod medium;
mod probed;
pub(crate) mod s3;

use std::path::Path as DiskPath;
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;

use self::disk::Disk;
use self::error::StoreError;
use self::local::LocalFolder;
use self::medium::{Medium, PartialFile};
use self::probed::ProbedMedium;
use self::s3::S3Prefix;
use self::s3::location::S3Location;
use self::s3::options::S3Options;
use crate::probe::StepProbe;

/// The folder of one table. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LakeStore {
    medium: Arc<dyn Medium>,
    location: Arc<str>,
}

/// What became of an exclusive create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PutOutcome {
    /// The file is there, with the bytes that were given.
    Created,
    /// Another file of that name is there, with other bytes, and stays as it is.
    AlreadyThere,
}

impl LakeStore {
    /// Opens the table at a local path, a `file://` URL or `s3://BUCKET/PREFIX`, the last with what the environment says
    /// about it. A local folder is created, and made durable, if it is missing.
    pub fn open(location: &str) -> Result<LakeStore, StoreError> {
        LakeStore::open_with(location, &S3Options::default())
    }

    /// The same with options, which a local folder does not need. A bucket has to exist; nobody asks it anything yet.
    pub fn open_with(location: &str, options: &S3Options) -> Result<LakeStore, StoreError> {
        let medium: Arc<dyn Medium> = match Place::parse(location)? {
            Place::Folder(folder) => Arc::new(LocalFolder::open(folder)?),
            Place::Bucket => Arc::new(S3Prefix::open(location, options)?),
        };
        Ok(LakeStore {
            medium,
            location: location.into(),
        })
    }

    /// Finds the mistakes in a location and its options that neither environment nor storage is needed for.
    pub fn check(location: &str, options: &S3Options) -> Result<(), StoreError> {
        if let Place::Bucket = Place::parse(location)? {
            options.check().map_err(|source| StoreError::S3Options {
                location: location.to_owned(),
                source,
            })?;
        }
        Ok(())
    }

    /// Where the table is, as it was given to [`LakeStore::open`].
    pub fn location(&self) -> &str {
        &self.location
    }

    /// The same store, with a hook before every step that changes the table: for tests of crashes and full disks.
    #[must_use]
    pub fn with_probe(self, probe: StepProbe) -> LakeStore {
        LakeStore {
            medium: Arc::new(ProbedMedium::new(self.medium, probe)),
            location: self.location,
        }
    }

    /// The disk that the table is on, if it is on one.
    pub(crate) fn disk(&self) -> Option<Disk> {
        self.medium.disk()
    }

    /// Begins a file. Nobody sees it under its name before [`PartialFile::complete`].
    pub(crate) fn upload(&self, path: &Path) -> Result<Box<dyn PartialFile>, StoreError> {
        self.medium.begin(path)
    }

    /// Creates a file, durably, unless one of that name is there. Of many who try at once one succeeds.
    ///
    /// An answer can be lost on the way from a store that has done what it was asked, so the same bytes found under the
    /// name count as created: put something of your own into them if two writers must not both be told so.
    pub(crate) fn put_if_absent(&self, path: &Path, content: &Bytes) -> Result<PutOutcome, StoreError> {
        if self.medium.create(path, content)? || self.medium.read(path)?.as_ref() == Some(content) {
            return Ok(PutOutcome::Created);
        }
        Ok(PutOutcome::AlreadyThere)
    }

    /// The content of a file, `None` if there is none.
    pub(crate) fn read(&self, path: &Path) -> Result<Option<Bytes>, StoreError> {
        self.medium.read(path)
    }

    /// The size of a file, `None` if there is none.
    pub(crate) fn size_of(&self, path: &Path) -> Result<Option<u64>, StoreError> {
        self.medium.size_of(path)
    }

    /// Moves a file so that it appears at its new place in one step. A crash may leave it at both places, never at none.
    /// It is durable after [`LakeStore::sync_folders`] of both ends.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        self.medium.rename(from, to)
    }

    /// Deletes a file; one that is gone already is no error.
    pub(crate) fn delete(&self, path: &Path) -> Result<(), StoreError> {
        self.medium.delete(path)
    }

    /// The names in `folder`, of files and folders, including those of interrupted uploads, sorted; none if there is no
    /// such folder.
    pub(crate) fn names_in(&self, folder: &Path) -> Result<Vec<String>, StoreError> {
        self.medium.names_in(folder)
    }

    /// Deletes `name` in `folder`, also what an interrupted upload left there.
    pub(crate) fn delete_any(&self, folder: &Path, name: &str) -> Result<(), StoreError> {
        match Path::parse(format!("{folder}/{name}")) {
            Ok(path) => self.medium.delete(&path),
            Err(_) => Ok(()), // A name with control characters is not ours.
        }
    }

    /// Creates a folder whose name survives a power cut.
    pub(crate) fn create_folder(&self, folder: &Path) -> Result<(), StoreError> {
        self.medium.create_folder(folder)
    }

    /// Makes the names in the folders of `paths`, and in the folders above them up to the table, durable.
    pub(crate) fn sync_folders<'a>(&self, paths: impl IntoIterator<Item = &'a Path>) -> Result<(), StoreError> {
        self.medium.sync_folders(&paths.into_iter().collect::<Vec<_>>())
    }

    /// Whether two files have the same bytes. Both exist.
    pub(crate) fn same_content(&self, left: &Path, right: &Path) -> Result<bool, StoreError> {
        self.medium.same_content(left, right)
    }
}

/// What a location leads to.
enum Place<'a> {
    Folder(&'a DiskPath),
    Bucket,
}

impl Place<'_> {
    fn parse(location: &str) -> Result<Place<'_>, StoreError> {
        match location.split_once("://") {
            None if !location.is_empty() => Ok(Place::Folder(DiskPath::new(location))),
            Some(("file", path)) if path.starts_with('/') => Ok(Place::Folder(DiskPath::new(path))),
            Some(("s3", _)) => match S3Location::parse(location) {
                Ok(_) => Ok(Place::Bucket),
                Err(source) => Err(StoreError::S3Location {
                    location: location.to_owned(),
                    source,
                }),
            },
            _ => Err(StoreError::Unsupported {
                location: location.to_owned(),
            }),
        }
    }
}

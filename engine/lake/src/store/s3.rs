//! A table under a prefix of a bucket, on any store that speaks S3.
//!
//! An object appears whole or not at all and is durable once it has, so nothing needs syncing, and folders need no
//! making. There is no rename: a file is copied inside the store, then deleted, and a crash between the two leaves it
//! at both places. Why not a multipart upload that publishing completes: `decisions/0007`.

pub(crate) mod bucket;
pub(crate) mod error;
pub(crate) mod location;
pub(crate) mod options;
pub(crate) mod request;
pub(crate) mod signature;
pub(crate) mod tls;
pub(crate) mod upload;
pub(crate) mod xml;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use object_store::path::Path;

use self::bucket::Bucket;
use self::error::S3Error;
use self::location::S3Location;
use self::options::S3Options;
use self::request::Requester;
use self::upload::S3File;
use super::error::StoreError;
use super::medium::{Medium, PartialFile};
use crate::layout::UNFINISHED_MARK;

/// A prefix of a bucket.
#[derive(Debug)]
pub(crate) struct S3Prefix {
    bucket: Arc<Bucket>,
    prefix: Path,
    /// For errors.
    location: Arc<str>,
}

impl S3Prefix {
    /// Asks nobody anything yet.
    pub(crate) fn open(location: &str, options: &S3Options) -> Result<S3Prefix, StoreError> {
        let parsed = S3Location::parse(location).map_err(|source| StoreError::S3Location {
            location: location.to_owned(),
            source,
        })?;
        let resolved = options
            .resolve(&parsed, |name| std::env::var(name).ok())
            .map_err(|source| StoreError::S3Options {
                location: location.to_owned(),
                source,
            })?;
        let requester = Requester::new(resolved).map_err(|source| StoreError::Tls {
            location: location.to_owned(),
            source,
        })?;
        Ok(S3Prefix {
            bucket: Arc::new(Bucket::new(parsed.bucket, requester)),
            prefix: parsed.prefix,
            location: location.into(),
        })
    }

    fn key(&self, path: &Path) -> String {
        match (self.prefix.as_ref(), path.as_ref()) {
            ("", path) => path.to_owned(),
            (prefix, "") => prefix.to_owned(),
            (prefix, path) => format!("{prefix}/{path}"),
        }
    }

    /// With the slash that keeps `a/bc` out of `a/b`.
    fn folder_key(&self, folder: &Path) -> String {
        match self.key(folder) {
            key if key.is_empty() => key,
            key => format!("{key}/"),
        }
    }

    fn error(&self, operation: &'static str, path: &Path) -> impl Fn(S3Error) -> StoreError + use<> {
        let (path, location) = (path.to_string(), self.location.to_string());
        move |source| StoreError::Bucket {
            operation,
            path: path.clone(),
            location: location.clone(),
            source: Box::new(source),
        }
    }

    fn try_rename(&self, from: &str, to: &str) -> Result<(), S3Error> {
        // What is not there has no size, and the store will say so.
        let staged = self.bucket.size_of(from)?;
        self.bucket.copy(from, to, staged.unwrap_or_default())?;
        // The only other copy is about to go.
        let published = self.bucket.size_of(to)?;
        if published.is_none() || published != staged {
            return Err(S3Error::Answer {
                method: "PUT",
                url: format!("{}/{to}", self.bucket.url()),
                what: format!("a copy of {staged:?} bytes that has {published:?}"),
            });
        }
        self.bucket.delete(from)
    }

    fn try_names(&self, folder: &str) -> Result<Vec<String>, S3Error> {
        let listed = self.bucket.list(folder)?;
        let below = |key: &str| {
            key.strip_prefix(folder)
                .map(|name| name.trim_end_matches('/').to_owned())
        };
        let mut names: Vec<String> = listed
            .keys
            .iter()
            .chain(&listed.folders)
            .filter_map(|key| below(key))
            .collect();
        for (key, id) in self.bucket.uploads(folder)? {
            names.extend(below(&key).map(|name| format!("{name}{UNFINISHED_MARK}{id}")));
        }
        // An empty name is the folder's own marker, as consoles put it; what has a slash is further down.
        names.retain(|name| !name.is_empty() && !name.contains('/'));
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    fn try_same_content(&self, left: &str, right: &str) -> Result<bool, S3Error> {
        let (left_size, right_size) = (self.bucket.size_of(left)?, self.bucket.size_of(right)?);
        let Some(size) = left_size.filter(|_| left_size == right_size) else {
            return Ok(false);
        };
        for (left, right) in self.bucket.pieces(left, size).zip(self.bucket.pieces(right, size)) {
            if left? != right? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn try_read(&self, key: &str) -> Result<Option<Bytes>, S3Error> {
        let Some(size) = self.bucket.size_of(key)? else {
            return Ok(None);
        };
        let mut content = BytesMut::new();
        for piece in self.bucket.pieces(key, size) {
            content.extend_from_slice(&piece?);
        }
        Ok(Some(content.freeze()))
    }
}

impl Medium for S3Prefix {
    fn begin(&self, path: &Path) -> Result<Box<dyn PartialFile>, StoreError> {
        let (path_text, location) = (path.to_string(), self.location.to_string());
        let describe = move |operation, source| StoreError::Bucket {
            operation,
            path: path_text.clone(),
            location: location.clone(),
            source: Box::new(source),
        };
        let file = S3File::new(Arc::clone(&self.bucket), self.key(path), Box::new(describe));
        Ok(Box::new(file))
    }

    fn create(&self, path: &Path, content: &Bytes) -> Result<bool, StoreError> {
        let created = self.bucket.create(&self.key(path), content);
        created.map_err(self.error("create", path))
    }

    fn read(&self, path: &Path) -> Result<Option<Bytes>, StoreError> {
        self.try_read(&self.key(path)).map_err(self.error("read", path))
    }

    fn size_of(&self, path: &Path) -> Result<Option<u64>, StoreError> {
        let size = self.bucket.size_of(&self.key(path));
        size.map_err(self.error("look up", path))
    }

    fn same_content(&self, left: &Path, right: &Path) -> Result<bool, StoreError> {
        let same = self.try_same_content(&self.key(left), &self.key(right));
        same.map_err(self.error("compare", left))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        let renamed = self.try_rename(&self.key(from), &self.key(to));
        renamed.map_err(self.error("publish", to))
    }

    fn delete(&self, path: &Path) -> Result<(), StoreError> {
        let key = self.key(path);
        let deleted = match key.rsplit_once(UNFINISHED_MARK) {
            Some((key, id)) => self.bucket.abort_upload(key, id),
            None => self.bucket.delete(&key),
        };
        deleted.map_err(self.error("delete", path))
    }

    fn names_in(&self, folder: &Path) -> Result<Vec<String>, StoreError> {
        let names = self.try_names(&self.folder_key(folder));
        names.map_err(self.error("list", folder))
    }

    fn create_folder(&self, _folder: &Path) -> Result<(), StoreError> {
        Ok(())
    }

    fn sync_folders(&self, _paths: &[&Path]) -> Result<(), StoreError> {
        Ok(())
    }
}

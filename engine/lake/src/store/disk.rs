//! What a compaction does to a local disk, one system call at a time: more than a table needs of other storage.
//!
//! Nothing here creates a missing folder above: a compaction whose workspace was taken away by a successor must fail at
//! its next step, whichever that is.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::error::StoreError;
use crate::probe::StepProbe;

/// A local disk that holds a table.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    /// The table's folder, without symbolic links.
    pub(crate) table: PathBuf,
    pub(crate) probe: Option<StepProbe>,
}

/// What a folder has under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    /// Neither a folder nor a link nor anything else that cannot be linked.
    pub(crate) is_plain: bool,
}

impl Disk {
    /// What is in a folder, by name; `None` if it is not there.
    pub(crate) fn entries(&self, folder: &Path) -> Result<Option<Vec<Entry>>, StoreError> {
        let failed = |error| disk_error("list", folder, error);
        let listed = match fs::read_dir(folder) {
            Ok(listed) => listed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut entries = Vec::new();
        for entry in listed {
            let entry = entry.map_err(failed)?;
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(error)),
            };
            let name = entry.file_name().into_string();
            entries.push(Entry {
                is_plain: metadata.is_file() && name.is_ok(),
                name: name.unwrap_or_else(|name| name.to_string_lossy().into_owned()),
                bytes: metadata.len(),
            });
        }
        entries.sort_unstable_by(|left, right| left.name.cmp(&right.name));
        Ok(Some(entries))
    }

    pub(crate) fn exists(&self, path: &Path) -> Result<bool, StoreError> {
        path.try_exists().map_err(|error| disk_error("look up", path, error))
    }

    /// Whether there is a folder, and not a link to one.
    pub(crate) fn is_folder(&self, path: &Path) -> Result<bool, StoreError> {
        match fs::symlink_metadata(path) {
            Ok(metadata) => Ok(metadata.is_dir()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(disk_error("look up", path, error)),
        }
    }

    pub(crate) fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
        match fs::read(path) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(disk_error("read", path, error)),
        }
    }

    /// Creates one folder.
    pub(crate) fn create_folder(&self, folder: &Path) -> Result<(), StoreError> {
        self.step("create folder", folder, || fs::create_dir(folder))
    }

    /// Gives a folder the permissions of another.
    pub(crate) fn copy_permissions(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        self.step("set permissions of", to, || {
            fs::set_permissions(to, fs::metadata(from)?.permissions())
        })
    }

    /// Creates a file that was not there.
    pub(crate) fn create_file(&self, path: &Path) -> Result<File, StoreError> {
        self.step("create", path, || File::create_new(path))
    }

    /// Creates a file with this content, durably except for its name.
    pub(crate) fn write_file(&self, path: &Path, content: &[u8]) -> Result<(), StoreError> {
        self.step("write", path, || {
            let mut file = File::create(path)?;
            file.write_all(content)?;
            file.sync_all()
        })
    }

    /// Rows are about to be written to a file that is open.
    pub(crate) fn will_write(&self, path: &Path) -> Result<(), StoreError> {
        self.step("write", path, || Ok(()))
    }

    /// Gives a file a second name.
    pub(crate) fn link(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        self.step("link", to, || fs::hard_link(from, to))
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        self.step("rename", from, || fs::rename(from, to))
    }

    /// Lets two folders change places in one step: whoever lists either sees what it had or what the other had.
    pub(crate) fn exchange(&self, left: &Path, right: &Path) -> Result<(), StoreError> {
        self.step("exchange", right, || exchange(left, right))
    }

    /// Removes a file; one that is gone already is no error.
    pub(crate) fn remove_file(&self, path: &Path) -> Result<(), StoreError> {
        self.step("delete", path, || gone_is_fine(fs::remove_file(path)))
    }

    /// Removes a folder and all that is in it, in many steps: never one that readers look into.
    pub(crate) fn remove_folder(&self, folder: &Path) -> Result<(), StoreError> {
        self.step("delete", folder, || gone_is_fine(fs::remove_dir_all(folder)))
    }

    /// Removes a folder if it is empty.
    pub(crate) fn remove_empty_folder(&self, folder: &Path) -> Result<(), StoreError> {
        self.step("delete", folder, || match fs::remove_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            result => gone_is_fine(result),
        })
    }

    /// Makes the content of a file, or the names in a folder, durable.
    pub(crate) fn sync(&self, path: &Path) -> Result<(), StoreError> {
        self.step("sync", path, || File::open(path)?.sync_all())
    }

    fn step<T>(
        &self,
        operation: &'static str,
        path: &Path,
        act: impl FnOnce() -> io::Result<T>,
    ) -> Result<T, StoreError> {
        let probed = self
            .probe
            .as_ref()
            .map_or(Ok(()), |probe| probe.before(operation, path));
        probed
            .and_then(|()| act())
            .map_err(|error| disk_error(operation, path, error))
    }
}

fn gone_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

pub(crate) fn disk_error(operation: &'static str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Disk {
        operation,
        path: path.to_owned(),
        source,
    }
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn exchange(left: &Path, right: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, left, CWD, right, RenameFlags::EXCHANGE)?)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn exchange(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

//! A medium that asks a probe before every step that changes something.

use std::path::Path as DiskPath;
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;

use super::disk::Disk;
use super::error::StoreError;
use super::medium::{Medium, PartialFile};
use crate::probe::StepProbe;

#[derive(Debug)]
pub(crate) struct ProbedMedium {
    medium: Arc<dyn Medium>,
    probe: StepProbe,
}

impl ProbedMedium {
    pub(crate) fn new(medium: Arc<dyn Medium>, probe: StepProbe) -> ProbedMedium {
        ProbedMedium { medium, probe }
    }
}

fn before(probe: &StepProbe, operation: &'static str, path: &Path) -> Result<(), StoreError> {
    let path = DiskPath::new(path.as_ref());
    probe.before(operation, path).map_err(|source| StoreError::Disk {
        operation,
        path: path.to_owned(),
        source,
    })
}

impl Medium for ProbedMedium {
    fn begin(&self, path: &Path) -> Result<Box<dyn PartialFile>, StoreError> {
        before(&self.probe, "create", path)?;
        Ok(Box::new(ProbedFile {
            file: self.medium.begin(path)?,
            path: path.clone(),
            probe: self.probe.clone(),
        }))
    }

    fn create(&self, path: &Path, content: &Bytes) -> Result<bool, StoreError> {
        before(&self.probe, "create", path)?;
        self.medium.create(path, content)
    }

    fn read(&self, path: &Path) -> Result<Option<Bytes>, StoreError> {
        self.medium.read(path)
    }

    fn size_of(&self, path: &Path) -> Result<Option<u64>, StoreError> {
        self.medium.size_of(path)
    }

    fn same_content(&self, left: &Path, right: &Path) -> Result<bool, StoreError> {
        self.medium.same_content(left, right)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        before(&self.probe, "publish", to)?;
        self.medium.rename(from, to)
    }

    fn delete(&self, path: &Path) -> Result<(), StoreError> {
        before(&self.probe, "delete", path)?;
        self.medium.delete(path)
    }

    fn names_in(&self, folder: &Path) -> Result<Vec<String>, StoreError> {
        self.medium.names_in(folder)
    }

    fn create_folder(&self, folder: &Path) -> Result<(), StoreError> {
        before(&self.probe, "create folder", folder)?;
        self.medium.create_folder(folder)
    }

    fn sync_folders(&self, paths: &[&Path]) -> Result<(), StoreError> {
        if let Some(first) = paths.first() {
            before(&self.probe, "sync", first)?;
        }
        self.medium.sync_folders(paths)
    }

    fn disk(&self) -> Option<Disk> {
        self.medium.disk().map(|disk| Disk {
            probe: Some(self.probe.clone()),
            ..disk
        })
    }
}

struct ProbedFile {
    file: Box<dyn PartialFile>,
    path: Path,
    probe: StepProbe,
}

impl PartialFile for ProbedFile {
    fn append(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        before(&self.probe, "write", &self.path)?;
        self.file.append(bytes)
    }

    fn complete(self: Box<Self>) -> Result<(), StoreError> {
        before(&self.probe, "complete", &self.path)?;
        self.file.complete()
    }

    fn abort(self: Box<Self>) -> Result<(), StoreError> {
        before(&self.probe, "abandon", &self.path)?;
        self.file.abort()
    }
}

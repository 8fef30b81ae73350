//! A table in a folder of a file system.
//!
//! A file is written under a name with a mark, which `layout` never gives, synced, and then moved to its own: whatever
//! has its own name is whole. Names are durable once their folder is synced.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::path::{Path as DiskPath, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use object_store::path::Path;

use super::disk::Disk;
use super::error::StoreError;
use super::medium::{Medium, PartialFile};
use crate::layout::UNFINISHED_MARK;

/// A folder that exists.
#[derive(Debug)]
pub(crate) struct LocalFolder {
    folder: PathBuf,
}

impl LocalFolder {
    /// Opens a folder, and creates it durably if it is missing.
    pub(crate) fn open(folder: &DiskPath) -> Result<LocalFolder, StoreError> {
        create_folder(folder)?;
        let folder = fs::canonicalize(folder).map_err(disk_error("open", folder))?;
        Ok(LocalFolder { folder })
    }

    fn disk(&self, path: &Path) -> PathBuf {
        self.folder.join(path.as_ref())
    }
}

impl Medium for LocalFolder {
    fn begin(&self, path: &Path) -> Result<Box<dyn PartialFile>, StoreError> {
        Ok(Box::new(LocalFile::begin(self.disk(path))?))
    }

    /// A hard link fails if the name is taken, and what it names is complete: that is both in one system call.
    fn create(&self, path: &Path, content: &Bytes) -> Result<bool, StoreError> {
        let disk = self.disk(path);
        let mut file = LocalFile::begin(disk.clone())?;
        let linked =
            file.write(content)
                .and_then(|()| file.sync())
                .and_then(|()| match fs::hard_link(&file.partial, &disk) {
                    Ok(()) => Ok(true),
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                    Err(error) => Err(disk_error("create", &disk)(error)),
                });
        // Also after an error, whose cause matters more than what this says.
        let removed = remove(&file.partial);
        let created = linked?;
        removed?;
        self.sync_folders(&[path])?;
        Ok(created)
    }

    fn read(&self, path: &Path) -> Result<Option<Bytes>, StoreError> {
        let disk = self.disk(path);
        match fs::read(&disk) {
            Ok(content) => Ok(Some(content.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(disk_error("read", &disk)(error)),
        }
    }

    fn size_of(&self, path: &Path) -> Result<Option<u64>, StoreError> {
        let disk = self.disk(path);
        match fs::metadata(&disk) {
            Ok(metadata) => Ok(metadata.is_file().then_some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(disk_error("look up", &disk)(error)),
        }
    }

    fn same_content(&self, left: &Path, right: &Path) -> Result<bool, StoreError> {
        let open = |path: &Path| {
            let disk = self.disk(path);
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

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        let (from, to) = (self.disk(from), self.disk(to));
        let folder = to.parent().expect("a path in the table has the table above it");
        fs::create_dir_all(folder).map_err(disk_error("create folder", folder))?;
        fs::rename(&from, &to).map_err(disk_error("publish", &to))
    }

    fn delete(&self, path: &Path) -> Result<(), StoreError> {
        remove(&self.disk(path))
    }

    fn names_in(&self, folder: &Path) -> Result<Vec<String>, StoreError> {
        let disk = self.disk(folder);
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

    fn create_folder(&self, folder: &Path) -> Result<(), StoreError> {
        create_folder(&self.disk(folder))
    }

    fn sync_folders(&self, paths: &[&Path]) -> Result<(), StoreError> {
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
            .try_for_each(|folder| sync(&self.folder.join(folder)))
    }

    fn disk(&self) -> Option<Disk> {
        Some(Disk {
            table: self.folder.clone(),
            probe: None,
        })
    }
}

/// A file under the name that it has until it is whole.
struct LocalFile {
    partial: PathBuf,
    path: PathBuf,
    file: File,
}

impl LocalFile {
    fn begin(path: PathBuf) -> Result<LocalFile, StoreError> {
        /// Drawn, since process ids are not enough: in containers that share a disk each may be number 1, and of two that
        /// write one version of a manifest the second would write into the first one's file.
        static LIFE: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
        static BEGUN: AtomicU64 = AtomicU64::new(0);
        let mut partial = path.clone().into_os_string();
        partial.push(format!(
            "{UNFINISHED_MARK}{:016x}-{}",
            *LIFE,
            BEGUN.fetch_add(1, Ordering::Relaxed)
        ));
        let partial = PathBuf::from(partial);
        let folder = path.parent().expect("a path in the table has the table above it");
        create_folder(folder)?;
        let file = File::create_new(&partial).map_err(disk_error("create", &partial))?;
        Ok(LocalFile { partial, path, file })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).map_err(disk_error("write", &self.partial))
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.file.sync_all().map_err(disk_error("sync", &self.partial))
    }
}

impl PartialFile for LocalFile {
    fn append(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        self.write(&bytes)
    }

    fn complete(self: Box<Self>) -> Result<(), StoreError> {
        self.sync()?;
        fs::rename(&self.partial, &self.path).map_err(disk_error("complete", &self.path))
    }

    fn abort(self: Box<Self>) -> Result<(), StoreError> {
        remove(&self.partial)
    }
}

fn remove(path: &DiskPath) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(disk_error("delete", path)(error)),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, LocalFolder) {
        let disk = tempfile::tempdir().unwrap();
        let folder = LocalFolder::open(disk.path()).unwrap();
        (disk, folder)
    }

    #[test]
    fn one_of_many_racers_creates_the_file_and_nothing_else_stays() {
        let (_disk, folder) = folder();
        let path = Path::from("_manifest/7.json");
        let created = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for racer in 0..16 {
                let (folder, path, created) = (&folder, &path, &created);
                scope.spawn(move || {
                    let content = Bytes::from(vec![racer; 1_000]);
                    if folder.create(path, &content).unwrap() {
                        created.fetch_add(1, Ordering::Relaxed);
                        assert_eq!(folder.read(path).unwrap(), Some(content));
                    }
                });
            }
        });
        assert_eq!(created.into_inner(), 1);
        assert_eq!(folder.names_in(&Path::from("_manifest")).unwrap(), ["7.json"]);
        let content = folder.read(&path).unwrap().unwrap();
        assert!(content.len() == 1_000 && content.iter().all(|byte| *byte == content[0]));
    }

    #[test]
    fn a_file_has_its_name_only_once_it_is_whole() {
        let (_disk, folder) = folder();
        let path = Path::from("a/b");
        let mut file = folder.begin(&path).unwrap();
        file.append(Bytes::from_static(b"half")).unwrap();
        assert_eq!(folder.size_of(&path).unwrap(), None);
        assert_eq!(folder.names_in(&Path::from("a")).unwrap().len(), 1);
        file.append(Bytes::from_static(b" and half")).unwrap();
        file.complete().unwrap();
        assert_eq!(folder.read(&path).unwrap().unwrap(), "half and half");
        assert_eq!(folder.names_in(&Path::from("a")).unwrap(), ["b"]);
        folder.begin(&path).unwrap().abort().unwrap();
        assert_eq!(folder.names_in(&Path::from("a")).unwrap(), ["b"]);
    }

    /// In containers that share a disk every process may be number 1.
    #[test]
    fn what_a_process_is_writing_has_a_name_that_no_other_process_gives() {
        let (_disk, folder) = folder();
        let path = Path::from("b");
        let _file = folder.begin(&path).unwrap();
        let names = folder.names_in(&Path::default()).unwrap();
        let (_, life) = names[0].split_once('#').unwrap();
        assert_ne!(life.split('-').next().unwrap(), std::process::id().to_string());
    }
}

//! Reading and appending the manifest.
//!
//! A version is created exclusively: of two processes that try the same number one succeeds, and the other reads what
//! that one wrote and decides again. Nobody waits for a lock, so a process that was stopped in the middle blocks nobody.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::Serialize;
use serde::de::{DeserializeOwned, Error as _};

use super::found;
use super::{AllFiles, Change, Draft, FORMAT, ManifestFile, TableState};
use crate::layout;
use crate::store::error::StoreError;
use crate::store::{LakeStore, PutOutcome};

/// Changes between two lists of all files. At least as many old changes stay, for readers that are behind.
pub(crate) const CHANGES_PER_LIST: u64 = 100;

/// Times that an append gives way to others before it gives up.
const ATTEMPTS_MAX: usize = 100;

/// The manifest of one table as far as this process has read it.
#[derive(Debug, Default)]
pub(crate) struct TableLog {
    state: TableState,
}

/// A manifest that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not what this engine writes.
    #[error(
        "lake {location:?}: {path:?} is damaged; the table's files do not depend on it: remove its folder to begin a new manifest"
    )]
    Damaged {
        /// The document.
        path: String,
        /// The table.
        location: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// Of another version of the engine.
    #[error("lake {location:?}: {path:?} has format {format}, this engine reads format {FORMAT}")]
    Format {
        /// The document.
        path: String,
        /// The table.
        location: String,
        /// Its format.
        format: u32,
    },
    /// A change between two others is missing.
    #[error(
        "lake {location:?}: the manifest has no change {version}; the table's files do not depend on it: remove its folder to begin a new manifest"
    )]
    Gap {
        /// The change.
        version: u64,
        /// The table.
        location: String,
    },
    /// Others were always faster.
    #[error("lake {location:?}: {ATTEMPTS_MAX} changes by other writers came before ours")]
    Contended {
        /// The table.
        location: String,
    },
    /// Storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The files of a table after a number of whole checkpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Changes so far; 0 for a table without a manifest.
    pub version: u64,
    /// The files, by path.
    pub files: Vec<ManifestFile>,
}

impl Snapshot {
    /// Reads the newest snapshot of a table.
    pub fn read(store: &LakeStore) -> Result<Snapshot, ManifestError> {
        let state = TableLog::load(store)?.state;
        Ok(Snapshot {
            version: state.version,
            files: state.files.into_values().collect(),
        })
    }

    /// The rows of all files.
    pub fn rows(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.rows))
    }
}

impl TableLog {
    /// Reads what there is.
    pub(crate) fn load(store: &LakeStore) -> Result<TableLog, ManifestError> {
        let mut lists = BTreeSet::new();
        let mut changes = BTreeSet::new();
        for name in store.names_in(&layout::manifest_folder())? {
            match layout::manifest_version(&name) {
                Some((version, true)) => lists.insert(version),
                Some((version, false)) => changes.insert(version),
                None => false, // An interrupted write, or somebody's note.
            };
        }
        let mut log = TableLog::default();
        if let Some(version) = lists.last().copied() {
            let all: Option<AllFiles> = read(store, version, &layout::manifest_list_name(version))?;
            log.state = TableState::of(all.ok_or_else(|| gap(store, version))?);
        } else if let Some(first) = changes.first().copied().filter(|first| *first != 1) {
            return Err(gap(store, first - 1));
        }
        log.catch_up(store)?;
        let newest = changes.last().copied().unwrap_or_default();
        if newest > log.state.version {
            return Err(gap(store, log.state.version + 1));
        }
        Ok(log)
    }

    /// Reads what there is; begins a manifest if there is none, with the files that a local table already has.
    pub(crate) fn open(store: &LakeStore) -> Result<TableLog, ManifestError> {
        let mut log = TableLog::load(store)?;
        if let (0, Some(disk)) = (log.state.version, store.disk()) {
            let found = found::files_of(&disk)?;
            if !found.is_empty() {
                log.append(store, |state| {
                    (state.version == 0).then(|| Draft::of_found(found.clone()))
                })?;
            }
        }
        Ok(log)
    }

    /// What the manifest says.
    pub(crate) fn state(&self) -> &TableState {
        &self.state
    }

    /// Reads everything anew: for one who may have slept while others wrote.
    pub(crate) fn reload(&mut self, store: &LakeStore) -> Result<(), ManifestError> {
        *self = TableLog::load(store)?;
        Ok(())
    }

    /// Appends what `draft` makes of the newest state; nothing if that is `None`. `draft` is asked again whenever
    /// another writer was faster.
    pub(crate) fn append(
        &mut self,
        store: &LakeStore,
        draft: impl Fn(&TableState) -> Option<Draft>,
    ) -> Result<(), ManifestError> {
        for _ in 0..ATTEMPTS_MAX {
            let Some(drafted) = draft(&self.state) else {
                return Ok(());
            };
            let version = self.state.version + 1;
            let change = drafted.at(version, now_ms());
            let path = layout::manifest_path(&layout::manifest_change_name(version));
            match store.put_if_absent(&path, &encode(&change))? {
                PutOutcome::Created if self.was_newest(store)? => {
                    self.state.apply(change);
                    if version.is_multiple_of(CHANGES_PER_LIST) {
                        self.write_list(store)?;
                    }
                    return Ok(());
                }
                PutOutcome::Created => self.reload(store)?,
                PutOutcome::AlreadyThere => self.catch_up(store)?,
            }
        }
        Err(ManifestError::Contended {
            location: store.location().to_owned(),
        })
    }

    /// Whether the version that we appended to is still there. Old versions are deleted oldest first, so if it is, then
    /// the one after it was not taken and deleted while we slept.
    fn was_newest(&self, store: &LakeStore) -> Result<bool, StoreError> {
        if self.state.version == 0 {
            let names = store.names_in(&layout::manifest_folder())?;
            return Ok(!names
                .iter()
                .any(|name| matches!(layout::manifest_version(name), Some((_, true)))));
        }
        let path = layout::manifest_path(&layout::manifest_change_name(self.state.version));
        Ok(store.size_of(&path)?.is_some())
    }

    fn catch_up(&mut self, store: &LakeStore) -> Result<(), ManifestError> {
        loop {
            let next = self.state.version + 1;
            match read::<Change>(store, next, &layout::manifest_change_name(next))? {
                Some(change) => self.state.apply(change),
                None => return Ok(()),
            }
        }
    }

    /// Writes the list of all files, and deletes what only readers further behind than the list before it would need.
    fn write_list(&self, store: &LakeStore) -> Result<(), ManifestError> {
        let all = self.state.to_all_files();
        let path = layout::manifest_path(&layout::manifest_list_name(all.version));
        store.put_if_absent(&path, &encode(&all))?;
        let Some(oldest) = all.version.checked_sub(CHANGES_PER_LIST) else {
            return Ok(());
        };
        // Sorted, so oldest first: see `was_newest`.
        for name in store.names_in(&layout::manifest_folder())? {
            match layout::manifest_version(layout::without_mark(&name)) {
                Some((version, _)) if version < oldest => store.delete_any(&layout::manifest_folder(), &name)?,
                _ => {}
            }
        }
        Ok(())
    }
}

fn encode(document: &impl Serialize) -> Bytes {
    let mut json = serde_json::to_vec(document).expect("strings and numbers always serialize");
    json.push(b'\n');
    json.into()
}

/// Reads the document of a version; `None` if there is none.
fn read<T: DeserializeOwned>(store: &LakeStore, version: u64, name: &str) -> Result<Option<T>, ManifestError> {
    #[derive(serde::Deserialize)]
    struct Format {
        format: u32,
    }
    #[derive(serde::Deserialize)]
    struct Version {
        version: u64,
    }
    let path = layout::manifest_path(name);
    let Some(content) = store.read(&path)? else {
        return Ok(None);
    };
    let damaged = |source| ManifestError::Damaged {
        path: path.to_string(),
        location: store.location().to_owned(),
        source,
    };
    let Format { format } = serde_json::from_slice(&content).map_err(damaged)?;
    if format != FORMAT {
        return Err(ManifestError::Format {
            path: path.to_string(),
            location: store.location().to_owned(),
            format,
        });
    }
    let told: Version = serde_json::from_slice(&content).map_err(damaged)?;
    if told.version != version {
        let what = format!("it tells version {}", told.version);
        return Err(damaged(serde_json::Error::custom(what)));
    }
    serde_json::from_slice(&content).map(Some).map_err(damaged)
}

fn gap(store: &LakeStore, version: u64) -> ManifestError {
    ManifestError::Gap {
        version,
        location: store.location().to_owned(),
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

//! Where a compaction prepares a folder, and what a successor does with it.
//!
//! ```text
//! <above>/<table>/                                  the table
//! <above>/.<table>.compaction/<writer>-<run>/       the workspace of one life of a writer
//!                                  …/new/           the folder that is being prepared; after the exchange the old one
//!                                  …/plan.json      what `new` is to replace; there before the exchange
//!                                  …/old-<n>/       replaced, kept for listings that are still under way
//! <above>/.<table>.compaction/_retired-<…>/         what a successor took away
//! ```
//!
//! It is beside the table and not in it, because some readers look for `*.parquet` in every folder below.
//!
//! **The fence.** A writer makes its workspace once, when it opens, and a successor's recovery moves all workspaces away
//! before it publishes anything. Every step of a compaction needs its workspace under its first name. A process that was
//! stopped in the middle, and wakes up after its successor has recovered, can therefore not replace a folder by one that
//! lacks what the successor has published meanwhile: there is no moment between a check and the exchange to be lucky in.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::layout;
use crate::manifest::log::{ManifestError, TableLog};
use crate::manifest::{Draft, ManifestFile};
use crate::store::LakeStore;
use crate::store::disk::Disk;
use crate::store::error::StoreError;
use crate::writer_id::WriterId;

/// No writer id begins with it.
const RETIRED: &str = "_retired-";
const PLAN: &str = "plan.json";

/// The workspace of one life of a writer.
#[derive(Debug)]
pub(crate) struct Workspace {
    disk: Disk,
    folder: PathBuf,
    replaced: u32,
}

/// What an exchange is about to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) writer: String,
    /// The partition folder, relative to the table.
    pub(crate) folder: String,
    pub(crate) merged: String,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// The files that `merged` replaces.
    pub(crate) inputs: Vec<String>,
    /// The files that stay.
    pub(crate) kept: Vec<String>,
}

/// What became of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    /// There was none.
    NoPlan,
    /// The folders were not exchanged: nothing happened.
    Undone,
    /// They were, and the manifest says so.
    Done,
}

/// A plan that was not settled.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// The manifest could not be written.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Workspace {
    /// Makes the workspace, and finds out whether folders can be exchanged here. What fails is why they cannot.
    pub(crate) fn open(disk: Disk, writer_id: &WriterId, run: u32) -> Result<Workspace, StoreError> {
        let home = home(&disk);
        if !disk.exists(&home)? {
            disk.create_folder(&home)?;
        }
        let folder = home.join(format!("{writer_id}-{run:08x}"));
        disk.create_folder(&folder)?;
        let workspace = Workspace {
            disk,
            folder,
            replaced: 0,
        };
        match workspace.try_exchange() {
            Ok(()) => Ok(workspace),
            Err(error) => {
                // Or every life would leave one. Why there can be none matters more than what this says.
                let _ = workspace.disk.remove_folder(&workspace.folder);
                let _ = workspace.close();
                Err(error)
            }
        }
    }

    /// The folder that is being prepared.
    pub(crate) fn new_folder(&self) -> PathBuf {
        self.folder.join("new")
    }

    /// Whether no successor has taken it away.
    pub(crate) fn is_ours(&self) -> Result<bool, StoreError> {
        self.disk.exists(&self.folder)
    }

    /// Puts the prepared folder into the place of the old one, which stays in the workspace. [`Workspace::settle`] then
    /// completes it, whether this succeeded or not.
    pub(crate) fn exchange(&self, plan: &Plan) -> Result<(), StoreError> {
        let (new, target) = (self.new_folder(), self.disk.table.join(&plan.folder));
        self.disk.copy_permissions(&target, &new)?;
        self.disk.sync(&new)?;
        let path = self.folder.join(PLAN);
        let json = serde_json::to_vec(plan).expect("strings and numbers always serialize");
        self.disk.write_file(&path, &json)?;
        self.disk.sync(&self.folder)?;
        self.disk.exchange(&new, &target)?;
        self.disk.sync(&self.folder)?;
        self.disk.sync(target.parent().unwrap_or(&self.disk.table))
    }

    /// Completes or undoes what [`Workspace::exchange`] was about to do, and frees the place of the new folder. Returns
    /// the folder that was replaced.
    pub(crate) fn settle(
        &mut self,
        store: &LakeStore,
        log: &mut TableLog,
    ) -> Result<(Settled, Option<PathBuf>), SettleError> {
        let settled = settle(&self.disk, &self.folder, store, log)?;
        let (new, old) = (self.new_folder(), self.folder.join(format!("old-{}", self.replaced)));
        // An earlier attempt may have come as far as this, and no further.
        if settled == Settled::Done && self.disk.exists(&new)? {
            self.disk.rename(&new, &old)?;
        }
        self.disk.remove_file(&self.folder.join(PLAN))?;
        if settled != Settled::Done {
            self.disk.remove_folder(&new)?;
            return Ok((settled, None));
        }
        self.replaced += 1;
        Ok((settled, Some(old)))
    }

    /// Removes the workspace, and its home, unless something is in them.
    pub(crate) fn close(&self) -> Result<(), StoreError> {
        self.disk.remove_empty_folder(&self.folder)?;
        self.disk.remove_empty_folder(&home(&self.disk))
    }

    fn try_exchange(&self) -> Result<(), StoreError> {
        let (left, right) = (self.folder.join("try-left"), self.folder.join("try-right"));
        self.disk.create_folder(&left)?;
        self.disk.create_folder(&right)?;
        drop(self.disk.create_file(&left.join("file"))?);
        self.disk.link(&left.join("file"), &right.join("link"))?;
        // The table's own folder must be on the same file system, or every exchange would fail. A life that was killed
        // here has left its trial.
        let trial = self.disk.table.join(layout::staging_root().as_ref()).join(TRIAL);
        self.disk.remove_file(&trial)?;
        self.disk.link(&left.join("file"), &trial)?;
        self.disk.remove_file(&trial)?;
        self.disk.exchange(&left, &right)?;
        self.disk.remove_folder(&left)?;
        self.disk.remove_folder(&right)
    }
}

/// A file that shows that the table is on the same file system. Readers skip the staging folder.
const TRIAL: &str = ".same-file-system";

/// Takes the workspaces of all writers of the table away from them, and returns every folder that has been taken away so
/// far. Comes before anything is published.
pub(crate) fn retire_all(disk: &Disk) -> Result<Vec<PathBuf>, StoreError> {
    let home = home(disk);
    let mut retired = Vec::new();
    for entry in disk.entries(&home)?.unwrap_or_default() {
        if entry.is_plain {
            continue; // Not a workspace, whoever left it.
        }
        let path = home.join(&entry.name);
        if entry.name.starts_with(RETIRED) {
            retired.push(path);
        } else {
            let away = home.join(format!("{RETIRED}{}", entry.name));
            disk.rename(&path, &away)?;
            retired.push(away);
        }
    }
    if !retired.is_empty() {
        disk.sync(&home)?;
    }
    Ok(retired)
}

/// The folders that have been taken away and not been deleted yet. Not one with a plan: somebody else is about to
/// settle it, or the next recovery will.
pub(crate) fn retired(disk: &Disk) -> Result<Vec<PathBuf>, StoreError> {
    let home = home(disk);
    let mut retired = Vec::new();
    for entry in disk.entries(&home)?.unwrap_or_default() {
        let folder = home.join(&entry.name);
        if !entry.is_plain && entry.name.starts_with(RETIRED) && !disk.exists(&folder.join(PLAN))? {
            retired.push(folder);
        }
    }
    Ok(retired)
}

/// Deletes what lives that merged have left, for one that does not.
pub(crate) fn remove_retired(disk: &Disk) -> Result<(), StoreError> {
    for folder in retired(disk)? {
        disk.remove_folder(&folder)?;
    }
    disk.remove_empty_folder(&home(disk))
}

/// Completes what the owner of a retired workspace was about to do.
pub(crate) fn settle_retired(
    disk: &Disk,
    retired: &Path,
    store: &LakeStore,
    log: &mut TableLog,
) -> Result<Settled, SettleError> {
    let settled = settle(disk, retired, store, log)?;
    disk.remove_file(&retired.join(PLAN))?;
    Ok(settled)
}

/// The folder was exchanged if it has the merged file. Then what another program may have put into the old folder in the
/// last moment is moved over, and the manifest is told.
fn settle(disk: &Disk, workspace: &Path, store: &LakeStore, log: &mut TableLog) -> Result<Settled, SettleError> {
    let plan = disk.read(&workspace.join(PLAN))?;
    // The plan is durable before the exchange: half a plan is one of nothing.
    let plan = plan.and_then(|json| serde_json::from_slice::<Plan>(&json).ok());
    let Some(plan) = plan.filter(Plan::stays_in_the_table) else {
        return Ok(Settled::NoPlan);
    };
    let target = disk.table.join(&plan.folder);
    if !disk.exists(&target.join(&plan.merged))? {
        return Ok(Settled::Undone);
    }
    let old = workspace.join("new");
    let known: HashSet<&String> = plan.inputs.iter().chain(&plan.kept).collect();
    for entry in disk.entries(&old)?.unwrap_or_default() {
        if !known.contains(&entry.name) && !disk.exists(&target.join(&entry.name))? {
            disk.rename(&old.join(&entry.name), &target.join(&entry.name))?;
        }
    }
    let path = |name: &String| format!("{}/{name}", plan.folder);
    let inputs: Vec<_> = plan.inputs.iter().map(path).collect();
    log.append(store, |state| {
        // Whoever else settled this plan has removed them.
        let is_news = inputs.iter().any(|input| state.files.contains_key(input));
        let merged = ManifestFile::new(&path(&plan.merged), plan.rows, plan.bytes);
        is_news.then(|| Draft::of_compaction(&plan.writer, merged, inputs.clone()))
    })?;
    Ok(Settled::Done)
}

impl Plan {
    fn stays_in_the_table(&self) -> bool {
        let is_name = |name: &String| !name.contains(['/', '\\']) && !matches!(name.as_str(), "" | "." | "..");
        layout::is_partition_path(&self.folder) && [&self.merged].into_iter().chain(&self.inputs).all(is_name)
    }
}

/// The folder of all workspaces of the table, beside it.
fn home(disk: &Disk) -> PathBuf {
    let name = disk.table.file_name().unwrap_or_default().to_string_lossy();
    disk.table.with_file_name(format!(".{name}.compaction"))
}

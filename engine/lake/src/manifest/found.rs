//! The files of a local table that has no manifest yet.

use std::fs::File;
use std::path::Path;

use parquet::file::reader::FileReader;
use parquet::file::serialized_reader::SerializedFileReader;

use super::ManifestFile;
use crate::layout;
use crate::store::disk::Disk;
use crate::store::error::StoreError;

/// Every `*.parquet` in the table and its partition folders. A file whose footer cannot be read counts no rows: whoever
/// reads it will say more.
pub(super) fn files_of(disk: &Disk) -> Result<Vec<ManifestFile>, StoreError> {
    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for entry in disk.entries(&disk.table.join(&folder))?.unwrap_or_default() {
            let path = match folder.as_str() {
                "" => entry.name.clone(),
                folder => format!("{folder}/{}", entry.name),
            };
            if entry.is_plain && entry.name.ends_with(".parquet") && !entry.name.starts_with(['_', '.']) {
                let rows = rows_of(&disk.table.join(&path)).unwrap_or_default();
                found.push(ManifestFile::new(&path, rows, entry.bytes));
            } else if !entry.is_plain && layout::is_partition_path(&entry.name) {
                folders.push(path);
            }
        }
    }
    found.sort_unstable_by(|left, right| left.path.cmp(&right.path));
    Ok(found)
}

fn rows_of(path: &Path) -> Option<u64> {
    let reader = SerializedFileReader::new(File::open(path).ok()?).ok()?;
    u64::try_from(reader.metadata().file_metadata().num_rows()).ok()
}

//! Small files into one: read batch by batch, encoded anew row group by row group.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterPropertiesPtr;

use super::choice::Candidate;
use crate::store::disk::{Disk, disk_error};
use crate::store::error::StoreError;

/// Rows between two looks at the memory in use.
const BATCH_ROWS: usize = 8_192;

/// Files that are to become one. `Send`, and independent of the writer that it came from.
///
/// Nothing in the table changes before [`crate::LakeWriter::finish_compaction`]; dropped, it has not happened.
#[derive(Debug)]
pub struct Merge {
    pub(crate) disk: Disk,
    /// The folder that is being prepared.
    pub(crate) new_folder: PathBuf,
    /// The partition folder, relative to the table.
    pub(crate) folder: String,
    pub(crate) inputs: Vec<Candidate>,
    pub(crate) name: String,
    pub(crate) schema: SchemaRef,
    pub(crate) properties: WriterPropertiesPtr,
    /// The most bytes held in an unfinished row group.
    pub(crate) buffer_bytes_max: usize,
}

/// A merged file that no reader sees yet.
#[derive(Debug)]
pub struct Merged {
    pub(crate) merge: Merge,
    /// The inputs that it has the rows of.
    pub(crate) inputs: Vec<Candidate>,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

/// A merge that failed. The table is as it was.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// A file of the table could not be read, or the merged one not encoded.
    #[error("cannot merge lake file {path:?}")]
    Parquet {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ParquetError,
    },
    /// Rows of a file of the table could not be decoded.
    #[error("cannot read the rows of lake file {path:?}")]
    Rows {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ArrowError,
    },
    /// Storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Merge {
    /// The partition folder whose files are merged, relative to the table.
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// Files that are to be merged.
    pub fn files(&self) -> usize {
        self.inputs.len()
    }

    /// Writes the merged file; the costly part, for a thread of its own. Looks at `stop` between batches of rows: `None`
    /// if it was set, or if fewer than two files have today's columns (files of other columns are left alone).
    pub fn run(self, stop: &AtomicBool) -> Result<Option<Merged>, MergeError> {
        let target = self.disk.table.join(&self.folder);
        self.disk.create_folder(&self.new_folder)?;
        let path = self.new_folder.join(&self.name);
        let file = self.disk.create_file(&path)?;
        let properties = Some((*self.properties).clone());
        let encoder = ArrowWriter::try_new(BufWriter::new(file), Arc::clone(&self.schema), properties);
        let mut encoder = encoder.map_err(|source| parquet_error(&path, source))?;
        let (mut inputs, mut rows) = (Vec::with_capacity(self.inputs.len()), 0);
        for input in &self.inputs {
            let from = target.join(&input.name);
            let file = File::open(&from).map_err(|source| read_error(&from, source))?;
            let reader =
                ParquetRecordBatchReaderBuilder::try_new(file).map_err(|source| parquet_error(&from, source))?;
            if !has_columns(reader.schema(), &self.schema) {
                continue;
            }
            let reader = reader.with_batch_size(BATCH_ROWS).build();
            for batch in reader.map_err(|source| parquet_error(&from, source))? {
                if stop.load(Ordering::Relaxed) {
                    return Ok(None);
                }
                let batch = batch.and_then(|batch| batch.with_schema(Arc::clone(&self.schema)));
                let batch = batch.map_err(|source| MergeError::Rows {
                    path: from.clone(),
                    source,
                })?;
                self.disk.will_write(&path)?;
                rows += batch.num_rows() as u64;
                let written = encoder.write(&batch).and_then(|()| {
                    if encoder.memory_size() > self.buffer_bytes_max {
                        return encoder.flush();
                    }
                    Ok(())
                });
                written.map_err(|source| parquet_error(&path, source))?;
            }
            inputs.push(input.clone());
        }
        if inputs.len() < 2 {
            return Ok(None);
        }
        encoder.finish().map_err(|source| parquet_error(&path, source))?;
        let bytes = encoder.bytes_written() as u64;
        encoder
            .inner_mut()
            .flush()
            .map_err(|source| write_error(&path, source))?;
        drop(encoder);
        self.disk.sync(&path)?;
        Ok(Some(Merged {
            merge: self,
            inputs,
            rows,
            bytes,
        }))
    }
}

/// Same names, types and nulls; notes on the fields do not matter.
fn has_columns(found: &Schema, expected: &Schema) -> bool {
    found.fields().len() == expected.fields().len()
        && found.fields().iter().zip(expected.fields()).all(|(found, expected)| {
            found.name() == expected.name()
                && found.data_type() == expected.data_type()
                && found.is_nullable() == expected.is_nullable()
        })
}

fn parquet_error(path: &Path, source: ParquetError) -> MergeError {
    MergeError::Parquet {
        path: path.to_owned(),
        source,
    }
}

fn read_error(path: &Path, source: io::Error) -> MergeError {
    disk_error("read", path, source).into()
}

fn write_error(path: &Path, source: io::Error) -> MergeError {
    disk_error("write", path, source).into()
}

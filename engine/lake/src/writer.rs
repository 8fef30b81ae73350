//! The writer of one table: batches in, staged files out.

pub(crate) mod error;
pub(crate) mod stats;

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Instant;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use self::error::{OpenError, StageError, WriteError};
use self::stats::LakeStats;
use crate::compaction::error::{CompactionError, CompactionOff};
use crate::compaction::merge::{Merge, MergeError, Merged};
use crate::compaction::{Compacted, Compactor};
use crate::config::LakeConfig;
use crate::encode::FileEncoding;
use crate::layout;
use crate::manifest::log::TableLog;
use crate::open_file::{ClosedFile, FileError, OpenFile};
use crate::partition::Partitioner;
use crate::publish::{PublishError, Published, publish_logged};
use crate::staged::{StagedFile, StagedFiles};
use crate::store::LakeStore;
use crate::store::error::StoreError;
use crate::writer_id::WriterId;

/// Rows encoded between two looks at the size of a file and at the memory in use.
const SLICE_ROWS: usize = 16_384;

/// Writes one table. `Send`, and owned by one thread.
///
/// After an error the writer refuses further work, because nobody knows which rows it holds: drop it, [`crate::recover`]
/// with the last committed checkpoint, open another and feed the rows since then again. Dropping a writer leaves its
/// unpublished files to [`crate::recover`].
pub struct LakeWriter {
    store: LakeStore,
    config: LakeConfig,
    schema: SchemaRef,
    writer_id: WriterId,
    partitioner: Partitioner,
    encoding: FileEncoding,
    run: u32,
    next_number: u32,
    open: HashMap<String, OpenFile>,
    uses: u64,
    closed: Vec<ClosedFile>,
    unpublished: Option<u64>,
    failed: bool,
    stats: LakeStats,
    log: TableLog,
    compaction: Result<Compactor, CompactionOff>,
}

impl LakeWriter {
    /// Opens a writer. Call [`crate::recover`] first: it removes what an earlier life of `writer_id` left.
    pub fn open(
        store: LakeStore,
        config: LakeConfig,
        schema: SchemaRef,
        writer_id: WriterId,
    ) -> Result<LakeWriter, OpenError> {
        for (name, limit) in [
            (
                "target_file_size",
                usize::try_from(config.target_file_bytes).unwrap_or(usize::MAX),
            ),
            ("row_group_rows", config.row_group_rows),
            ("open_files_max", config.open_files_max),
            ("buffer_bytes_max", config.buffer_bytes_max),
            ("staged_files_max", config.staged_files_max),
        ] {
            if limit == 0 {
                return Err(OpenError::Zero(name));
            }
        }
        let partitioner = Partitioner::new(&schema, &config.partition_by)?;
        let encoding =
            FileEncoding::new(&schema, partitioner.file_columns(&schema), &config).map_err(OpenError::Schema)?;
        store.create_folder(&layout::staging_folder(&writer_id))?;
        let log = TableLog::open(&store)?;
        let run = draw_run();
        let compaction = Compactor::open(&store, &config, &writer_id, run, &log);
        Ok(LakeWriter {
            store,
            config,
            schema,
            writer_id,
            partitioner,
            encoding,
            run,
            next_number: 0,
            open: HashMap::new(),
            uses: 0,
            closed: Vec::new(),
            unpublished: None,
            failed: false,
            stats: LakeStats::default(),
            log,
            compaction,
        })
    }

    /// The columns that `write` expects.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The columns of the files: partition columns left out, timestamps in UTC.
    pub fn file_schema(&self) -> &SchemaRef {
        &self.encoding.schema
    }

    /// What has been done so far.
    pub fn stats(&self) -> LakeStats {
        LakeStats {
            files_open: self.open.len(),
            bytes_buffered: self.buffered_bytes(),
            ..self.stats
        }
    }

    /// Adds rows to the checkpoint that will be staged next. May wait for storage.
    ///
    /// A partition value whose folder name would have more than 255 bytes (less where there are more than three partition
    /// columns, since together they are a path) is shortened to its beginning, `…` and a hash: rows of one value stay
    /// together, but readers see the shortened value.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), WriteError> {
        if self.failed {
            return Err(WriteError::Failed);
        }
        let result = self.try_write(batch);
        self.failed |= result.is_err();
        result
    }

    /// Closes every open file and makes it durable. Readers see none of it. Afterwards `write` may go on at once; the
    /// next `stage` has to wait for [`LakeWriter::publish`].
    pub fn stage(&mut self, checkpoint_id: u64) -> Result<StagedFiles, StageError> {
        if self.failed {
            return Err(StageError::Failed);
        }
        if let Some(unpublished) = self.unpublished {
            return Err(StageError::Unpublished {
                checkpoint_id,
                unpublished,
            });
        }
        let result = self.try_stage(checkpoint_id);
        self.failed |= result.is_err();
        result
    }

    /// Lets readers see the files of a checkpoint that has committed. The same as [`crate::publish`], and it frees the way for
    /// the next [`LakeWriter::stage`]. May be called again after an error and after success.
    pub fn publish(&mut self, staged: &StagedFiles) -> Result<Published, PublishError> {
        let published = publish_logged(&self.store, &mut self.log, staged)?;
        if let Ok(compactor) = &mut self.compaction {
            compactor.handle_published(staged, Instant::now());
        }
        if *staged.writer_id() == self.writer_id && self.unpublished == Some(staged.checkpoint_id()) {
            self.unpublished = None;
        }
        self.stats.files_published += published.files;
        self.stats.rows_published = self.stats.rows_published.saturating_add(published.rows);
        self.stats.bytes_published = self.stats.bytes_published.saturating_add(published.bytes);
        Ok(published)
    }

    /// Why small files are not merged; `None` if they are.
    pub fn compaction_off(&self) -> Option<&CompactionOff> {
        self.compaction.as_ref().err()
    }

    /// When [`LakeWriter::begin_compaction`] may next have something to do.
    pub fn compaction_due(&self) -> Option<Instant> {
        self.compaction.as_ref().ok().and_then(Compactor::next_due)
    }

    /// Finds small files that should be one. The caller runs the [`Merge`] on whatever thread it likes, while this
    /// writer writes, stages and publishes, and hands the result to [`LakeWriter::finish_compaction`]. One at a time:
    /// `None` as long as one is on its way. An error is no reason to stop writing.
    pub fn begin_compaction(&mut self, now: Instant) -> Result<Option<Merge>, CompactionError> {
        let Ok(compactor) = &mut self.compaction else {
            return Ok(None);
        };
        let begun = compactor.begin(now, &self.encoding, &self.store, &mut self.log);
        self.check_compaction(begun)
    }

    /// Lets readers see a merged file instead of the small ones, in one step; `None` if the merge came to nothing. An
    /// error is no reason to stop writing.
    pub fn finish_compaction(
        &mut self,
        merged: Result<Option<Merged>, MergeError>,
        now: Instant,
    ) -> Result<Option<Compacted>, CompactionError> {
        let Ok(compactor) = &mut self.compaction else {
            return Ok(None);
        };
        let finished = compactor.finish(merged, now, &self.store, &mut self.log);
        let finished = self.check_compaction(finished)?;
        if let Some(compacted) = &finished {
            self.stats.merges += 1;
            self.stats.files_merged += compacted.files;
            self.stats.bytes_merged += compacted.bytes_before;
        }
        Ok(finished)
    }

    /// Drops the writer and removes the files that are still open. What is staged stays, for [`crate::recover`].
    pub fn abandon(mut self) -> Result<(), StoreError> {
        self.open.drain().try_for_each(|(_, file)| file.abandon())
    }

    fn check_compaction<T>(&mut self, result: Result<T, CompactionError>) -> Result<T, CompactionError> {
        if result.is_err() {
            self.stats.merges_failed += 1;
            if self.compaction.as_ref().is_ok_and(|compactor| !compactor.is_ours()) {
                self.compaction = Err(CompactionOff::TakenOver);
            }
        }
        result
    }

    fn try_write(&mut self, batch: &RecordBatch) -> Result<(), WriteError> {
        self.check_schema(batch.schema_ref())?;
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let mut partitions = self.partitioner.split(batch)?;
        // Where there are more than may be open, those in turn would each close the file that the next one needs.
        partitions.sort_by_key(|partition| !self.open.contains_key(&partition.folder));
        for partition in partitions {
            if partition.is_shortened {
                self.handle_shortened(&partition.folder, partition.rows.num_rows());
            }
            let rows = self.encoding.convert(&partition.rows)?;
            for offset in (0..rows.num_rows()).step_by(SLICE_ROWS) {
                self.write_slice(
                    &partition.folder,
                    &rows.slice(offset, SLICE_ROWS.min(rows.num_rows() - offset)),
                )?;
            }
        }
        self.stats.rows_written += batch.num_rows() as u64;
        Ok(())
    }

    fn handle_shortened(&mut self, folder: &str, rows: usize) {
        if self.stats.rows_in_shortened_partitions == 0 {
            tracing::warn!(
                lake = self.store.location(),
                folder,
                "A partition value is too long for a folder name and was shortened; told once."
            );
        }
        self.stats.rows_in_shortened_partitions += rows as u64;
    }

    fn write_slice(&mut self, folder: &str, rows: &RecordBatch) -> Result<(), WriteError> {
        if !self.open.contains_key(folder) {
            self.open_file(folder)?;
        }
        self.uses += 1;
        let file = self.open.get_mut(folder).expect("the file was just opened");
        file.used = self.uses;
        file.write(rows)?;
        if file.encoded_bytes() >= self.config.target_file_bytes {
            self.close_file(folder)?;
        }
        while self.buffered_bytes() > self.config.buffer_bytes_max {
            let Some(largest) = self.open.values_mut().max_by_key(|file| file.buffered_bytes()) else {
                break;
            };
            let before = largest.buffered_bytes();
            largest.end_row_group()?;
            self.stats.row_groups_ended_early += 1;
            if largest.buffered_bytes() >= before {
                break; // Nothing left to give: the limit is below what empty encoders need.
            }
        }
        Ok(())
    }

    fn open_file(&mut self, folder: &str) -> Result<(), WriteError> {
        let files = self.open.len() + self.closed.len();
        if files >= self.config.staged_files_max {
            return Err(WriteError::TooManyFiles {
                files: files + 1,
                files_max: self.config.staged_files_max,
            });
        }
        if self.open.len() >= self.config.open_files_max {
            let oldest = self
                .open
                .iter()
                .min_by_key(|(_, file)| file.used)
                .map(|(folder, _)| folder.clone());
            self.close_file(&oldest.expect("the limit is at least one, so a file is open"))?;
            self.stats.files_closed_early += 1;
        }
        let name = layout::staged_name(self.config.fencing_token, self.run, self.next_number);
        self.next_number += 1;
        let file = OpenFile::create(&self.store, &self.writer_id, name, &self.encoding)?;
        self.open.insert(folder.to_owned(), file);
        Ok(())
    }

    fn close_file(&mut self, folder: &str) -> Result<(), FileError> {
        if let Some((folder, file)) = self.open.remove_entry(folder) {
            let closed = file.close(folder)?;
            self.stats.files_staged += 1;
            self.stats.bytes_staged += closed.bytes;
            self.closed.push(closed);
        }
        Ok(())
    }

    fn try_stage(&mut self, checkpoint_id: u64) -> Result<StagedFiles, StageError> {
        let mut folders: Vec<_> = self.open.keys().cloned().collect();
        folders.sort_unstable();
        for folder in folders {
            self.close_file(&folder)?;
        }
        let paths: Vec<_> = self
            .closed
            .iter()
            .map(|file| layout::staged_path(&self.writer_id, &file.name))
            .collect();
        self.store.sync_folders(&paths)?;
        let mut files = Vec::with_capacity(self.closed.len());
        for (sequence, file) in (0..).zip(self.closed.drain(..)) {
            let name = layout::published_name(&self.writer_id, checkpoint_id, sequence, self.run);
            let path = if file.folder.is_empty() {
                name
            } else {
                format!("{}/{name}", file.folder)
            };
            files.push(StagedFile {
                staged: file.name,
                path,
                rows: file.rows,
                bytes: file.bytes,
            });
        }
        let staged = StagedFiles::new(self.writer_id.clone(), checkpoint_id, files)
            .expect("names made by layout pass layout's own checks");
        if !staged.files().is_empty() {
            self.unpublished = Some(checkpoint_id);
        }
        Ok(staged)
    }

    fn check_schema(&self, found: &Schema) -> Result<(), WriteError> {
        let same = found.fields().len() == self.schema.fields().len()
            && found
                .fields()
                .iter()
                .zip(self.schema.fields())
                .all(|(found, expected)| found.name() == expected.name() && found.data_type() == expected.data_type());
        if same {
            return Ok(());
        }
        Err(WriteError::Schema {
            found: columns_text(found),
            expected: columns_text(&self.schema),
        })
    }

    fn buffered_bytes(&self) -> usize {
        self.open.values().map(OpenFile::buffered_bytes).sum()
    }
}

fn columns_text(schema: &Schema) -> String {
    let columns = schema
        .fields()
        .iter()
        .map(|field| format!("{} {}", field.name(), field.data_type()));
    columns.collect::<Vec<_>>().join(", ")
}

/// Tells this life of a writer from its former ones; any process-independent randomness does.
fn draw_run() -> u32 {
    RandomState::new().build_hasher().finish() as u32
}

//! Parquet tables that appear exactly when a checkpoint says so.
//!
//! A [`LakeWriter`] splits record batches into Hive-style partition folders and encodes them into Parquet files that no
//! reader sees. [`LakeWriter::stage`] closes them, makes them durable and describes them in a [`StagedFiles`]; the
//! caller stores that description with its checkpoint. After the checkpoint has committed, [`LakeWriter::publish`]
//! renames the files into the table. After a crash, [`recover`] publishes what was committed and deletes the rest.
//!
//! ```text
//! write … write ─▶ stage(checkpoint) ─▶ [the caller commits the checkpoint] ─▶ publish ─▶ write …
//!                        crash here: deleted ◀─┘                   └─▶ crash here: published by recover
//! ```
//!
//! Each publish also appends to the table's manifest (`_manifest/`, see [`Snapshot`]), and the small files that frequent
//! checkpoints leave are merged: [`LakeWriter::begin_compaction`], [`Merge::run`] on any thread,
//! [`LakeWriter::finish_compaction`]. A reader that lists the folders at any instant sees each row once, whatever crashes.
//!
//! **Blocking.** Everything here encodes or waits for storage on the calling thread: call it from a CPU thread (or
//! `spawn_blocking`), never from a network task. It needs no runtime and works inside one.
//!
//! **Never here:** Kafka, offsets, topics, event time. A checkpoint is a number that the caller chose.
//!
//! ```
//! use std::sync::Arc;
//! use arrow::array::{Int64Array, TimestampMillisecondArray};
//! use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
//! use arrow::record_batch::RecordBatch;
//! use engine_lake::{LakeConfig, LakeStore, LakeWriter, PartitionBy, StagedFiles, WriterId, recover};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let schema = Arc::new(Schema::new(vec![
//!     Field::new("window_start", DataType::Timestamp(TimeUnit::Millisecond, None), false),
//!     Field::new("events", DataType::Int64, false),
//! ]));
//! let config = LakeConfig {
//!     partition_by: vec![PartitionBy::date_of("dt", "window_start")],
//!     ..LakeConfig::default()
//! };
//! let store = LakeStore::open(folder.path().to_str().unwrap())?;
//! let writer_id = WriterId::new("ad-campaigns.lake.0")?;
//!
//! // A start: `None` because no checkpoint has committed yet.
//! recover(&store, &writer_id, None)?;
//! let mut writer = LakeWriter::open(store.clone(), config, schema.clone(), writer_id)?;
//! writer.write(&RecordBatch::try_new(schema, vec![
//!     Arc::new(TimestampMillisecondArray::from(vec![1_767_312_000_000])),
//!     Arc::new(Int64Array::from(vec![42])),
//! ])?)?;
//! let staged = writer.stage(7)?;
//! let kept_in_the_checkpoint: String = staged.encode();
//! // … the checkpoint commits …
//! writer.publish(&staged)?;
//!
//! let staged = StagedFiles::decode(kept_in_the_checkpoint.as_bytes())?;
//! assert!(staged.files()[0].path().starts_with("dt=2026-01-02/ad-campaigns.lake.0-"));
//! assert_eq!(staged.rows(), 1);
//! # Ok(())
//! # }
//! ```

mod advice;
mod compaction;
mod config;
mod decision;
mod encode;
mod layout;
mod manifest;
mod open_file;
mod partition;
mod probe;
mod publish;
mod recovery;
mod staged;
mod store;
mod transience;
mod writer;
mod writer_id;

pub use advice::advice;
pub use compaction::Compacted;
pub use compaction::error::{CompactionError, CompactionOff};
pub use compaction::merge::{Merge, MergeError, Merged};
pub use compaction::workspace::SettleError;
pub use config::{CompactionConfig, Compression, CompressionError, LakeConfig, PartitionBy, TimestampPrecision};
pub use decision::{CommittedFile, RecoveryAction, RecoveryConflict, RecoveryFacts, decide};
pub use manifest::ManifestFile;
pub use manifest::log::{ManifestError, Snapshot};
pub use open_file::FileError;
pub use partition::SplitError;
pub use partition::level::PartitionError;
pub use probe::StepProbe;
pub use publish::{PublishError, Published, publish};
pub use recovery::{RecoverError, Recovered, recover, recover_below};
pub use staged::{StagedFile, StagedFiles, StagedFilesError};
pub use store::LakeStore;
pub use store::error::StoreError;
pub use store::s3::error::S3Error;
pub use store::s3::location::S3LocationError;
pub use store::s3::options::{S3Options, S3OptionsError};
pub use store::s3::tls::TlsError;
pub use transience::is_transient;
pub use writer::LakeWriter;
pub use writer::error::{OpenError, StageError, WriteError};
pub use writer::stats::LakeStats;
pub use writer_id::{WriterId, WriterIdError};

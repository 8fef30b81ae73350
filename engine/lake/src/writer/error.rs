//! Why a writer cannot be opened, written to or staged.

use arrow::error::ArrowError;
use parquet::errors::ParquetError;

use crate::manifest::log::ManifestError;
use crate::open_file::FileError;
use crate::partition::SplitError;
use crate::partition::level::PartitionError;
use crate::store::error::StoreError;

/// A table that cannot be written as configured.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The partitioning does not fit the schema.
    #[error(transparent)]
    Partition(#[from] PartitionError),
    /// A column that Parquet cannot hold.
    #[error("the columns cannot be written to Parquet")]
    Schema(#[source] ParquetError),
    /// A limit of zero.
    #[error("{0} must be at least 1")]
    Zero(&'static str),
    /// The manifest could not be read.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The staging folder could not be made.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Rows that were not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Other columns than the table's.
    #[error("the batch has columns [{found}], the table has [{expected}]")]
    Schema {
        /// The batch's.
        found: String,
        /// The table's.
        expected: String,
    },
    /// The rows do not go into partitions.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// The values do not go into the file's types.
    #[error("cannot convert rows for the lake file")]
    Convert(#[from] ArrowError),
    /// The file could not be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Too many files for one checkpoint.
    #[error(
        "{files} files since the last checkpoint, at most {files_max} are possible: checkpoint more often or partition less"
    )]
    TooManyFiles {
        /// How many there are.
        files: usize,
        /// [`crate::LakeConfig::staged_files_max`].
        files_max: usize,
    },
    /// An earlier call failed.
    #[error("the lake writer failed before: recover and open another")]
    Failed,
}

/// Files that were not staged.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The files of the checkpoint before are still invisible; staging again would forget them.
    #[error("checkpoint {checkpoint_id} cannot be staged before checkpoint {unpublished} is published")]
    Unpublished {
        /// The checkpoint to stage.
        checkpoint_id: u64,
        /// The one that was staged before.
        unpublished: u64,
    },
    /// A file could not be completed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The names of the files could not be made durable.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An earlier call failed.
    #[error("the lake writer failed before: recover and open another")]
    Failed,
}

//! How a table is laid out and encoded: plain data, checked when a writer opens.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The layout and encoding of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LakeConfig {
    /// The partition folders, outermost first. These columns are left out of the files, as Hive does it.
    pub partition_by: Vec<PartitionBy>,
    /// A file that has reached this size is closed and the next one begun. The size is that of the encoded bytes,
    /// judged after each slice of at most 16,384 rows. A checkpoint closes every file, whatever its size.
    pub target_file_bytes: u64,
    /// The most rows in a row group. A row group also ends when [`LakeConfig::buffer_bytes_max`] is reached.
    pub row_group_rows: usize,
    /// The compression of every column.
    pub compression: Compression,
    /// Whether string and binary columns are dictionary-encoded (until a dictionary outgrows its page).
    pub dictionary: bool,
    /// What happens to timestamps that are finer than microseconds.
    pub timestamps: TimestampPrecision,
    /// The most files open at once, one per partition. At the bound the file that was used longest ago is closed; a
    /// later row of its partition begins another file.
    pub open_files_max: usize,
    /// The most bytes held in unfinished row groups, over all open files. At the bound the largest row group is ended
    /// early and written out.
    pub buffer_bytes_max: usize,
    /// The most files that one checkpoint may stage. At the bound `write` fails: the description of the files has to
    /// fit into one record of the caller's state topic (about 200 bytes a file).
    pub staged_files_max: usize,
    /// Whether and when small files are merged.
    pub compaction: Option<CompactionConfig>,
    /// Higher than that of every life of the writer that went before, if the caller can tell: staged files carry it, and
    /// [`recover_below`](crate::recover_below) deletes those of lower ones only.
    pub fencing_token: u32,
}

/// When the small files of a partition folder are merged into one of about [`LakeConfig::target_file_bytes`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompactionConfig {
    /// The least time between two merges in one folder, and from a file's publishing to its first.
    pub interval: Duration,
    /// The least number of small files (less than half of the target) that is worth a merge.
    pub files_min: usize,
    /// How long a replaced folder is kept for listings that began before.
    pub grace: Duration,
}

impl Default for CompactionConfig {
    fn default() -> CompactionConfig {
        CompactionConfig {
            interval: Duration::from_secs(300),
            files_min: 16,
            grace: Duration::from_secs(60),
        }
    }
}

impl Default for LakeConfig {
    fn default() -> LakeConfig {
        LakeConfig {
            partition_by: Vec::new(),
            target_file_bytes: 128 << 20,
            row_group_rows: 1 << 20,
            compression: Compression::Snappy,
            dictionary: true,
            timestamps: TimestampPrecision::Keep,
            open_files_max: 64,
            buffer_bytes_max: 256 << 20,
            staged_files_max: 4096,
            compaction: Some(CompactionConfig::default()),
            fencing_token: 0,
        }
    }
}

/// One level of partition folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartitionBy {
    /// The value of a column: strings, integers, booleans and dates.
    Column(String),
    /// The UTC date, `YYYY-MM-DD`, of a timestamp column, which itself stays in the file.
    Date {
        /// The name of the folder level, usually `dt`.
        name: String,
        /// The timestamp column that is dated.
        timestamp_column: String,
    },
}

impl PartitionBy {
    /// Partition by the value of `column`.
    pub fn column(column: impl Into<String>) -> PartitionBy {
        PartitionBy::Column(column.into())
    }

    /// Partition by the UTC date of `timestamp_column`, in folders called `name=YYYY-MM-DD`.
    pub fn date_of(name: impl Into<String>, timestamp_column: impl Into<String>) -> PartitionBy {
        PartitionBy::Date {
            name: name.into(),
            timestamp_column: timestamp_column.into(),
        }
    }

    /// The name of the folder level: the text before `=`.
    pub fn name(&self) -> &str {
        match self {
            PartitionBy::Column(name) | PartitionBy::Date { name, .. } => name,
        }
    }
}

/// What happens to timestamps finer than microseconds. Coarser ones always become `TIMESTAMP(MICROS, UTC)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimestampPrecision {
    /// Nanoseconds stay nanoseconds, `TIMESTAMP(NANOS, UTC)`: nothing is lost. Spark before 4.1 cannot read them.
    #[default]
    Keep,
    /// Nanoseconds become microseconds, rounded down: every reader can open the file.
    Micros,
}

/// How column chunks are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    None,
    /// Snappy: what every reader knows.
    #[default]
    Snappy,
    /// LZ4 blocks (`LZ4_RAW`; the older `LZ4` with Hadoop's frame is never written).
    Lz4Raw,
    /// Gzip: smallest and slowest.
    Gzip,
}

/// A compression that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompressionError {
    /// zstd is known, but not built in.
    #[error("zstd is not in this build (its library is written in C): use snappy, lz4_raw, gzip or none")]
    Zstd,
    /// Parquet's deprecated LZ4.
    #[error("Parquet's lz4 is deprecated, because readers disagree about it: use lz4_raw")]
    Lz4,
    /// Not a compression.
    #[error("unknown Parquet compression {0:?}: use snappy, lz4_raw, gzip or none")]
    Unknown(String),
}

impl FromStr for Compression {
    type Err = CompressionError;

    fn from_str(name: &str) -> Result<Compression, CompressionError> {
        match name {
            "none" | "uncompressed" => Ok(Compression::None),
            "snappy" => Ok(Compression::Snappy),
            "lz4_raw" => Ok(Compression::Lz4Raw),
            "gzip" => Ok(Compression::Gzip),
            "zstd" => Err(CompressionError::Zstd),
            "lz4" => Err(CompressionError::Lz4),
            other => Err(CompressionError::Unknown(other.to_owned())),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Compression::None => "none",
            Compression::Snappy => "snappy",
            Compression::Lz4Raw => "lz4_raw",
            Compression::Gzip => "gzip",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compression_names_read_back_as_themselves() {
        for compression in [
            Compression::None,
            Compression::Snappy,
            Compression::Lz4Raw,
            Compression::Gzip,
        ] {
            assert_eq!(compression.to_string().parse(), Ok(compression));
        }
    }

    #[test]
    fn zstd_is_refused_with_a_sentence_that_names_what_works() {
        let error = "zstd".parse::<Compression>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "zstd is not in this build (its library is written in C): use snappy, lz4_raw, gzip or none"
        );
        assert_eq!(
            "brotli".parse::<Compression>(),
            Err(CompressionError::Unknown("brotli".into()))
        );
    }
}

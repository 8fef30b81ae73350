//! Sinks: where rows go.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use engine_lake::S3Options;

use super::{ByteSize, Format, KafkaOptions, StreamId};

/// A sink.
#[derive(Debug, Clone)]
pub struct Sink {
    /// Name in the file, unique over sources, transforms and sinks.
    pub name: String,
    /// What it is given.
    pub input: SinkInput,
    /// Where it writes.
    pub kind: SinkKind,
}

/// What a sink is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinkInput {
    /// The rows of a source or a transform.
    Stream(StreamId),
    /// The late rows of a window (`late_output`), as they came into it: the transform's index.
    LateRows(usize),
}

/// Where a sink writes.
#[derive(Debug, Clone)]
pub enum SinkKind {
    /// A Kafka topic.
    Kafka(KafkaSink),
    /// Parquet files of a lake table.
    Parquet(ParquetSink),
}

/// A Kafka topic that rows are written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaSink {
    /// The topic; created if it is missing.
    pub topic: String,
    /// The column whose text is the record key; without it records have no key.
    pub key: Option<String>,
    /// How a row becomes a record's value.
    pub format: Format,
    /// How timestamps are written.
    pub timestamps: Timestamps,
    /// Producer options, `[kafka]` merged in.
    pub kafka: KafkaOptions,
}

/// How timestamps are written as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timestamps {
    /// Integers: milliseconds since 1970.
    Milliseconds,
    /// RFC 3339 text.
    Rfc3339,
}

/// Parquet files of a lake table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParquetSink {
    /// The table's folder, as written: a relative path is relative to the working directory. Or `s3://BUCKET/PREFIX`.
    pub path: PathBuf,
    /// The folder levels below it, outermost first; may be empty.
    pub partition_by: Vec<PartitionColumn>,
    /// A file is closed once it is about this large.
    pub target_file_bytes: ByteSize,
    /// Most rows in a row group.
    pub row_group_rows: NonZeroUsize,
    /// How column chunks are compressed.
    pub compression: LakeCompression,
    /// Whether columns are dictionary-encoded.
    pub dictionary: bool,
    /// When small files are merged; `None` for never.
    pub compaction: Option<LakeCompaction>,
    /// How to reach the bucket, if `path` begins with `s3://`.
    pub s3: S3Options,
}

/// When the small files of a partition folder are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LakeCompaction {
    /// At most this often in one folder.
    pub interval: Duration,
    /// Not for fewer files.
    pub files_min: NonZeroUsize,
}

/// One folder level of a lake table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartitionColumn {
    /// `dt=YYYY-MM-DD`, the UTC date of this timestamp column: the window's start, else the event time.
    Date {
        /// The timestamp column.
        column: String,
    },
    /// `column=value` of a column of the input.
    Column(String),
}

/// How Parquet column chunks are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LakeCompression {
    /// Not at all.
    None,
    /// Snappy.
    Snappy,
    /// Gzip.
    Gzip,
    /// LZ4 blocks without Hadoop's framing.
    Lz4Raw,
}

impl LakeCompression {
    /// The word that the file uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            LakeCompression::None => "none",
            LakeCompression::Snappy => "snappy",
            LakeCompression::Gzip => "gzip",
            LakeCompression::Lz4Raw => "lz4_raw",
        }
    }
}

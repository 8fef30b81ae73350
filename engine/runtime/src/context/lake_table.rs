//! A sink of Parquet files, as the lake's writer wants it told.

use arrow::datatypes::SchemaRef;
use engine_lake::{CompactionConfig, Compression, LakeConfig, PartitionBy, S3Options};

use crate::config::pipeline::{LakeCompression, ParquetSink, PartitionColumn};

/// A lake table as its writer wants it.
#[derive(Debug)]
pub(crate) struct LakeTable {
    /// The table's folder, or its place in a bucket.
    pub(crate) path: String,
    /// How to reach the bucket.
    pub(crate) s3: S3Options,
    /// Layout and encoding.
    pub(crate) config: LakeConfig,
    /// The columns of its rows.
    pub(crate) schema: SchemaRef,
}

/// The table of this sink, whose rows have these columns.
pub(super) fn lake_table(sink: &ParquetSink, schema: &SchemaRef) -> LakeTable {
    let partition_by = sink.partition_by.iter().map(|column| match column {
        PartitionColumn::Date { column } => PartitionBy::date_of("dt", column),
        PartitionColumn::Column(column) => PartitionBy::column(column),
    });
    let config = LakeConfig {
        partition_by: partition_by.collect(),
        target_file_bytes: sink.target_file_bytes.get(),
        row_group_rows: sink.row_group_rows.get(),
        compression: match sink.compression {
            LakeCompression::None => Compression::None,
            LakeCompression::Snappy => Compression::Snappy,
            LakeCompression::Gzip => Compression::Gzip,
            LakeCompression::Lz4Raw => Compression::Lz4Raw,
        },
        dictionary: sink.dictionary,
        compaction: sink.compaction.map(|compaction| CompactionConfig {
            interval: compaction.interval,
            files_min: compaction.files_min.get(),
            ..CompactionConfig::default()
        }),
        ..LakeConfig::default()
    };
    LakeTable {
        path: sink.path.display().to_string(),
        s3: sink.s3.clone(),
        config,
        schema: schema.clone(),
    }
}

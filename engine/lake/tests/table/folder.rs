//! A table on a real folder, its rows, and what a reader sees of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use engine_lake::{
    Compacted, CompactionConfig, CompactionError, LakeConfig, LakeStore, LakeWriter, PartitionBy, StagedFiles, WriterId,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::TempDir;

pub(crate) type Row = (Option<i64>, Option<String>, i64);

pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("time", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        Field::new("name", DataType::Utf8, true),
        Field::new("value", DataType::Int64, false),
    ]))
}

pub(crate) fn batch(rows: &[Row]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.0).collect::<TimestampMillisecondArray>()),
        Arc::new(rows.iter().map(|row| row.1.clone()).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.2).collect::<Int64Array>()),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

pub(crate) fn numbered(values: std::ops::Range<i64>) -> RecordBatch {
    batch(
        &values
            .map(|value| (Some(value * 3_600_000), Some(format!("n{}", value % 3)), value))
            .collect::<Vec<_>>(),
    )
}

pub(crate) fn by_date() -> LakeConfig {
    LakeConfig {
        partition_by: vec![PartitionBy::date_of("dt", "time")],
        ..LakeConfig::default()
    }
}

/// Every date a folder, and whatever is small is merged at once. Replaced folders stay.
pub(crate) fn merging() -> LakeConfig {
    LakeConfig {
        compaction: Some(CompactionConfig {
            interval: Duration::ZERO,
            files_min: 2,
            grace: Duration::from_secs(3_600),
        }),
        ..by_date()
    }
}

/// Merges until nothing is left to merge.
pub(crate) fn merge_all(writer: &mut LakeWriter) -> Result<Vec<Compacted>, CompactionError> {
    let mut done = Vec::new();
    while let Some(merge) = writer.begin_compaction(Instant::now())? {
        let merged = merge.run(&AtomicBool::new(false));
        done.extend(writer.finish_compaction(merged, Instant::now())?);
    }
    Ok(done)
}

pub(crate) fn writer_id() -> WriterId {
    WriterId::new("test.lake.0").unwrap()
}

/// A table in a folder of its own.
pub(crate) struct Table {
    pub(crate) folder: TableFolder,
    pub(crate) store: LakeStore,
}

/// The folder `table` in a folder that goes with it: a writer also has a folder beside the table.
pub(crate) struct TableFolder {
    above: TempDir,
    path: PathBuf,
}

impl TableFolder {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn above(&self) -> &Path {
        self.above.path()
    }
}

impl Table {
    pub(crate) fn new() -> Table {
        let above = tempfile::tempdir().unwrap();
        let path = above.path().join("table");
        let store = LakeStore::open(path.to_str().unwrap()).unwrap();
        Table {
            folder: TableFolder { above, path },
            store,
        }
    }

    pub(crate) fn writer(&self, config: LakeConfig) -> LakeWriter {
        LakeWriter::open(self.store.clone(), config, schema(), writer_id()).unwrap()
    }

    /// The files that a reader sees: `*.parquet` outside of folders that begin with `_` or `.`.
    pub(crate) fn visible(&self) -> Vec<PathBuf> {
        fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap();
                if name.starts_with(['_', '.']) {
                    continue;
                }
                if path.is_dir() {
                    walk(&path, found);
                } else {
                    assert!(name.ends_with(".parquet"), "a reader would trip over {name}");
                    found.push(path);
                }
            }
        }
        let mut found = Vec::new();
        walk(self.folder.path(), &mut found);
        found.sort();
        found
    }

    /// What is left of merges: folders beside the table.
    pub(crate) fn workspaces(&self) -> Vec<String> {
        let home = self.folder.above().join(".table.compaction");
        let Ok(entries) = fs::read_dir(home) else {
            return Vec::new();
        };
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    pub(crate) fn staged(&self) -> Vec<String> {
        let folder = self.folder.path().join("_staging").join(writer_id().as_str());
        fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    pub(crate) fn values(&self) -> Vec<i64> {
        let mut values: Vec<i64> = self
            .visible()
            .iter()
            .flat_map(|path| read(path))
            .flat_map(|rows| {
                rows.column_by_name("value")
                    .unwrap()
                    .as_primitive::<Int64Type>()
                    .values()
                    .to_vec()
            })
            .collect();
        values.sort_unstable();
        values
    }
}

pub(crate) fn read(path: &Path) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap())
        .unwrap()
        .build()
        .unwrap();
    reader.collect::<Result<_, _>>().unwrap()
}

pub(crate) fn through_the_state(staged: &StagedFiles) -> StagedFiles {
    StagedFiles::decode(staged.encode().as_bytes()).unwrap()
}

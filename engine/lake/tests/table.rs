//! A table on a real folder: crashes at every step, the bounds, and rows in == rows out as the parquet crate reads them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use engine_lake::{
    Compression, LakeConfig, LakeStore, LakeWriter, OpenError, PartitionBy, PublishError, RecoverError, Recovered,
    RecoveryConflict, StageError, StagedFiles, WriteError, WriterId, publish, recover,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression as ParquetCompression, Encoding};
use proptest::prelude::*;
use tempfile::TempDir;

type Row = (Option<i64>, Option<String>, i64);

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("time", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        Field::new("name", DataType::Utf8, true),
        Field::new("value", DataType::Int64, false),
    ]))
}

fn batch(rows: &[Row]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.0).collect::<TimestampMillisecondArray>()),
        Arc::new(rows.iter().map(|row| row.1.clone()).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.2).collect::<Int64Array>()),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

fn numbered(values: std::ops::Range<i64>) -> RecordBatch {
    batch(
        &values
            .map(|value| (Some(value * 3_600_000), Some(format!("n{}", value % 3)), value))
            .collect::<Vec<_>>(),
    )
}

fn by_date() -> LakeConfig {
    LakeConfig {
        partition_by: vec![PartitionBy::date_of("dt", "time")],
        ..LakeConfig::default()
    }
}

fn writer_id() -> WriterId {
    WriterId::new("test.lake.0").unwrap()
}

struct Table {
    folder: TempDir,
    store: LakeStore,
}

impl Table {
    fn new() -> Table {
        let folder = tempfile::tempdir().unwrap();
        let store = LakeStore::open(folder.path().to_str().unwrap()).unwrap();
        Table { folder, store }
    }

    fn writer(&self, config: LakeConfig) -> LakeWriter {
        LakeWriter::open(self.store.clone(), config, schema(), writer_id()).unwrap()
    }

    /// The files that a reader sees: `*.parquet` outside of folders that begin with `_` or `.`.
    fn visible(&self) -> Vec<PathBuf> {
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

    fn staged(&self) -> Vec<String> {
        let folder = self.folder.path().join("_staging").join(writer_id().as_str());
        fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    fn values(&self) -> Vec<i64> {
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

fn read(path: &Path) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap())
        .unwrap()
        .build()
        .unwrap();
    reader.collect::<Result<_, _>>().unwrap()
}

fn through_the_state(staged: &StagedFiles) -> StagedFiles {
    StagedFiles::decode(staged.encode().as_bytes()).unwrap()
}

#[test]
fn rows_are_invisible_until_their_checkpoint_is_published() {
    let table = Table::new();
    let mut writer = table.writer(by_date());
    writer.write(&numbered(0..48)).unwrap();
    assert!(table.values().is_empty());
    let staged = writer.stage(1).unwrap();
    assert_eq!((staged.rows(), staged.files().len()), (48, 2));
    assert!(table.values().is_empty());
    writer.write(&numbered(48..50)).unwrap();
    let published = writer.publish(&staged).unwrap();
    assert_eq!((published.files, published.rows, published.files_before), (2, 48, 0));
    assert_eq!(table.values(), (0..48).collect::<Vec<_>>());
    let again = writer.publish(&staged).unwrap();
    assert_eq!((again.files, again.files_before), (0, 2));
    let next = writer.stage(2).unwrap();
    writer.publish(&next).unwrap();
    assert_eq!(table.values(), (0..50).collect::<Vec<_>>());
    assert_eq!(table.staged(), Vec::<String>::new());
}

/// The life of a checkpoint after one that is published; `None` in `committed` means the former one is the last.
#[test]
fn a_crash_at_every_step_neither_loses_nor_doubles_rows() {
    #[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
    enum Step {
        Written,
        Staged,
        Committed,
        HalfPublished,
        Published,
    }
    for step in [
        Step::Written,
        Step::Staged,
        Step::Committed,
        Step::HalfPublished,
        Step::Published,
    ] {
        let table = Table::new();
        let mut writer = table.writer(by_date());
        writer.write(&numbered(0..24)).unwrap();
        let first = writer.stage(1).unwrap();
        writer.publish(&first).unwrap();
        let mut committed = through_the_state(&first);

        writer.write(&numbered(24..96)).unwrap();
        if step >= Step::Staged {
            let second = writer.stage(2).unwrap();
            assert_eq!(second.files().len(), 3);
            if step >= Step::Committed {
                committed = through_the_state(&second);
            }
            if step == Step::HalfPublished {
                let file = &second.files()[1];
                let target = table.folder.path().join(file.path());
                fs::create_dir_all(target.parent().unwrap()).unwrap();
                let staging = table.folder.path().join("_staging").join(writer_id().as_str());
                fs::rename(staging.join(file.staged_name()), target).unwrap();
            }
            if step == Step::Published {
                writer.publish(&second).unwrap();
            }
        }
        std::mem::forget(writer); // kill -9: no destructor tidies up.

        let found_staged = table.staged().len() as u64;
        let recovered = recover(&table.store, &writer_id(), Some(&committed)).unwrap();
        let deleted = if step < Step::Committed { found_staged } else { 0 };
        assert_eq!(recovered.files_deleted, deleted, "{step:?}");
        let again = recover(&table.store, &writer_id(), Some(&committed)).unwrap();
        assert_eq!(
            (again.files_deleted, again.published.files),
            (0, 0),
            "{step:?}: a second recovery finds no work"
        );
        assert_eq!(table.staged(), Vec::<String>::new(), "{step:?}");

        // The next life replays what was not committed, perhaps in other pieces.
        let mut writer = table.writer(by_date());
        if step < Step::Committed {
            writer.write(&numbered(24..50)).unwrap();
            writer.write(&numbered(50..96)).unwrap();
        }
        writer.write(&numbered(96..100)).unwrap();
        let next = writer.stage(committed.checkpoint_id() + 1).unwrap();
        writer.publish(&next).unwrap();
        assert_eq!(table.values(), (0..100).collect::<Vec<_>>(), "{step:?}");
    }
}

#[test]
fn without_a_committed_checkpoint_everything_staged_goes_and_everything_published_stays() {
    let table = Table::new();
    let mut writer = table.writer(by_date());
    writer.write(&numbered(0..10)).unwrap();
    let staged = writer.stage(1).unwrap();
    writer.publish(&staged).unwrap();
    writer.write(&numbered(10..20)).unwrap();
    writer.stage(2).unwrap();
    drop(writer);
    assert_eq!(recover(&table.store, &writer_id(), None).unwrap().files_deleted, 1);
    assert_eq!(table.values(), (0..10).collect::<Vec<_>>());
}

#[test]
fn recovery_leaves_the_files_of_other_writers_alone() {
    let table = Table::new();
    let mut neighbour = table.writer(by_date());
    neighbour.write(&numbered(0..10)).unwrap();
    let staged = neighbour.stage(1).unwrap();
    neighbour.write(&numbered(10..20)).unwrap();

    let mine = WriterId::new("test.lake.1").unwrap();
    assert_eq!(recover(&table.store, &mine, None).unwrap(), Recovered::default());
    neighbour.publish(&staged).unwrap();
    let staged = neighbour.stage(2).unwrap();

    // The neighbour dies; this process takes its partitions over and finds its checkpoint in the state.
    drop(neighbour);
    let recovered = recover(&table.store, &mine, Some(&through_the_state(&staged))).unwrap();
    assert_eq!(recovered.published.files, 1);
    assert_eq!(table.values(), (0..20).collect::<Vec<_>>());
}

#[test]
fn a_zombie_and_its_successor_never_write_the_same_file() {
    let table = Table::new();
    let mut zombie = table.writer(by_date());
    zombie.write(&numbered(0..10)).unwrap();
    recover(&table.store, &writer_id(), None).unwrap();
    let mut successor = table.writer(by_date());
    successor.write(&numbered(0..10)).unwrap();
    let staged = successor.stage(1).unwrap();
    let zombie_staged = zombie.stage(1);
    assert!(zombie_staged.is_err(), "its open file was deleted under it");
    successor.publish(&staged).unwrap();
    assert_eq!(table.values(), (0..10).collect::<Vec<_>>());
}

#[test]
fn a_lost_or_changed_file_is_an_error_that_names_it_and_deletes_nothing() {
    let table = Table::new();
    let mut writer = table.writer(LakeConfig::default());
    writer.write(&numbered(0..10)).unwrap();
    let staged = writer.stage(1).unwrap();
    let path = table
        .folder
        .path()
        .join("_staging")
        .join(writer_id().as_str())
        .join(staged.files()[0].staged_name());
    let content = fs::read(&path).unwrap();

    fs::write(&path, &content[1..]).unwrap();
    let conflict = |result| match result {
        Err(RecoverError::Publish(PublishError::Conflict { source, .. })) => source,
        other => panic!("{other:?}"),
    };
    let found = conflict(recover(&table.store, &writer_id(), Some(&staged)));
    assert!(matches!(found, RecoveryConflict::Size { .. }), "{found}");
    assert!(path.exists());

    fs::remove_file(&path).unwrap();
    let found = conflict(recover(&table.store, &writer_id(), Some(&staged)));
    assert!(matches!(found, RecoveryConflict::Missing { rows: 10, .. }), "{found}");

    // Staged and published: fine if it is a copy, refused if it is not.
    fs::write(&path, &content).unwrap();
    publish(&table.store, &staged).unwrap();
    fs::write(&path, &content).unwrap();
    recover(&table.store, &writer_id(), Some(&staged)).unwrap();
    assert!(!path.exists());
    let mut other = content.clone();
    other[10] ^= 1;
    fs::write(&path, &other).unwrap();
    let found = conflict(recover(&table.store, &writer_id(), Some(&staged)));
    assert!(matches!(found, RecoveryConflict::Different { .. }), "{found}");
    assert_eq!(table.values(), (0..10).collect::<Vec<_>>());
}

#[test]
fn a_checkpoint_cannot_be_staged_over_an_unpublished_one() {
    let table = Table::new();
    let mut writer = table.writer(by_date());
    let empty = writer.stage(1).unwrap();
    assert_eq!(empty.files(), []);
    writer.write(&numbered(0..10)).unwrap();
    let staged = writer.stage(2).unwrap();
    assert!(matches!(
        writer.stage(3),
        Err(StageError::Unpublished {
            checkpoint_id: 3,
            unpublished: 2
        })
    ));
    writer.publish(&staged).unwrap();
    assert_eq!(writer.stage(3).unwrap().files(), []);
}

#[test]
fn two_tables_in_one_process_do_not_meet() {
    let (left, right) = (Table::new(), Table::new());
    let (mut left_writer, mut right_writer) = (left.writer(by_date()), right.writer(LakeConfig::default()));
    left_writer.write(&numbered(0..5)).unwrap();
    right_writer.write(&numbered(5..9)).unwrap();
    let staged = left_writer.stage(1).unwrap();
    left_writer.publish(&staged).unwrap();
    let staged = right_writer.stage(1).unwrap();
    right_writer.publish(&staged).unwrap();
    assert_eq!(left.values(), (0..5).collect::<Vec<_>>());
    assert_eq!(right.values(), (5..9).collect::<Vec<_>>());
}

#[test]
fn files_roll_at_the_target_size() {
    let table = Table::new();
    let config = LakeConfig {
        target_file_bytes: 100_000,
        compression: Compression::None,
        ..LakeConfig::default()
    };
    let mut writer = table.writer(config);
    for start in (0..200_000).step_by(10_000) {
        writer.write(&numbered(start..start + 10_000)).unwrap();
    }
    let staged = writer.stage(1).unwrap();
    writer.publish(&staged).unwrap();
    assert!(staged.files().len() > 5, "{}", staged.files().len());
    for file in staged.files() {
        assert_eq!(
            fs::metadata(table.folder.path().join(file.path())).unwrap().len(),
            file.bytes()
        );
        assert!(
            file.bytes() < 400_000,
            "one slice beyond the target, not more: {}",
            file.bytes()
        );
    }
    assert_eq!(table.values(), (0..200_000).collect::<Vec<_>>());
}

#[test]
fn open_files_are_bounded_and_the_oldest_is_closed() {
    let table = Table::new();
    let mut writer = table.writer(LakeConfig {
        open_files_max: 3,
        ..by_date()
    });
    for round in 0..2 {
        for day in 0..10 {
            writer.write(&numbered(day * 24 + round..day * 24 + round + 1)).unwrap();
            assert!(writer.stats().files_open <= 3);
        }
    }
    assert_eq!(writer.stats().files_closed_early, 17);
    let staged = writer.stage(1).unwrap();
    assert_eq!(staged.files().len(), 20);
    writer.publish(&staged).unwrap();
    assert_eq!(table.values().len(), 20);
}

#[test]
fn memory_is_bounded_over_all_open_files() {
    let table = Table::new();
    let mut writer = table.writer(LakeConfig {
        buffer_bytes_max: 2 << 20,
        ..by_date()
    });
    for start in (0..400).step_by(100) {
        let rows: Vec<Row> = (0..20_000)
            .map(|row| (Some((start + row % 4) * 86_400_000), Some(format!("{row:050}")), row))
            .collect();
        writer.write(&batch(&rows)).unwrap();
        assert!(
            writer.stats().bytes_buffered <= 2 << 20,
            "{}",
            writer.stats().bytes_buffered
        );
    }
    assert!(writer.stats().row_groups_ended_early > 0);
    let staged = writer.stage(1).unwrap();
    writer.publish(&staged).unwrap();
    assert_eq!(table.values().len(), 80_000);
}

#[test]
fn too_many_files_for_one_checkpoint_are_refused_and_the_writer_stays_refused() {
    let table = Table::new();
    let mut writer = table.writer(LakeConfig {
        staged_files_max: 2,
        ..by_date()
    });
    writer.write(&numbered(0..48)).unwrap();
    assert!(matches!(
        writer.write(&numbered(48..49)),
        Err(WriteError::TooManyFiles { files: 3, files_max: 2 })
    ));
    assert!(matches!(writer.write(&numbered(0..1)), Err(WriteError::Failed)));
    assert!(matches!(writer.stage(1), Err(StageError::Failed)));
    writer.abandon().unwrap();
    assert_eq!(table.staged(), Vec::<String>::new());
}

#[test]
fn a_batch_with_other_columns_is_refused() {
    let table = Table::new();
    let mut writer = table.writer(by_date());
    let other = RecordBatch::try_from_iter([("value", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]).unwrap();
    let error = writer.write(&other).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the batch has columns [value Int64], the table has [time Timestamp(ms), name Utf8, value Int64]"
    );
}

#[test]
fn limits_of_zero_and_unknown_storage_are_refused() {
    let table = Table::new();
    let config = LakeConfig {
        open_files_max: 0,
        ..by_date()
    };
    let result = LakeWriter::open(table.store.clone(), config, schema(), writer_id());
    assert!(matches!(result, Err(OpenError::Zero("open_files_max"))));
    for location in ["s3://bucket/table", "hdfs://host/table", "", "file://relative"] {
        let error = LakeStore::open(location).unwrap_err().to_string();
        assert!(error.contains("only local folders are supported so far"), "{error}");
    }
}

#[test]
fn columns_are_compressed_and_strings_dictionary_encoded_as_configured() {
    for (compression, expected) in [
        (Compression::None, ParquetCompression::UNCOMPRESSED),
        (Compression::Snappy, ParquetCompression::SNAPPY),
        (Compression::Lz4Raw, ParquetCompression::LZ4_RAW),
        (Compression::Gzip, ParquetCompression::GZIP(Default::default())),
    ] {
        for dictionary in [false, true] {
            let table = Table::new();
            let config = LakeConfig {
                compression,
                dictionary,
                row_group_rows: 30,
                ..LakeConfig::default()
            };
            let mut writer = table.writer(config);
            writer.write(&numbered(0..100)).unwrap();
            let staged = writer.stage(1).unwrap();
            writer.publish(&staged).unwrap();
            let file = fs::File::open(&table.visible()[0]).unwrap();
            let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
            assert_eq!(builder.metadata().num_row_groups(), 4);
            let row_group = builder.metadata().row_group(0);
            for (index, column) in row_group.columns().iter().enumerate() {
                assert_eq!(column.compression(), expected);
                let has_dictionary = column.encodings().any(|encoding| encoding == Encoding::RLE_DICTIONARY);
                assert_eq!(has_dictionary, dictionary && index == 1, "column {index}");
            }
            let time = builder.schema().field(0).data_type().clone();
            assert_eq!(time, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())));
            assert_eq!(table.values(), (0..100).collect::<Vec<_>>());
        }
    }
}

fn decoded(value: &str) -> Option<String> {
    if value == "__HIVE_DEFAULT_PARTITION__" {
        return None;
    }
    let mut bytes = Vec::new();
    let mut rest = value.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'%' {
            bytes.push(u8::from_str_radix(std::str::from_utf8(&tail[..2]).unwrap(), 16).unwrap());
            rest = &tail[2..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    Some(String::from_utf8(bytes).unwrap())
}

/// Reads the table as a reader does: the partition column from the folder, the rest from the file.
fn rows_by_name(table: &Table) -> BTreeMap<Option<String>, Vec<(Option<i64>, i64)>> {
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for path in table.visible() {
        let folder = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
        let name = decoded(folder.strip_prefix("name=").unwrap());
        for rows in read(&path) {
            let times = rows.column(0).as_primitive::<TimestampMicrosecondType>();
            let values = rows.column(1).as_primitive::<Int64Type>();
            let rows = found.entry(name.clone()).or_default();
            for row in 0..values.len() {
                rows.push((times.is_valid(row).then(|| times.value(row)), values.value(row)));
            }
        }
    }
    found.values_mut().for_each(|rows| rows.sort_unstable());
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn rows_in_are_rows_out(
        batches in prop::collection::vec(
            prop::collection::vec(
                (
                    prop::option::of(-9_000_000_000_000..9_000_000_000_000i64),
                    prop::option::of(prop_oneof![
                        "[a-c]",
                        "[ -~]{1,12}",
                        any::<[char; 3]>().prop_map(|chars| chars.iter().collect()),
                        Just(String::new()),
                        Just("__HIVE_DEFAULT_PARTITION__".to_owned()),
                        Just("..".to_owned()),
                    ]),
                    any::<i64>(),
                ),
                0..40,
            ),
            1..6,
        ),
        open_files_max in 1..5usize,
        row_group_rows in 1..20usize,
        target_file_bytes in prop_oneof![Just(1u64), Just(1 << 20)],
        stage_every in 1..4usize,
    ) {
        let table = Table::new();
        let mut writer = table.writer(LakeConfig {
            partition_by: vec![PartitionBy::column("name")],
            open_files_max,
            row_group_rows,
            target_file_bytes,
            ..LakeConfig::default()
        });
        let mut expected: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (index, rows) in batches.iter().enumerate() {
            writer.write(&batch(rows)).unwrap();
            for (time, name, value) in rows {
                let name = name.clone().filter(|name| !name.is_empty());
                expected.entry(name).or_default().push((time.map(|ms| ms * 1_000), *value));
            }
            if index % stage_every == 0 {
                let staged = writer.stage(index as u64).unwrap();
                writer.publish(&through_the_state(&staged)).unwrap();
            }
        }
        let staged = writer.stage(1_000).unwrap();
        writer.publish(&staged).unwrap();
        expected.values_mut().for_each(|rows| rows.sort_unstable());
        prop_assert_eq!(rows_by_name(&table), expected);
    }
}

//! The bounds of a writer, and what it refuses.

use std::fs;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::record_batch::RecordBatch;
use engine_lake::{Compression, LakeConfig, LakeStore, LakeWriter, OpenError, PartitionBy, StageError, WriteError};

use crate::folder::{Row, Table, batch, by_date, numbered, schema, writer_id};

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
fn rows_go_to_the_files_that_are_open_before_any_is_closed_for_another() {
    let table = Table::new();
    let mut writer = table.writer(LakeConfig {
        open_files_max: 3,
        ..by_date()
    });
    // Four days in every batch. Whoever takes them in their order has always just closed the file of the next.
    for hour in 0..10 {
        let rows: Vec<Row> = (0..4)
            .map(|day| (Some((day * 24 + hour) * 3_600_000), None, day * 10 + hour))
            .collect();
        writer.write(&batch(&rows)).unwrap();
    }
    assert_eq!(writer.stats().files_closed_early, 10, "one for each batch");
    let staged = writer.stage(1).unwrap();
    writer.publish(&staged).unwrap();
    assert_eq!(table.values(), (0..40).collect::<Vec<_>>());
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
    for location in ["s3a://bucket/table", "hdfs://host/table", "", "file://relative"] {
        let error = LakeStore::open(location).unwrap_err().to_string();
        assert!(error.contains("is neither a local folder"), "{error}");
    }
}

/// A path that no storage takes would be found out after the checkpoint has committed, and at every start from then on.
#[test]
fn values_that_are_too_long_in_every_one_of_many_partition_columns_still_make_a_path() {
    for levels in [3, 4, 8, 20] {
        let table = Table::new();
        let long: ArrayRef = Arc::new(StringArray::from(vec!["/".repeat(300), "x".repeat(300)]));
        let mut columns: Vec<_> = (0..levels)
            .map(|level| (format!("column{level}"), long.clone()))
            .collect();
        columns.push(("value".to_owned(), Arc::new(Int64Array::from(vec![1, 2]))));
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let config = LakeConfig {
            partition_by: (0..levels)
                .map(|level| PartitionBy::column(format!("column{level}")))
                .collect(),
            ..LakeConfig::default()
        };
        let mut writer = LakeWriter::open(table.store.clone(), config, rows.schema(), writer_id()).unwrap();
        writer.write(&rows).unwrap();
        let staged = writer.stage(1).unwrap();
        writer.publish(&staged).unwrap();
        for file in staged.files() {
            // S3's keys have 1,024 bytes.
            assert!(file.path().len() < 900 || levels > 8, "{}", file.path().len());
        }
        assert_eq!(table.values(), [1, 2], "{levels} levels");
    }
}

//! Small files become one; what readers see while it happens.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow::record_batch::RecordBatch;
use engine_lake::{
    CompactionConfig, CompactionError, CompactionOff, LakeConfig, LakeWriter, PartitionBy, Snapshot, WriterId, recover,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::folder::{Table, batch, by_date, merge_all, merging, numbered, schema, writer_id};
use crate::world::parquet_files;

/// A checkpoint with one file in the folder of 1970-01-01.
fn publish(writer: &mut LakeWriter, checkpoint: u64, values: std::ops::Range<i64>) {
    let rows: Vec<_> = values.map(|value| (Some(0), None, value)).collect();
    writer.write(&batch(&rows)).unwrap();
    let staged = writer.stage(checkpoint).unwrap();
    writer.publish(&staged).unwrap();
}

#[test]
fn small_files_become_one_and_the_last_checkpoint_stays() {
    let table = Table::new();
    let mut writer = table.writer(merging());
    for checkpoint in 0..10_u64 {
        let first = checkpoint.cast_signed() * 10;
        publish(&mut writer, checkpoint, first..first + 10);
    }
    let done = merge_all(&mut writer).unwrap();
    assert_eq!(done.len(), 1);
    assert_eq!((done[0].files, done[0].rows), (9, 90));
    assert_eq!(done[0].folder, "dt=1970-01-01");
    assert!(done[0].bytes < done[0].bytes_before);
    let visible = table.visible();
    assert_eq!(visible.len(), 2, "{visible:?}");
    let names: Vec<_> = visible
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap())
        .collect();
    assert!(names[0].starts_with("test.lake.0-0000000008-m00000-"), "{names:?}");
    assert!(names[1].starts_with("test.lake.0-0000000009-00000-"), "{names:?}");
    assert_eq!(table.values(), (0..100).collect::<Vec<_>>());
    let stats = writer.stats();
    assert_eq!((stats.merges, stats.files_merged, stats.merges_failed), (1, 9, 0));
    let snapshot = Snapshot::read(&table.store).unwrap();
    assert_eq!((snapshot.version, snapshot.files.len(), snapshot.rows()), (11, 2, 100));

    // A merged file is encoded as any other, and its rows are in the order in which they came.
    let file = fs::File::open(&visible[0]).unwrap();
    let merged = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    assert_eq!(merged.metadata().num_row_groups(), 1);
    assert_eq!(merged.schema().fields(), writer.file_schema().fields());
    // What was replaced stays for listings that are under way, out of the table.
    let mut kept = Vec::new();
    parquet_files(table.folder.above(), &mut kept);
    assert_eq!(kept.len(), 2 + 10);
    drop(writer);
    recover(&table.store, &writer_id(), None).unwrap();
    let mut config = merging();
    config.compaction.as_mut().unwrap().grace = Duration::ZERO;
    let mut writer = table.writer(config);
    merge_all(&mut writer).unwrap();
    drop(writer);
    assert_eq!(table.workspaces(), Vec::<String>::new());
}

#[test]
fn nothing_is_merged_before_it_is_worth_it() {
    let table = Table::new();
    let mut config = merging();
    config.compaction.as_mut().unwrap().files_min = 4;
    let mut writer = table.writer(config);
    for checkpoint in 0..4 {
        publish(&mut writer, checkpoint, 0..1);
        assert_eq!(merge_all(&mut writer).unwrap(), []);
    }
    // The fifth file leaves four that are not of the last checkpoint.
    publish(&mut writer, 4, 0..1);
    assert_eq!(merge_all(&mut writer).unwrap().len(), 1);

    let table = Table::new();
    let mut config = merging();
    config.compaction.as_mut().unwrap().interval = Duration::from_secs(300);
    let mut writer = table.writer(config);
    assert_eq!(writer.compaction_due(), None);
    for checkpoint in 0..4 {
        publish(&mut writer, checkpoint, 0..1);
    }
    let due = writer.compaction_due().unwrap();
    assert!(due > Instant::now() + Duration::from_secs(200));
    assert!(writer.begin_compaction(Instant::now()).unwrap().is_none());
    let merge = writer.begin_compaction(due).unwrap().unwrap();
    assert_eq!((merge.folder(), merge.files()), ("dt=1970-01-01", 3));
    // One at a time.
    assert!(
        writer
            .begin_compaction(due + Duration::from_secs(900))
            .unwrap()
            .is_none()
    );
    // A merge that is told to stop changes nothing.
    let merged = merge.run(&AtomicBool::new(true));
    assert_eq!(writer.finish_compaction(merged, due).unwrap(), None);
    assert_eq!(table.visible().len(), 4);
}

#[test]
fn files_that_are_not_ours_to_merge_stay_in_the_folder() {
    let table = Table::new();
    let mut writer = table.writer(merging());
    publish(&mut writer, 0, 0..10);
    let folder = table.folder.path().join("dt=1970-01-01");
    let own = table.visible()[0].clone();
    fs::copy(&own, folder.join("somebody-else.parquet")).unwrap();
    fs::write(folder.join("_SUCCESS"), "").unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o751)).unwrap();
    for checkpoint in 1..4 {
        publish(&mut writer, checkpoint, 10..20);
    }
    assert_eq!(merge_all(&mut writer).unwrap()[0].files, 3);
    let names: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 4, "{names:?}");
    assert!(folder.join("_SUCCESS").exists() && folder.join("somebody-else.parquet").exists());
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o751);

    // A folder in it cannot be linked: the files stay as they are, and the writer goes on.
    fs::create_dir(folder.join("hour=1")).unwrap();
    for checkpoint in 4..7 {
        publish(&mut writer, checkpoint, 20..30);
    }
    let merge = writer.begin_compaction(Instant::now()).unwrap().unwrap();
    let merged = merge.run(&AtomicBool::new(false));
    let refused = writer.finish_compaction(merged, Instant::now());
    assert!(matches!(refused, Err(CompactionError::NotPlain { .. })), "{refused:?}");
    assert!(folder.join("hour=1").exists());
    publish(&mut writer, 7, 30..40);
}

#[test]
fn files_of_other_columns_are_left_alone() {
    let table = Table::new();
    let mut writer = table.writer(merging());
    for checkpoint in 0..3 {
        publish(&mut writer, checkpoint, 0..10);
    }
    drop(writer);
    recover(&table.store, &writer_id(), None).unwrap();
    // The pipeline has another column now.
    let rows = numbered(0..10);
    let fields: Vec<_> = rows.schema().fields().iter().cloned().collect();
    let mut fields: Vec<_> = fields.iter().map(|field| field.as_ref().clone()).collect();
    fields[2] = fields[2].clone().with_name("amount");
    let schema = std::sync::Arc::new(arrow::datatypes::Schema::new(fields));
    let mut writer = LakeWriter::open(table.store.clone(), merging(), schema.clone(), writer_id()).unwrap();
    for checkpoint in 3..6 {
        let rows = RecordBatch::try_new(schema.clone(), rows.columns().to_vec()).unwrap();
        writer.write(&rows).unwrap();
        let staged = writer.stage(checkpoint).unwrap();
        writer.publish(&staged).unwrap();
    }
    let merge = writer.begin_compaction(Instant::now()).unwrap().unwrap();
    assert_eq!(merge.files(), 5);
    let merged = merge.run(&AtomicBool::new(false));
    let compacted = writer.finish_compaction(merged, Instant::now()).unwrap().unwrap();
    assert_eq!((compacted.files, compacted.rows), (2, 20));
    assert_eq!(table.visible().len(), 5);
}

#[test]
fn a_writer_says_why_it_does_not_merge() {
    let table = Table::new();
    let off = |writer: &LakeWriter| writer.compaction_off().map(ToString::to_string).unwrap_or_default();
    let mut config = merging();
    config.compaction = None;
    assert_eq!(off(&table.writer(config)), "it is not asked for");
    let config = LakeConfig {
        partition_by: Vec::new(),
        ..merging()
    };
    assert_eq!(
        off(&table.writer(config)),
        "without partition_by there is no folder that could be replaced in one step"
    );

    // Another writer takes the table over: from then on neither merges, since each may publish at any moment.
    let mut first = table.writer(merging());
    assert!(first.compaction_off().is_none());
    for checkpoint in 0..3 {
        publish(&mut first, checkpoint, 0..10);
    }
    let merge = first.begin_compaction(Instant::now()).unwrap().unwrap();
    let other = WriterId::new("other.lake.0").unwrap();
    recover(&table.store, &other, None).unwrap();
    let second = LakeWriter::open(table.store.clone(), merging(), schema(), other).unwrap();
    assert_eq!(
        off(&second),
        "another writer uses the table: \"_staging/test.lake.0\" is its folder, remove it if that writer is gone for good"
    );
    let merged = merge.run(&AtomicBool::new(false));
    assert!(first.finish_compaction(merged, Instant::now()).is_err());
    assert!(matches!(first.compaction_off(), Some(CompactionOff::TakenOver)));
    assert_eq!((first.stats().merges_failed, table.visible().len()), (1, 3));
    publish(&mut first, 3, 0..10);
    assert!(first.begin_compaction(Instant::now()).unwrap().is_none());
}

#[test]
fn what_an_earlier_life_left_small_is_merged_by_the_next() {
    let table = Table::new();
    let mut writer = table.writer(by_date());
    for checkpoint in 0..5 {
        publish(&mut writer, checkpoint, 0..10);
    }
    drop(writer);
    recover(&table.store, &writer_id(), None).unwrap();
    let mut writer = table.writer(merging());
    // Not before this life has published something: until then it may have been taken over without knowing it.
    assert_eq!(merge_all(&mut writer).unwrap(), []);
    writer.write(&numbered(48..50)).unwrap();
    let staged = writer.stage(5).unwrap();
    writer.publish(&staged).unwrap();
    let done = merge_all(&mut writer).unwrap();
    assert_eq!((done.len(), done[0].files), (1, 5));
}

#[test]
fn nested_partitions_are_merged_folder_by_folder() {
    let table = Table::new();
    let mut writer = table.writer(LakeConfig {
        partition_by: vec![PartitionBy::date_of("dt", "time"), PartitionBy::column("name")],
        ..merging()
    });
    for checkpoint in 0..4 {
        writer.write(&numbered(0..48)).unwrap();
        let staged = writer.stage(checkpoint).unwrap();
        writer.publish(&staged).unwrap();
    }
    let done = merge_all(&mut writer).unwrap();
    let folders: BTreeMap<_, _> = done.iter().map(|done| (done.folder.as_str(), done.files)).collect();
    assert_eq!(folders.len(), 6, "{folders:?}");
    assert_eq!(folders["dt=1970-01-02/name=n2"], 3);
    assert_eq!(table.visible().len(), 12);
    assert_eq!(table.values().len(), 4 * 48);
}

#[test]
fn a_reader_that_lists_all_the_while_sees_every_published_row_once() {
    const CHECKPOINTS: u64 = 150;
    let table = Table::new();
    let (published, has_failed) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut looks, mut repeated) = (0_u64, 0_u64);
            loop {
                let before = published.load(Ordering::Acquire);
                // Whoever finds a listed file gone lists again.
                match rows(table.folder.path()) {
                    None => repeated += 1,
                    Some(mut rows) => {
                        looks += 1;
                        rows.sort_unstable();
                        let whole = i64::try_from(rows.len()).unwrap();
                        assert_eq!(rows, (0..whole).collect::<Vec<_>>(), "none twice, none missing");
                        assert!(whole >= before.cast_signed() * 10, "{whole} after {before}");
                    }
                }
                if before == CHECKPOINTS || has_failed.load(Ordering::Acquire) {
                    return (looks, repeated);
                }
            }
        });
        let writing = SetOnPanic(&has_failed);
        let mut config = merging();
        config.compaction = Some(CompactionConfig {
            interval: Duration::from_millis(20),
            ..config.compaction.unwrap()
        });
        let mut writer = table.writer(config);
        let mut merges = 0;
        for checkpoint in 0..CHECKPOINTS {
            let first = checkpoint.cast_signed() * 10;
            publish(&mut writer, checkpoint, first..first + 10);
            published.store(checkpoint + 1, Ordering::Release);
            if let Some(merge) = writer.begin_compaction(Instant::now()).unwrap() {
                let merged = merge.run(&AtomicBool::new(false));
                merges += u64::from(writer.finish_compaction(merged, Instant::now()).unwrap().is_some());
            }
        }
        drop(writing);
        let (looks, repeated) = reader.join().unwrap();
        println!("{looks} looks, {repeated} repeated, {merges} merges");
        assert!(looks > 10 && merges > 5, "{looks} looks, {merges} merges");
    });
}

/// Lets the reader end when the writer fails.
struct SetOnPanic<'a>(&'a AtomicBool);

impl Drop for SetOnPanic<'_> {
    fn drop(&mut self) {
        self.0.store(std::thread::panicking(), Ordering::Release);
    }
}

/// The rows of every Parquet file below a folder; `None` if a listed one is gone when it is opened.
fn rows(folder: &Path) -> Option<Vec<i64>> {
    let mut files = Vec::new();
    parquet_files(folder, &mut files);
    let mut rows = Vec::new();
    for path in files {
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{path:?}");
                return None;
            }
        };
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
        for batch in reader {
            let batch = batch.unwrap();
            let values = batch.column_by_name("value").unwrap().clone();
            let values = arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(&values)
                .values()
                .to_vec();
            rows.extend(values);
        }
    }
    Some(rows)
}

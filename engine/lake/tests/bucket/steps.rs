//! The protocol when nothing goes wrong.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMillisecondArray};
use arrow::record_batch::RecordBatch;
use engine_lake::{
    Compression, LakeConfig, LakeWriter, PartitionBy, PublishError, RecoverError, RecoveryConflict, Snapshot, WriterId,
    publish, recover,
};

use crate::table::{Table, by_date, numbered, open_writer, schema, writer_id};

#[test]
fn rows_are_invisible_until_their_checkpoint_is_published() {
    let Some(table) = Table::new() else { return };
    let mut writer = open_writer(&table.store, by_date()).unwrap();
    writer.write(&numbered(0..48)).unwrap();
    let staged = writer.stage(1).unwrap();
    assert_eq!((staged.rows(), staged.files().len()), (48, 2));
    assert_eq!(table.visible(), [""; 0]);
    assert_eq!(table.staged().len(), 2);
    writer.write(&numbered(48..50)).unwrap();
    let published = writer.publish(&staged).unwrap();
    assert_eq!((published.files, published.rows, published.files_before), (2, 48, 0));
    assert_eq!(table.values(), (0..48).collect::<Vec<_>>());
    let again = writer.publish(&staged).unwrap();
    assert_eq!((again.files, again.files_before), (0, 2));
    let next = writer.stage(2).unwrap();
    writer.publish(&next).unwrap();
    assert_eq!(table.values(), (0..50).collect::<Vec<_>>());
    assert_eq!(table.staged(), [""; 0]);
}

#[test]
fn partition_values_of_any_kind_become_keys() {
    let Some(table) = Table::new() else { return };
    let config = LakeConfig {
        partition_by: vec![PartitionBy::column("name")],
        ..LakeConfig::default()
    };
    let mut writer = open_writer(&table.store, config).unwrap();
    writer.write(&numbered(0..3)).unwrap();
    let staged = writer.stage(1).unwrap();
    let path = staged.files()[0].path();
    assert!(path.starts_with("name=a%2F0%25%20ü/"), "{path}");
    writer.publish(&staged).unwrap();
    assert_eq!(table.values(), [0, 1, 2]);
    assert_eq!(table.visible().len(), 3);
}

/// Rows that compress to nearly nothing less than they are.
pub(crate) fn scattered(rows: i64) -> RecordBatch {
    let value = |row: i64| row.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as i64);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMillisecondArray::from_iter_values(
            (0..rows).map(|row| value(row) >> 20),
        )),
        Arc::new(StringArray::from_iter_values((0..rows).map(|_| ""))),
        Arc::new(Int64Array::from_iter_values((0..rows).map(value))),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

#[test]
fn a_large_file_goes_up_in_parts_and_a_crash_among_them_leaves_none() {
    let Some(table) = Table::new() else { return };
    let config = LakeConfig {
        compression: Compression::None,
        dictionary: false,
        row_group_rows: 200_000,
        ..LakeConfig::default()
    };
    let rows = scattered(1_200_000); // 16 bytes each: two parts and a rest.
    let mut writer = open_writer(&table.store, config.clone()).unwrap();
    writer.write(&rows.slice(0, 600_000)).unwrap();
    assert_eq!(table.unfinished_uploads(), 1);
    std::mem::forget(writer); // kill -9.
    assert_eq!(recover(&table.store, &writer_id(), None).unwrap().files_deleted, 1);
    assert_eq!(table.unfinished_uploads(), 0);

    let mut writer = open_writer(&table.store, config).unwrap();
    writer.write(&rows).unwrap();
    let staged = writer.stage(1).unwrap();
    assert_eq!(table.unfinished_uploads(), 0);
    assert!(staged.bytes() > 2 * (8 << 20));
    // Both places, as after a crash between copy and delete: more than one piece is compared.
    let (source, target) = (&table.staged()[0], staged.files()[0].path());
    table.copy(source, target);
    recover(&table.store, &writer_id(), Some(&staged)).unwrap();
    assert_eq!(table.values().len(), 1_200_000);
    assert_eq!(table.staged(), [""; 0]);
}

#[test]
fn an_upload_that_recovery_dropped_cannot_be_completed_by_the_zombie_that_began_it() {
    let Some(table) = Table::new() else { return };
    let config = LakeConfig {
        compression: Compression::None,
        dictionary: false,
        row_group_rows: 200_000,
        ..LakeConfig::default()
    };
    // Servers fail here in ways that look as if asking again might help.
    let store = table.store_at(&table.server.address, Duration::from_millis(500));
    let mut zombie = open_writer(&store, config).unwrap();
    zombie.write(&scattered(600_000)).unwrap();
    recover(&table.store, &writer_id(), None).unwrap();
    assert!(zombie.stage(1).is_err(), "its upload was aborted under it");
    assert_eq!(table.keys(), [""; 0]);
}

#[test]
fn a_lost_or_changed_file_is_an_error_and_deletes_nothing() {
    let Some(table) = Table::new() else { return };
    let mut writer = open_writer(&table.store, LakeConfig::default()).unwrap();
    writer.write(&numbered(0..10)).unwrap();
    let staged = writer.stage(1).unwrap();
    let key = table.staged()[0].clone();
    let conflict = || match recover(&table.store, &writer_id(), Some(&staged)) {
        Err(RecoverError::Publish(PublishError::Conflict { source, .. })) => source,
        other => panic!("{other:?}"),
    };
    let path = format!("/{}/lake/events/{key}", table.bucket);
    assert_eq!(table.server.ask("PUT", &path).0, 200); // Now empty.
    assert!(matches!(conflict(), RecoveryConflict::Size { found: 0, .. }));
    assert_eq!(table.keys().len(), 1);
    assert_eq!(table.server.ask("DELETE", &path).0, 204);
    assert!(matches!(conflict(), RecoveryConflict::Missing { rows: 10, .. }));
    assert!(publish(&table.store, &staged).is_err());
}

#[test]
fn of_writers_that_publish_at_once_none_overwrites_the_manifest_of_another() {
    let Some(table) = Table::new() else { return };
    std::thread::scope(|scope| {
        for number in 0..4_i64 {
            let store = table.store.clone();
            scope.spawn(move || {
                let writer_id = WriterId::new(format!("test.lake.{number}")).unwrap();
                let mut writer = LakeWriter::open(store, by_date(), schema(), writer_id).unwrap();
                for checkpoint in 0..5_i64 {
                    let first = (number * 5 + checkpoint) * 10;
                    writer.write(&numbered(first..first + 10)).unwrap();
                    let staged = writer.stage(checkpoint.unsigned_abs()).unwrap();
                    writer.publish(&staged).unwrap();
                }
            });
        }
    });
    let snapshot = Snapshot::read(&table.store).unwrap();
    assert_eq!((snapshot.version, snapshot.rows()), (20, 200));
    assert_eq!(table.values(), (0..200).collect::<Vec<_>>());
}

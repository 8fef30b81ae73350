//! What readers see before, during and after a publish, and after a crash at every step.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use engine_lake::{
    LakeConfig, PublishError, RecoverError, Recovered, RecoveryConflict, StageError, WriterId, publish, recover,
};

use crate::folder::{Table, by_date, numbered, through_the_state, writer_id};

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

/// Pitfall 20 of the stream engine: also between the last file and its acknowledgement.
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

/// Pitfall 21 of the stream engine: all the while.
#[test]
fn a_reader_that_lists_the_folder_all_the_while_sees_only_whole_files() {
    let table = Table::new();
    let written = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut rows = 0;
            loop {
                let is_last = written.load(Ordering::Acquire);
                let seen = table.values().len();
                assert!(seen >= rows, "{seen} rows after {rows}");
                rows = seen;
                if is_last {
                    return rows;
                }
            }
        });
        let mut writer = table.writer(by_date());
        for checkpoint in 0..20 {
            writer
                .write(&numbered(checkpoint * 100..(checkpoint + 1) * 100))
                .unwrap();
            let staged = writer.stage(checkpoint.unsigned_abs()).unwrap();
            writer.publish(&staged).unwrap();
        }
        written.store(true, Ordering::Release);
        assert_eq!(reader.join().unwrap(), 2_000);
    });
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

/// Pitfall 18 of the stream engine: two owners of one checkpoint have names of their own.
/// Pitfall 23 of the stream engine: its files are not those of its successor.
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

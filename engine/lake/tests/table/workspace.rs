//! What merges keep beside the table: whoever can merge does, whatever went before, and nothing stays for ever.

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use engine_lake::{CompactionOff, LakeConfig, LakeStore, LakeWriter, StepProbe, recover};

use crate::folder::{Table, by_date, merge_all, merging, numbered, schema, writer_id};

fn publish(writer: &mut LakeWriter, checkpoint: u64) {
    let first = checkpoint.cast_signed();
    writer.write(&numbered(first..first + 1)).unwrap();
    let staged = writer.stage(checkpoint).unwrap();
    writer.publish(&staged).unwrap();
}

fn open(store: &LakeStore, config: LakeConfig) -> LakeWriter {
    recover(store, &writer_id(), None).unwrap();
    LakeWriter::open(store.clone(), config, schema(), writer_id()).unwrap()
}

#[test]
fn where_folders_cannot_be_exchanged_no_life_leaves_anything_beside_the_table() {
    let table = Table::new();
    let store = table.store.clone().with_probe(StepProbe::new(|step, _| match step {
        "exchange" => Err(io::ErrorKind::Unsupported.into()),
        _ => Ok(()),
    }));
    for checkpoint in 0..3 {
        let mut writer = open(&store, merging());
        let off = writer.compaction_off();
        assert!(matches!(off, Some(CompactionOff::CannotExchange(_))), "{off:?}");
        publish(&mut writer, checkpoint);
        std::mem::forget(writer); // kill -9.
        assert_eq!(table.workspaces(), Vec::<String>::new());
    }
}

#[test]
fn folders_that_were_replaced_are_deleted_also_when_nobody_merges_any_more() {
    let table = Table::new();
    let mut writer = open(&table.store, merging());
    for checkpoint in 0..4 {
        publish(&mut writer, checkpoint);
    }
    assert_eq!(merge_all(&mut writer).unwrap().len(), 1);
    std::mem::forget(writer); // kill -9.
    assert_eq!(table.workspaces().len(), 1);
    let config = LakeConfig {
        compaction: None,
        ..by_date()
    };
    drop(open(&table.store, config));
    assert_eq!(table.workspaces(), Vec::<String>::new());
    assert_eq!(table.values(), [0, 1, 2, 3]);
}

/// Its files may be on another disk, because there is room.
#[test]
fn a_partition_folder_that_is_a_link_to_elsewhere_stays_one() {
    let table = Table::new();
    let elsewhere = table.folder.above().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let folder = table.folder.path().join("dt=1970-01-01");
    std::os::unix::fs::symlink(&elsewhere, &folder).unwrap();
    let mut writer = open(&table.store, merging());
    for checkpoint in 0..4 {
        publish(&mut writer, checkpoint);
    }
    assert_eq!(merge_all(&mut writer).unwrap(), []);
    assert!(fs::symlink_metadata(&folder).unwrap().is_symlink());
    assert_eq!(table.values(), [0, 1, 2, 3]);
}

/// Somebody's note, or what a file system or a desktop leaves in folders.
#[test]
fn a_stray_file_beside_the_workspaces_stops_nobody() {
    let table = Table::new();
    let home = table.folder.above().join(".table.compaction");
    fs::create_dir(&home).unwrap();
    fs::write(home.join(".DS_Store"), "").unwrap();
    for checkpoint in 0..3 {
        let mut writer = open(&table.store, merging());
        assert!(writer.compaction_off().is_none());
        publish(&mut writer, checkpoint);
    }
    assert_eq!(table.workspaces(), [".DS_Store"]);
}

#[test]
fn a_merge_that_cannot_be_completed_is_not_tried_again_at_once() {
    let table = Table::new();
    let fails = Arc::new(AtomicBool::new(false));
    let failing = fails.clone();
    let store = table.store.clone().with_probe(StepProbe::new(move |step, path| {
        let is_manifest = step == "create" && path.starts_with("_manifest");
        if is_manifest && failing.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }));
    let mut config = merging();
    config.compaction.as_mut().unwrap().interval = Duration::from_secs(300);
    let mut writer = open(&store, config);
    for checkpoint in 0..4 {
        // Two folders.
        writer.write(&numbered(23..25)).unwrap();
        let staged = writer.stage(checkpoint).unwrap();
        writer.publish(&staged).unwrap();
    }
    fails.store(true, Ordering::Relaxed);
    let now = writer.compaction_due().unwrap() + Duration::from_secs(1);
    let merge = writer.begin_compaction(now).unwrap().unwrap();
    let merged = merge.run(&AtomicBool::new(false));
    assert!(writer.finish_compaction(merged, now).is_err());
    assert!(writer.begin_compaction(now).is_err());
    let next = writer.compaction_due().unwrap();
    assert!(next >= now + Duration::from_secs(300), "{:?}", next - now);
    // Each row is there once, in whatever files.
    assert_eq!(table.values().len(), 8);
    fails.store(false, Ordering::Relaxed);
    assert!(writer.begin_compaction(next).unwrap().is_some());
}

/// A merge whose step `fails_at` fails, once. Whether there was such a step.
fn survives_one_failing_step(fails_at: u64) -> bool {
    let table = Table::new();
    let (armed, steps) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (is_armed, counted) = (armed.clone(), steps.clone());
    let store = table.store.clone().with_probe(StepProbe::new(move |_, _| {
        let is_merging = is_armed.load(Ordering::Relaxed) == 1;
        if is_merging && counted.fetch_add(1, Ordering::Relaxed) == fails_at {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }));
    let mut config = merging();
    config.compaction.as_mut().unwrap().grace = Duration::ZERO;
    let mut writer = open(&store, config);
    for checkpoint in 0..4 {
        publish(&mut writer, checkpoint);
    }
    armed.store(1, Ordering::Relaxed);
    let failures = [merge_all(&mut writer), merge_all(&mut writer), merge_all(&mut writer)].map(|done| done.is_err());
    armed.store(0, Ordering::Relaxed);
    let has_failed = steps.load(Ordering::Relaxed) > fails_at;
    assert_eq!(failures, [has_failed, false, false], "step {fails_at}");
    // The same writer merges what comes next, and keeps nothing of what it has replaced.
    publish(&mut writer, 4);
    publish(&mut writer, 5);
    assert!(merge_all(&mut writer).is_ok());
    assert_eq!(table.visible().len(), 2, "step {fails_at}");
    assert_eq!(table.values(), (0..6).collect::<Vec<_>>());
    assert!(writer.begin_compaction(Instant::now()).unwrap().is_none());
    drop(writer);
    assert_eq!(table.workspaces(), Vec::<String>::new(), "step {fails_at}");
    has_failed
}

#[test]
fn a_writer_goes_on_merging_after_a_merge_that_failed_at_any_step() {
    let failed = (0..).take_while(|step| survives_one_failing_step(*step)).count();
    println!("{failed} steps of a merge");
    assert!(failed > 15, "{failed}");
}

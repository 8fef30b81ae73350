//! The table's own account of its files.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engine_lake::{
    LakeWriter, ManifestError, PublishError, RecoverError, Snapshot, StepProbe, WriterId, publish, recover,
};

use crate::folder::{Table, by_date, merge_all, merging, numbered, schema, writer_id};

fn publish_one(writer: &mut LakeWriter, checkpoint: u64) {
    writer.write(&numbered(0..1)).unwrap();
    let staged = writer.stage(checkpoint).unwrap();
    writer.publish(&staged).unwrap();
}

fn names(table: &Table) -> Vec<String> {
    let entries = fs::read_dir(table.folder.path().join("_manifest")).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn every_checkpoint_with_files_is_a_change_that_any_json_reader_can_read() {
    let table = Table::new();
    assert_eq!(Snapshot::read(&table.store).unwrap().version, 0);
    let mut writer = table.writer(by_date());
    writer.write(&numbered(0..30)).unwrap();
    let staged = writer.stage(7).unwrap();
    writer.publish(&staged).unwrap();
    writer.publish(&staged).unwrap();
    let nothing = writer.stage(8).unwrap();
    writer.publish(&nothing).unwrap();

    assert_eq!(names(&table), ["00000000000000000001.json"]);
    let json = fs::read(table.folder.path().join("_manifest/00000000000000000001.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["version"], 1);
    assert_eq!(json["operation"], "checkpoint");
    assert_eq!(
        (&json["checkpoint"], &json["writer"]),
        (&7.into(), &"test.lake.0".into())
    );
    assert_eq!(json["added"][0]["rows"], 24);
    assert_eq!(json["added"][1]["partition"]["dt"], "1970-01-02");
    assert_eq!(json["removed"].as_array().unwrap().len(), 0);
    let snapshot = Snapshot::read(&table.store).unwrap();
    assert_eq!((snapshot.version, snapshot.rows()), (1, 30));
    for (file, staged) in snapshot.files.iter().zip(staged.files()) {
        assert_eq!((file.path.as_str(), file.bytes), (staged.path(), staged.bytes()));
    }
}

#[test]
fn the_manifest_of_a_long_life_stays_small_and_whole() {
    let table = Table::new();
    let mut writer = table.writer(merging());
    publish_one(&mut writer, 0);
    // What a kill leaves of a change that was being written.
    let unfinished = table.folder.path().join("_manifest/00000000000000000002.json#1-0");
    fs::write(unfinished, "{").unwrap();
    for checkpoint in 1..330 {
        publish_one(&mut writer, checkpoint);
        if checkpoint % 20 == 0 {
            merge_all(&mut writer).unwrap();
        }
    }
    let names = names(&table);
    assert!(names.len() <= 202, "{} names", names.len());
    assert!(names.iter().all(|name| name.ends_with(".json")), "{names:?}");
    let lists: Vec<_> = names.iter().filter(|name| name.ends_with(".all.json")).collect();
    assert_eq!(
        lists,
        ["00000000000000000200.all.json", "00000000000000000300.all.json"]
    );
    let snapshot = Snapshot::read(&table.store).unwrap();
    assert_eq!((snapshot.version, snapshot.rows()), (330 + 16, 330));
    let paths: Vec<_> = snapshot
        .files
        .iter()
        .map(|file| table.folder.path().join(&file.path))
        .collect();
    assert_eq!(paths, table.visible());
}

#[test]
fn a_writer_that_was_overtaken_reads_what_the_others_wrote() {
    let table = Table::new();
    let mut slow = table.writer(by_date());
    publish_one(&mut slow, 1);
    let other = WriterId::new("test.lake.1").unwrap();
    let mut fast = LakeWriter::open(table.store.clone(), by_date(), schema(), other).unwrap();
    // So far that the version after the one that `slow` knows has been taken and deleted.
    for checkpoint in 1..=350 {
        publish_one(&mut fast, checkpoint);
    }
    assert!(!names(&table).contains(&"00000000000000000002.json".to_owned()));
    publish_one(&mut slow, 2);
    publish_one(&mut fast, 351);
    publish_one(&mut slow, 3);
    let snapshot = Snapshot::read(&table.store).unwrap();
    assert_eq!((snapshot.version, snapshot.rows()), (354, 354));
}

#[test]
fn the_files_of_a_table_without_a_manifest_are_found() {
    let table = Table::new();
    let mut writer = table.writer(by_date());
    writer.write(&numbered(0..30)).unwrap();
    let staged = writer.stage(1).unwrap();
    writer.publish(&staged).unwrap();
    drop(writer);
    let before = Snapshot::read(&table.store).unwrap();
    fs::remove_dir_all(table.folder.path().join("_manifest")).unwrap();

    recover(&table.store, &writer_id(), Some(&staged)).unwrap();
    let found = Snapshot::read(&table.store).unwrap();
    assert_eq!(found.files, before.files);
}

#[test]
fn a_damaged_manifest_is_an_error_that_says_what_to_do() {
    let table = Table::new();
    let mut writer = table.writer(by_date());
    publish_one(&mut writer, 1);
    publish_one(&mut writer, 2);
    let path = table.folder.path().join("_manifest/00000000000000000001.json");
    let content = fs::read(&path).unwrap();

    fs::write(&path, &content[..20]).unwrap();
    let error = Snapshot::read(&table.store).unwrap_err();
    assert!(
        error.to_string().contains("remove its folder to begin a new manifest"),
        "{error}"
    );
    fs::remove_file(&path).unwrap();
    let error = Snapshot::read(&table.store).unwrap_err();
    assert!(matches!(error, ManifestError::Gap { version: 1, .. }), "{error}");
    let newer = String::from_utf8(content)
        .unwrap()
        .replace("\"format\":1", "\"format\":2");
    fs::write(&path, newer).unwrap();
    let error = recover(&table.store, &writer_id(), None).unwrap_err();
    assert!(
        matches!(error, RecoverError::Manifest(ManifestError::Format { format: 2, .. })),
        "{error}"
    );
}

#[test]
fn files_that_were_merged_or_deleted_after_their_publishing_are_not_missed() {
    let table = Table::new();
    let mut writer = table.writer(merging());
    let mut staged = Vec::new();
    for checkpoint in 1..=3 {
        writer.write(&numbered(0..1)).unwrap();
        let of_checkpoint = writer.stage(checkpoint).unwrap();
        writer.publish(&of_checkpoint).unwrap();
        staged.push(of_checkpoint);
    }
    assert_eq!(merge_all(&mut writer).unwrap().len(), 1);
    // A process that slept since its commit.
    let published = publish(&table.store, &staged[0]).unwrap();
    assert_eq!((published.files, published.files_before), (0, 1));
    // Somebody has no use for that day any more.
    fs::remove_dir_all(table.folder.path().join("dt=1970-01-01")).unwrap();
    publish(&table.store, &staged[2]).unwrap();
    recover(&table.store, &writer_id(), Some(&staged[2])).unwrap();

    // Without a manifest nobody knows that they were published.
    fs::remove_dir_all(table.folder.path().join("_manifest")).unwrap();
    let missing = publish(&table.store, &staged[2]).unwrap_err();
    assert!(matches!(missing, PublishError::Conflict { .. }), "{missing}");
}

/// Whoever believed it would read the same change for ever.
#[test]
fn a_document_that_tells_another_version_than_its_name_is_damaged() {
    let table = Table::new();
    let mut writer = table.writer(by_date());
    publish_one(&mut writer, 1);
    let folder = table.folder.path().join("_manifest");
    let first = folder.join("00000000000000000001.json");
    let second = folder.join("00000000000000000002.json");
    fs::copy(&first, &second).unwrap();
    let error = Snapshot::read(&table.store).unwrap_err();
    assert!(error.to_string().contains("002.json\" is damaged"), "{error}");
    fs::remove_file(&second).unwrap();

    let all = format!(r#"{{"format":1,"version":{},"published":[],"files":[]}}"#, u64::MAX);
    let list = folder.join("00000000000000000001.all.json");
    fs::write(&list, &all).unwrap();
    let error = Snapshot::read(&table.store).unwrap_err();
    assert!(error.to_string().contains("001.all.json\" is damaged"), "{error}");
    fs::remove_file(&list).unwrap();
    // No table has changed so often: somebody's note.
    fs::write(folder.join(format!("{}.all.json", u64::MAX)), &all).unwrap();
    assert_eq!(Snapshot::read(&table.store).unwrap().version, 1);
}

/// A manifest that a power cut leaves, and files that it takes back, would let a recovery believe that they had been merged.
#[test]
fn the_manifest_tells_of_files_only_once_their_names_are_durable() {
    let table = Table::new();
    let (renamed, told) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (unsynced, appended) = (renamed.clone(), told.clone());
    let store = table.store.clone().with_probe(StepProbe::new(move |step, path| {
        match step {
            "publish" => {
                unsynced.fetch_add(1, Ordering::Relaxed);
            }
            "sync" => unsynced.store(0, Ordering::Relaxed),
            "create" if path.starts_with("_manifest") => {
                assert_eq!(unsynced.load(Ordering::Relaxed), 0, "files that a power cut takes back");
                appended.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
        Ok(())
    }));
    let mut writer = LakeWriter::open(store.clone(), by_date(), schema(), writer_id()).unwrap();
    publish_one(&mut writer, 1);
    writer.write(&numbered(0..48)).unwrap();
    let staged = writer.stage(2).unwrap();
    drop(writer);
    recover(&store, &writer_id(), Some(&staged)).unwrap();
    assert_eq!(told.load(Ordering::Relaxed), 2);
    assert_eq!(renamed.load(Ordering::Relaxed), 0);
}

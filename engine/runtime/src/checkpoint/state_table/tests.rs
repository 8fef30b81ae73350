//! Torn, stale, damaged and former contents of a state topic.

mod forged;

use engine_wire::compression::Compressor;

use super::*;
use crate::checkpoint::chunk::PIECE_BYTES_MAX;

type Records = Vec<(String, Vec<u8>)>;

fn chunk_key(owner_epoch: u64, checkpoint: u64, chunk: u32) -> String {
    let key = StateKey::Chunk(ChunkKey {
        owner_epoch: OwnerEpoch(owner_epoch),
        checkpoint: CheckpointId(checkpoint),
        source: "events".into(),
        topic: "topic".into(),
        partition: 0,
        chunk,
    });
    key.to_string()
}

fn partition(checkpoint: u64) -> PartitionState {
    PartitionState {
        topic: "topic".into(),
        partition: 0,
        next_offset: checkpoint as i64 * 10,
        leader_epoch: None,
        watermark_ns: None,
        segments: vec![],
        chunks: 0,
        bytes: 0,
    }
}

/// One life of an owner: its segments so far, by checkpoint, and what it appends.
struct Owner {
    epoch: u64,
    live: Vec<(u64, Vec<Vec<u8>>)>,
}

impl Owner {
    fn new(epoch: u64) -> Self {
        let live = Vec::new();
        Owner { epoch, live }
    }

    /// The records of one checkpoint that writes a segment, and forgets those before it if it is a full one.
    fn checkpoint(&mut self, checkpoint: u64, segment: &[u8], is_full: bool) -> Records {
        let values = chunk::encode(CheckpointId(checkpoint), segment, &mut Compressor::new());
        let values: Vec<Vec<u8>> = values.into_iter().map(Vec::from).collect();
        if is_full {
            self.live.clear();
        }
        self.live.push((checkpoint, values.clone()));
        let keys = (0..).map(|chunk| chunk_key(self.epoch, checkpoint, chunk));
        let mut records: Records = keys.zip(values).collect();
        let live = || self.live.iter().flat_map(|(_, values)| values);
        let state = PartitionState {
            segments: self.live.iter().map(|(id, _)| CheckpointId(*id)).collect(),
            chunks: live().count() as u32,
            bytes: live().map(|value| value.len() as u64).sum(),
            ..partition(checkpoint)
        };
        let epoch = OwnerEpoch(self.epoch);
        let manifest = Manifest::of_events(CheckpointId(checkpoint), epoch, state);
        let key = StateKey::manifest(epoch, CheckpointId(checkpoint));
        records.push((key.to_string(), manifest.encode()));
        records
    }
}

fn full(epoch: u64, checkpoint: u64, segment: &[u8]) -> Records {
    Owner::new(epoch).checkpoint(checkpoint, segment, true)
}

fn table(records: &[(String, Vec<u8>)]) -> StateTable {
    let mut table = StateTable::default();
    for (offset, (key, value)) in records.iter().enumerate() {
        table.apply(offset as i64, Some(key.as_bytes()), Some(value)).unwrap();
    }
    table
}

fn segments_of(restored: &RestoredState) -> Vec<&[u8]> {
    let segments = &restored.segments[&("events".to_owned(), "topic".to_owned(), 0)];
    segments.iter().map(Vec::as_slice).collect()
}

#[test]
fn an_empty_topic_is_a_fresh_start() {
    assert!(StateTable::default().restore().unwrap().is_none());
}

/// Pitfall 11 of the stream engine: the state topic ends with any record of a checkpoint.
#[test]
fn a_crash_after_any_record_leaves_a_whole_checkpoint() {
    let (first, second, third) = (
        vec![1; PIECE_BYTES_MAX * 2 + 1],
        vec![2; PIECE_BYTES_MAX + 5],
        vec![3; 9],
    );
    let mut owner = Owner::new(1);
    let mut log = Vec::new();
    let mut whole = Vec::new();
    for (checkpoint, segment, is_full) in [
        (1, &first, true),
        (2, &second, false),
        (3, &third, false),
        (4, &second, true),
    ] {
        log.extend(owner.checkpoint(checkpoint, segment, is_full));
        whole.push(log.len());
    }
    let expected: [&[&[u8]]; 4] = [&[&first], &[&first, &second], &[&first, &second, &third], &[&second]];
    for crash in 0..=log.len() {
        let restored = table(&log[..crash]).restore().unwrap();
        let newest = whole.iter().filter(|end| **end <= crash).count();
        let Some(restored) = restored else {
            assert_eq!(newest, 0, "crash after {crash} records");
            continue;
        };
        assert_eq!(
            restored.manifest.checkpoint.0, newest as u64,
            "crash after {crash} records"
        );
        assert_eq!(segments_of(&restored), expected[newest - 1]);
    }
}

/// Pitfall 23 of the stream engine: what it still writes goes under keys that nobody reads.
#[test]
fn a_zombie_cannot_overwrite_its_successor() {
    let mut log = full(1, 4, b"before the pause");
    log.extend(full(2, 5, b"the successor"));
    log.extend(full(1, 5, b"the zombie"));
    log.extend(full(1, 6, b"the zombie"));
    let restored = table(&log).restore().unwrap().unwrap();
    assert_eq!(restored.manifest.owner_epoch, OwnerEpoch(2));
    assert_eq!(segments_of(&restored), [b"the successor"]);
}

fn claim(epoch: u64, is_confirmed: bool) -> (String, Vec<u8>) {
    let value = Claim {
        now_ms: 0,
        is_confirmed,
    }
    .to_string();
    (StateKey::Claim(OwnerEpoch(epoch)).to_string(), value.into_bytes())
}

/// What compaction may leave at most: of each key the last record.
fn compacted(log: &[(String, Vec<u8>)]) -> Records {
    let is_last = |index: usize| log[index + 1..].iter().all(|(key, _)| *key != log[index].0);
    (0..log.len())
        .filter(|index| is_last(*index))
        .map(|index| log[index].clone())
        .collect()
}

/// Pitfall 23 of the stream engine: a manifest that it completes behind its successor's claim is none.
#[test]
fn a_manifest_behind_the_confirmed_claim_of_a_later_owner_is_passed_over() {
    let mut owner = Owner::new(1);
    let mut log = vec![claim(1, true)];
    log.extend(owner.checkpoint(4, b"four", true));
    log.extend(owner.checkpoint(5, b"five", true));
    let late = owner.checkpoint(6, b"six", true);
    for (is_confirmed, expected) in [(true, &b"five"[..]), (false, b"six")] {
        let mut log = log.clone();
        // A claim that was not confirmed may be of a process that slept and is no owner: it stops nobody.
        log.push(claim(2, is_confirmed));
        log.extend(late.clone());
        for log in [&log, &compacted(&log)] {
            let table = table(log);
            assert_eq!(segments_of(&table.restore().unwrap().unwrap()), [expected]);
            let key = StateKey::manifest(OwnerEpoch(1), CheckpointId(6));
            assert!(
                table.keys_before(OwnerEpoch(2)).contains(&key),
                "it is cleared away some day"
            );
        }
    }
}

#[test]
fn each_life_of_the_owner_writes_under_an_epoch_that_nobody_used() {
    assert_eq!(StateTable::default().next_owner_epoch(), OwnerEpoch(1));
    let mut log = full(1, 4, b"state");
    assert_eq!(table(&log).next_owner_epoch(), OwnerEpoch(2));
    log.push((StateKey::Claim(OwnerEpoch(2)).to_string(), b"paused at once".to_vec()));
    assert_eq!(table(&log).next_owner_epoch(), OwnerEpoch(3));
    log.push(full(3, 5, b"crashed before its manifest").remove(0));
    assert_eq!(table(&log).next_owner_epoch(), OwnerEpoch(4));
    let restored = table(&log).restore().unwrap().unwrap();
    assert_eq!(
        restored.manifest.owner_epoch,
        OwnerEpoch(1),
        "a claim is not a checkpoint"
    );
}

#[test]
fn former_lives_are_cleared_with_the_manifest_last() {
    let mut log = full(1, 4, b"old");
    log.extend(full(2, 5, b"new"));
    let mut table = table(&log);
    let keys = table.keys_before(OwnerEpoch(2));
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[1], StateKey::manifest(OwnerEpoch(1), CheckpointId(4)));
    for key in keys {
        table.apply(9, Some(key.to_string().as_bytes()), None).unwrap();
    }
    assert_eq!(segments_of(&table.restore().unwrap().unwrap()), [b"new"]);
    assert_eq!(table.records.len(), 2);
    assert_eq!(table.bytes, table.records.values().map(Bytes::len).sum::<usize>());
}

fn error_of(records: &[(String, Vec<u8>)]) -> String {
    table(records).restore().unwrap_err().to_string()
}

#[test]
fn damage_is_an_error_that_names_the_record_and_says_how_to_go_on() {
    let mut owner = Owner::new(1);
    let mut log = owner.checkpoint(1, &[7; PIECE_BYTES_MAX + 1], true);
    log.truncate(2);
    log.extend(owner.checkpoint(2, b"changes", false));
    let [first, second, changes, manifest] = &log[..] else {
        panic!("three records and a manifest")
    };
    let with = |record: &(String, Vec<u8>), value: &[u8]| (record.0.clone(), value.to_vec());
    let other = |id, segment: &[u8]| chunk::encode(CheckpointId(id), segment, &mut Compressor::new());
    let mut flipped = first.1.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for (at, broken, expected) in [
        ("1/events/topic/0/0", vec![second, changes], "is missing"),
        ("1/events/topic/0/1", vec![first, changes], "is missing"),
        ("2/events/topic/0/0", vec![first, second], "is missing"),
        (
            "1/events/topic/0/0",
            vec![&with(first, &[0; 3]), second, changes],
            "cannot be read: its 3 bytes do not begin as a piece of state does",
        ),
        (
            "1/events/topic/0/0",
            vec![&with(first, &flipped), second, changes],
            "cannot be read: its checksum is",
        ),
        (
            "2/events/topic/0/0",
            vec![first, second, &with(changes, b"ESC\x09 from the future")],
            "cannot be read: it has version 9, this engine reads version 2: a newer one wrote it and is needed to read it",
        ),
        (
            "2/events/topic/0/0",
            vec![first, second, &with(changes, &other(9, b"changes")[0])],
            "holds piece 0 of 1 of checkpoint 9",
        ),
        (
            "1/events/topic/0/1",
            vec![first, &with(second, &first.1), changes],
            "holds piece 0 of 2 of checkpoint 1",
        ),
        (
            "1/events/topic/0/1",
            vec![
                first,
                &with(second, &other(1, &[7; 2 * PIECE_BYTES_MAX + 1])[1]),
                changes,
            ],
            "holds piece 1 of 3 of checkpoint 1",
        ),
        (
            "2/events/topic/0/0",
            vec![first, second, &with(changes, &other(2, b"other changes")[0])],
            "ends 3 records of ",
        ),
    ] {
        let records: Records = broken.into_iter().cloned().chain([manifest.clone()]).collect();
        let error = error_of(&records);
        let begins = format!(
            "checkpoint 2: the state of source \"events\" for topic-0 is damaged: the record state/1/{at} {expected}"
        );
        assert!(error.starts_with(&begins), "{error}\n{begins}");
        let advice = "to start anew without its open windows, delete the group's offsets and the state topic";
        assert!(error.ends_with(advice), "{error}");
    }
}

/// What an engine before segments wrote: all of the state in one of two slots.
fn former(owner_epoch: u64, checkpoint: u64, pieces: &[&[u8]]) -> Records {
    let values = pieces
        .iter()
        .map(|piece| [&checkpoint.to_be_bytes()[..], piece].concat());
    let keys = (0..).map(|chunk| chunk_key(owner_epoch, checkpoint % 2, chunk));
    let mut records: Records = keys.zip(values).collect();
    let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
    let manifest = format!(
        r#"{{"format":1,"checkpoint":{checkpoint},"owner_epoch":{owner_epoch},"created_ms":0,"sources":[{{"source":"events",
        "watermark_ns":null,"partitions":[{{"topic":"topic","partition":0,"next_offset":7,"leader_epoch":null,
        "watermark_ns":null,"chunks":{},"bytes":{bytes}}}]}}],"lake":[]}}"#,
        pieces.len()
    );
    records.push((format!("manifest/{owner_epoch}"), manifest.into_bytes()));
    records
}

#[test]
fn a_state_of_the_first_format_is_read_and_replaced_by_one_of_segments() {
    let mut log = former(3, 7, &[b"of checkpoint ", b"seven"]);
    log.extend(former(3, 8, &[b"of checkpoint eight"]));
    let restored = table(&log).restore().unwrap().unwrap();
    assert_eq!(restored.manifest.checkpoint, CheckpointId(8));
    assert_eq!(segments_of(&restored), [b"of checkpoint eight"]);
    log.extend(full(4, 9, b"in segments"));
    let table = table(&log);
    assert_eq!(segments_of(&table.restore().unwrap().unwrap()), [b"in segments"]);
    assert_eq!(table.keys_before(OwnerEpoch(4)).len(), 4, "both slots and the manifest");
}

#[test]
fn damage_in_the_first_format_is_an_error_too() {
    let log = former(1, 1, &[b"some state"]);
    for (value, expected) in [
        (None, "is missing"),
        (Some(vec![0; 3]), "has 3 bytes"),
        (Some(9u64.to_be_bytes().to_vec()), "is of checkpoint 9"),
        (
            Some(1u64.to_be_bytes().to_vec()),
            "ends 0 bytes, where the manifest says 10",
        ),
    ] {
        let piece = value.map(|value| (log[0].0.clone(), value));
        let error = error_of(&piece.into_iter().chain([log[1].clone()]).collect::<Records>());
        assert!(
            error.contains(&format!("the record state/1/1/events/topic/0/0 {expected};")),
            "{error}"
        );
    }
}

#[test]
fn a_foreign_record_is_an_error() {
    let error = StateTable::default()
        .apply(7, Some(b"order-1"), Some(b"x"))
        .unwrap_err();
    let told = error.to_string();
    for part in [
        "the foreign key \"order-1\" at offset 7",
        "another `name`",
        "run the newer engine",
    ] {
        assert!(told.contains(part), "{told}");
    }
    assert!(StateTable::default().apply(0, None, None).is_err());
}

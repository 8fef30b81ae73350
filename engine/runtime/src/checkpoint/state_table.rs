//! The compacted state topic as a table: replay every record, then ask for the newest whole checkpoint.
//!
//! Pure, so that torn, stale and hostile contents are rows of a test. Reading and writing the topic itself is
//! `state_topic`'s job.

use std::collections::HashMap;

use bytes::Bytes;

use super::manifest::{Manifest, ManifestError, PartitionState};
use super::state_key::{ChunkKey, StateKey, slot_of};
use super::{CheckpointId, OwnerEpoch};

/// The most bytes a piece of a snapshot has, well under Kafka's default `max.message.bytes` of 1 MiB.
pub const CHUNK_BYTES_MAX: usize = 512 * 1024;

/// The most bytes of state one pipeline may restore; beyond it [`StateTable::apply`] fails.
pub const STATE_BYTES_MAX: usize = 4 * 1024 * 1024 * 1024;

/// What the state topic holds.
#[derive(Debug, Default)]
pub struct StateTable {
    records: HashMap<StateKey, Bytes>,
    bytes: usize,
}

/// The newest checkpoint with its snapshots.
#[derive(Debug)]
pub struct RestoredState {
    /// The record that completed it.
    pub manifest: Manifest,
    /// The snapshot of each partition that had one: (source, topic, partition).
    pub snapshots: HashMap<(String, String, i32), Vec<u8>>,
}

/// Why the state topic cannot be used. Never a reason to start anew silently.
#[derive(Debug, thiserror::Error)]
pub enum StateTableError {
    /// Not a key that this engine writes.
    #[error("the state topic has a record with the foreign key {key:?} at offset {offset}")]
    ForeignKey {
        /// The key as text.
        key: String,
        /// Where it stands.
        offset: i64,
    },
    /// More state than a process may hold.
    #[error("the state topic holds more than {STATE_BYTES_MAX} bytes of state")]
    TooLarge,
    /// The manifest cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A piece that the manifest names is missing, of another checkpoint or of another size.
    #[error("checkpoint {checkpoint}: the state of {source_name} {topic}-{partition} is damaged: {what}")]
    Damaged {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// The source's name in the pipeline.
        source_name: String,
        /// The Kafka topic.
        topic: String,
        /// The partition of that topic.
        partition: i32,
        /// What is wrong, with its numbers.
        what: String,
    },
}

/// Cuts a snapshot into the values of its records: each is the checkpoint's number (8 bytes, big-endian) and a piece.
pub fn chunks(checkpoint: CheckpointId, snapshot: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    snapshot.chunks(CHUNK_BYTES_MAX).map(move |piece| {
        let mut value = Vec::with_capacity(8 + piece.len());
        value.extend_from_slice(&checkpoint.0.to_be_bytes());
        value.extend_from_slice(piece);
        value
    })
}

impl StateTable {
    /// Takes one record of the topic; a null value deletes.
    pub fn apply(&mut self, offset: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<(), StateTableError> {
        let key = key.unwrap_or_default();
        let Some(key) = StateKey::parse(key) else {
            return Err(StateTableError::ForeignKey {
                key: String::from_utf8_lossy(&key[..key.len().min(80)]).into_owned(),
                offset,
            });
        };
        let added = value.map_or(0, <[u8]>::len);
        let former = match value {
            Some(value) => self.records.insert(key, Bytes::copy_from_slice(value)),
            None => self.records.remove(&key),
        };
        self.bytes = self.bytes + added - former.map_or(0, |former| former.len());
        if self.bytes > STATE_BYTES_MAX {
            return Err(StateTableError::TooLarge);
        }
        Ok(())
    }

    /// The epoch of a process that takes over now: above all that anybody ever claimed or wrote under. A process that
    /// owned the partitions but never completed a checkpoint counts too: should it be paused and wake up, it must find
    /// no other process writing under its keys.
    pub fn next_owner_epoch(&self) -> OwnerEpoch {
        let highest = self.records.keys().map(|key| key.owner_epoch().0).max();
        OwnerEpoch(highest.map_or(1, |highest| highest.saturating_add(1)))
    }

    /// Keys of lives before `owner_epoch`, which its first whole checkpoint makes obsolete.
    pub fn keys_before(&self, owner_epoch: OwnerEpoch) -> Vec<StateKey> {
        let mut keys: Vec<_> = self
            .records
            .keys()
            .filter(|key| key.owner_epoch() < owner_epoch)
            .cloned()
            .collect();
        // Manifests last: were we to die in between, the old manifest would otherwise miss its pieces while
        // the new one is already there to be preferred, which is fine, but a reader should not have to know.
        keys.sort_by_key(|key| matches!(key, StateKey::Manifest(_)));
        keys
    }

    /// The newest whole checkpoint: of the highest owner epoch that completed one.
    pub fn restore(&self) -> Result<Option<RestoredState>, StateTableError> {
        let newest = self
            .records
            .iter()
            .filter_map(|(key, value)| match key {
                StateKey::Manifest(owner_epoch) => Some((*owner_epoch, value)),
                StateKey::Claim(_) | StateKey::Chunk(_) => None,
            })
            .max_by_key(|(owner_epoch, _)| *owner_epoch);
        let Some((_, value)) = newest else {
            return Ok(None);
        };
        let manifest = Manifest::decode(value)?;
        let mut snapshots = HashMap::new();
        for source in &manifest.sources {
            for state in source.partitions.iter().filter(|state| state.chunks > 0) {
                let snapshot = self.assemble(&manifest, &source.source, state)?;
                snapshots.insert((source.source.clone(), state.topic.clone(), state.partition), snapshot);
            }
        }
        Ok(Some(RestoredState { manifest, snapshots }))
    }

    fn assemble(&self, manifest: &Manifest, source: &str, state: &PartitionState) -> Result<Vec<u8>, StateTableError> {
        let damaged = |what: String| StateTableError::Damaged {
            checkpoint: manifest.checkpoint,
            source_name: source.to_owned(),
            topic: state.topic.clone(),
            partition: state.partition,
            what,
        };
        let mut snapshot = Vec::new();
        for chunk in 0..state.chunks {
            let key = StateKey::Chunk(ChunkKey {
                owner_epoch: manifest.owner_epoch,
                slot: slot_of(manifest.checkpoint),
                source: source.to_owned(),
                topic: state.topic.clone(),
                partition: state.partition,
                chunk,
            });
            let value = self
                .records
                .get(&key)
                .ok_or_else(|| damaged(format!("piece {chunk} of {} is missing", state.chunks)))?;
            let Some((id, piece)) = value.split_first_chunk::<8>() else {
                return Err(damaged(format!("piece {chunk} has {} bytes", value.len())));
            };
            let id = u64::from_be_bytes(*id);
            if id != manifest.checkpoint.0 {
                return Err(damaged(format!("piece {chunk} is of checkpoint {id}")));
            }
            snapshot.extend_from_slice(piece);
        }
        if snapshot.len() as u64 != state.bytes {
            return Err(damaged(format!(
                "{} bytes where the manifest says {}",
                snapshot.len(),
                state.bytes
            )));
        }
        Ok(snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The records of one checkpoint of one partition, in the order they are appended.
    fn records(owner_epoch: u64, checkpoint: u64, snapshot: &[u8]) -> Vec<(String, Vec<u8>)> {
        let checkpoint = CheckpointId(checkpoint);
        let owner_epoch = OwnerEpoch(owner_epoch);
        let pieces: Vec<_> = chunks(checkpoint, snapshot).collect();
        let partition = PartitionState {
            topic: "topic".into(),
            partition: 0,
            next_offset: checkpoint.0 as i64 * 10,
            leader_epoch: None,
            watermark_ns: None,
            chunks: pieces.len() as u32,
            bytes: snapshot.len() as u64,
        };
        let manifest = Manifest::of_events(checkpoint, owner_epoch, partition);
        let chunk_key = |chunk| {
            StateKey::Chunk(ChunkKey {
                owner_epoch,
                slot: slot_of(checkpoint),
                source: "events".into(),
                topic: "topic".into(),
                partition: 0,
                chunk,
            })
        };
        let mut records: Vec<_> = pieces
            .into_iter()
            .enumerate()
            .map(|(index, piece)| (chunk_key(index as u32).to_string(), piece))
            .collect();
        records.push((StateKey::Manifest(owner_epoch).to_string(), manifest.encode()));
        records
    }

    fn table(records: &[(String, Vec<u8>)]) -> StateTable {
        let mut table = StateTable::default();
        for (offset, (key, value)) in records.iter().enumerate() {
            table.apply(offset as i64, Some(key.as_bytes()), Some(value)).unwrap();
        }
        table
    }

    fn snapshot_of(restored: &RestoredState) -> &[u8] {
        &restored.snapshots[&("events".to_owned(), "topic".to_owned(), 0)]
    }

    #[test]
    fn an_empty_topic_is_a_fresh_start() {
        assert!(StateTable::default().restore().unwrap().is_none());
    }

    /// Pitfall 11 of the stream engine: the state topic ends with any record of a checkpoint.
    #[test]
    fn a_crash_after_any_record_leaves_a_whole_checkpoint() {
        let (first, second) = (vec![1; CHUNK_BYTES_MAX * 2 + 1], vec![2; CHUNK_BYTES_MAX + 5]);
        let mut log = records(1, 1, &first);
        let whole_first = log.len();
        log.extend(records(1, 2, &second));
        for crash in 0..=log.len() {
            let restored = table(&log[..crash]).restore().unwrap();
            if crash < whole_first {
                assert!(restored.is_none(), "crash after {crash} records");
                continue;
            }
            let restored = restored.unwrap();
            let expected = if crash == log.len() { (2, &second) } else { (1, &first) };
            assert_eq!(
                restored.manifest.checkpoint.0, expected.0,
                "crash after {crash} records"
            );
            assert_eq!(snapshot_of(&restored), expected.1);
        }
    }

    /// Pitfall 23 of the stream engine: what it still writes goes under keys that nobody reads.
    #[test]
    fn a_zombie_cannot_overwrite_its_successor() {
        let mut log = records(1, 4, b"before the pause");
        log.extend(records(2, 5, b"the successor"));
        log.extend(records(1, 5, b"the zombie"));
        log.extend(records(1, 6, b"the zombie"));
        let restored = table(&log).restore().unwrap().unwrap();
        assert_eq!(restored.manifest.owner_epoch, OwnerEpoch(2));
        assert_eq!(snapshot_of(&restored), b"the successor");
    }

    #[test]
    fn each_life_of_the_owner_writes_under_an_epoch_that_nobody_used() {
        assert_eq!(StateTable::default().next_owner_epoch(), OwnerEpoch(1));
        let mut log = records(1, 4, b"state");
        assert_eq!(table(&log).next_owner_epoch(), OwnerEpoch(2));
        log.push((StateKey::Claim(OwnerEpoch(2)).to_string(), b"paused at once".to_vec()));
        assert_eq!(table(&log).next_owner_epoch(), OwnerEpoch(3));
        log.push(records(3, 5, b"crashed before its manifest").remove(0));
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
        let mut log = records(1, 4, b"old");
        log.extend(records(2, 5, b"new"));
        let mut table = table(&log);
        let keys = table.keys_before(OwnerEpoch(2));
        assert_eq!(keys.len(), 2);
        assert_eq!(keys[1], StateKey::Manifest(OwnerEpoch(1)));
        for key in keys {
            table.apply(9, Some(key.to_string().as_bytes()), None).unwrap();
        }
        assert_eq!(snapshot_of(&table.restore().unwrap().unwrap()), b"new");
        assert_eq!(table.records.len(), 2);
        assert_eq!(table.bytes, table.records.values().map(Bytes::len).sum::<usize>());
    }

    #[test]
    fn damage_is_an_error_that_says_what_is_wrong() {
        let log = records(1, 1, b"some state");
        for (broken, expected) in [
            (vec![log[1].clone()], "piece 0 of 1 is missing"),
            (
                vec![(log[0].0.clone(), vec![0; 3]), log[1].clone()],
                "piece 0 has 3 bytes",
            ),
            (
                vec![(log[0].0.clone(), 9u64.to_be_bytes().to_vec()), log[1].clone()],
                "piece 0 is of checkpoint 9",
            ),
            (
                vec![(log[0].0.clone(), 1u64.to_be_bytes().to_vec()), log[1].clone()],
                "0 bytes where the manifest says 10",
            ),
        ] {
            let error = table(&broken).restore().unwrap_err().to_string();
            assert_eq!(
                error,
                format!("checkpoint 1: the state of events topic-0 is damaged: {expected}")
            );
        }
    }

    #[test]
    fn a_foreign_record_is_an_error() {
        let error = StateTable::default()
            .apply(7, Some(b"order-1"), Some(b"x"))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the state topic has a record with the foreign key \"order-1\" at offset 7"
        );
        assert!(StateTable::default().apply(0, None, None).is_err());
    }
}

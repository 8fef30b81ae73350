//! The compacted state topic as a table: replay every record, then ask for the newest whole checkpoint.
//!
//! The topic is one log, so it also says who was late: a manifest behind the confirmed claim of a later owner is of a process that
//! slept while it lost the partitions. Its successor has read the log up to that claim at least, and has deleted the lake
//! files that the manifest names; it is passed over.
//!
//! Pure, so that torn, stale and hostile contents are rows of a test. Reading and writing the topic itself is
//! `state_topic`'s job.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use engine_wire::compression::Decompressor;

use super::claim::Claim;
use super::manifest::{Manifest, ManifestError, PartitionState, SNAPSHOT_FORMAT};
use super::state_key::{ChunkKey, StateKey, former_slot_of};
use super::{CheckpointId, OwnerEpoch, chunk};

/// The most bytes of state one pipeline may restore, as they stand in the topic and as they come out of it; beyond it
/// [`StateTable::apply`] and [`StateTable::restore`] fail.
pub const STATE_BYTES_MAX: usize = 4 * 1024 * 1024 * 1024;

/// What the state topic holds.
#[derive(Debug, Default)]
pub struct StateTable {
    records: HashMap<StateKey, Bytes>,
    bytes: usize,
    /// The highest epoch of the confirmed claims so far.
    confirmed: OwnerEpoch,
    /// Keys of manifests that came too late. Each was written by a life of its own, which it ended.
    late: HashSet<StateKey>,
}

/// The newest checkpoint with its state.
#[derive(Debug)]
pub struct RestoredState {
    /// The record that completed it.
    pub manifest: Manifest,
    /// The live segments of each partition that has some, in the order in which they are restored: (source, topic, partition).
    pub segments: HashMap<(String, String, i32), Vec<Vec<u8>>>,
}

/// Why the state topic cannot be used. Never a reason to start anew silently.
#[derive(Debug, thiserror::Error)]
pub enum StateTableError {
    /// Not a key that this engine writes.
    #[error(
        "the state topic has a record with the foreign key {key:?} at offset {offset}: something else has written there, or a newer \
         engine; keep others out and give the pipeline another `name`, or run the newer engine"
    )]
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
    /// A record that the manifest names is missing, of another checkpoint, or not what was written.
    #[error(
        "checkpoint {checkpoint}: the state of source \"{source_name}\" for {topic}-{partition} is damaged: the record {key} {what}; \
         put it back from a copy of the topic, or, to start anew without its open windows, delete the group's offsets \
         and the state topic"
    )]
    Damaged {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// The source's name in the pipeline.
        source_name: String,
        /// The Kafka topic.
        topic: String,
        /// The partition of that topic.
        partition: i32,
        /// The key of the record.
        key: String,
        /// What is wrong with it, with its numbers.
        what: String,
    },
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
        match (&key, value) {
            (StateKey::Claim(owner_epoch), Some(value)) if Claim::is_confirmed(value) => {
                self.confirmed = self.confirmed.max(*owner_epoch);
            }
            (StateKey::Manifest { owner_epoch, .. }, Some(_)) if *owner_epoch < self.confirmed => {
                self.late.insert(key);
                return Ok(());
            }
            (StateKey::Manifest { .. }, None) => {
                self.late.remove(&key);
            }
            _ => {}
        }
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

    /// The highest epoch whose owner was confirmed, 0 if there is none.
    pub fn confirmed(&self) -> OwnerEpoch {
        self.confirmed
    }

    /// The epoch of a process that takes over now: above all that anybody ever claimed or wrote under. A process that
    /// owned the partitions but never completed a checkpoint counts too: should it be paused and wake up, it must find
    /// no other process writing under its keys.
    pub fn next_owner_epoch(&self) -> OwnerEpoch {
        let highest = self.keys().map(|key| key.owner_epoch().0).max();
        OwnerEpoch(highest.map_or(1, |highest| highest.saturating_add(1)))
    }

    /// Keys of lives before `owner_epoch`, which its first whole checkpoint makes obsolete.
    pub fn keys_before(&self, owner_epoch: OwnerEpoch) -> Vec<StateKey> {
        let keys: HashSet<_> = self.keys().filter(|key| key.owner_epoch() < owner_epoch).collect();
        let mut keys: Vec<_> = keys.into_iter().cloned().collect();
        // Manifests last: were we to die in between, the old manifest would otherwise miss its pieces while
        // the new one is already there to be preferred, which is fine, but a reader should not have to know.
        keys.sort_by_key(|key| matches!(key, StateKey::Manifest { .. }));
        keys
    }

    fn keys(&self) -> impl Iterator<Item = &StateKey> {
        self.records.keys().chain(&self.late)
    }

    /// The newest whole checkpoint: of the highest owner epoch that completed one.
    pub fn restore(&self) -> Result<Option<RestoredState>, StateTableError> {
        let manifests = || {
            self.records.iter().filter_map(|(key, value)| match key {
                StateKey::Manifest { owner_epoch, .. } => Some((*owner_epoch, value)),
                StateKey::Claim(_) | StateKey::Chunk(_) => None,
            })
        };
        let newest_owner = manifests().map(|(owner_epoch, _)| owner_epoch).max();
        let of_newest = manifests().filter(|(owner_epoch, _)| Some(*owner_epoch) == newest_owner);
        let of_newest = of_newest.map(|(_, value)| Manifest::decode(value));
        let of_newest = of_newest.collect::<Result<Vec<_>, _>>()?.into_iter();
        let Some(manifest) = of_newest.max_by_key(|manifest| manifest.checkpoint) else {
            return Ok(None);
        };
        let mut decompressor = chunk::decompressor();
        let mut room = STATE_BYTES_MAX;
        let mut segments = HashMap::new();
        for source in &manifest.sources {
            for state in source.partitions.iter().filter(|state| state.chunks > 0) {
                let partition = Pieces {
                    records: &self.records,
                    manifest: &manifest,
                    source: &source.source,
                    state,
                };
                let kept = if manifest.format == SNAPSHOT_FORMAT {
                    vec![partition.former_snapshot()?]
                } else {
                    partition.segments(&mut decompressor, &mut room)?
                };
                segments.insert((source.source.clone(), state.topic.clone(), state.partition), kept);
            }
        }
        Ok(Some(RestoredState { manifest, segments }))
    }
}

/// The records of one partition's state.
struct Pieces<'a> {
    records: &'a HashMap<StateKey, Bytes>,
    manifest: &'a Manifest,
    source: &'a str,
    state: &'a PartitionState,
}

impl Pieces<'_> {
    /// `room` is what may still come out of compressed pieces.
    fn segments(&self, decompressor: &mut Decompressor, room: &mut usize) -> Result<Vec<Vec<u8>>, StateTableError> {
        let (mut segments, mut chunks, mut bytes) = (Vec::new(), 0, 0);
        let mut key = self.key(self.manifest.checkpoint, 0);
        for checkpoint in &self.state.segments {
            let (mut segment, mut pieces) = (Vec::new(), 1);
            let mut piece = 0;
            while piece < pieces {
                key = self.key(*checkpoint, piece);
                let value = self.value(&key)?;
                let read = chunk::decode(value, decompressor);
                let read = read.map_err(|error| self.damaged(&key, format!("cannot be read: {error}")))?;
                let is_first = piece == 0;
                if (read.checkpoint, read.piece) != (*checkpoint, piece) || (!is_first && read.pieces != pieces) {
                    let (checkpoint, piece, pieces) = (read.checkpoint, read.piece, read.pieces);
                    let what = format!("holds piece {piece} of {pieces} of checkpoint {checkpoint}");
                    return Err(self.damaged(&key, what));
                }
                pieces = read.pieces;
                *room = room.checked_sub(read.bytes.len()).ok_or(StateTableError::TooLarge)?;
                segment.extend_from_slice(read.bytes);
                bytes += value.len() as u64;
                chunks += 1;
                piece += 1;
            }
            segments.push(segment);
        }
        if (chunks, bytes) != (self.state.chunks, self.state.bytes) {
            let what = format!(
                "ends {chunks} records of {bytes} bytes, where the manifest says {} of {}",
                self.state.chunks, self.state.bytes
            );
            return Err(self.damaged(&key, what));
        }
        Ok(segments)
    }

    /// A state of the first format: one snapshot, whose pieces stand behind the number of the checkpoint.
    fn former_snapshot(&self) -> Result<Vec<u8>, StateTableError> {
        let checkpoint = self.manifest.checkpoint;
        let mut snapshot = Vec::new();
        let mut key = self.key(former_slot_of(checkpoint), 0);
        for piece in 0..self.state.chunks {
            key = self.key(former_slot_of(checkpoint), piece);
            let value = self.value(&key)?;
            let Some((id, bytes)) = value.split_first_chunk::<8>() else {
                return Err(self.damaged(&key, format!("has {} bytes", value.len())));
            };
            let id = u64::from_be_bytes(*id);
            if id != checkpoint.0 {
                return Err(self.damaged(&key, format!("is of checkpoint {id}")));
            }
            snapshot.extend_from_slice(bytes);
        }
        if snapshot.len() as u64 != self.state.bytes {
            let (found, expected) = (snapshot.len(), self.state.bytes);
            let what = format!("ends {found} bytes, where the manifest says {expected}");
            return Err(self.damaged(&key, what));
        }
        Ok(snapshot)
    }

    fn key(&self, checkpoint: CheckpointId, chunk: u32) -> StateKey {
        StateKey::Chunk(ChunkKey {
            owner_epoch: self.manifest.owner_epoch,
            checkpoint,
            source: self.source.to_owned(),
            topic: self.state.topic.clone(),
            partition: self.state.partition,
            chunk,
        })
    }

    fn value(&self, key: &StateKey) -> Result<&Bytes, StateTableError> {
        let value = self.records.get(key);
        value.ok_or_else(|| self.damaged(key, "is missing".to_owned()))
    }

    fn damaged(&self, key: &StateKey, what: String) -> StateTableError {
        StateTableError::Damaged {
            checkpoint: self.manifest.checkpoint,
            source_name: self.source.to_owned(),
            topic: self.state.topic.clone(),
            partition: self.state.partition,
            key: key.to_string(),
            what,
        }
    }
}

#[cfg(test)]
mod tests;

//! Keys of the records in the compacted state topic.
//!
//! ```text
//! claim/<owner epoch>                                         -> Claim: when a process took the partitions over
//! manifest/<owner epoch>, manifest/<owner epoch>/1            -> Manifest (JSON), of even and odd checkpoints
//! state/<owner epoch>/<checkpoint>/<source>/<topic>/<partition>/<chunk> -> a piece of a segment of the partition's state
//! ```
//! Checkpoints take turns between two manifests, so that compaction keeps the one before if the newest turns out to be of a
//! process that was no owner any more (see `state_table`). No other key is written twice, but for a claim that is confirmed:
//! a segment stands as it was written until no manifest names it, and then gets a tombstone. In
//! manifests of the first format, checkpoints alternated between two slots, 0 and 1, in the place of the checkpoint.
//! Names cannot contain `/`: Kafka's topic names and our source names do not allow it.

use std::fmt;

use super::{CheckpointId, OwnerEpoch};

/// A parsed key of the state topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StateKey {
    /// A process has taken the partitions over: the epoch is used from now on, also if no checkpoint ever comes.
    Claim(OwnerEpoch),
    /// The record that completes a checkpoint.
    Manifest {
        /// The life of the process that wrote it.
        owner_epoch: OwnerEpoch,
        /// Whether the checkpoint's number is odd.
        is_odd: bool,
    },
    /// One piece of a segment of one partition's state.
    Chunk(ChunkKey),
}

/// Where one piece of a segment stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChunkKey {
    /// The life of the process that wrote it.
    pub owner_epoch: OwnerEpoch,
    /// The checkpoint that wrote it; in the first format 0 or 1, see [`former_slot_of`].
    pub checkpoint: CheckpointId,
    /// The source's name in the pipeline.
    pub source: String,
    /// The Kafka topic.
    pub topic: String,
    /// The partition of that topic.
    pub partition: i32,
    /// 0-based number of the piece.
    pub chunk: u32,
}

/// What stood in the place of the checkpoint in the first format: the slot that its predecessor did not use.
pub fn former_slot_of(checkpoint: CheckpointId) -> CheckpointId {
    CheckpointId(checkpoint.0 % 2)
}

impl ChunkKey {
    /// The keys of the first `chunks` pieces of the same segment.
    pub fn pieces(&self, chunks: u32) -> impl Iterator<Item = StateKey> + '_ {
        (0..chunks).map(|chunk| StateKey::Chunk(ChunkKey { chunk, ..self.clone() }))
    }
}

impl fmt::Display for StateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StateKey::Claim(owner_epoch) => write!(f, "claim/{owner_epoch}"),
            StateKey::Manifest { owner_epoch, is_odd } => {
                write!(f, "manifest/{owner_epoch}{}", if *is_odd { "/1" } else { "" })
            }
            StateKey::Chunk(key) => write!(
                f,
                "state/{}/{}/{}/{}/{}/{}",
                key.owner_epoch, key.checkpoint, key.source, key.topic, key.partition, key.chunk
            ),
        }
    }
}

impl StateKey {
    /// The key of this checkpoint's manifest.
    pub fn manifest(owner_epoch: OwnerEpoch, checkpoint: CheckpointId) -> StateKey {
        StateKey::Manifest {
            owner_epoch,
            is_odd: checkpoint.0 % 2 == 1,
        }
    }

    /// Reads a key back, `None` if it is not one of ours.
    pub fn parse(key: &[u8]) -> Option<StateKey> {
        let mut parts = std::str::from_utf8(key).ok()?.split('/');
        let parsed = match parts.next()? {
            "claim" => StateKey::Claim(OwnerEpoch(parts.next()?.parse().ok()?)),
            "manifest" => StateKey::Manifest {
                owner_epoch: OwnerEpoch(parts.next()?.parse().ok()?),
                is_odd: match parts.next() {
                    None => false,
                    Some("1") => true,
                    Some(_) => return None,
                },
            },
            "state" => StateKey::Chunk(ChunkKey {
                owner_epoch: OwnerEpoch(parts.next()?.parse().ok()?),
                checkpoint: CheckpointId(parts.next()?.parse().ok()?),
                source: parts.next()?.to_owned(),
                topic: parts.next()?.to_owned(),
                partition: parts.next()?.parse().ok().filter(|partition| *partition >= 0)?,
                chunk: parts.next()?.parse().ok()?,
            }),
            _ => return None,
        };
        // The last epoch of all would leave none to whoever takes over.
        let has_successor = parsed.owner_epoch().0 < u64::MAX;
        (parts.next().is_none() && has_successor).then_some(parsed)
    }

    /// The owner epoch that every key carries.
    pub fn owner_epoch(&self) -> OwnerEpoch {
        match self {
            StateKey::Claim(owner_epoch) | StateKey::Manifest { owner_epoch, .. } => *owner_epoch,
            StateKey::Chunk(key) => key.owner_epoch,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back() {
        for key in [
            StateKey::Claim(OwnerEpoch(7)),
            StateKey::manifest(OwnerEpoch(0), CheckpointId(8)),
            StateKey::manifest(OwnerEpoch(u64::MAX - 1), CheckpointId(9)),
            StateKey::Chunk(ChunkKey {
                owner_epoch: OwnerEpoch(3),
                checkpoint: CheckpointId(41),
                source: "events".into(),
                topic: "ad-events".into(),
                partition: 12,
                chunk: 2,
            }),
        ] {
            assert_eq!(StateKey::parse(key.to_string().as_bytes()), Some(key.clone()), "{key}");
        }
    }

    #[test]
    fn foreign_keys_are_refused() {
        for key in [
            &b""[..],
            b"manifest",
            b"manifest/x",
            b"claim/-1",
            b"claim/1/2",
            b"claim/18446744073709551615",
            b"manifest/1/0",
            b"manifest/1/2",
            b"manifest/1/1/1",
            b"state/1/-2/s/t/0/0",
            b"state/1/0/s/t/-1/0",
            b"state/1/0/s/t/0",
            b"state/1/0/s/t/0/0/0",
            b"\xff\xfe",
        ] {
            assert_eq!(StateKey::parse(key), None, "{key:?}");
        }
    }
}

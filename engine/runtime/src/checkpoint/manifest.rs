//! The record that completes a checkpoint: which offsets, watermarks, snapshots and lake files belong together.
//!
//! It is one JSON record in the state topic. Readable on purpose: an operator who asks what a pipeline knows can
//! look with any Kafka tool. Everything read back is checked, as the topic is a door from outside.

use serde::{Deserialize, Serialize};

use super::{CheckpointId, OwnerEpoch};

/// The format number of this build; another number is refused, never guessed at.
pub const MANIFEST_FORMAT: u32 = 1;

/// One whole checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always [`MANIFEST_FORMAT`].
    pub format: u32,
    /// The number of the checkpoint.
    pub checkpoint: CheckpointId,
    /// The life of the process that took it.
    pub owner_epoch: OwnerEpoch,
    /// Wall clock of its completion, milliseconds since 1970; for people, never for decisions.
    pub created_ms: i64,
    /// What each source had read.
    pub sources: Vec<SourceState>,
    /// The files each Parquet sink had staged.
    pub lake: Vec<StagedTable>,
}

/// What one source had read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceState {
    /// The source's name in the pipeline.
    pub source: String,
    /// The source's watermark in nanoseconds since 1970; windows that end at or before it were emitted.
    pub watermark_ns: Option<i64>,
    /// Its partitions, in order of topic and number.
    pub partitions: Vec<PartitionState>,
}

/// What one source had read of one partition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartitionState {
    /// The Kafka topic.
    pub topic: String,
    /// The partition of that topic.
    pub partition: i32,
    /// The offset of the first record that is not in the state.
    pub next_offset: i64,
    /// The leader epoch of the last record that is, if the broker told it (KIP-320).
    pub leader_epoch: Option<i32>,
    /// The partition's own watermark in nanoseconds since 1970.
    pub watermark_ns: Option<i64>,
    /// How many pieces its snapshot has in the state topic; 0 when no window was open.
    pub chunks: u32,
    /// How many bytes these pieces have together.
    pub bytes: u64,
}

/// The files one Parquet sink had staged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StagedTable {
    /// The sink's name in the pipeline.
    pub sink: String,
    /// The lake's own description of the files; opaque here.
    pub staged: String,
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or not of this shape.
    #[error("the manifest in the state topic cannot be read")]
    Malformed(#[source] serde_json::Error),
    /// Written by another build.
    #[error("the manifest in the state topic has format {found}, this build reads format {MANIFEST_FORMAT}")]
    Format {
        /// What it says.
        found: u32,
    },
    /// A number in it cannot be.
    #[error("the manifest of checkpoint {checkpoint} gives {topic}-{partition} offset {next_offset}")]
    Offset {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// The Kafka topic.
        topic: String,
        /// The partition of that topic.
        partition: i32,
        /// The offset that cannot be.
        next_offset: i64,
    },
    /// Two entries for one partition.
    #[error("the manifest of checkpoint {checkpoint} names {source_name} {topic}-{partition} twice")]
    Duplicate {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// The source's name in the pipeline.
        source_name: String,
        /// The Kafka topic.
        topic: String,
        /// The partition of that topic.
        partition: i32,
    },
}

impl Manifest {
    /// The bytes of the record.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a manifest has string keys and finite numbers only")
    }

    /// Reads and checks a record.
    pub fn decode(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        #[derive(Deserialize)]
        struct Probe {
            format: u32,
        }
        let probe: Probe = serde_json::from_slice(bytes).map_err(ManifestError::Malformed)?;
        if probe.format != MANIFEST_FORMAT {
            return Err(ManifestError::Format { found: probe.format });
        }
        let manifest: Manifest = serde_json::from_slice(bytes).map_err(ManifestError::Malformed)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The entry of one partition.
    pub fn partition(&self, source: &str, topic: &str, partition: i32) -> Option<&PartitionState> {
        self.sources
            .iter()
            .find(|state| state.source == source)?
            .partitions
            .iter()
            .find(|state| state.topic == topic && state.partition == partition)
    }

    /// The watermark of one source.
    pub fn watermark_ns(&self, source: &str) -> Option<i64> {
        self.sources.iter().find(|state| state.source == source)?.watermark_ns
    }

    fn check(&self) -> Result<(), ManifestError> {
        let mut seen = std::collections::HashSet::new();
        for source in &self.sources {
            for state in &source.partitions {
                if state.next_offset < 0 || state.partition < 0 {
                    return Err(ManifestError::Offset {
                        checkpoint: self.checkpoint,
                        topic: state.topic.clone(),
                        partition: state.partition,
                        next_offset: state.next_offset,
                    });
                }
                if !seen.insert((&source.source, &state.topic, state.partition)) {
                    return Err(ManifestError::Duplicate {
                        checkpoint: self.checkpoint,
                        source_name: source.source.clone(),
                        topic: state.topic.clone(),
                        partition: state.partition,
                    });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
impl Manifest {
    /// For tests: source `events` at one partition.
    pub(super) fn of_events(checkpoint: CheckpointId, owner_epoch: OwnerEpoch, partition: PartitionState) -> Manifest {
        Manifest {
            format: MANIFEST_FORMAT,
            checkpoint,
            owner_epoch,
            created_ms: 0,
            sources: vec![SourceState {
                source: "events".into(),
                watermark_ns: None,
                partitions: vec![partition],
            }],
            lake: vec![],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            format: MANIFEST_FORMAT,
            checkpoint: CheckpointId(12),
            owner_epoch: OwnerEpoch(2),
            created_ms: 1_700_000_000_000,
            sources: vec![SourceState {
                source: "events".into(),
                watermark_ns: Some(i64::MIN),
                partitions: vec![PartitionState {
                    topic: "ad-events".into(),
                    partition: 0,
                    next_offset: i64::MAX,
                    leader_epoch: Some(3),
                    watermark_ns: None,
                    chunks: 2,
                    bytes: 700_000,
                }],
            }],
            lake: vec![StagedTable {
                sink: "lake".into(),
                staged: "{\"files\":[]}".into(),
            }],
        }
    }

    #[test]
    fn a_manifest_reads_back() {
        let manifest = manifest();
        assert_eq!(Manifest::decode(&manifest.encode()).unwrap(), manifest);
    }

    #[test]
    fn hostile_bytes_are_an_error() {
        for bytes in [&b""[..], b"{", b"[]", b"{\"format\":1}", b"{\"format\":-1}", b"\xff"] {
            assert!(matches!(Manifest::decode(bytes), Err(ManifestError::Malformed(_))));
        }
    }

    #[test]
    fn another_format_is_refused_by_its_number() {
        let error = Manifest::decode(b"{\"format\":2,\"anything\":true}").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the manifest in the state topic has format 2, this build reads format 1"
        );
    }

    #[test]
    fn impossible_offsets_and_double_partitions_are_refused() {
        let mut negative = manifest();
        negative.sources[0].partitions[0].next_offset = -1;
        assert!(matches!(
            Manifest::decode(&negative.encode()),
            Err(ManifestError::Offset { next_offset: -1, .. })
        ));
        let mut double = manifest();
        let copy = double.sources[0].partitions[0].clone();
        double.sources[0].partitions.push(copy);
        assert!(matches!(
            Manifest::decode(&double.encode()),
            Err(ManifestError::Duplicate { partition: 0, .. })
        ));
    }
}

//! The record that completes a checkpoint: which offsets, watermarks, snapshots and lake files belong together.
//!
//! It is one JSON record in the state topic. Readable on purpose: an operator who asks what a pipeline knows can
//! look with any Kafka tool. Everything read back is checked, as the topic is a door from outside.

mod segment_ranges;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{CheckpointId, OwnerEpoch};

/// The format that this build writes. It reads this one and [`SNAPSHOT_FORMAT`]; another is refused, never guessed at.
pub const MANIFEST_FORMAT: u32 = 2;

/// The format in which every checkpoint wrote all of the state anew.
pub const SNAPSHOT_FORMAT: u32 = 1;

/// One whole checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`MANIFEST_FORMAT`], or [`SNAPSHOT_FORMAT`] if it was read.
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
    /// Per window of its plan: up to which end, in nanoseconds since 1970, they were emitted. The watermark does not tell that to
    /// a run with another allowed lateness. A manifest of an engine before this field has none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub taken_up_to_ns: BTreeMap<String, i64>,
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
    /// The checkpoints that wrote its live segments, in the order in which they are restored.
    #[serde(default, with = "segment_ranges")]
    pub segments: Vec<CheckpointId>,
    /// How many records its state has in the state topic; 0 when no window was open.
    pub chunks: u32,
    /// How many bytes they have together, as they stand there.
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
    #[error(
        "the manifest in the state topic has format {found}, this engine reads up to format {MANIFEST_FORMAT}: go on with {}",
        match .engine { Some(engine) => format!("engine {engine}, which wrote it, or a newer one"), None => "a newer engine".to_owned() }
    )]
    Format {
        /// What it says.
        found: u32,
        /// The version of the engine that wrote it.
        engine: Option<String>,
    },
    /// The segments of a partition cannot be.
    #[error("the manifest of checkpoint {checkpoint} gives {topic}-{partition} {what}")]
    Segments {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// The Kafka topic.
        topic: String,
        /// The partition of that topic.
        partition: i32,
        /// What is wrong with them.
        what: String,
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
    /// Nothing could follow it.
    #[error(
        "the manifest in the state topic has checkpoint {checkpoint} of owner epoch {owner_epoch}, which nobody ever came to"
    )]
    Exhausted {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// The owner epoch.
        owner_epoch: OwnerEpoch,
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
        #[derive(Serialize)]
        struct Written<'a> {
            engine: &'static str,
            #[serde(flatten)]
            manifest: &'a Manifest,
        }
        let written = Written {
            engine: env!("CARGO_PKG_VERSION"),
            manifest: self,
        };
        serde_json::to_vec(&written).expect("a manifest has string keys and finite numbers only")
    }

    /// Reads and checks a record.
    pub fn decode(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        #[derive(Deserialize)]
        struct Probe {
            format: u32,
            engine: Option<String>,
        }
        let probe: Probe = serde_json::from_slice(bytes).map_err(ManifestError::Malformed)?;
        if ![SNAPSHOT_FORMAT, MANIFEST_FORMAT].contains(&probe.format) {
            return Err(ManifestError::Format {
                found: probe.format,
                engine: probe.engine,
            });
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

    /// What one source had read.
    pub fn source(&self, source: &str) -> Option<&SourceState> {
        self.sources.iter().find(|state| state.source == source)
    }

    /// The watermark of one source.
    pub fn watermark_ns(&self, source: &str) -> Option<i64> {
        self.source(source)?.watermark_ns
    }

    fn check(&self) -> Result<(), ManifestError> {
        if self.checkpoint.0 == u64::MAX || self.owner_epoch.0 == u64::MAX {
            let (checkpoint, owner_epoch) = (self.checkpoint, self.owner_epoch);
            return Err(ManifestError::Exhausted {
                checkpoint,
                owner_epoch,
            });
        }
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
                if let Some(what) = self.wrong_segments(state) {
                    return Err(ManifestError::Segments {
                        checkpoint: self.checkpoint,
                        topic: state.topic.clone(),
                        partition: state.partition,
                        what,
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

impl Manifest {
    fn wrong_segments(&self, state: &PartitionState) -> Option<String> {
        if self.format == SNAPSHOT_FORMAT {
            let has_segments = !state.segments.is_empty();
            return has_segments.then(|| format!("segments, which format {SNAPSHOT_FORMAT} does not have"));
        }
        if let Some(ahead) = state.segments.iter().find(|segment| **segment > self.checkpoint) {
            return Some(format!("a segment of checkpoint {ahead}"));
        }
        let (segments, chunks) = (state.segments.len(), state.chunks);
        (chunks < segments as u32 || (segments == 0 && chunks > 0))
            .then(|| format!("{segments} segments in {chunks} records"))
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
                taken_up_to_ns: BTreeMap::new(),
                partitions: vec![partition],
            }],
            lake: vec![],
        }
    }
}

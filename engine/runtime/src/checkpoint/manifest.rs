//! The record that completes a checkpoint: which offsets, watermarks, snapshots and lake files belong together.
//!
//! It is one JSON record in the state topic. Readable on purpose: an operator who asks what a pipeline knows can
//! look with any Kafka tool. Everything read back is checked, as the topic is a door from outside.

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
    #[serde(default, with = "ranges")]
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

    /// The watermark of one source.
    pub fn watermark_ns(&self, source: &str) -> Option<i64> {
        self.sources.iter().find(|state| state.source == source)?.watermark_ns
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

/// Ascending checkpoints as runs, `[[3,3],[7,40]]`: most tasks write a segment at every checkpoint, and the manifest is one
/// record however many there are.
mod ranges {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize as _, Serializer};

    use super::CheckpointId;
    use crate::checkpoint::segments::SEGMENTS_MAX;

    pub(super) fn serialize<S: Serializer>(segments: &[CheckpointId], serializer: S) -> Result<S::Ok, S::Error> {
        let runs = segments.chunk_by(|one, next| one.next() == *next);
        let runs: Vec<_> = runs.map(|run| (run[0], run[run.len() - 1])).collect();
        runs.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<CheckpointId>, D::Error> {
        let runs = Vec::<(u64, u64)>::deserialize(deserializer)?;
        let mut segments: Vec<CheckpointId> = Vec::new();
        for (first, last) in runs {
            let ascends = first <= last && segments.last().is_none_or(|before| before.0 < first);
            if !ascends {
                return Err(D::Error::custom(format!(
                    "the segments {first} to {last} are not in order"
                )));
            }
            if last - first >= (SEGMENTS_MAX - segments.len()) as u64 {
                return Err(D::Error::custom(format!("more than {SEGMENTS_MAX} segments")));
            }
            segments.extend((first..=last).map(CheckpointId));
        }
        Ok(segments)
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
                    segments: [3, 7, 8, 9, 12].map(CheckpointId).to_vec(),
                    chunks: 6,
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
        for bytes in [
            &b""[..],
            b"{",
            b"[]",
            b"{\"format\":1}",
            b"{\"format\":2}",
            b"{\"format\":-1}",
            b"\xff",
        ] {
            assert!(matches!(Manifest::decode(bytes), Err(ManifestError::Malformed(_))));
        }
    }

    #[test]
    fn another_format_is_refused_with_the_version_that_can_read_it() {
        let refused = |bytes: &[u8]| Manifest::decode(bytes).unwrap_err().to_string();
        assert_eq!(
            refused(b"{\"format\":3,\"engine\":\"7.1.0\",\"anything\":true}"),
            "the manifest in the state topic has format 3, this engine reads up to format 2: \
             go on with engine 7.1.0, which wrote it, or a newer one"
        );
        assert_eq!(
            refused(b"{\"format\":0}"),
            "the manifest in the state topic has format 0, this engine reads up to format 2: go on with a newer engine"
        );
    }

    #[test]
    fn segments_that_follow_one_another_are_written_as_runs() {
        let text = String::from_utf8(manifest().encode()).unwrap();
        assert!(text.contains(r#""segments":[[3,3],[7,9],[12,12]]"#), "{text}");
        assert!(
            text.starts_with(&format!(r#"{{"engine":"{}""#, env!("CARGO_PKG_VERSION"))),
            "{text}"
        );
    }

    #[test]
    fn segments_that_cannot_be_are_refused() {
        let text = String::from_utf8(manifest().encode()).unwrap();
        for (segments, expected) in [
            (
                "[[3,3],[7,9],[13,13]]",
                Some("gives ad-events-0 a segment of checkpoint 13"),
            ),
            ("[[1,7]]", Some("gives ad-events-0 7 segments in 6 records")),
            ("[]", Some("gives ad-events-0 0 segments in 6 records")),
            ("[[4,3]]", None),
            ("[[3,4],[4,5]]", None),
            ("[[0,18446744073709551615]]", None),
            ("[[1,1],[2,600]]", None),
            ("[[-1,1]]", None),
            ("7", None),
        ] {
            let text = text.replace("[[3,3],[7,9],[12,12]]", segments);
            let error = Manifest::decode(text.as_bytes()).unwrap_err();
            match expected {
                Some(expected) => assert_eq!(error.to_string(), format!("the manifest of checkpoint 12 {expected}")),
                None => assert!(matches!(error, ManifestError::Malformed(_)), "{segments}: {error}"),
            }
        }
    }

    #[test]
    fn the_format_that_wrote_all_of_the_state_every_time_is_still_read() {
        let text = r#"{"format":1,"checkpoint":5,"owner_epoch":2,"created_ms":0,"sources":[{"source":"events","watermark_ns":1,
            "partitions":[{"topic":"t","partition":0,"next_offset":7,"leader_epoch":null,"watermark_ns":1,"chunks":2,
            "bytes":600000}]}],"lake":[]}"#;
        let manifest = Manifest::decode(text.as_bytes()).unwrap();
        assert_eq!(manifest.format, SNAPSHOT_FORMAT);
        let state = manifest.partition("events", "t", 0).unwrap();
        assert_eq!((&state.segments[..], state.chunks, state.bytes), (&[][..], 2, 600_000));
    }

    #[test]
    fn a_manifest_that_no_checkpoint_could_follow_is_refused() {
        for number in ["\"checkpoint\":12", "\"owner_epoch\":2"] {
            let text = String::from_utf8(manifest().encode()).unwrap();
            let (name, _) = number.split_once(':').unwrap();
            let text = text.replacen(number, &format!("{name}:{}", u64::MAX), 1);
            let error = Manifest::decode(text.as_bytes()).unwrap_err();
            assert!(matches!(error, ManifestError::Exhausted { .. }), "{number}: {error}");
        }
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

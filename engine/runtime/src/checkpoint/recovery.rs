//! Where to start: a pure decision over what the group committed and what the state topic holds.
//!
//! No I/O here, so that every combination is a row of a test. The rule behind all rows: state and offsets come
//! from the same manifest or the start is refused; a fresh start happens only where nothing was ever kept.

use super::CheckpointId;
use super::commit_metadata::CommitMetadata;
use super::manifest::Manifest;

/// What the group coordinator holds for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionFacts {
    /// The source's name in the pipeline.
    pub source: String,
    /// The Kafka topic.
    pub topic: String,
    /// The partition of that topic.
    pub partition: i32,
    /// The committed offset and its metadata, if any.
    pub committed: Option<(i64, String)>,
}

/// Where to start reading one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartPosition {
    /// At this offset, with the state of the manifest.
    Restored {
        /// Next to read.
        offset: i64,
        /// The leader epoch of the record before it.
        leader_epoch: Option<i32>,
    },
    /// At an offset some other tool committed, without state: the user's wish.
    Committed {
        /// Next to read.
        offset: i64,
    },
    /// Nothing is known: `auto.offset.reset` decides.
    Reset,
    /// The partition was added to a topic we already read: nothing in it may be passed over.
    Earliest,
}

/// The decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The checkpoint that is restored, `None` on a fresh start.
    pub restored: Option<CheckpointId>,
    /// The start of each partition, in the order of the facts.
    pub starts: Vec<StartPosition>,
}

/// Why there is no safe start. Each says what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryError {
    /// The offsets say a checkpoint was taken; its state is not there.
    #[error(
        "{topic}-{partition}: the committed offset {offset} belongs to checkpoint {committed}, but the state topic \
         {}; to start anew, delete the group's offsets and the state topic",
        match .found { Some(id) => format!("holds checkpoint {id}"), None => "holds no checkpoint".to_owned() }
    )]
    StateMissing {
        /// The Kafka topic.
        topic: String,
        /// The partition of that topic.
        partition: i32,
        /// The committed offset.
        offset: i64,
        /// The checkpoint it belongs to.
        committed: CheckpointId,
        /// The newest checkpoint in the state topic.
        found: Option<CheckpointId>,
    },
    /// The offsets say a checkpoint was taken, and it has nothing of this source there: most often it was renamed.
    #[error(
        "{topic}-{partition}: the committed offset {offset} belongs to checkpoint {committed}, but the state topic has nothing \
         of source \"{source_name}\" there, only of {sources}; name the source as before, or, to start anew, delete the \
         group's offsets and the state topic",
        sources = known.join(", ")
    )]
    SourceUnknown {
        /// The Kafka topic.
        topic: String,
        /// The partition of that topic.
        partition: i32,
        /// The committed offset.
        offset: i64,
        /// The checkpoint it belongs to.
        committed: CheckpointId,
        /// The source's name in the pipeline.
        source_name: String,
        /// The sources that the state topic knows.
        known: Vec<String>,
    },
    /// Somebody moved the group's offsets while the state stayed.
    #[error(
        "{topic}-{partition}: the group's offset was set to {offset} by another tool, but the state is of checkpoint \
         {checkpoint} at offset {expected}; to read from {offset} without that state, set the offsets of all partitions \
         and delete the state topic"
    )]
    OffsetsMoved {
        /// The Kafka topic.
        topic: String,
        /// The partition of that topic.
        partition: i32,
        /// Where the group's offset stands now.
        offset: i64,
        /// Where the state stands.
        expected: i64,
        /// The checkpoint of the state.
        checkpoint: CheckpointId,
    },
    /// The state has a partition that the pipeline would no longer read.
    #[error(
        "checkpoint {checkpoint} holds state of source \"{source_name}\" for {topic}-{partition}, which this pipeline \
         does not read; to give that state up, set the group's offsets by hand and delete the state topic"
    )]
    StateAbandoned {
        /// The checkpoint of the state.
        checkpoint: CheckpointId,
        /// The source's name in the manifest.
        source_name: String,
        /// The Kafka topic.
        topic: String,
        /// The partition of that topic.
        partition: i32,
    },
}

/// Decides where every partition starts and with which state.
pub fn decide(partitions: &[PartitionFacts], manifest: Option<&Manifest>) -> Result<Recovery, RecoveryError> {
    let starts = partitions
        .iter()
        .map(|facts| start_of(facts, partitions, manifest))
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(manifest) = manifest {
        check_nothing_is_abandoned(partitions, manifest)?;
    }
    Ok(Recovery {
        restored: manifest.map(|manifest| manifest.checkpoint),
        starts,
    })
}

fn start_of(
    facts: &PartitionFacts,
    all: &[PartitionFacts],
    manifest: Option<&Manifest>,
) -> Result<StartPosition, RecoveryError> {
    let state = manifest.and_then(|manifest| manifest.partition(&facts.source, &facts.topic, facts.partition));
    let committed = facts
        .committed
        .as_ref()
        .filter(|_| !manifest.is_some_and(|manifest| is_of_another_source(facts, all, manifest)))
        .map(|(offset, metadata)| (*offset, CommitMetadata::parse(metadata)));
    match (committed, manifest, state) {
        (Some((offset, Some(metadata))), Some(manifest), None) if metadata.checkpoint <= manifest.checkpoint => {
            Err(RecoveryError::SourceUnknown {
                topic: facts.topic.clone(),
                partition: facts.partition,
                offset,
                committed: metadata.checkpoint,
                source_name: facts.source.clone(),
                known: manifest.sources.iter().map(|source| source.source.clone()).collect(),
            })
        }
        (Some((offset, Some(metadata))), manifest, state)
            if state.is_none() || manifest.is_some_and(|manifest| metadata.checkpoint > manifest.checkpoint) =>
        {
            Err(RecoveryError::StateMissing {
                topic: facts.topic.clone(),
                partition: facts.partition,
                offset,
                committed: metadata.checkpoint,
                found: manifest.map(|manifest| manifest.checkpoint),
            })
        }
        (Some((offset, None)), Some(manifest), Some(state)) if offset != state.next_offset => {
            Err(RecoveryError::OffsetsMoved {
                topic: facts.topic.clone(),
                partition: facts.partition,
                offset,
                expected: state.next_offset,
                checkpoint: manifest.checkpoint,
            })
        }
        (_, Some(_), Some(state)) => Ok(StartPosition::Restored {
            offset: state.next_offset,
            leader_epoch: state.leader_epoch,
        }),
        (Some((offset, _)), _, _) => Ok(StartPosition::Committed { offset }),
        (None, Some(manifest), None) if reads_topic(manifest, facts) => Ok(StartPosition::Earliest),
        (None, _, _) => Ok(StartPosition::Reset),
    }
}

/// Whether what the group committed for a partition says nothing of this source: the source is new to the pipeline, and
/// one that it had before reads the partition too.
fn is_of_another_source(facts: &PartitionFacts, all: &[PartitionFacts], manifest: &Manifest) -> bool {
    let is_new = manifest.sources.iter().all(|source| source.source != facts.source);
    let same_partition = |other: &&PartitionFacts| other.topic == facts.topic && other.partition == facts.partition;
    is_new
        && all.iter().filter(same_partition).any(|other| {
            manifest
                .partition(&other.source, &other.topic, other.partition)
                .is_some()
        })
}

fn reads_topic(manifest: &Manifest, facts: &PartitionFacts) -> bool {
    manifest
        .sources
        .iter()
        .any(|source| source.source == facts.source && source.partitions.iter().any(|state| state.topic == facts.topic))
}

fn check_nothing_is_abandoned(partitions: &[PartitionFacts], manifest: &Manifest) -> Result<(), RecoveryError> {
    for source in &manifest.sources {
        for state in source.partitions.iter().filter(|state| state.chunks > 0) {
            let read = partitions.iter().any(|facts| {
                facts.source == source.source && facts.topic == state.topic && facts.partition == state.partition
            });
            if !read {
                return Err(RecoveryError::StateAbandoned {
                    checkpoint: manifest.checkpoint,
                    source_name: source.source.clone(),
                    topic: state.topic.clone(),
                    partition: state.partition,
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::OwnerEpoch;
    use super::super::manifest::PartitionState;
    use super::*;

    /// Checkpoint 5 by owner epoch 2: `events` at offset 100 of topic-0.
    fn manifest_at_100() -> Manifest {
        let partition = PartitionState {
            topic: "topic".into(),
            partition: 0,
            next_offset: 100,
            leader_epoch: Some(7),
            watermark_ns: None,
            segments: vec![CheckpointId(5)],
            chunks: 1,
            bytes: 10,
        };
        Manifest::of_events(CheckpointId(5), OwnerEpoch(2), partition)
    }

    fn facts(partition: i32, committed: Option<(i64, &str)>) -> PartitionFacts {
        PartitionFacts {
            source: "events".into(),
            topic: "topic".into(),
            partition,
            committed: committed.map(|(offset, metadata)| (offset, metadata.to_owned())),
        }
    }

    fn ours(checkpoint: u64) -> String {
        CommitMetadata {
            checkpoint: CheckpointId(checkpoint),
            watermark_ns: None,
        }
        .to_string()
    }

    /// Pitfall 16 of the stream engine: the state says where to go on, and a commit ahead of it is an error.
    /// Pitfall 22 of the stream engine: missing state is told, never replaced by a fresh start.
    #[test]
    fn every_pair_of_commit_and_state_has_one_answer() {
        use StartPosition::{Committed, Reset, Restored};
        let restored = || {
            Ok(Restored {
                offset: 100,
                leader_epoch: Some(7),
            })
        };
        let missing = |offset, committed, found| {
            Err(RecoveryError::StateMissing {
                topic: "topic".into(),
                partition: 0,
                offset,
                committed: CheckpointId(committed),
                found,
            })
        };
        let moved = |offset| {
            Err(RecoveryError::OffsetsMoved {
                topic: "topic".into(),
                partition: 0,
                offset,
                expected: 100,
                checkpoint: CheckpointId(5),
            })
        };
        let manifest = manifest_at_100();
        let (none, some) = (None, Some(&manifest));
        for (committed, manifest, expected) in [
            // A fresh start happens only where nothing was ever kept.
            (None, none, Ok(Reset)),
            // A user put the group somewhere before the first run.
            (Some((40, String::new())), none, Ok(Committed { offset: 40 })),
            // The state topic was lost: never a silent fresh start.
            (Some((100, ours(5))), none, missing(100, 5, None)),
            // Crash between manifest and first commit, or the group's offsets expired.
            (None, some, restored()),
            // Crash between manifest 5 and its commit: the manifest wins, with its own offset.
            (Some((90, ours(4))), some, restored()),
            // Clean.
            (Some((100, ours(5))), some, restored()),
            // The state topic lost its newest records.
            (Some((120, ours(6))), some, missing(120, 6, Some(CheckpointId(5)))),
            // Reset by hand, while the state stayed.
            (Some((0, String::new())), some, moved(0)),
            // By hand, but to where the state is.
            (Some((100, String::new())), some, restored()),
        ] {
            let facts = [facts(0, committed.as_ref().map(|(o, m)| (*o, m.as_str())))];
            let start = decide(&facts, manifest).map(|recovery| recovery.starts[0].clone());
            assert_eq!(start, expected, "{committed:?}");
        }
    }

    #[test]
    fn a_partition_added_to_a_known_topic_is_read_from_its_beginning() {
        let recovery = decide(&[facts(0, None), facts(1, None)], Some(&manifest_at_100())).unwrap();
        assert_eq!(recovery.starts[1], StartPosition::Earliest);
    }

    #[test]
    fn a_source_added_to_a_topic_that_is_read_already_starts_as_configured() {
        let manifest = manifest_at_100();
        let committed = ours(5);
        let mut added = facts(0, Some((100, &committed)));
        added.source = "again".into();
        let known = facts(0, Some((100, &committed)));
        let recovery = decide(&[known, added.clone()], Some(&manifest)).unwrap();
        assert_eq!(recovery.starts[1], StartPosition::Reset);
        // A source that took another one's place is no fresh start.
        assert_eq!(
            decide(&[added], Some(&manifest)).unwrap_err().to_string(),
            "topic-0: the committed offset 100 belongs to checkpoint 5, but the state topic has nothing of source \"again\" \
             there, only of events; name the source as before, or, to start anew, delete the group's offsets and the state \
             topic"
        );
    }

    #[test]
    fn a_topic_added_to_the_pipeline_starts_as_configured() {
        let mut other = facts(0, None);
        other.topic = "other".into();
        let recovery = decide(&[facts(0, None), other], Some(&manifest_at_100())).unwrap();
        assert_eq!(recovery.starts[1], StartPosition::Reset);
    }

    #[test]
    fn state_is_never_dropped_silently() {
        let error = decide(&[], Some(&manifest_at_100())).unwrap_err();
        assert_eq!(
            error.to_string(),
            "checkpoint 5 holds state of source \"events\" for topic-0, which this pipeline does not read; \
             to give that state up, set the group's offsets by hand and delete the state topic"
        );
        let mut without_windows = manifest_at_100();
        let partition = &mut without_windows.sources[0].partitions[0];
        (partition.segments, partition.chunks) = (vec![], 0);
        assert!(decide(&[], Some(&without_windows)).is_ok());
    }

    #[test]
    fn the_decision_names_the_checkpoint_that_it_restores() {
        assert_eq!(decide(&[], None).unwrap().restored, None);
        let recovery = decide(&[facts(0, None)], Some(&manifest_at_100())).unwrap();
        assert_eq!(recovery.restored, Some(CheckpointId(5)));
    }
}

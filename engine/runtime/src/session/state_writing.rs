//! The state's part of a checkpoint: what changed in all partitions, and the manifest, appended to the state topic.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use engine_lake::StagedFiles;
use engine_stream::graph::StateSize;
use engine_stream::snapshot::SnapshotKind;

use super::Session;
use super::partitions::Partition;
use crate::checkpoint::manifest::{MANIFEST_FORMAT, Manifest, PartitionState, SourceState, StagedTable};
use crate::checkpoint::state_key::ChunkKey;
use crate::checkpoint::{CheckpointId, OwnerEpoch};
use crate::context::totals::WrittenState;
use crate::run_error::RunError;
use crate::worker::{Job, Reply, TaskId, TaskSnapshot};

impl Session {
    /// Appends what changed in the state of all partitions, and then the manifest. `staged` are the lake files by the names of
    /// their sinks.
    ///
    /// The tasks tell what changed once: unless the checkpoint becomes whole, the session must be dropped.
    pub(super) async fn write_state(
        &mut self,
        checkpoint: CheckpointId,
        staged: &[(String, StagedFiles)],
    ) -> Result<Manifest, RunError> {
        let mut snapshots = self.snapshots(checkpoint).await?;
        let mut manifest = Manifest {
            format: MANIFEST_FORMAT,
            checkpoint,
            owner_epoch: self.owner_epoch,
            created_ms: self.context.wall_clock_ns() / 1_000_000,
            sources: Vec::with_capacity(self.sources.len()),
            lake: staged
                .iter()
                .map(|(sink, files)| StagedTable {
                    sink: sink.clone(),
                    staged: files.encode(),
                })
                .collect(),
        };
        let mut total = WrittenState::default();
        for source in &mut self.sources {
            let (name, watermark_ns) = (&source.source.name, source.watermark_ns());
            let mut partitions = Vec::with_capacity(source.partitions.len());
            for (task, partition) in &mut source.partitions {
                let snapshot = snapshots.remove(task).expect("every task belongs to a worker");
                let written = snapshot.written;
                let key = segment_key(self.owner_epoch, checkpoint, name, partition);
                self.state_topic.write_segment(&key, &written.values).await?;
                let kept = snapshot.sizes.iter().map(|(_, size)| size.groups as u64).sum();
                let obsolete = partition
                    .live
                    .handle_written(written.kind, written.segment, kept, watermark_ns);
                for segment in obsolete {
                    let key = segment_key(self.owner_epoch, segment.checkpoint, name, partition);
                    self.state_topic.forget_segment(&key, segment.chunks);
                }
                total.written_bytes += written.segment.map_or(0, |segment| segment.bytes);
                total.segments += partition.live.len() as u64;
                total.stored_bytes += partition.live.bytes();
                partitions.push(PartitionState {
                    topic: partition.topic.to_string(),
                    partition: partition.partition,
                    next_offset: partition.processed_offset,
                    leader_epoch: partition.leader_epoch,
                    watermark_ns: source.watermarks.as_ref().and_then(|all| all.partition_watermark(task)),
                    segments: partition.live.checkpoints(),
                    chunks: partition.live.chunks(),
                    bytes: partition.live.bytes(),
                });
            }
            manifest.sources.push(SourceState {
                source: name.clone(),
                watermark_ns,
                taken_up_to_ns: source.taken_up_to_ns.clone(),
                partitions,
            });
        }
        self.context.totals().written_state = Some(total);
        self.state_topic.write_manifest(&manifest).await?;
        Ok(manifest)
    }

    async fn snapshots(&mut self, checkpoint: CheckpointId) -> Result<HashMap<TaskId, TaskSnapshot>, RunError> {
        let partitions = self.sources.iter().flat_map(|source| &source.partitions);
        let is_full = |partition: &Partition| partition.live.next(self.tasks.len()) == SnapshotKind::Full;
        let full = partitions.filter(|(_, partition)| is_full(partition));
        let full: Arc<HashSet<TaskId>> = Arc::new(full.map(|(task, _)| *task).collect());
        for worker in 0..self.workers.count() {
            let full = Arc::clone(&full);
            self.workers.send(worker, Job::Snapshot { checkpoint, full });
        }
        let mut all = HashMap::new();
        let mut sizes: BTreeMap<String, StateSize> = BTreeMap::new();
        for _ in 0..self.workers.count() {
            match self.replies.recv().await {
                Some(Reply::Snapshots { snapshots }) => {
                    for snapshot in snapshots {
                        for (transform, of_task) in &snapshot.sizes {
                            let size = sizes.entry(transform.clone()).or_default();
                            size.groups += of_task.groups;
                            size.bytes += of_task.bytes;
                        }
                        all.insert(snapshot.task, snapshot);
                    }
                }
                Some(Reply::Failed(error)) => return Err(error.into()),
                _ => unreachable!("nothing else was asked for"),
            }
        }
        self.context.totals().state = sizes;
        Ok(all)
    }
}

fn segment_key(owner_epoch: OwnerEpoch, checkpoint: CheckpointId, source: &str, partition: &Partition) -> ChunkKey {
    ChunkKey {
        owner_epoch,
        checkpoint,
        source: source.to_owned(),
        topic: partition.topic.to_string(),
        partition: partition.partition,
        chunk: 0,
    }
}

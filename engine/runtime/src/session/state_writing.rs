//! The state's part of a checkpoint: snapshots of all partitions and the manifest, appended to the state topic.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use engine_lake::StagedFiles;

use super::Session;
use crate::checkpoint::CheckpointId;
use crate::checkpoint::manifest::{MANIFEST_FORMAT, Manifest, PartitionState, SourceState, StagedTable};
use crate::context::totals::StateSize;
use crate::run_error::RunError;
use crate::worker::{Job, Reply, TaskId, TaskSnapshot};

impl Session {
    /// Appends the state of all partitions and then the manifest. `staged` are the lake files by the names of their sinks.
    pub(super) async fn write_state(
        &mut self,
        checkpoint: CheckpointId,
        staged: &[(String, StagedFiles)],
    ) -> Result<Manifest, RunError> {
        let mut snapshots = self.snapshots().await?;
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
        for source in &self.sources {
            let mut partitions = Vec::with_capacity(source.partitions.len());
            for (task, partition) in &source.partitions {
                let snapshot = snapshots.remove(task).unwrap_or_default();
                let name = &source.source.name;
                let chunks = self
                    .state_topic
                    .write_snapshot(
                        checkpoint,
                        self.owner_epoch,
                        name,
                        &partition.topic,
                        partition.partition,
                        &snapshot,
                    )
                    .await?;
                partitions.push(PartitionState {
                    topic: partition.topic.to_string(),
                    partition: partition.partition,
                    next_offset: partition.processed_offset,
                    leader_epoch: partition.leader_epoch,
                    watermark_ns: source.watermarks.as_ref().and_then(|all| all.partition_watermark(task)),
                    chunks,
                    bytes: snapshot.len() as u64,
                });
            }
            manifest.sources.push(SourceState {
                source: source.source.name.clone(),
                watermark_ns: source.watermark_ns(),
                partitions,
            });
        }
        self.state_topic.write_manifest(&manifest).await?;
        Ok(manifest)
    }

    async fn snapshots(&mut self) -> Result<HashMap<TaskId, Bytes>, RunError> {
        for worker in 0..self.workers.count() {
            self.workers.send(worker, Job::Snapshot);
        }
        let mut all = HashMap::new();
        let mut sizes: BTreeMap<String, StateSize> = BTreeMap::new();
        for _ in 0..self.workers.count() {
            match self.replies.recv().await {
                Some(Reply::Snapshots { snapshots }) => {
                    for TaskSnapshot {
                        task,
                        snapshot,
                        groups,
                        state_bytes,
                    } in snapshots
                    {
                        all.insert(task, snapshot);
                        let windows = &self.sources[self.tasks[&task]].source.plan.windows;
                        if !windows.is_empty() {
                            let size = sizes.entry(windows.join(", ")).or_default();
                            size.groups += groups;
                            size.bytes += state_bytes;
                        }
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

//! What happens between two triggers, when nothing is on its way: watermarks advance, windows close, checkpoints.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use engine_client::{CommitError, CommittedOffset, Consumer, TopicPartition};

use super::Session;
use super::windows::ClosedResults;
use crate::checkpoint::commit_metadata::CommitMetadata;
use crate::checkpoint::manifest::{MANIFEST_FORMAT, Manifest, PartitionState, SourceState, StagedTable};
use crate::context::totals::StateSize;
use crate::control::Control;
use crate::progress::RunPhase;
use crate::run_error::RunError;
use crate::sink::set::SinkWriter;
use crate::stage_times::Stage;
use crate::worker::{Job, Reply, TaskId, TaskSnapshot};

impl Session {
    /// Waits for the workers, without giving them more.
    pub(super) async fn settle(&mut self) -> Result<(), RunError> {
        while self.outstanding > 0 {
            let reply = self
                .replies
                .recv()
                .await
                .expect("the workers live as long as the session");
            self.handle_reply(reply)?;
        }
        Ok(())
    }

    /// Advances the watermarks and emits the windows that they close.
    pub(super) async fn advance(&mut self, now: Instant) -> Result<(), RunError> {
        let is_full = self.pace.is_full();
        for source in 0..self.sources.len() {
            if let Some(watermark) = self.sources[source].advance(now, is_full) {
                self.emit_windows(source, Some(watermark)).await?;
            }
        }
        Ok(())
    }

    /// Ends a bounded run: drains if asked to, and takes the last checkpoint. False as [`Session::checkpoint`].
    pub(super) async fn finish(&mut self, group: &mut Consumer, control: &Control) -> Result<bool, RunError> {
        self.advance(Instant::now()).await?;
        if control.drain {
            self.tell(control, RunPhase::Draining, group);
            for source in 0..self.sources.len() {
                let drained = self.emit_windows(source, None).await?;
                self.sources[source].handle_drained(&drained, self.context.wall_clock_ns());
            }
        }
        self.tell(control, RunPhase::Stopping, group);
        self.checkpoint(group).await
    }

    /// Takes the closed windows of a source from all workers (all windows without a watermark), merges them and hands
    /// the rows to the sinks. Returns the windows, as [`ClosedResults::windows`].
    async fn emit_windows(&mut self, source: usize, watermark: Option<i64>) -> Result<BTreeSet<(i64, i64)>, RunError> {
        let started = Instant::now();
        for worker in 0..self.workers.count() {
            self.workers.send(worker, Job::TakeWindows { source, watermark });
        }
        let mut windows = Vec::new();
        for _ in 0..self.workers.count() {
            match self.replies.recv().await {
                Some(Reply::Windows { windows: taken }) => windows.extend(taken),
                Some(Reply::Failed(error)) => return Err(error.into()),
                _ => unreachable!("nothing else was asked for"),
            }
        }
        let mut results = self.sources[source].merge(windows).map_err(RunError::process)?;
        let windows = std::mem::take(&mut results.windows);
        // Also where a filter behind the window let nothing through: the state is another now.
        self.changed |= !windows.is_empty();
        if !results.outputs.is_empty() {
            self.hand_over(source, results)?;
            self.context.record(Stage::Windows, started.elapsed());
        }
        Ok(windows)
    }

    fn hand_over(&mut self, source: usize, results: ClosedResults) -> Result<(), RunError> {
        let mut kafka = Vec::new();
        for output in &results.outputs {
            self.sinks.write(source, output).map_err(RunError::Sink)?;
            if let SinkWriter::Kafka(sink) = &self.sinks.of_output(source, output.sink).writer {
                kafka.push(sink.clone());
            }
        }
        if kafka.is_empty() {
            return Ok(());
        }
        // Results should be with their readers now, not when the producer's linger ends; and the moment the broker
        // has them is the end of their latency.
        let context = Arc::clone(&self.context);
        let delivery = self.context.network.spawn(async move {
            for sink in kafka {
                if sink.flush().await.is_err() {
                    return; // The sink remembers, and the next checkpoint fails with it.
                }
            }
            context.record_latencies(&results.latest);
        });
        self.deliveries.retain(|delivery| !delivery.is_finished());
        self.deliveries.push(delivery);
        Ok(())
    }

    /// Finishes what is at the workers and takes a checkpoint of it. False as [`Session::checkpoint`].
    pub(super) async fn last_checkpoint(&mut self, group: &mut Consumer) -> Result<bool, RunError> {
        self.settle().await?;
        self.advance(Instant::now()).await?;
        self.checkpoint(group).await
    }

    /// Takes a checkpoint, unless nothing has changed since the last. False when the partitions turn out to be
    /// another process's: then nothing here counts any more.
    ///
    pub(super) async fn checkpoint(&mut self, group: &mut Consumer) -> Result<bool, RunError> {
        assert_eq!(self.outstanding, 0, "a checkpoint is taken when nothing is on its way");
        if !self.changed {
            self.pace.handle_checkpoint(Instant::now());
            return Ok(true);
        }
        let taken = self.take_checkpoint(group).await;
        if !matches!(taken, Ok(true)) {
            self.context.handle_failed_checkpoint();
        }
        taken
    }

    /// At least once: outputs first, then state and its offsets in one manifest, then the group's offsets, then the lake.
    async fn take_checkpoint(&mut self, group: &mut Consumer) -> Result<bool, RunError> {
        let checkpoint = self.checkpoint.next();
        let started = Instant::now();
        // A producer tells a failed delivery to one flush only: whichever of them had it must have passed it on to its
        // sink before ours may find the sink in order.
        for delivery in std::mem::take(&mut self.deliveries) {
            let _ = delivery.await;
        }
        self.sinks.flush().await.map_err(RunError::Sink)?;
        if let Some(dead_letter) = &self.context.dead_letter {
            dead_letter.flush().await.map_err(RunError::Sink)?;
        }
        let flushed = self.lap(Stage::Flush, started);
        let staged = self.sinks.stage(checkpoint.0).map_err(RunError::Sink)?;
        let staged_at = self.lap(Stage::LakeFiles, flushed);

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
        // From here on the checkpoint is there, whatever happens to the commit: its number must not be used again.
        self.checkpoint = checkpoint;
        self.state_topic.clear_former_owners().await?;
        let stated = self.lap(Stage::State, staged_at);
        // The group's coordinator knows whether the partitions are still ours. It is asked before the files are seen: a
        // process that slept while another took over must not publish rows that the other has written again.
        match group.commit(&commits(&manifest)).await {
            Ok(()) => {}
            // The manifest has the same offsets, and a revocation follows at once, with a checkpoint of its own.
            Err(CommitError::RebalanceInProgress) => {}
            Err(CommitError::MembershipLost { .. } | CommitError::NotAssigned { .. }) => return Ok(false),
            Err(error) => return Err(RunError::commit(error)),
        }
        let committed = self.lap(Stage::Commit, stated);
        self.sinks.publish(staged).map_err(RunError::Sink)?;
        self.lap(Stage::Publish, committed);
        self.changed = false;
        let now = Instant::now();
        self.context.record(Stage::Checkpoint, now - started);
        self.context.handle_checkpoint(checkpoint, now - started);
        self.pace.handle_checkpoint(now);
        Ok(true)
    }

    fn lap(&self, stage: Stage, since: Instant) -> Instant {
        let now = Instant::now();
        self.context.record(stage, now - since);
        now
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

/// The group's offsets of a checkpoint. Two sources may read one partition: its offset is then the smaller one.
fn commits(manifest: &Manifest) -> Vec<(TopicPartition, CommittedOffset)> {
    let mut commits: HashMap<TopicPartition, CommittedOffset> = HashMap::new();
    for state in manifest.sources.iter().flat_map(|source| &source.partitions) {
        let metadata = CommitMetadata {
            checkpoint: manifest.checkpoint,
            watermark_ns: state.watermark_ns,
        };
        let commit = CommittedOffset {
            offset: state.next_offset,
            leader_epoch: state.leader_epoch,
            metadata: metadata.to_string(),
        };
        let entry = commits
            .entry(TopicPartition::new(state.topic.as_str(), state.partition))
            .or_insert_with(|| commit.clone());
        if commit.offset < entry.offset {
            *entry = commit;
        }
    }
    commits.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{CheckpointId, OwnerEpoch};

    fn state(partition: i32, next_offset: i64) -> PartitionState {
        PartitionState {
            topic: "topic".into(),
            partition,
            next_offset,
            leader_epoch: None,
            watermark_ns: Some(5),
            chunks: 0,
            bytes: 0,
        }
    }

    #[test]
    fn a_partition_that_two_sources_read_is_committed_at_the_smaller_offset() {
        let source = |name: &str, partitions| SourceState {
            source: name.into(),
            watermark_ns: None,
            partitions,
        };
        let manifest = Manifest {
            format: MANIFEST_FORMAT,
            checkpoint: CheckpointId(3),
            owner_epoch: OwnerEpoch(1),
            created_ms: 0,
            sources: vec![
                source("a", vec![state(0, 30), state(1, 7)]),
                source("b", vec![state(0, 20)]),
            ],
            lake: vec![],
        };
        let mut commits = commits(&manifest);
        commits.sort_by_key(|(tp, _)| tp.partition);
        let offsets: Vec<_> = commits
            .iter()
            .map(|(tp, commit)| (tp.partition, commit.offset))
            .collect();
        assert_eq!(offsets, [(0, 20), (1, 7)]);
        assert_eq!(commits[0].1.metadata, "engine/1 checkpoint=3 watermark_ns=5");
    }
}

//! A checkpoint: outputs, state, offsets and lake files of everything processed so far, together.
//!
//! ```text
//! exactly once:   stage lake files ┐
//!                 snapshots ───────┴▶ state, manifest, offsets ─▶ commit the transaction ─▶ publish lake files
//! at least once:  flush, stage, snapshots ─▶ state ─▶ manifest ─▶ commit the offsets ─▶ clear old state, publish lake files
//! ```
//! Publishing goes on while the next micro-batch is processed; it is waited for before the next checkpoint is begun.
//! After any failure nothing here is certain any more: the session is dropped, and the next one starts from what is there.

use std::collections::HashMap;
use std::time::Instant;

use engine_client::{CommitError, CommittedOffset, Consumer, TopicPartition};
use tracing::warn;

use super::Session;
use crate::checkpoint::commit_metadata::CommitMetadata;
use crate::checkpoint::manifest::Manifest;
use crate::run_error::RunError;
use crate::stage_times::Stage;
use crate::transaction::{CommitFailure, Transaction};

impl Session {
    /// Finishes what is at the workers and takes a checkpoint of it. False as [`Session::checkpoint`].
    pub(super) async fn last_checkpoint(&mut self, group: &mut Consumer) -> Result<bool, RunError> {
        self.settle().await?;
        self.advance(Instant::now()).await?;
        let taken = self.checkpoint(group).await?;
        self.finish_publishing().await?;
        Ok(taken)
    }

    /// Waits until the lake files of the newest checkpoint can be read. Were the next manifest there before that, a crash
    /// would leave files that no manifest names.
    pub(super) async fn finish_publishing(&mut self) -> Result<(), RunError> {
        for publishing in std::mem::take(&mut self.publishing) {
            let took = publishing.finish().await.map_err(RunError::Sink)?;
            self.context.record(Stage::Publish, took);
        }
        Ok(())
    }

    /// Takes a checkpoint, unless nothing has changed since the last: then no transaction is opened either. False when the
    /// partitions turn out to be another process's: then nothing here counts any more.
    pub(super) async fn checkpoint(&mut self, group: &mut Consumer) -> Result<bool, RunError> {
        assert_eq!(self.outstanding, 0, "a checkpoint is taken when nothing is on its way");
        self.finish_publishing().await?;
        if !self.changed {
            self.pace.handle_checkpoint(Instant::now());
            return Ok(true);
        }
        self.emit_updates().await?;
        let taken = self.take_checkpoint(group).await;
        if !matches!(taken, Ok(true)) {
            self.context.handle_failed_checkpoint();
        }
        taken
    }

    async fn take_checkpoint(&mut self, group: &mut Consumer) -> Result<bool, RunError> {
        let checkpoint = self.checkpoint.next();
        let started = Instant::now();
        // A producer tells a failed delivery to one flush only: whichever of them had it must have passed it on to its
        // sink before ours may find the sink in order.
        for delivery in std::mem::take(&mut self.deliveries) {
            let _ = delivery.await;
        }
        let staging = self.sinks.begin_stage(checkpoint.0).await.map_err(RunError::Sink)?;
        if self.outputs.transaction.is_none() {
            self.sinks.flush().await.map_err(RunError::Sink)?;
            if let Some(dead_letter) = &self.outputs.dead_letter {
                dead_letter.flush().await.map_err(RunError::Sink)?;
            }
        }
        let flushed = self.lap(Stage::Flush, started);
        let staged = self.sinks.finish_stage(staging).await.map_err(RunError::Sink)?;
        let staged_at = self.lap(Stage::LakeFiles, flushed);
        let manifest = self.write_state(checkpoint, &staged).await?;
        let whole = match self.outputs.transaction.clone() {
            Some(transaction) => {
                self.commit_transaction(&transaction, &manifest, group, staged_at)
                    .await?
            }
            None => self.commit_offsets(&manifest, group, staged_at).await?,
        };
        if !whole {
            return Ok(false);
        }
        self.publishing = self.sinks.begin_publish(staged).await.map_err(RunError::Sink)?;
        self.changed = false;
        let now = Instant::now();
        self.context.record(Stage::Checkpoint, now - started);
        self.context.handle_checkpoint(checkpoint, now - started);
        self.pace.handle_checkpoint(now);
        Ok(true)
    }

    /// Exactly once: everything that was written, the manifest and the offsets become visible in one step, or never.
    async fn commit_transaction(
        &mut self,
        transaction: &Transaction,
        manifest: &Manifest,
        group: &Consumer,
        since: Instant,
    ) -> Result<bool, RunError> {
        self.state_topic.clear_obsolete().await?;
        let stated = self.lap(Stage::State, since);
        match transaction.commit(&commits(manifest), group).await {
            Ok(()) => {}
            Err(CommitFailure::Fenced(reason)) => {
                warn!(
                    checkpoint = manifest.checkpoint.0,
                    reason, "The transaction is not ours any more."
                );
                return Ok(false);
            }
            Err(CommitFailure::Failed(reason)) => return Err(RunError::Transaction(reason)),
        }
        self.checkpoint = manifest.checkpoint;
        let latest = std::mem::take(&mut self.uncommitted_latest);
        self.context.record_latencies(&latest);
        self.lap(Stage::Commit, stated);
        Ok(true)
    }

    /// At least once: the manifest is the commit point of state and offsets; the group's offsets follow.
    async fn commit_offsets(
        &mut self,
        manifest: &Manifest,
        group: &Consumer,
        since: Instant,
    ) -> Result<bool, RunError> {
        // The checkpoint is there, whatever happens to the commit: its number must not be used again.
        self.checkpoint = manifest.checkpoint;
        let stated = self.lap(Stage::State, since);
        // The group's coordinator knows whether the partitions are still ours. It is asked before the files are seen: a
        // process that slept while another took over must not publish rows that the other has written again.
        match group.commit(&commits(manifest)).await {
            // Not before: a manifest that came too late does not count, and the one before it needs what it names.
            Ok(()) => self.state_topic.clear_obsolete().await?,
            // The manifest has the same offsets, and a revocation follows at once, with a checkpoint of its own.
            Err(CommitError::RebalanceInProgress) => {}
            Err(CommitError::MembershipLost { .. } | CommitError::NotAssigned { .. }) => return Ok(false),
            Err(error) => return Err(RunError::commit(error)),
        }
        self.lap(Stage::Commit, stated);
        Ok(true)
    }

    fn lap(&self, stage: Stage, since: Instant) -> Instant {
        let now = Instant::now();
        self.context.record(stage, now - since);
        now
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
    use crate::checkpoint::manifest::{MANIFEST_FORMAT, PartitionState, SourceState};
    use crate::checkpoint::{CheckpointId, OwnerEpoch};

    fn state(partition: i32, next_offset: i64) -> PartitionState {
        PartitionState {
            topic: "topic".into(),
            partition,
            next_offset,
            leader_epoch: None,
            watermark_ns: Some(5),
            segments: vec![],
            chunks: 0,
            bytes: 0,
        }
    }

    #[test]
    fn a_partition_that_two_sources_read_is_committed_at_the_smaller_offset() {
        let source = |name: &str, partitions| SourceState {
            source: name.into(),
            watermark_ns: None,
            taken_up_to_ns: Default::default(),
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

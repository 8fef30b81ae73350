//! Windows in update mode: before each checkpoint, the rows of the groups that changed since the last one.
//!
//! A row is what all partitions together know of its group, and each of them is at a worker of its own. So they are asked
//! twice: which groups changed, and what they hold of those that changed anywhere. Being emitted before the checkpoint, the
//! rows belong to it, and a session that starts from a checkpoint has nothing left to emit.

use std::sync::Arc;
use std::time::Instant;

use engine_stream::graph::ChangedGroups;

use super::Session;
use crate::run_error::RunError;
use crate::stage_times::Stage;
use crate::worker::{Job, Reply};

impl Session {
    /// Emits the groups of all windows in update mode that changed since the last checkpoint.
    pub(super) async fn emit_updates(&mut self) -> Result<(), RunError> {
        for source in 0..self.sources.len() {
            if self.sources[source].source.plan.has_updates() {
                self.emit_updates_of(source).await?;
            }
        }
        Ok(())
    }

    async fn emit_updates_of(&mut self, source: usize) -> Result<(), RunError> {
        let started = Instant::now();
        for worker in 0..self.workers.count() {
            self.workers.send(worker, Job::ChangedGroups { source });
        }
        let mut changed = Vec::new();
        for _ in 0..self.workers.count() {
            match self.replies.recv().await {
                Some(Reply::ChangedGroups { changed: of_worker }) => changed.extend(of_worker),
                Some(Reply::Failed(error)) => return Err(error.into()),
                _ => unreachable!("nothing else was asked for"),
            }
        }
        if changed.is_empty() {
            return Ok(());
        }
        let changed = Arc::new(ChangedGroups::concat(changed));
        for worker in 0..self.workers.count() {
            let changed = Arc::clone(&changed);
            self.workers.send(worker, Job::CopyGroups { source, changed });
        }
        let mut windows = Vec::new();
        for _ in 0..self.workers.count() {
            match self.replies.recv().await {
                Some(Reply::Windows { windows: copied }) => windows.extend(copied),
                Some(Reply::Failed(error)) => return Err(error.into()),
                _ => unreachable!("nothing else was asked for"),
            }
        }
        let results = self.sources[source].merge(windows).map_err(RunError::process)?;
        if !results.outputs.is_empty() {
            self.hand_over(source, results).await?;
            self.context.record(Stage::Windows, started.elapsed());
        }
        Ok(())
    }
}

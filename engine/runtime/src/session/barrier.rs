//! What happens between two triggers, when nothing is on its way: watermarks advance and windows close.
//!
//! Never here: checkpoints (see `checkpoint`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use engine_client::Consumer;

use super::Session;
use super::windows::ClosedResults;
use crate::control::Control;
use crate::progress::RunPhase;
use crate::run_error::RunError;
use crate::sink::set::SinkWriter;
use crate::stage_times::Stage;
use crate::worker::{Job, Reply};

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
        let taken = self.checkpoint(group).await?;
        self.finish_publishing().await?;
        Ok(taken)
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
        if watermark.is_some() {
            self.keep_sessions_open(source, &mut windows).await?;
        }
        let mut results = self.sources[source].merge(windows).map_err(RunError::process)?;
        let windows = std::mem::take(&mut results.windows);
        // Also where a filter behind the window let nothing through: the state is another now.
        self.changed |= !windows.is_empty();
        if !results.outputs.is_empty() {
            self.hand_over(source, results).await?;
            self.context.record(Stage::Windows, started.elapsed());
        }
        Ok(windows)
    }

    /// Gives rows to their sinks, and has those for Kafka sent at once.
    pub(super) async fn hand_over(&mut self, source: usize, results: ClosedResults) -> Result<(), RunError> {
        let mut kafka = Vec::new();
        for output in &results.outputs {
            self.sinks.write(source, output).await.map_err(RunError::Sink)?;
            if let SinkWriter::Kafka(sink) = &self.sinks.of_output(source, output.sink).writer {
                kafka.push(sink.clone());
            }
        }
        if kafka.is_empty() {
            return Ok(());
        }
        // Results should be with their readers now, not when the producer's linger ends; and the moment when they can be
        // read is the end of their latency: when the broker has them, or when their transaction is committed.
        let context = Arc::clone(&self.context);
        let is_visible = self.outputs.transaction.is_none();
        if !is_visible {
            self.uncommitted_latest.extend(&results.latest);
        }
        let delivery = self.context.network.spawn(async move {
            for sink in kafka {
                if sink.flush().await.is_err() {
                    return; // The sink remembers, and the next checkpoint fails with it.
                }
            }
            if is_visible {
                context.record_latencies(&results.latest);
            }
        });
        self.deliveries.retain(|delivery| !delivery.is_finished());
        self.deliveries.push(delivery);
        Ok(())
    }
}

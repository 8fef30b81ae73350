//! A session: the time between owning the partitions and losing them.
//!
//! It begins with a restore and ends with a last checkpoint or, when the partitions are gone already, without one.
//! Everything that may hold unfinished work (workers, lake writers, watermarks) is made for one session and dropped
//! with it, so that a process that loses its partitions and gets them back starts from the state topic like any other.
//!
//! ```text
//!            fetched                    all workers idle, due                 all workers answered
//! Gathering ──────────▶ Gathering … ───────────────────────────▶ Processing ───────────────────────▶ Gathering
//!                                                                              watermarks, closed windows,
//!                                                                              a checkpoint when due
//! ```
//! While the workers process one micro-batch, the next is gathered. A checkpoint is taken between two triggers only,
//! when nothing is on its way: that is the barrier.
//! Never here: joining the group, HTTP, printing.

pub(crate) mod barrier;
mod checkpoint;
pub(crate) mod event_loop;
mod open_sessions;
pub(crate) mod pace;
pub(crate) mod partitions;
mod report;
pub(crate) mod restore;
mod silence;
mod state_writing;
mod take_over;
mod updates;
pub(crate) mod windows;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use engine_client::Consumer;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;

use self::pace::Pace;
use self::silence::Silence;
use self::windows::SessionSource;
use crate::checkpoint::state_topic::StateTopic;
use crate::checkpoint::{CheckpointId, OwnerEpoch};
use crate::context::RunContext;
use crate::control::Control;
use crate::latency::windows::LatestOfWindow;
use crate::outputs::Outputs;
use crate::progress::RunPhase;
use crate::run_error::RunError;
use crate::sink::lake::LakePublishing;
use crate::sink::set::SinkSet;
use crate::worker::{Reply, TaskId, Workers};

/// Ownership of the partitions, with all that is unfinished.
#[derive(Debug)]
pub(crate) struct Session {
    context: Arc<RunContext>,
    owner_epoch: OwnerEpoch,
    /// The newest whole checkpoint; 0 before the first.
    checkpoint: CheckpointId,
    state_topic: StateTopic,
    sources: Vec<SessionSource>,
    /// The source of each task.
    tasks: HashMap<TaskId, usize>,
    workers: Workers,
    replies: UnboundedReceiver<Reply>,
    /// Process jobs at the workers.
    outstanding: usize,
    sinks: Arc<SinkSet>,
    outputs: Outputs,
    pace: Pace,
    silence: Silence,
    gather_started: Option<Instant>,
    /// Flushes of window results that are under way. The next checkpoint waits for them, so there are never more than one
    /// per source and trigger of a checkpoint interval.
    deliveries: Vec<JoinHandle<()>>,
    /// Lake files of the newest checkpoint that are being made visible, while the next micro-batch is processed. The next
    /// manifest names other files, so it waits for them.
    publishing: Vec<LakePublishing>,
    /// Windows whose results the next commit makes visible, as in [`ClosedResults::latest`](windows::ClosedResults).
    uncommitted_latest: Vec<LatestOfWindow>,
    /// Whether anything was processed since the last checkpoint.
    changed: bool,
}

impl Session {
    /// See [`Outputs::cause_of`].
    pub(crate) fn cause_of(&self, error: RunError) -> RunError {
        self.outputs.cause_of(&self.context, error)
    }

    /// Ends the workers, the outputs and the fetchers, and leaves its counts to the totals. What no checkpoint covers is
    /// given up.
    pub(crate) async fn close(self, is_covered: bool) {
        self.leave_counts();
        let Session {
            context,
            workers,
            replies,
            sinks,
            outputs,
            sources,
            publishing,
            ..
        } = self;
        // Beside the outputs, for workers may wait for room in a producer that nobody makes before it is closed; and on a thread
        // that may block, for they may wait for a lake too, longer than somebody waits who has asked to stop.
        let threads = tokio::task::spawn_blocking(move || {
            workers.join();
            drop((sinks, publishing, replies));
        });
        if is_covered {
            outputs.close(&context).await;
        } else {
            outputs.abandon(&context).await;
        }
        let _ = threads.await;
        for source in sources {
            source.fetcher.close().await;
        }
    }

    fn leave_counts(&self) {
        let mut totals = self.context.totals();
        for (of_source, source) in totals.ended_counts.iter_mut().zip(&self.sources) {
            *of_source = *of_source + source.counts;
        }
        for (ended, sink) in totals.ended_sinks.iter_mut().zip(self.sinks.iter()) {
            *ended = *ended + sink.counts();
        }
        for source in &self.sources {
            totals.ended_requests.add_consumer(&source.fetcher.stats());
        }
        // What is open is in the state topic now, and for whoever owns the partitions next.
        totals.state.clear();
        totals.written_state = None;
    }

    /// Tells what the run is doing and what it has counted.
    fn tell(&self, control: &Control, phase: RunPhase, group: &Consumer) {
        control.report(&self.context, phase, Some(&self.running()), &group.stats());
    }
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionEnd {
    /// A bounded run has read everything; the last checkpoint is taken.
    Finished,
    /// Somebody asked to stop; the last checkpoint is taken.
    Stopped,
    /// The partitions go to another process; the last checkpoint is taken.
    Revoked,
    /// The partitions are another process's already; nothing was committed.
    Lost,
}

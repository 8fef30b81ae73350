//! The threads that decode and aggregate: one per core, each with partitions of its own.
//!
//! A worker takes jobs in order from a bounded queue and answers each on one shared channel, which holds at most one answer
//! per job that waits or is worked on. Its partitions' state is
//! touched by no other thread, so there are no locks here. Rows for sinks leave from the worker itself: encoding them
//! is CPU work too, and a sink that pushes back must slow the worker down, not the network.
//! Never here: watermarks, checkpoints, anything async.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use engine_stream::graph::{ChangedGroups, ClosedWindows, SessionSpans, StateSize};
use engine_stream::snapshot::SnapshotKind;
use engine_wire::compression::{Compressor, DecodeLimits, Decompressor};
use engine_wire::record_batch::RawBatch;
use tokio::sync::mpsc::UnboundedSender;

use crate::checkpoint::CheckpointId;
use crate::sink::set::SinkSet;
use crate::sink_error::SinkError;
use crate::source::task::{PartitionTask, TaskOutcome, TaskSegment, TaskWindows};
use crate::source::task_error::TaskError;

/// Jobs that may wait at one worker; the coordinator blocks beyond it.
const JOBS_MAX: usize = 1_024;

/// Which partition task a job is for: unique over all sources of a process and never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TaskId(pub(crate) u64);

/// Work for a worker.
#[derive(Debug)]
pub(crate) enum Job {
    /// Owns this task from now on.
    Install {
        task: TaskId,
        source: usize,
        state: Box<PartitionTask>,
    },
    /// Ends a task's reading at an offset.
    Bound { task: TaskId, end_offset: i64 },
    /// Processes what was fetched of one partition. Answered by [`Reply::Processed`].
    Process {
        task: TaskId,
        batches: Vec<RawBatch>,
        next_offset: i64,
        closed_before: Option<i64>,
    },
    /// Takes the closed windows of all partitions of a source, `None` for all windows. Answered by [`Reply::Windows`].
    TakeWindows { source: usize, watermark: Option<i64> },
    /// Looks for open sessions of a source that overlap these. Answered by [`Reply::Sessions`].
    FindSessions {
        source: usize,
        spans: Arc<Vec<SessionSpans>>,
    },
    /// Adds parts of sessions to those that this task holds open.
    AbsorbSessions { task: TaskId, parts: ClosedWindows },
    /// Tells which groups of windows in update mode changed, over all partitions of a source. Answered by
    /// [`Reply::ChangedGroups`].
    ChangedGroups { source: usize },
    /// Copies what all partitions of a source know of these groups. Answered by [`Reply::Windows`].
    CopyGroups {
        source: usize,
        changed: Arc<Vec<ChangedGroups>>,
    },
    /// Writes what changed in the state of all partitions, and all of it of some. Answered by [`Reply::Snapshots`].
    Snapshot {
        checkpoint: CheckpointId,
        full: Arc<HashSet<TaskId>>,
    },
}

/// A worker's answer.
#[derive(Debug)]
pub(crate) enum Reply {
    /// To [`Job::Process`]; the rows for sinks are written already.
    Processed {
        task: TaskId,
        outcome: TaskOutcome,
        times: ProcessTimes,
    },
    /// To [`Job::FindSessions`]: the task, which of the windows, and which of its sessions it holds open.
    Sessions { held: Vec<(TaskId, usize, Vec<usize>)> },
    /// To [`Job::TakeWindows`] and [`Job::CopyGroups`].
    Windows { windows: Vec<TaskWindows> },
    /// To [`Job::ChangedGroups`].
    ChangedGroups { changed: Vec<ChangedGroups> },
    /// To [`Job::Snapshot`].
    Snapshots { snapshots: Vec<TaskSnapshot> },
    /// Instead of any of these: the pipeline stops.
    Failed(WorkerError),
}

/// Where the time of a [`Job::Process`] went.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ProcessTimes {
    /// CRC, decompression, decoding and operators.
    pub(crate) process: Duration,
    /// Encoding rows and handing them to sinks, waiting for room included.
    pub(crate) sinks: Duration,
}

/// The state of one partition.
#[derive(Debug)]
pub(crate) struct TaskSnapshot {
    /// Which.
    pub(crate) task: TaskId,
    /// What is to be written of it.
    pub(crate) written: TaskSegment,
    /// What it holds in memory, by the name of the transform.
    pub(crate) sizes: Vec<(String, StateSize)>,
}

/// Why a worker gave up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkerError {
    /// Decoding, an operator or the state.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// A sink refused rows.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// A promise of our own was broken.
    #[error("worker {worker} died of a bug; its message is in the log above")]
    Died { worker: usize },
}

/// The worker threads.
#[derive(Debug)]
pub(crate) struct Workers {
    queues: Vec<SyncSender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts `count` threads.
    pub(crate) fn start(count: usize, sinks: &Arc<SinkSet>, replies: &UnboundedSender<Reply>) -> std::io::Result<Self> {
        let mut workers = Workers {
            queues: Vec::new(),
            threads: Vec::new(),
        };
        for index in 0..count {
            let (queue, jobs) = sync_channel(JOBS_MAX);
            let mut worker = Worker {
                tasks: HashMap::new(),
                decompressor: Decompressor::new(DecodeLimits::default()),
                compressor: Compressor::new(),
                sinks: Arc::clone(sinks),
            };
            let obituary = Obituary {
                worker: index,
                replies: replies.clone(),
            };
            let thread = std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || worker.run(&jobs, &obituary.replies))?;
            workers.queues.push(queue);
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.queues.len()
    }

    /// Queues a job at one worker. A worker that has failed takes no more jobs; its [`Reply::Failed`] tells why.
    pub(crate) fn send(&self, worker: usize, job: Job) {
        let _ = self.queues[worker].send(job);
    }

    /// Lets the workers finish what is queued and waits for them.
    pub(crate) fn join(self) {
        drop(self.queues);
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

/// Tells the coordinator of a worker that died of a panic: it would wait for the answer for ever. (A release build ends the
/// whole process instead.)
struct Obituary {
    worker: usize,
    replies: UnboundedSender<Reply>,
}

impl Drop for Obituary {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let died = WorkerError::Died { worker: self.worker };
            let _ = self.replies.send(Reply::Failed(died));
        }
    }
}

#[derive(Debug)]
struct Worker {
    /// Every task with the index of its source.
    tasks: HashMap<TaskId, (usize, PartitionTask)>,
    decompressor: Decompressor,
    compressor: Compressor,
    sinks: Arc<SinkSet>,
}

impl Worker {
    fn run(&mut self, jobs: &Receiver<Job>, replies: &UnboundedSender<Reply>) {
        while let Ok(job) = jobs.recv() {
            let reply = match self.handle(job) {
                Ok(Some(reply)) => reply,
                Ok(None) => continue,
                Err(error) => {
                    let _ = replies.send(Reply::Failed(error));
                    return;
                }
            };
            if replies.send(reply).is_err() {
                return;
            }
        }
    }

    fn handle(&mut self, job: Job) -> Result<Option<Reply>, WorkerError> {
        match job {
            Job::Install { task, source, state } => {
                self.tasks.insert(task, (source, *state));
                Ok(None)
            }
            Job::Bound { task, end_offset } => {
                let (_, state) = self
                    .tasks
                    .get_mut(&task)
                    .expect("a task is installed before it is bounded");
                state.bound(end_offset);
                Ok(None)
            }
            Job::Process {
                task,
                batches,
                next_offset,
                closed_before,
            } => {
                let (source, state) = self
                    .tasks
                    .get_mut(&task)
                    .expect("a task is installed before it gets work");
                let started = Instant::now();
                let mut outcome = state.process(&batches, next_offset, closed_before, &mut self.decompressor)?;
                let processed = Instant::now();
                for output in std::mem::take(&mut outcome.outputs) {
                    self.sinks.write_blocking(*source, &output)?;
                }
                let times = ProcessTimes {
                    process: processed - started,
                    sinks: processed.elapsed(),
                };
                Ok(Some(Reply::Processed { task, outcome, times }))
            }
            Job::FindSessions { source, spans } => {
                let mut held = Vec::new();
                for (task, (_, state)) in self.tasks.iter_mut().filter(|(_, (of, _))| *of == source) {
                    for (window, spans) in spans.iter().enumerate() {
                        held.push((*task, window, state.open_sessions(spans)));
                    }
                }
                Ok(Some(Reply::Sessions { held }))
            }
            Job::AbsorbSessions { task, parts } => {
                let (_, state) = self
                    .tasks
                    .get_mut(&task)
                    .expect("a task is installed before it is asked");
                state.absorb_sessions(&parts)?;
                Ok(None)
            }
            Job::TakeWindows { source, watermark } => {
                let mut windows = Vec::new();
                for (_, state) in self.tasks.values_mut().filter(|(of, _)| *of == source) {
                    windows.push(state.take_windows(watermark)?);
                }
                Ok(Some(Reply::Windows { windows }))
            }
            Job::ChangedGroups { source } => {
                let tasks = self.tasks.values().filter(|(of, _)| *of == source);
                let changed = tasks.flat_map(|(_, state)| state.changed_groups()).collect();
                Ok(Some(Reply::ChangedGroups { changed }))
            }
            Job::CopyGroups { source, changed } => {
                let mut windows = Vec::new();
                for (_, state) in self.tasks.values_mut().filter(|(of, _)| *of == source) {
                    windows.push(state.copy_groups(&changed)?);
                }
                Ok(Some(Reply::Windows { windows }))
            }
            Job::Snapshot { checkpoint, full } => {
                let mut snapshots = Vec::with_capacity(self.tasks.len());
                for (task, (_, state)) in &mut self.tasks {
                    let kind = if full.contains(task) {
                        SnapshotKind::Full
                    } else {
                        SnapshotKind::Changes
                    };
                    let written = state.snapshot(kind, checkpoint, &mut self.compressor)?;
                    let sizes = state.state_sizes().map(|(name, size)| (name.to_owned(), size));
                    snapshots.push(TaskSnapshot {
                        task: *task,
                        written,
                        sizes: sizes.collect(),
                    });
                }
                Ok(Some(Reply::Snapshots { snapshots }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    fn workers(count: usize) -> (Workers, tokio::sync::mpsc::UnboundedReceiver<Reply>) {
        let (replies, answers) = unbounded_channel();
        let sinks = Arc::new(SinkSet::new(Vec::new(), Vec::new()));
        (Workers::start(count, &sinks, &replies).unwrap(), answers)
    }

    #[test]
    fn a_worker_that_dies_is_an_error_and_not_a_silence() {
        let (workers, mut answers) = workers(2);
        // Nobody installed this task: the worker's own assertion ends it.
        workers.send(
            1,
            Job::Bound {
                task: TaskId(7),
                end_offset: 0,
            },
        );
        let Some(Reply::Failed(error)) = answers.blocking_recv() else {
            panic!("a dead worker says so");
        };
        assert_eq!(
            error.to_string(),
            "worker 1 died of a bug; its message is in the log above"
        );
        for worker in [1, 0] {
            let (checkpoint, full) = (CheckpointId(1), Arc::default());
            workers.send(worker, Job::Snapshot { checkpoint, full });
        }
        assert!(matches!(answers.blocking_recv(), Some(Reply::Snapshots { .. })));
        workers.join();
    }

    #[test]
    fn a_worker_without_partitions_answers_all_the_same() {
        let (workers, mut answers) = workers(1);
        let watermark = Some(5);
        workers.send(0, Job::TakeWindows { source: 0, watermark });
        assert!(matches!(answers.blocking_recv(), Some(Reply::Windows { windows }) if windows.is_empty()));
        workers.join();
        assert!(
            answers.blocking_recv().is_none(),
            "a worker that ends well says nothing"
        );
    }
}

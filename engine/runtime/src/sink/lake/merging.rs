//! Merging a table's small files while its writer writes.
//!
//! The costly part, reading and encoding, has a thread of its own, one merge at a time; what the writer's thread does of
//! it is to look for files, and to exchange two folders. A merge that fails is told and counted, and nothing else: the
//! files stay as they are, and the next one is tried after the interval.

use std::ops::Add;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use engine_lake::{CompactionOff, LakeWriter, MergeError, Merged};

use crate::error_chain::describe;

/// How often a merge that is under way is asked whether it is done.
const POLL: Duration = Duration::from_millis(20);

/// The longest time between two looks at whether anything is to be merged.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// What was merged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct MergeCounts {
    /// Merges.
    pub(crate) merges: u64,
    /// Files that they replaced.
    pub(crate) files: u64,
    /// Merges that failed.
    pub(crate) failures: u64,
}

impl Add for MergeCounts {
    type Output = MergeCounts;

    fn add(self, other: MergeCounts) -> MergeCounts {
        MergeCounts {
            merges: self.merges + other.merges,
            files: self.files + other.files,
            failures: self.failures + other.failures,
        }
    }
}

/// What was merged, told across threads.
#[derive(Debug, Default)]
pub(super) struct MergeCounters {
    merges: AtomicU64,
    files: AtomicU64,
    failures: AtomicU64,
}

impl MergeCounters {
    pub(super) fn counts(&self) -> MergeCounts {
        MergeCounts {
            merges: self.merges.load(Ordering::Relaxed),
            files: self.files.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }
}

/// The merges of one sink. Belongs to the writer's thread.
pub(super) struct Merging {
    name: String,
    running: Option<JoinHandle<Result<Option<Merged>, MergeError>>>,
    stop: Arc<AtomicBool>,
    counters: Arc<MergeCounters>,
}

impl Merging {
    pub(super) fn new(name: &str, writer: &LakeWriter, counters: Arc<MergeCounters>) -> Merging {
        match writer.compaction_off() {
            None | Some(CompactionOff::NotAskedFor | CompactionOff::NoPartitions) => {}
            Some(off) => tracing::warn!(sink = name, reason = describe(off), "Small files are not merged."),
        }
        Merging {
            name: name.to_owned(),
            running: None,
            stop: Arc::new(AtomicBool::new(false)),
            counters,
        }
    }

    /// How long the writer may wait for its next command before it looks here.
    pub(super) fn patience(&self, writer: &LakeWriter) -> Duration {
        if self.running.is_some() {
            return POLL;
        }
        let due = writer.compaction_due();
        due.map_or(PATIENCE, |due| {
            due.saturating_duration_since(Instant::now()).min(PATIENCE)
        })
    }

    /// Finishes the merge that is done, or begins the next that is due.
    pub(super) fn advance(&mut self, writer: &mut LakeWriter) {
        match self.running.take() {
            Some(running) if !running.is_finished() => self.running = Some(running),
            Some(running) => {
                let merged = running.join().expect("a merge does not panic");
                match writer.finish_compaction(merged, Instant::now()) {
                    Ok(None) => {}
                    Ok(Some(done)) => {
                        self.counters.merges.fetch_add(1, Ordering::Relaxed);
                        self.counters.files.fetch_add(done.files, Ordering::Relaxed);
                        tracing::info!(
                            sink = self.name,
                            folder = done.folder,
                            files = done.files,
                            rows = done.rows,
                            bytes = done.bytes,
                            bytes_before = done.bytes_before,
                            "Merged small files."
                        );
                    }
                    Err(error) => self.handle_failure(&error, writer),
                }
            }
            None => self.begin(writer),
        }
    }

    /// Waits until no merge is running. What one has written is deleted after the next session's recovery.
    pub(super) fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(running) = self.running.take() {
            let _ = running.join();
        }
    }

    fn begin(&mut self, writer: &mut LakeWriter) {
        let now = Instant::now();
        if writer.compaction_due().is_none_or(|due| due > now) {
            return;
        }
        match writer.begin_compaction(now) {
            Ok(None) => {}
            Ok(Some(merge)) => {
                let stop = Arc::clone(&self.stop);
                let thread = std::thread::Builder::new().name(format!("merge-{}", self.name));
                match thread.spawn(move || merge.run(&stop)) {
                    Ok(running) => self.running = Some(running),
                    // Forgets the merge, so that another can begin.
                    Err(error) => {
                        self.counters.failures.fetch_add(1, Ordering::Relaxed);
                        tracing::warn!(sink = self.name, %error, "No thread for merging small files.");
                        let _ = writer.finish_compaction(Ok(None), now);
                    }
                }
            }
            Err(error) => self.handle_failure(&error, writer),
        }
    }

    fn handle_failure(&self, error: &dyn std::error::Error, writer: &LakeWriter) {
        self.counters.failures.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            sink = self.name,
            error = describe(error),
            advice = engine_lake::advice(error),
            "Small files were not merged; they stay as they are."
        );
        if let Some(off) = writer.compaction_off() {
            tracing::warn!(
                sink = self.name,
                reason = describe(off),
                "Small files are no longer merged."
            );
        }
    }
}

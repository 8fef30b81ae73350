//! When to process a micro-batch and when to take a checkpoint. Pure: the clock is an argument.

use std::time::{Duration, Instant};

/// The shortest pause between two looks at a pipeline that has nothing to do.
const WAKE_PAUSE: Duration = Duration::from_millis(10);

/// What the pace is set by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PaceConfig {
    /// Longest wait before a micro-batch is processed.
    pub(crate) trigger_interval: Duration,
    /// Records that make a micro-batch full.
    pub(crate) trigger_records_max: usize,
    /// Bytes that make a micro-batch full, however few records they are.
    pub(crate) trigger_bytes_max: usize,
    /// Time between two checkpoints.
    pub(crate) checkpoint_interval: Duration,
    /// How often the bounds of a micro-batch are halved at first. Each checkpoint doubles them again.
    pub(crate) caution: u32,
}

/// A micro-batch is never made smaller than this by caution.
const CAREFUL_RECORDS_MIN: usize = 1_000;

/// ```text
///            first records                 due                 all workers idle
/// Quiet ──────────────────▶ Gathering ──────────▶ (processed) ─────────────────▶ Quiet
/// ```
#[derive(Debug)]
pub(crate) struct Pace {
    config: PaceConfig,
    gathering_since: Option<Instant>,
    gathered_records: usize,
    gathered_bytes: usize,
    backlog: bool,
    last_checkpoint: Instant,
}

/// What the session does while its workers are idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Take a checkpoint.
    Checkpoint,
    /// Process what was gathered.
    Process,
    /// Wait for something to happen.
    Wait,
}

impl Pace {
    /// Nothing gathered; the first checkpoint is one interval away.
    pub(crate) fn new(now: Instant, config: PaceConfig) -> Self {
        Pace {
            config,
            gathering_since: None,
            gathered_records: 0,
            gathered_bytes: 0,
            backlog: false,
            last_checkpoint: now,
        }
    }

    /// Records came in. `backlog` says that the broker has more behind them.
    pub(crate) fn handle_records(&mut self, now: Instant, records: usize, bytes: usize, backlog: bool) {
        self.gathering_since.get_or_insert(now);
        self.gathered_records = self.gathered_records.saturating_add(records);
        self.gathered_bytes = self.gathered_bytes.saturating_add(bytes);
        self.backlog |= backlog;
    }

    /// What comes next while the workers are idle. A checkpoint comes before the next micro-batch: with a backlog there is
    /// always a next one, and the checkpoint would never find the workers idle again.
    pub(crate) fn next_step(&self, now: Instant) -> Step {
        if self.checkpoint_due(now) {
            Step::Checkpoint
        } else if self.trigger_due(now) {
            Step::Process
        } else {
            Step::Wait
        }
    }

    /// Whether what was gathered should be processed. With a backlog there is no reason to wait: the next micro-batch
    /// is gathered while this one is processed.
    fn trigger_due(&self, now: Instant) -> bool {
        let Some(since) = self.gathering_since else {
            return false;
        };
        self.backlog || self.is_full() || now.saturating_duration_since(since) >= self.config.trigger_interval
    }

    /// Whether no more records should be taken from the consumer for now. What may pass the bounds is one fetch answer's
    /// share of one partition.
    pub(crate) fn is_full(&self) -> bool {
        let PaceConfig {
            trigger_records_max: records_max,
            trigger_bytes_max: bytes_max,
            caution,
            ..
        } = self.config;
        let halved = |bound: usize| bound.checked_shr(caution).unwrap_or(0);
        let records_max = halved(records_max).max(CAREFUL_RECORDS_MIN.min(records_max));
        self.gathered_records >= records_max || self.gathered_bytes >= halved(bytes_max).max(1)
    }

    /// What was gathered went to the workers.
    pub(crate) fn handle_triggered(&mut self) {
        self.gathering_since = None;
        self.gathered_records = 0;
        self.gathered_bytes = 0;
        self.backlog = false;
    }

    /// Whether the checkpoint interval has passed.
    fn checkpoint_due(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last_checkpoint) >= self.config.checkpoint_interval
    }

    /// A checkpoint was taken, or there was nothing to take one of.
    pub(crate) fn handle_checkpoint(&mut self, now: Instant) {
        self.last_checkpoint = now;
        self.config.caution = self.config.caution.saturating_sub(1);
    }

    /// When to look again if nothing happens: the trigger's or the checkpoint's time, whichever is first, and at least
    /// once per trigger interval for idleness. While the workers are busy (`busy`) nothing can be due before they answer,
    /// and an answer wakes by itself. Never in the past: that would be a busy loop.
    pub(crate) fn next_wake(&self, now: Instant, busy: bool) -> Instant {
        let idle = now + self.config.trigger_interval.max(WAKE_PAUSE);
        if busy {
            return idle;
        }
        let trigger = self
            .gathering_since
            .map_or(idle, |since| since + self.config.trigger_interval);
        let checkpoint = self.last_checkpoint + self.config.checkpoint_interval;
        trigger.min(checkpoint).clamp(now + Duration::from_millis(1), idle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(now: Instant) -> Pace {
        Pace::new(
            now,
            PaceConfig {
                trigger_interval: Duration::from_millis(100),
                trigger_records_max: 10,
                trigger_bytes_max: 1_000,
                checkpoint_interval: Duration::from_secs(1),
                caution: 0,
            },
        )
    }

    #[test]
    fn a_session_after_a_failure_begins_with_small_micro_batches_and_trusts_itself_again() {
        let now = Instant::now();
        let mut careful = pace(now);
        careful.config.trigger_records_max = 16_000;
        careful.config.trigger_bytes_max = usize::MAX;
        careful.config.caution = 3;
        let mut bounds = Vec::new();
        for _ in 0..4 {
            let mut records = 0;
            while !careful.is_full() {
                records += 100;
                careful.handle_records(now, 100, 1, true);
            }
            bounds.push(records);
            careful.handle_triggered();
            careful.handle_checkpoint(now);
        }
        assert_eq!(bounds, [2_000, 4_000, 8_000, 16_000]);
        careful.config.caution = u32::MAX;
        careful.handle_records(now, 999, 0, true);
        assert!(!careful.is_full(), "there is a least");
    }

    #[test]
    fn records_wait_at_most_one_trigger_interval() {
        let start = Instant::now();
        let mut pace = pace(start);
        assert!(
            !pace.trigger_due(start + Duration::from_secs(9)),
            "there is nothing to process"
        );
        pace.handle_records(start, 1, 1, false);
        pace.handle_records(start + Duration::from_millis(90), 1, 1, false);
        assert!(!pace.trigger_due(start + Duration::from_millis(99)));
        assert!(pace.trigger_due(start + Duration::from_millis(100)));
        assert_eq!(pace.next_wake(start, false), start + Duration::from_millis(100));
        pace.handle_triggered();
        assert!(!pace.trigger_due(start + Duration::from_secs(9)));
    }

    #[test]
    fn a_full_micro_batch_does_not_wait() {
        let start = Instant::now();
        let mut pace = pace(start);
        pace.handle_records(start, 9, 1, false);
        assert!(!pace.is_full() && !pace.trigger_due(start));
        pace.handle_records(start, 1, 1, false);
        assert!(pace.is_full() && pace.trigger_due(start));
    }

    #[test]
    fn a_backlog_does_not_wait() {
        let start = Instant::now();
        let mut pace = pace(start);
        pace.handle_records(start, 1, 1, true);
        assert!(pace.trigger_due(start));
        pace.handle_triggered();
        pace.handle_records(start, 1, 1, false);
        assert!(
            !pace.trigger_due(start),
            "the backlog is forgotten with its micro-batch"
        );
    }

    #[test]
    fn checkpoints_are_an_interval_apart() {
        let start = Instant::now();
        let mut pace = pace(start);
        assert!(!pace.checkpoint_due(start + Duration::from_millis(999)));
        assert!(pace.checkpoint_due(start + Duration::from_secs(1)));
        pace.handle_checkpoint(start + Duration::from_secs(5));
        assert!(!pace.checkpoint_due(start + Duration::from_millis(5_999)));
    }

    #[test]
    fn a_backlog_does_not_starve_checkpoints() {
        let start = Instant::now();
        let mut pace = pace(start);
        pace.handle_records(start, 10, 10, true);
        assert_eq!(pace.next_step(start), Step::Process);
        let due = start + Duration::from_secs(1);
        assert_eq!(pace.next_step(due), Step::Checkpoint);
        pace.handle_checkpoint(due);
        assert_eq!(pace.next_step(due), Step::Process);
        pace.handle_triggered();
        assert_eq!(pace.next_step(due), Step::Wait);
    }

    #[test]
    fn a_few_huge_records_are_full_too() {
        let start = Instant::now();
        let mut pace = pace(start);
        pace.handle_records(start, 1, 999, false);
        assert!(!pace.is_full());
        pace.handle_records(start, 1, 1, false);
        assert!(pace.is_full() && pace.trigger_due(start));
        pace.handle_triggered();
        assert!(!pace.is_full());
    }

    #[test]
    fn what_is_overdue_does_not_spin() {
        let start = Instant::now();
        let late = start + Duration::from_secs(60);
        let mut pace = pace(start);
        assert!(pace.next_wake(late, false) > late, "an overdue checkpoint");
        pace.handle_records(start, 1, 1, false);
        assert_eq!(
            pace.next_wake(late, true),
            late + Duration::from_millis(100),
            "a micro-batch that waits for slow workers"
        );
    }

    #[test]
    fn a_tiny_trigger_interval_does_not_spin_while_there_is_nothing_to_do() {
        let start = Instant::now();
        let mut pace = pace(start);
        pace.config.trigger_interval = Duration::from_nanos(1);
        assert_eq!(pace.next_wake(start, false), start + WAKE_PAUSE);
    }
}

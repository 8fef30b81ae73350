//! When to process a micro-batch and when to take a checkpoint. Pure: the clock is an argument.

use std::time::{Duration, Instant};

/// What the pace is set by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PaceConfig {
    /// Longest wait before a micro-batch is processed.
    pub(crate) trigger_interval: Duration,
    /// Records that make a micro-batch full.
    pub(crate) trigger_records_max: usize,
    /// Time between two checkpoints.
    pub(crate) checkpoint_interval: Duration,
}

/// ```text
///            first records                 due                 all workers idle
/// Quiet ──────────────────▶ Gathering ──────────▶ (processed) ─────────────────▶ Quiet
/// ```
#[derive(Debug)]
pub(crate) struct Pace {
    config: PaceConfig,
    gathering_since: Option<Instant>,
    gathered_records: usize,
    backlog: bool,
    last_checkpoint: Instant,
}

impl Pace {
    /// Nothing gathered; the first checkpoint is one interval away.
    pub(crate) fn new(now: Instant, config: PaceConfig) -> Self {
        Pace {
            config,
            gathering_since: None,
            gathered_records: 0,
            backlog: false,
            last_checkpoint: now,
        }
    }

    /// Records came in. `backlog` says that the broker has more behind them.
    pub(crate) fn handle_records(&mut self, now: Instant, records: usize, backlog: bool) {
        self.gathering_since.get_or_insert(now);
        self.gathered_records = self.gathered_records.saturating_add(records);
        self.backlog |= backlog;
    }

    /// Whether what was gathered should be processed. With a backlog there is no reason to wait: the next micro-batch
    /// is gathered while this one is processed.
    pub(crate) fn trigger_due(&self, now: Instant) -> bool {
        let Some(since) = self.gathering_since else {
            return false;
        };
        self.backlog || self.is_full() || now.saturating_duration_since(since) >= self.config.trigger_interval
    }

    /// Whether no more records should be taken from the consumer for now.
    pub(crate) fn is_full(&self) -> bool {
        self.gathered_records >= self.config.trigger_records_max
    }

    /// What was gathered went to the workers.
    pub(crate) fn handle_triggered(&mut self) {
        self.gathering_since = None;
        self.gathered_records = 0;
        self.backlog = false;
    }

    /// Whether the checkpoint interval has passed.
    pub(crate) fn checkpoint_due(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last_checkpoint) >= self.config.checkpoint_interval
    }

    /// A checkpoint was taken, or there was nothing to take one of.
    pub(crate) fn handle_checkpoint(&mut self, now: Instant) {
        self.last_checkpoint = now;
    }

    /// When to look again if nothing happens: the trigger's or the checkpoint's time, whichever is first, and at least
    /// once per trigger interval for idleness.
    pub(crate) fn next_wake(&self, now: Instant) -> Instant {
        let trigger = self.gathering_since.unwrap_or(now) + self.config.trigger_interval;
        let checkpoint = self.last_checkpoint + self.config.checkpoint_interval;
        trigger.min(checkpoint.max(now + Duration::from_millis(1)))
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
                checkpoint_interval: Duration::from_secs(1),
            },
        )
    }

    #[test]
    fn records_wait_at_most_one_trigger_interval() {
        let start = Instant::now();
        let mut pace = pace(start);
        assert!(
            !pace.trigger_due(start + Duration::from_secs(9)),
            "there is nothing to process"
        );
        pace.handle_records(start, 1, false);
        pace.handle_records(start + Duration::from_millis(90), 1, false);
        assert!(!pace.trigger_due(start + Duration::from_millis(99)));
        assert!(pace.trigger_due(start + Duration::from_millis(100)));
        assert_eq!(pace.next_wake(start), start + Duration::from_millis(100));
        pace.handle_triggered();
        assert!(!pace.trigger_due(start + Duration::from_secs(9)));
    }

    #[test]
    fn a_full_micro_batch_does_not_wait() {
        let start = Instant::now();
        let mut pace = pace(start);
        pace.handle_records(start, 9, false);
        assert!(!pace.is_full() && !pace.trigger_due(start));
        pace.handle_records(start, 1, false);
        assert!(pace.is_full() && pace.trigger_due(start));
    }

    #[test]
    fn a_backlog_does_not_wait() {
        let start = Instant::now();
        let mut pace = pace(start);
        pace.handle_records(start, 1, true);
        assert!(pace.trigger_due(start));
        pace.handle_triggered();
        pace.handle_records(start, 1, false);
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
    fn an_overdue_checkpoint_does_not_spin() {
        let start = Instant::now();
        let late = start + Duration::from_secs(60);
        assert!(pace(start).next_wake(late) > late);
    }
}

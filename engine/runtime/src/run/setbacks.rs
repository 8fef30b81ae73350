//! Whether a run that failed goes on from the last checkpoint, and after what pause. Pure.

use std::time::{Duration, Instant};

/// How long a run may fail without a checkpoint in between. It is longer than any of the clients' own timeouts, so that
/// brokers that come back are seen to do so.
pub(super) const GIVE_UP_AFTER: Duration = Duration::from_secs(600);
/// The pause after the first failure; it doubles with each.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Failures since the last checkpoint.
#[derive(Debug, Default)]
pub(super) struct Setbacks {
    first: Option<Instant>,
    count: u32,
    /// Checkpoints that this process had taken at the last failure.
    checkpoints: u64,
    /// Whether a sink has refused already.
    has_refused: bool,
}

impl Setbacks {
    /// How many there were since the last checkpoint.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// The partitions were lost. That is no failure, however often it happens.
    pub(super) fn handle_loss(&mut self, checkpoints: u64) {
        self.begin_anew_after_a_checkpoint(checkpoints);
        self.count = self.count.saturating_add(1);
    }

    /// A sink refused in a way that will not change. The first time it may be that another process has taken over, which
    /// cleans up what a process that was asleep has left: a new member of the group finds that out. True to try that.
    pub(super) fn handle_refusal(&mut self, checkpoints: u64) -> bool {
        self.begin_anew_after_a_checkpoint(checkpoints);
        !std::mem::replace(&mut self.has_refused, true)
    }

    fn begin_anew_after_a_checkpoint(&mut self, checkpoints: u64) {
        if checkpoints > self.checkpoints {
            *self = Setbacks {
                checkpoints,
                ..Setbacks::default()
            };
        }
    }

    /// A transient failure: the pause before the next try, `None` to give up. `checkpoints` is how many this process has
    /// taken so far.
    pub(super) fn handle_failure(&mut self, now: Instant, checkpoints: u64) -> Option<Duration> {
        self.begin_anew_after_a_checkpoint(checkpoints);
        let first = *self.first.get_or_insert(now);
        if now.saturating_duration_since(first) >= GIVE_UP_AFTER {
            return None;
        }
        let pause = PAUSE_FIRST.saturating_mul(1 << self.count.min(10)).min(PAUSE_MAX);
        self.count = self.count.saturating_add(1);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_the_run_is_given_up_in_the_end() {
        let (mut setbacks, start) = (Setbacks::default(), Instant::now());
        let mut now = start;
        let mut pauses = Vec::new();
        while let Some(pause) = setbacks.handle_failure(now, 0) {
            pauses.push(pause);
            now += pause;
        }
        assert_eq!(pauses[..3], [200, 400, 800].map(Duration::from_millis));
        assert_eq!(*pauses.last().unwrap(), PAUSE_MAX);
        assert!(now - start >= GIVE_UP_AFTER && now - start < GIVE_UP_AFTER + PAUSE_MAX);
    }

    #[test]
    fn a_sink_that_refuses_is_asked_once_more_and_again_after_a_checkpoint() {
        let mut setbacks = Setbacks::default();
        assert!(setbacks.handle_refusal(3));
        assert!(!setbacks.handle_refusal(3));
        assert!(setbacks.handle_refusal(4));
    }

    #[test]
    fn a_checkpoint_in_between_begins_anew() {
        let (mut setbacks, start) = (Setbacks::default(), Instant::now());
        for _ in 0..5 {
            setbacks.handle_failure(start, 0);
        }
        let later = start + GIVE_UP_AFTER;
        assert_eq!(setbacks.handle_failure(later, 1), Some(PAUSE_FIRST));
        assert_eq!(setbacks.handle_failure(later + GIVE_UP_AFTER, 1), None);
    }
}

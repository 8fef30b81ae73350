//! Whether a run that failed goes on from the last checkpoint, and after what pause. Pure, but for a word in the log.

use std::time::{Duration, Instant};

use tracing::warn;

use crate::run_error::RunError;

/// How long a run may fail without a checkpoint in between. It is longer than any of the clients' own timeouts by default, so
/// that brokers that come back are seen to do so; and what failed longer ago is another matter: a pipeline with nothing
/// to do takes no checkpoints.
pub(super) const GIVE_UP_AFTER: Duration = Duration::from_secs(600);
/// The pause after the first failure; it doubles with each.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Tells of a failure before anything was read or written.
pub(super) fn tell_of_a_late_start(error: &RunError, pause: Duration) {
    warn!(
        %error,
        pause_ms = pause.as_millis(),
        minutes_max = GIVE_UP_AFTER.as_secs() / 60,
        "Cannot begin yet; it is tried again."
    );
}

/// Failures since the run was last seen to work: since a checkpoint, a time of standing by, or a long time without any.
#[derive(Debug, Default)]
pub(super) struct Setbacks {
    first: Option<Instant>,
    last: Option<Instant>,
    count: u32,
    /// Checkpoints that this process had taken at the last failure.
    checkpoints: u64,
    /// Whether a sink has refused already.
    has_refused: bool,
}

impl Setbacks {
    /// How many there were.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Another process owns the partitions: that is no failure, however often it happens.
    pub(super) fn handle_standing_by(&mut self) {
        *self = Setbacks {
            checkpoints: self.checkpoints,
            ..Setbacks::default()
        };
    }

    /// The partitions or the transaction were lost: the pause before the next try, `None` to give up. Once it needs no
    /// pause: most often another process has taken over, and this one is about to stand by. Where nobody has, its
    /// transactions are aborted before they end, and may be so every time.
    pub(super) fn handle_loss(&mut self, now: Instant, checkpoints: u64) -> Option<Duration> {
        self.begin_anew(now, checkpoints);
        let is_first = self.count == 0;
        let pause = self.next_pause(now)?;
        Some(if is_first { Duration::ZERO } else { pause })
    }

    /// A sink refused in a way that will not change. The first time it may be that another process has taken over, which
    /// cleans up what a process that was asleep has left: a new member of the group finds that out. True to try that.
    pub(super) fn handle_refusal(&mut self, now: Instant, checkpoints: u64) -> bool {
        self.begin_anew(now, checkpoints);
        self.last = Some(now);
        !std::mem::replace(&mut self.has_refused, true)
    }

    fn begin_anew(&mut self, now: Instant, checkpoints: u64) {
        let is_long_ago = |last: Instant| now.saturating_duration_since(last) >= GIVE_UP_AFTER;
        if checkpoints > self.checkpoints || self.last.is_some_and(is_long_ago) {
            *self = Setbacks {
                checkpoints,
                ..Setbacks::default()
            };
        }
    }

    /// A transient failure: the pause before the next try, `None` to give up. `checkpoints` is how many this process has
    /// taken so far.
    pub(super) fn handle_failure(&mut self, now: Instant, checkpoints: u64) -> Option<Duration> {
        self.begin_anew(now, checkpoints);
        self.next_pause(now)
    }

    fn next_pause(&mut self, now: Instant) -> Option<Duration> {
        self.last = Some(now);
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
        let now = Instant::now();
        assert!(setbacks.handle_refusal(now, 3));
        assert!(!setbacks.handle_refusal(now, 3));
        assert!(setbacks.handle_refusal(now, 4));
    }

    #[test]
    fn failures_that_are_hours_apart_do_not_add_up_where_there_is_nothing_to_checkpoint() {
        let (mut setbacks, start) = (Setbacks::default(), Instant::now());
        for hour in 0..24 {
            let now = start + Duration::from_secs(3_600 * hour);
            assert_eq!(setbacks.handle_failure(now, 7), Some(PAUSE_FIRST), "hour {hour}");
            assert!(setbacks.handle_refusal(now, 7), "hour {hour}");
        }
    }

    #[test]
    fn transactions_that_are_always_lost_end_the_run_and_takeovers_do_not() {
        let (mut setbacks, start) = (Setbacks::default(), Instant::now());
        let mut now = start;
        let mut pauses = Vec::new();
        while let Some(pause) = setbacks.handle_loss(now, 0) {
            pauses.push(pause);
            now += pause + Duration::from_secs(10);
        }
        assert_eq!(pauses[..3], [0, 400, 800].map(Duration::from_millis));
        assert!(now - start >= GIVE_UP_AFTER && now - start < GIVE_UP_AFTER + 3 * PAUSE_MAX);

        let mut setbacks = Setbacks::default();
        for takeover in 0..1_000 {
            let now = start + Duration::from_secs(takeover);
            assert_eq!(setbacks.handle_loss(now, 0), Some(Duration::ZERO), "{takeover}");
            setbacks.handle_standing_by();
        }
    }

    #[test]
    fn a_checkpoint_in_between_begins_anew() {
        let (mut setbacks, start) = (Setbacks::default(), Instant::now());
        for _ in 0..5 {
            setbacks.handle_failure(start, 0);
        }
        let later = start + GIVE_UP_AFTER;
        assert_eq!(setbacks.handle_failure(later, 1), Some(PAUSE_FIRST));
        assert!(setbacks.handle_failure(later + GIVE_UP_AFTER / 2, 1).is_some());
        assert_eq!(setbacks.handle_failure(later + GIVE_UP_AFTER, 1), None);
    }
}

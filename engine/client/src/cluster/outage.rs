//! A failure that goes on: when it is worth a line in the log.
//!
//! What fails for a moment, as brokers do that restart, is no news. What goes on failing is told of once, and once more
//! when it is over, however many attempts there are between the two.
//! Never here: what failed, the words.

use std::time::{Duration, Instant};

/// Failures in a row.
#[derive(Debug, Default)]
pub(super) struct Outage {
    since: Option<Instant>,
    is_told: bool,
}

impl Outage {
    /// An attempt failed. True if now is the time to tell.
    pub(super) fn note_failure(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let tells = !self.is_told && now.saturating_duration_since(since) >= LONG_OUTAGE;
        self.is_told |= tells;
        tells
    }

    /// It has been told of already, in other words.
    pub(super) fn note_told(&mut self, now: Instant) {
        self.since.get_or_insert(now);
        self.is_told = true;
    }

    /// An attempt succeeded. True if the failures before it were told of.
    pub(super) fn note_success(&mut self) -> bool {
        std::mem::take(self).is_told
    }
}

/// A restart is over by then; whoever waits for longer is told why.
const LONG_OUTAGE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_outage_is_told_once_and_its_end_once() {
        let start = Instant::now();
        let mut outage = Outage::default();
        let told = (0..100).filter(|second| outage.note_failure(start + Duration::from_secs(*second)));
        assert_eq!(told.collect::<Vec<_>>(), [5]);
        assert!(outage.note_success());
        assert!(!outage.note_success());
    }

    #[test]
    fn a_short_one_is_no_news() {
        let start = Instant::now();
        let mut outage = Outage::default();
        assert!(!outage.note_failure(start));
        assert!(!outage.note_failure(start + Duration::from_secs(4)));
        assert!(!outage.note_success());
        assert!(!outage.note_failure(start + Duration::from_secs(8)), "counted anew");
    }
}

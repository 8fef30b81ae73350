//! Whether brokers are silent: told once when it begins and once when it ends, not with every retry.
//!
//! The clients try on for ever, which is right and says nothing to whoever watches a lag that grows. Pure: the clock is an
//! argument.

use std::time::{Duration, Instant};

/// What is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Word {
    /// These partitions' brokers have not answered for the whole patience.
    Silent(Vec<String>),
    /// All of them answer again.
    Answering,
}

/// Listens for brokers that do not answer.
#[derive(Debug)]
pub(crate) struct Silence {
    patience: Duration,
    looking_since: Option<Instant>,
    told: bool,
}

impl Silence {
    /// `patience` is how long a broker may say nothing, longer than a fetch may wait.
    pub(crate) fn new(patience: Duration) -> Self {
        Silence {
            patience,
            looking_since: None,
            told: false,
        }
    }

    /// Takes the partitions that are fetched, each with when its broker last said where its log ends. While nobody takes
    /// records (`is_looking` is false), nobody asks the brokers either.
    pub(crate) fn handle<'a>(
        &mut self,
        now: Instant,
        is_looking: bool,
        partitions: impl Iterator<Item = (&'a str, i32, Option<Instant>)>,
    ) -> Option<Word> {
        if !is_looking {
            self.looking_since = None;
            return None;
        }
        let looking_since = *self.looking_since.get_or_insert(now);
        let silent: Vec<String> = partitions
            .filter(|(_, _, heard)| {
                let heard = heard.unwrap_or(looking_since).max(looking_since);
                now.saturating_duration_since(heard) >= self.patience
            })
            .map(|(topic, partition, _)| format!("{topic}-{partition}"))
            .collect();
        let is_news = silent.is_empty() == self.told;
        self.told = !silent.is_empty();
        match is_news {
            true if silent.is_empty() => Some(Word::Answering),
            true => Some(Word::Silent(silent)),
            false => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    #[test]
    fn silence_is_told_once_and_its_end_once() {
        let (mut silence, start) = (Silence::new(PATIENCE), Instant::now());
        let heard = |at| [("events", 0, Some(start)), ("events", 1, Some(at))].into_iter();
        assert_eq!(silence.handle(start, true, heard(start)), None);
        let later = start + PATIENCE;
        let word = Word::Silent(vec!["events-0".to_owned()]);
        assert_eq!(silence.handle(later, true, heard(later)), Some(word));
        for seconds in 1..60 {
            let now = later + Duration::from_secs(seconds);
            assert_eq!(silence.handle(now, true, heard(now)), None);
        }
        let back = later + Duration::from_secs(60);
        let answers = || [("events", 0, Some(back))].into_iter();
        assert_eq!(silence.handle(back, true, answers()), Some(Word::Answering));
        assert_eq!(silence.handle(back, true, answers()), None);
    }

    #[test]
    fn a_broker_that_nobody_asks_is_not_silent() {
        let (mut silence, start) = (Silence::new(PATIENCE), Instant::now());
        let never = || [("events", 0, None)].into_iter();
        assert_eq!(silence.handle(start, true, never()), None);
        assert_eq!(silence.handle(start + PATIENCE, false, never()), None);
        assert_eq!(
            silence.handle(start + 2 * PATIENCE, true, never()),
            None,
            "it is asked since now"
        );
        assert!(silence.handle(start + 3 * PATIENCE, true, never()).is_some());
    }
}

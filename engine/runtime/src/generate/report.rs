//! What a generator did, and whether it kept its times.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// Later than this at the end, a run counts as behind: the target could not take the load.
const BEHIND: Duration = Duration::from_secs(1);
/// So does a short run whose end came this late, as a share of the whole run, …
const BEHIND_SHARE: f64 = 0.2;
/// … unless the lateness is what a busy machine does to any sleep.
const BEHIND_MIN: Duration = Duration::from_millis(100);

/// One producer's part of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProducerReport {
    /// Events sent and acknowledged.
    pub events: u64,
    /// The bytes of their keys and values.
    pub bytes: u64,
    /// Events damaged on purpose.
    pub malformed: u64,
    /// How late the last event was sent.
    pub lag_at_end: Duration,
    /// How late the latest was.
    pub lag_max: Duration,
}

/// A whole run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct GeneratorReport {
    /// The topic.
    pub topic: String,
    /// Events sent and acknowledged.
    pub events: u64,
    /// The bytes of their keys and values.
    pub bytes: u64,
    /// Events damaged on purpose.
    pub malformed: u64,
    /// From the first event to the last acknowledgement, in seconds.
    pub seconds: f64,
    /// How late the last event of the slowest producer was sent, in seconds; 0 for a run as fast as possible.
    pub lag_at_end_seconds: f64,
    /// How late the latest event was sent, in seconds.
    pub lag_max_seconds: f64,
    /// The time of the first event, in nanoseconds since 1970.
    pub start_ns: i64,
}

impl GeneratorReport {
    /// Sums what the producers did in `elapsed`.
    pub fn new(topic: &str, start_ns: i64, elapsed: Duration, producers: &[ProducerReport]) -> GeneratorReport {
        let latest =
            |lag: fn(&ProducerReport) -> Duration| producers.iter().map(lag).max().unwrap_or_default().as_secs_f64();
        GeneratorReport {
            topic: topic.to_owned(),
            events: producers.iter().map(|producer| producer.events).sum(),
            bytes: producers.iter().map(|producer| producer.bytes).sum(),
            malformed: producers.iter().map(|producer| producer.malformed).sum(),
            seconds: elapsed.as_secs_f64(),
            lag_at_end_seconds: latest(|producer| producer.lag_at_end),
            lag_max_seconds: latest(|producer| producer.lag_max),
            start_ns,
        }
    }

    /// Events per second; 0 if no time passed.
    pub fn events_per_second(&self) -> f64 {
        if self.seconds > 0.0 {
            self.events as f64 / self.seconds
        } else {
            0.0
        }
    }

    /// Whether the run ended later than its events wanted.
    pub fn fell_behind(&self) -> bool {
        let lag = self.lag_at_end_seconds;
        lag > BEHIND.as_secs_f64() || (lag > BEHIND_MIN.as_secs_f64() && lag > self.seconds * BEHIND_SHARE)
    }
}

impl fmt::Display for GeneratorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} events ({:.1} MB) to {} in {:.2} s: {:.0} events/s",
            self.events,
            self.bytes as f64 / 1e6,
            self.topic,
            self.seconds,
            self.events_per_second()
        )?;
        if self.malformed > 0 {
            write!(f, ", {} malformed on purpose", self.malformed)?;
        }
        if self.fell_behind() {
            write!(
                f,
                "; fell behind: the last event was sent {:.1} s late, the latest {:.1} s late",
                self.lag_at_end_seconds, self.lag_max_seconds
            )?;
        } else if self.lag_max_seconds > 0.1 {
            write!(f, "; kept up, one event was {:.1} s late", self.lag_max_seconds)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn producer(lag_at_end_ms: u64, lag_max_ms: u64) -> ProducerReport {
        ProducerReport {
            events: 500,
            bytes: 150_000,
            malformed: 0,
            lag_at_end: Duration::from_millis(lag_at_end_ms),
            lag_max: Duration::from_millis(lag_max_ms),
        }
    }

    #[test]
    fn a_run_that_falls_behind_says_so_and_by_how_much() {
        let producers = [producer(10, 50), producer(2_500, 3_000)];
        let report = GeneratorReport::new("ads", 0, Duration::from_secs(2), &producers);
        assert!(report.fell_behind());
        assert_eq!(
            report.to_string(),
            "1000 events (0.3 MB) to ads in 2.00 s: 500 events/s; \
             fell behind: the last event was sent 2.5 s late, the latest 3.0 s late"
        );
    }

    #[test]
    fn a_short_run_at_a_rate_that_cannot_be_reached_fell_behind_too() {
        let behind = |lag_ms, elapsed_ms| {
            let producers = [producer(lag_ms, lag_ms)];
            GeneratorReport::new("ads", 0, Duration::from_millis(elapsed_ms), &producers).fell_behind()
        };
        assert!(behind(600, 800));
        assert!(!behind(50, 60));
        assert!(!behind(600, 60_000));
    }

    #[test]
    fn a_run_that_kept_up_says_nothing_about_it() {
        let report = GeneratorReport::new("ads", 0, Duration::from_secs(1), &[producer(1, 20)]);
        assert!(!report.fell_behind());
        assert_eq!(report.to_string(), "500 events (0.1 MB) to ads in 1.00 s: 500 events/s");
        let empty = GeneratorReport::new("ads", 0, Duration::ZERO, &[]);
        assert_eq!(empty.events_per_second(), 0.0);
    }
}

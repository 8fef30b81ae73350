//! What load to make: plain data, checked once before it starts.

use std::sync::Arc;
use std::time::Duration;

use crate::generate::ads::{ADS_MAX, AdCampaigns, AdPopulation, KeyField};
use crate::generate::arrivals::{Arrivals, Mmpp};
use crate::generate::fixed::FixedLoad;

/// One run of a generator.
#[derive(Debug, Clone, PartialEq)]
pub struct GeneratorConfig {
    /// What is sent.
    pub kind: GeneratorKind,
    /// Where to.
    pub topic: String,
    /// When ad events arrive; fixed loads have their own interval.
    pub arrivals: Arrivals,
    /// Ad events per second of event time, all producers together. In [`Pace::RealTime`] that is also the speed.
    pub rate: f64,
    /// Whether to wait for each event's time.
    pub pace: Pace,
    /// Independent producers, each with its own arrivals and its own random numbers.
    pub producers: usize,
    /// The most events, all producers together.
    pub count: Option<u64>,
    /// The end of event time, from the start. The run ends at whichever comes first.
    pub duration: Option<Duration>,
    /// The seed of everything random.
    pub seed: u64,
    /// The key of each ad event's record. Fixed messages have none.
    pub key: KeyField,
    /// The time of the first event in nanoseconds since 1970. `None`: now; in [`Pace::Max`] as far back as the run is
    /// expected to last in event time, so that it ends about now and nothing lies in the future.
    pub start_ns: Option<i64>,
    /// The share of records, from 0 to 1, that are cut in half and so no JSON any more: food for `on_error`.
    pub malformed: f64,
}

/// What a generator sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GeneratorKind {
    /// Ad events as JSON.
    Ads(AdCampaigns),
    /// Messages of one size.
    Fixed(FixedLoad),
}

/// How fast a generator sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pace {
    /// Each event at its time.
    #[default]
    RealTime,
    /// As fast as the broker takes them; event time runs on a clock of its own.
    Max,
}

impl Default for GeneratorConfig {
    /// Two producers of 20,000 ad events each over 60 s.
    fn default() -> GeneratorConfig {
        GeneratorConfig {
            kind: GeneratorKind::Ads(AdCampaigns::default()),
            topic: "ad-events".to_owned(),
            arrivals: Arrivals::Uniform,
            rate: 40_000.0 / 60.0,
            pace: Pace::RealTime,
            producers: 2,
            count: Some(40_000),
            duration: None,
            seed: 7,
            key: KeyField::None,
            start_ns: None,
            malformed: 0.0,
        }
    }
}

/// A load that cannot be made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GeneratorConfigError {
    /// No events per second.
    #[error("rate must be greater than 0, not {0}")]
    Rate(f64),
    /// Nobody to send.
    #[error("producers must be from 1 to {PRODUCERS_MAX}, not {0}")]
    Producers(usize),
    /// A share below 0 or above 1.
    #[error("malformed is a share from 0 to 1, not {0}")]
    Malformed(f64),
    /// As fast as possible and for ever.
    #[error("a run at the highest speed needs a count or a duration (of event time)")]
    Endless,
    /// Parameters of no process.
    #[error("mmpp needs rate_ratio, q12 and q21 greater than 0, not {0}, {1} and {2}")]
    Mmpp(f64, f64, f64),
    /// No ads, or too many.
    #[error("{campaigns} campaigns of {ads_per_campaign} ads each are not from 1 to {ADS_MAX} ads")]
    Ads {
        /// Campaigns.
        campaigns: usize,
        /// Ads of each.
        ads_per_campaign: usize,
    },
    /// A batch of nothing.
    #[error("a fixed load needs at least 1 message a batch")]
    EmptyBatch,
    /// A topic without a name.
    #[error("a generator needs a topic")]
    Topic,
}

/// More would only share the same network.
pub const PRODUCERS_MAX: usize = 1_024;
/// Events per second of event time in a run as fast as possible, unless it says otherwise: high enough that windows hold
/// many events.
pub const EVENT_RATE_AT_MAX: f64 = 100_000.0;

impl GeneratorConfig {
    /// Finds the first mistake.
    pub fn check(&self) -> Result<(), GeneratorConfigError> {
        if self.topic.is_empty() {
            return Err(GeneratorConfigError::Topic);
        }
        if !(self.rate.is_finite() && self.rate > 0.0) {
            return Err(GeneratorConfigError::Rate(self.rate));
        }
        if !(1..=PRODUCERS_MAX).contains(&self.producers) {
            return Err(GeneratorConfigError::Producers(self.producers));
        }
        if !(0.0..=1.0).contains(&self.malformed) {
            return Err(GeneratorConfigError::Malformed(self.malformed));
        }
        if self.pace == Pace::Max && self.count.is_none() && self.duration.is_none() {
            return Err(GeneratorConfigError::Endless);
        }
        if let Arrivals::Mmpp(mmpp @ Mmpp { rate_ratio, q12, q21 }) = self.arrivals
            && !mmpp.is_valid()
        {
            return Err(GeneratorConfigError::Mmpp(rate_ratio, q12, q21));
        }
        match self.kind {
            GeneratorKind::Ads(ads) if ads.ads().is_none() => Err(GeneratorConfigError::Ads {
                campaigns: ads.campaigns,
                ads_per_campaign: ads.ads_per_campaign,
            }),
            GeneratorKind::Fixed(load) if load.batch_messages == 0 => Err(GeneratorConfigError::EmptyBatch),
            GeneratorKind::Ads(_) | GeneratorKind::Fixed(_) => Ok(()),
        }
    }

    /// What all producers of ad events share; of a configuration that passed [`check`](Self::check).
    pub fn population(&self) -> Option<Arc<AdPopulation>> {
        match self.kind {
            GeneratorKind::Ads(campaigns) => Some(Arc::new(AdPopulation::new(self.seed, campaigns))),
            GeneratorKind::Fixed(_) => None,
        }
    }

    /// How many events one producer may send: the count, divided as evenly as it goes.
    pub fn count_of(&self, producer: usize) -> Option<u64> {
        let producers = self.producers as u64;
        self.count
            .map(|count| count / producers + u64::from((producer as u64) < count % producers))
    }

    /// How much event time the run will cover, about; `None` if it has no end.
    pub fn expected_duration(&self) -> Option<Duration> {
        let by_count = self.count.map(|count| match self.kind {
            GeneratorKind::Ads(_) => Duration::try_from_secs_f64(count as f64 / self.rate).unwrap_or(Duration::MAX),
            GeneratorKind::Fixed(load) => Duration::from_nanos(load.due_ns(count / self.producers.max(1) as u64)),
        });
        match (by_count, self.duration) {
            (Some(count), Some(duration)) => Some(count.min(duration)),
            (one, other) => one.or(other),
        }
    }

    /// The time of the first event, given the time now.
    pub fn start_ns(&self, now_ns: i64) -> i64 {
        self.start_ns
            .unwrap_or_else(|| match (self.pace, self.expected_duration()) {
                (Pace::Max, Some(duration)) => now_ns
                    .saturating_sub(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
                    .max(0),
                _ => now_ns,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_two_producers_of_twenty_thousand_events_over_a_minute() {
        let config = GeneratorConfig::default();
        assert_eq!(config.check(), Ok(()));
        assert_eq!((config.count_of(0), config.count_of(1)), (Some(20_000), Some(20_000)));
        assert_eq!(config.expected_duration(), Some(Duration::from_secs(60)));
    }

    #[test]
    fn a_count_is_divided_without_losing_an_event() {
        let config = GeneratorConfig {
            producers: 3,
            count: Some(10),
            ..GeneratorConfig::default()
        };
        let counts: Vec<_> = (0..3).map(|producer| config.count_of(producer).unwrap()).collect();
        assert_eq!(counts, [4, 3, 3]);
    }

    #[test]
    fn a_run_at_the_highest_speed_ends_in_event_time_about_now() {
        let config = GeneratorConfig {
            pace: Pace::Max,
            ..GeneratorConfig::default()
        };
        assert_eq!(config.start_ns(1_000_000_000_000), 940_000_000_000);
        let config = GeneratorConfig {
            start_ns: Some(5),
            ..config
        };
        assert_eq!(config.start_ns(1_000_000_000_000), 5);
        assert_eq!(GeneratorConfig::default().start_ns(77), 77);
    }

    #[test]
    fn loads_that_cannot_be_made_are_refused() {
        let good = GeneratorConfig::default;
        for (config, error) in [
            (
                GeneratorConfig { rate: 0.0, ..good() },
                "rate must be greater than 0, not 0",
            ),
            (
                GeneratorConfig {
                    rate: f64::NAN,
                    ..good()
                },
                "rate must be greater than 0, not NaN",
            ),
            (
                GeneratorConfig { producers: 0, ..good() },
                "producers must be from 1 to 1024, not 0",
            ),
            (
                GeneratorConfig {
                    malformed: 1.5,
                    ..good()
                },
                "malformed is a share from 0 to 1, not 1.5",
            ),
            (
                GeneratorConfig {
                    pace: Pace::Max,
                    count: None,
                    ..good()
                },
                "a run at the highest speed needs a count or a duration (of event time)",
            ),
            (
                GeneratorConfig {
                    arrivals: Arrivals::Mmpp(Mmpp {
                        rate_ratio: 5.0,
                        q12: 0.0,
                        q21: 0.5,
                    }),
                    ..good()
                },
                "mmpp needs rate_ratio, q12 and q21 greater than 0, not 5, 0 and 0.5",
            ),
            (
                GeneratorConfig {
                    kind: GeneratorKind::Ads(AdCampaigns {
                        campaigns: 2_000,
                        ads_per_campaign: 1_000,
                    }),
                    ..good()
                },
                "2000 campaigns of 1000 ads each are not from 1 to 1000000 ads",
            ),
        ] {
            assert_eq!(config.check().unwrap_err().to_string(), error);
        }
    }
}

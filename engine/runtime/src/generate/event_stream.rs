//! One producer's share of a generator: every event with its time, from the seed alone.

use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::generate::ads::{AdEvents, AdPopulation};
use crate::generate::arrivals::ArrivalProcess;
use crate::generate::config::{GeneratorConfig, GeneratorKind};
use crate::generate::fixed::{FixedLoad, FixedMessages};

/// Independent streams of random numbers per producer.
const STREAMS_PER_PRODUCER: u64 = 4;

/// The events of one producer, in the order of their times. The same configuration, producer and start give the same
/// bytes and times, whatever the machine and however fast they are sent.
#[derive(Debug, Clone)]
pub struct EventStream {
    content: Content,
    start_ns: i64,
    left: Option<u64>,
    /// The next event's time after the start, once somebody has asked for it.
    next_ns: Option<u64>,
    duration_ns: u64,
    malformed: f64,
    damage: ChaCha8Rng,
    events: u64,
    malformed_events: u64,
}

#[derive(Debug, Clone)]
enum Content {
    Ads {
        arrivals: Box<ArrivalProcess>,
        events: Box<AdEvents>,
    },
    Fixed {
        load: FixedLoad,
        messages: FixedMessages,
    },
}

impl EventStream {
    /// The stream of `producer` (counted from 0) of a configuration that passed [`GeneratorConfig::check`], with its
    /// [`GeneratorConfig::population`].
    pub fn new(
        config: &GeneratorConfig,
        population: Option<&Arc<AdPopulation>>,
        producer: usize,
        start_ns: i64,
    ) -> EventStream {
        let random = |purpose: u64| {
            let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
            // Stream 0 belongs to what all producers share.
            rng.set_stream(1 + producer as u64 * STREAMS_PER_PRODUCER + purpose);
            rng
        };
        let producers = config.producers.max(1) as f64;
        let content = match (config.kind, population) {
            (GeneratorKind::Ads(_), Some(population)) => Content::Ads {
                arrivals: Box::new(ArrivalProcess::new(
                    config.arrivals,
                    config.rate / producers,
                    producer as f64 / producers,
                    random(0),
                )),
                events: Box::new(AdEvents::new(Arc::clone(population), config.key, random(1))),
            },
            (GeneratorKind::Ads(_), None) => unreachable!("a configuration of ads has a population"),
            (GeneratorKind::Fixed(load), _) => Content::Fixed {
                load,
                messages: FixedMessages::new(load.message_bytes, random(1)),
            },
        };
        EventStream {
            content,
            start_ns,
            left: config.count_of(producer),
            next_ns: None,
            duration_ns: config.duration.map_or(u64::MAX, |duration| {
                u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
            }),
            malformed: config.malformed,
            damage: random(2),
            events: 0,
            malformed_events: 0,
        }
    }

    /// The next event's time, which [`next_event`](Self::next_event) will give. `None` after the last event.
    pub fn next_time_ns(&mut self) -> Option<i64> {
        if self.left == Some(0) {
            return None;
        }
        let offset_ns = *self.next_ns.get_or_insert_with(|| match &mut self.content {
            Content::Ads { arrivals, .. } => arrivals.next_ns(),
            Content::Fixed { load, .. } => load.due_ns(self.events),
        });
        if offset_ns >= self.duration_ns {
            self.left = Some(0);
            return None;
        }
        Some(self.start_ns.saturating_add_unsigned(offset_ns))
    }

    /// Appends the next event's key (nothing if it has none) and value, and returns its time in nanoseconds since 1970.
    /// `None`, and nothing appended, after the last event. Allocates nothing once the buffers have grown.
    pub fn next_event(&mut self, key: &mut Vec<u8>, value: &mut Vec<u8>) -> Option<i64> {
        let time_ns = self.next_time_ns()?;
        self.next_ns = None;
        let value_start = value.len();
        match &mut self.content {
            Content::Ads { events, .. } => events.write(time_ns, key, value),
            Content::Fixed { messages, .. } => messages.write(value),
        }
        if self.malformed > 0.0 && self.damage.random_bool(self.malformed) {
            let half = value_start + (value.len() - value_start) / 2;
            value.truncate(half);
            self.malformed_events += 1;
        }
        self.left = self.left.map(|left| left - 1);
        self.events += 1;
        Some(time_ns)
    }

    /// The events made so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// How many of them were damaged on purpose.
    pub fn malformed_events(&self) -> u64 {
        self.malformed_events
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::generate::ads::KeyField;
    use crate::generate::arrivals::{Arrivals, Mmpp};
    use crate::generate::config::Pace;

    fn all(config: &GeneratorConfig, producer: usize) -> Vec<(i64, Vec<u8>, Vec<u8>)> {
        let mut stream = EventStream::new(config, config.population().as_ref(), producer, 1_000);
        let mut events = Vec::new();
        loop {
            let (mut key, mut value) = (Vec::new(), Vec::new());
            match stream.next_event(&mut key, &mut value) {
                Some(time) => events.push((time, key, value)),
                None => break,
            }
        }
        assert_eq!(stream.events(), events.len() as u64);
        events
    }

    #[test]
    fn a_seed_and_a_producer_give_the_same_bytes_at_any_pace() {
        for arrivals in [Arrivals::Uniform, Arrivals::Poisson, Arrivals::Mmpp(Mmpp::default())] {
            let config = GeneratorConfig {
                arrivals,
                count: Some(500),
                key: KeyField::Campaign,
                malformed: 0.1,
                ..GeneratorConfig::default()
            };
            let fast = GeneratorConfig {
                pace: Pace::Max,
                ..config.clone()
            };
            assert_eq!(all(&config, 0), all(&fast, 0));
            assert_ne!(all(&config, 0), all(&config, 1));
            assert_ne!(
                all(&config, 0),
                all(
                    &GeneratorConfig {
                        seed: 8,
                        ..config.clone()
                    },
                    0
                )
            );
        }
    }

    #[test]
    fn a_stream_ends_at_its_count_or_its_duration() {
        let config = GeneratorConfig {
            count: Some(7),
            ..GeneratorConfig::default()
        };
        assert_eq!((all(&config, 0).len(), all(&config, 1).len()), (4, 3));
        let config = GeneratorConfig {
            rate: 200.0,
            count: None,
            duration: Some(Duration::from_secs(3)),
            ..GeneratorConfig::default()
        };
        let events = all(&config, 0);
        assert_eq!(events.len(), 300);
        assert!(events.iter().all(|(time, ..)| (1_000..3_000_001_000).contains(time)));
        assert_eq!(
            all(&config, 1)[0].0,
            1_000 + 5_000_000,
            "evenly spaced producers interleave"
        );
    }

    #[test]
    fn the_asked_share_is_malformed_and_the_rest_is_not() {
        let config = GeneratorConfig {
            count: Some(20_000),
            malformed: 0.05,
            ..GeneratorConfig::default()
        };
        let mut stream = EventStream::new(&config, config.population().as_ref(), 0, 0);
        let (mut key, mut value, mut broken) = (Vec::new(), Vec::new(), 0);
        while stream.next_event(&mut key, &mut value).is_some() {
            broken += u64::from(serde_json::from_slice::<serde_json::Value>(&value).is_err());
            value.clear();
        }
        assert_eq!(broken, stream.malformed_events());
        assert!((400..600).contains(&broken), "{broken}");
    }

    #[test]
    fn fixed_messages_come_in_batches() {
        let load = FixedLoad {
            batch_messages: 2,
            message_bytes: 50,
            interval: Duration::from_secs(1),
        };
        let config = GeneratorConfig {
            kind: GeneratorKind::Fixed(load),
            count: Some(10),
            ..GeneratorConfig::default()
        };
        let events = all(&config, 0);
        let times: Vec<_> = events.iter().map(|(time, ..)| (time - 1_000) / 1_000_000_000).collect();
        assert_eq!(times, [0, 0, 1, 1, 2]);
        assert!(events.iter().all(|(_, key, value)| key.is_empty() && value.len() == 50));
    }
}

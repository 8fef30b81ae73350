//! Sends a generator's events through the real client.
//!
//! In real time each producer has a client of its own, and the clock keeps them together. At the highest speed nothing
//! would: each runs ahead by whatever its buffers hold, minutes of event time, and to a reader with a watermark the
//! others' events are late. There all producers' events go through one client, in the order of their times.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use engine_client::{DeliveryError, Producer, ProducerConfig, ProducerError, SendError, TopicRecord};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::generate::ads::AdPopulation;
use crate::generate::config::{GeneratorConfig, GeneratorConfigError, Pace};
use crate::generate::event_stream::EventStream;
use crate::generate::report::{GeneratorReport, ProducerReport};

/// Events handed to the client at once: enough to share one lock, few enough to keep their times.
const CHUNK_EVENTS: usize = 1_024;
/// The bytes of such a hand-over at most, plus one event.
const CHUNK_BYTES: usize = 1 << 20;
/// How long a producer may take to send its last records.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(120);

/// A load that ended early.
#[derive(Debug, thiserror::Error)]
pub enum GeneratorError {
    /// The load cannot be made.
    #[error(transparent)]
    Config(#[from] GeneratorConfigError),
    /// A producer did not start.
    #[error("the generator for {topic} cannot start")]
    Connect {
        /// The topic.
        topic: String,
        /// Why.
        #[source]
        source: ProducerError,
    },
    /// An event was not taken.
    #[error("the generator for {topic} cannot go on")]
    Send {
        /// The topic.
        topic: String,
        /// Why.
        #[source]
        source: SendError,
    },
    /// Events were taken and lost.
    #[error("events of the generator for {topic} were not delivered")]
    Deliver {
        /// The topic.
        topic: String,
        /// Why.
        #[source]
        source: DeliveryError,
    },
    /// One of its tasks ended by itself.
    #[error("the generator for {topic} was cut short")]
    Stopped {
        /// The topic.
        topic: String,
    },
}

/// What a running generator has handed to the client so far; cheap to read from anywhere.
#[derive(Debug, Default)]
pub struct GeneratorProgress {
    events: AtomicU64,
}

impl GeneratorProgress {
    /// Events of all producers.
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }
}

/// Runs a generator to its end, or until `stop` turns true (or its sender is gone): then the events sent so far are
/// acknowledged and reported. The topic must exist.
pub async fn run_generator(
    config: GeneratorConfig,
    producer_config: ProducerConfig,
    progress: Arc<GeneratorProgress>,
    stop: watch::Receiver<bool>,
) -> Result<GeneratorReport, GeneratorError> {
    config.check()?;
    let clients = match config.pace {
        Pace::RealTime => config.producers,
        Pace::Max => 1,
    };
    let mut producers = Vec::with_capacity(clients);
    for _ in 0..clients {
        let producer = Producer::connect(producer_config.clone()).await;
        producers.push(producer.map_err(|source| GeneratorError::Connect {
            topic: config.topic.clone(),
            source,
        })?);
    }
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let start_ns = config.start_ns(i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX));
    let population = config.population();
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for (index, producer) in producers.into_iter().enumerate() {
        let (config, population) = (config.clone(), population.clone());
        let (stop, progress) = (stop.clone(), Arc::clone(&progress));
        tasks.spawn(async move {
            // On a thread of their own, because fixed messages take a while to make: a signal must be seen meanwhile.
            let (streams, wanted) = (config.clone(), stop.clone());
            let mine = (index..config.producers).step_by(clients);
            let made = tokio::task::spawn_blocking(move || {
                let mine = mine.take_while(|_| !is_stopped(&wanted));
                MergedEvents::new(&streams, population.as_ref(), mine, start_ns)
            });
            let events = made.await.map_err(|_| GeneratorError::Stopped {
                topic: config.topic.clone(),
            })?;
            let sender = Sender {
                producer,
                topic: config.topic,
                pace: config.pace,
                events,
                start_ns,
                started,
                progress,
                report: ProducerReport::default(),
            };
            sender.run(stop).await
        });
    }
    let mut reports = Vec::with_capacity(clients);
    while let Some(ended) = tasks.join_next().await {
        reports.push(ended.map_err(|_| GeneratorError::Stopped {
            topic: config.topic.clone(),
        })??);
    }
    Ok(GeneratorReport::new(
        &config.topic,
        start_ns,
        started.elapsed(),
        &reports,
    ))
}

/// Events on their way to the client, in two buffers that are used again.
#[derive(Debug, Default)]
struct Chunk {
    keys: Vec<u8>,
    values: Vec<u8>,
    /// The time of each event, and where its key and its value end.
    events: Vec<(i64, usize, usize)>,
}

impl Chunk {
    /// Adds the next event and gives its time.
    fn pull(&mut self, events: &mut MergedEvents) -> Option<i64> {
        let time_ns = events.next_event(&mut self.keys, &mut self.values)?;
        self.events.push((time_ns, self.keys.len(), self.values.len()));
        Some(time_ns)
    }

    fn is_full(&self) -> bool {
        self.events.len() >= CHUNK_EVENTS || self.values.len() >= CHUNK_BYTES
    }

    fn records(&self, events: usize, pace: Pace) -> Vec<TopicRecord<'_>> {
        let (mut key_start, mut value_start) = (0, 0);
        let record = |&(time_ns, key_end, value_end): &(i64, usize, usize)| {
            let key = &self.keys[key_start..key_end];
            let value = &self.values[value_start..value_end];
            (key_start, value_start) = (key_end, value_end);
            TopicRecord {
                // At the highest speed event time may lie days back, and a broker would delete such records at once.
                timestamp: (pace == Pace::RealTime).then(|| time_ns.div_euclid(1_000_000)),
                key: (!key.is_empty()).then_some(key),
                value: Some(value),
                ..TopicRecord::default()
            }
        };
        self.events[..events].iter().map(record).collect()
    }

    /// Drops the first `events`.
    fn forget(&mut self, events: usize) {
        let Some(&(_, keys, values)) = events.checked_sub(1).and_then(|last| self.events.get(last)) else {
            return;
        };
        self.keys.drain(..keys);
        self.values.drain(..values);
        self.events.drain(..events);
        for event in &mut self.events {
            event.1 -= keys;
            event.2 -= values;
        }
    }
}

/// The events of some producers in the order of their times.
#[derive(Debug)]
struct MergedEvents {
    /// Those that have not ended.
    streams: Vec<EventStream>,
    malformed_of_ended: u64,
}

impl MergedEvents {
    fn new(
        config: &GeneratorConfig,
        population: Option<&Arc<AdPopulation>>,
        producers: impl Iterator<Item = usize>,
        start_ns: i64,
    ) -> Self {
        MergedEvents {
            streams: producers
                .map(|producer| EventStream::new(config, population, producer, start_ns))
                .collect(),
            malformed_of_ended: 0,
        }
    }

    fn next_event(&mut self, key: &mut Vec<u8>, value: &mut Vec<u8>) -> Option<i64> {
        let mut first: Option<(i64, usize)> = None;
        let mut index = 0;
        while index < self.streams.len() {
            match self.streams[index].next_time_ns() {
                Some(time_ns) => {
                    if first.is_none_or(|(earliest_ns, _)| time_ns < earliest_ns) {
                        first = Some((time_ns, index));
                    }
                    index += 1;
                }
                // The streams before this one keep their places, so that `first` stays right.
                None => self.malformed_of_ended += self.streams.remove(index).malformed_events(),
            }
        }
        self.streams[first?.1].next_event(key, value)
    }

    fn malformed_events(&self) -> u64 {
        self.malformed_of_ended + self.streams.iter().map(EventStream::malformed_events).sum::<u64>()
    }
}

struct Sender {
    producer: Producer,
    topic: String,
    pace: Pace,
    events: MergedEvents,
    start_ns: i64,
    started: Instant,
    progress: Arc<GeneratorProgress>,
    report: ProducerReport,
}

impl Sender {
    async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<ProducerReport, GeneratorError> {
        let mut chunk = Chunk::default();
        while !is_stopped(&stop) {
            // The last event of the chunk may be one that is not due yet.
            let mut waits_until = None;
            while !chunk.is_full() {
                let Some(time_ns) = chunk.pull(&mut self.events) else {
                    break;
                };
                let due = self.due(time_ns);
                if self.pace == Pace::RealTime && due > Instant::now() {
                    waits_until = Some(due);
                    break;
                }
            }
            if chunk.events.is_empty() {
                break;
            }
            self.send(&mut chunk, waits_until.is_some()).await?;
            if let Some(due) = waits_until {
                tokio::select! {
                    () = tokio::time::sleep_until(due.into()) => {}
                    _ = stop.wait_for(|stop| *stop) => break,
                }
            }
        }
        let closed = self.producer.close(CLOSE_TIMEOUT).await;
        closed.map_err(|source| GeneratorError::Deliver {
            topic: self.topic,
            source,
        })?;
        self.report.malformed = self.events.malformed_events();
        Ok(self.report)
    }

    /// Sends the chunk, except for its last event if that has to wait.
    async fn send(&mut self, chunk: &mut Chunk, keep_last: bool) -> Result<(), GeneratorError> {
        let events = chunk.events.len() - usize::from(keep_last);
        if events == 0 {
            return Ok(());
        }
        let (first_ns, last_ns) = (chunk.events[0].0, chunk.events[events - 1].0);
        let bytes = chunk.events[events - 1].1 + chunk.events[events - 1].2;
        let sent = self
            .producer
            .append_all(&self.topic, chunk.records(events, self.pace))
            .await;
        sent.map_err(|source| GeneratorError::Send {
            topic: self.topic.clone(),
            source,
        })?;
        chunk.forget(events);
        if self.pace == Pace::RealTime {
            let now = Instant::now();
            self.report.lag_at_end = now.saturating_duration_since(self.due(last_ns));
            self.report.lag_max = self
                .report
                .lag_max
                .max(now.saturating_duration_since(self.due(first_ns)));
        }
        self.report.events += events as u64;
        self.report.bytes += bytes as u64;
        self.progress.events.fetch_add(events as u64, Ordering::Relaxed);
        Ok(())
    }

    fn due(&self, time_ns: i64) -> Instant {
        self.started + Duration::from_nanos(u64::try_from(time_ns - self.start_ns).unwrap_or(0))
    }
}

fn is_stopped(stop: &watch::Receiver<bool>) -> bool {
    *stop.borrow() || stop.has_changed().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_gives_records_and_forgets_them_in_order() {
        let config = GeneratorConfig {
            count: Some(10),
            producers: 1,
            key: crate::generate::ads::KeyField::Ad,
            ..GeneratorConfig::default()
        };
        let mut chunk = Chunk::default();
        let mut events = MergedEvents::new(&config, config.population().as_ref(), 0..1, 1_000_000);
        while chunk.pull(&mut events).is_some() {}
        let owned = |records: Vec<TopicRecord<'_>>| -> Vec<_> {
            let own = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
            records
                .into_iter()
                .map(|record| (record.timestamp, own(record.key), own(record.value)))
                .collect()
        };
        let all = owned(chunk.records(10, Pace::RealTime));
        assert_eq!(all[0].0, Some(1));
        assert!(all.iter().all(|(_, key, value)| {
            key.as_ref().unwrap().len() == 36
                && serde_json::from_slice::<serde_json::Value>(value.as_ref().unwrap()).is_ok()
        }));
        chunk.forget(0);
        assert_eq!(owned(chunk.records(9, Pace::RealTime)), all[..9]);
        chunk.forget(9);
        assert_eq!(owned(chunk.records(1, Pace::RealTime)), all[9..]);
        chunk.forget(1);
        assert!(chunk.events.is_empty() && chunk.keys.is_empty() && chunk.values.is_empty());
    }

    #[test]
    fn events_of_several_producers_are_merged_by_time_and_none_is_lost() {
        let config = GeneratorConfig {
            count: Some(1_000),
            producers: 3,
            malformed: 0.1,
            arrivals: crate::generate::arrivals::Arrivals::Poisson,
            ..GeneratorConfig::default()
        };
        let drain = |producers: std::ops::Range<usize>| {
            let mut events = MergedEvents::new(&config, config.population().as_ref(), producers, 0);
            let (mut key, mut values, mut times) = (Vec::new(), Vec::new(), Vec::new());
            let mut last = 0;
            while let Some(time_ns) = events.next_event(&mut key, &mut values) {
                times.push((time_ns, values[last..].to_vec()));
                last = values.len();
            }
            (times, events.malformed_events())
        };
        let (merged, malformed) = drain(0..3);
        assert_eq!(merged.len(), 1_000);
        assert!(merged.is_sorted_by_key(|(time_ns, _)| *time_ns));
        let mut separate: Vec<_> = (0..3).flat_map(|producer| drain(producer..producer + 1).0).collect();
        separate.sort_by_key(|(time_ns, _)| *time_ns);
        assert!(merged == separate, "the same events as from separate producers");
        assert_eq!(
            malformed,
            (0..3).map(|producer| drain(producer..producer + 1).1).sum::<u64>()
        );
    }
}

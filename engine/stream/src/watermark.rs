//! Watermarks: how far event time has come, per source partition and for a source as a whole.
//!
//! The watermark of a partition is its latest event time less the delay; the watermark of the source
//! is the minimum over its *active* partitions, and never goes back. Partition keys are opaque.
//! Never here: a clock. The caller says what time it is, and reports a silence only after it has
//! looked: a process that is merely busy does not make its partitions idle.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::event_time::EventTimes;

/// How a source's watermark follows its event times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatermarkConfig {
    /// How far the watermark stays behind the latest event time.
    pub delay: Duration,
    /// A partition without rows for this long leaves the minimum. `None`: only at the end of its log.
    pub idle_timeout: Option<Duration>,
    /// Event times further ahead of the wall clock do not advance the watermark. `None`: all do.
    pub max_future_skew: Option<Duration>,
}

impl Default for WatermarkConfig {
    fn default() -> Self {
        WatermarkConfig {
            delay: Duration::ZERO,
            idle_timeout: Some(Duration::from_secs(30)),
            max_future_skew: Some(Duration::from_secs(300)),
        }
    }
}

/// The watermarks of one source, for the partitions that this process owns.
///
/// All watermarks are event time in nanoseconds since 1970, UTC.
#[derive(Debug)]
pub struct PartitionWatermarks<K> {
    delay: i64,
    idle_timeout: Option<Duration>,
    max_future_skew: Option<i64>,
    partitions: BTreeMap<K, PartitionWatermark>,
    source_watermark: Option<i64>,
    stats: WatermarkStats,
}

/// What [`PartitionWatermarks`] has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WatermarkStats {
    /// Rows whose event time was too far ahead of the wall clock to advance a watermark.
    pub skewed_rows: u64,
    /// How often a partition left the minimum.
    pub idle_transitions: u64,
}

#[derive(Debug)]
struct PartitionWatermark {
    watermark: Option<i64>,
    activity: Activity,
}

/// ```text
///            rows                     silence for idle_timeout
/// added ──▶ Active ───────────────────────────────────────────────▶ Idle
///            ▲ ▲ └─ silence begins: Active { silent_since } ────────▶ │
///            │ └───────────────────────── rows ──────────────────────┘
///            │                        the end of the log
///            └── rows, or silence ◀────────────────────── CaughtUp
/// ```
/// A silence ends being caught up: the log holds more now, or nobody can say that it does not. Rows without a time that counts
/// (none, or too far ahead) are as silence, and leave a partition that is not active where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Activity {
    Active { silent_since: Option<Instant> },
    Idle,
    CaughtUp,
}

impl Activity {
    fn is_active(self) -> bool {
        matches!(self, Activity::Active { .. })
    }
}

impl<K: Ord + Clone> PartitionWatermarks<K> {
    /// The watermarks of a source without partitions: idle, with no watermark.
    pub fn new(config: &WatermarkConfig) -> Self {
        PartitionWatermarks {
            delay: nanoseconds(config.delay),
            idle_timeout: config.idle_timeout,
            max_future_skew: config.max_future_skew.map(nanoseconds),
            partitions: BTreeMap::new(),
            source_watermark: None,
            stats: WatermarkStats::default(),
        }
    }

    /// A partition was assigned, with the watermark that was committed for it, if any.
    ///
    /// It is active at once: until it delivers rows, falls silent or is found at the end of its log, it holds the source back.
    pub fn add(&mut self, partition: K, restored: Option<i64>) {
        let activity = Activity::Active { silent_since: None };
        self.partitions.insert(
            partition,
            PartitionWatermark {
                watermark: restored,
                activity,
            },
        );
    }

    /// A partition was taken away. Returns its own watermark.
    pub fn remove(&mut self, partition: &K) -> Option<i64> {
        self.partitions
            .remove(partition)
            .and_then(|partition| partition.watermark)
    }

    /// The source's watermark was at least this before a restart or a rebalance; it does not go back behind it.
    pub fn raise(&mut self, source_watermark: i64) {
        self.source_watermark = self.source_watermark.max(Some(source_watermark));
    }

    /// Rows of a partition have been processed. `wall_clock` is now, in nanoseconds since 1970.
    ///
    /// Returns how many of them were too far in the future. Rows of an unknown partition change nothing.
    ///
    /// Rows of which none has a time that counts are no sign of life: a partition that delivers nothing else for
    /// `idle_timeout` leaves the minimum, or a producer with a wrong clock would hold the source's watermark for ever.
    pub fn handle_rows(&mut self, partition: &K, times: EventTimes<'_>, wall_clock: i64, now: Instant) -> u64 {
        let Some(state) = self.partitions.get_mut(partition) else {
            return 0;
        };
        if times.is_empty() {
            return 0;
        }
        let latest = times.latest(self.max_future_skew.map(|skew| wall_clock.saturating_add(skew)));
        self.stats.skewed_rows += latest.skewed;
        match latest.nanoseconds {
            Some(time) => {
                state.activity = Activity::Active { silent_since: None };
                state.watermark = state.watermark.max(Some(time.saturating_sub(self.delay)));
            }
            None if state.activity.is_active() => self.handle_silence(partition, now),
            None => {}
        }
        latest.skewed
    }

    /// The caller has looked for rows of this partition and found none, though its log may hold more.
    ///
    /// Once that has been so for `idle_timeout`, the partition leaves the minimum. One that had left it at the end of its
    /// log comes back until then: rows that wait for us must not find their windows closed.
    pub fn handle_silence(&mut self, partition: &K, now: Instant) {
        let Some(partition) = self.partitions.get_mut(partition) else {
            return;
        };
        let since = match &mut partition.activity {
            Activity::Active { silent_since } => *silent_since.get_or_insert(now),
            Activity::CaughtUp => {
                partition.activity = Activity::Active {
                    silent_since: Some(now),
                };
                now
            }
            Activity::Idle => return,
        };
        if self
            .idle_timeout
            .is_some_and(|timeout| now.saturating_duration_since(since) >= timeout)
        {
            partition.activity = Activity::Idle;
            self.stats.idle_transitions += 1;
        }
    }

    /// All rows of this partition up to the end of its log have been processed: it leaves the minimum until there are more.
    pub fn handle_caught_up(&mut self, partition: &K) {
        let Some(partition) = self.partitions.get_mut(partition) else {
            return;
        };
        if partition.activity.is_active() {
            self.stats.idle_transitions += 1;
        }
        partition.activity = Activity::CaughtUp;
    }

    /// Advances the source's watermark to the minimum over its active partitions and returns it.
    ///
    /// It stays where it is while an active partition has no watermark yet. While no partition is active, it is the latest
    /// watermark of all: each left the minimum for good reason, and it must not matter which of them left last.
    pub fn advance(&mut self) -> Option<i64> {
        let reached = match self.is_idle() {
            true => self
                .partitions
                .values()
                .filter_map(|partition| partition.watermark)
                .max(),
            false => self.minimum_of_active(),
        };
        self.source_watermark = self.source_watermark.max(reached);
        self.source_watermark
    }

    /// `None` while an active partition has no watermark yet.
    fn minimum_of_active(&self) -> Option<i64> {
        let active = self
            .partitions
            .values()
            .filter(|partition| partition.activity.is_active());
        active.map(|partition| partition.watermark).min().flatten()
    }

    /// The source's watermark, as of the last [`advance`](Self::advance).
    pub fn source_watermark(&self) -> Option<i64> {
        self.source_watermark
    }

    /// The watermark of one partition.
    pub fn partition_watermark(&self, partition: &K) -> Option<i64> {
        self.partitions.get(partition).and_then(|partition| partition.watermark)
    }

    /// The partitions that are there, with their watermarks.
    pub fn partitions(&self) -> impl Iterator<Item = (&K, Option<i64>)> {
        self.partitions
            .iter()
            .map(|(key, partition)| (key, partition.watermark))
    }

    /// Whether no partition is active.
    pub fn is_idle(&self) -> bool {
        !self.partitions.values().any(|partition| partition.activity.is_active())
    }

    /// What has been counted.
    pub fn stats(&self) -> WatermarkStats {
        self.stats
    }
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;

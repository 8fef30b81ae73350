//! Watermarks beside a model that keeps all it was ever told of each partition, and looks through it every time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{InstantForTests, rows_at};
use crate::watermark::{PartitionWatermarks, WatermarkConfig};

const DELAY: i64 = 3;
const SKEW: i64 = 20;
const IDLE_MS: u64 = 10;

#[derive(Debug, Clone)]
enum Step {
    Add(i32, Option<i64>),
    Remove(i32),
    Raise(i64),
    Rows(i32, Vec<i64>),
    Silence(i32),
    CaughtUp(i32),
    Time(u64),
    Advance,
}

/// What a partition did, with the wall clock of it.
#[derive(Debug, Clone)]
enum Told {
    Times(Vec<i64>),
    Silence(Instant),
    CaughtUp,
}

#[derive(Debug, Default)]
struct Model {
    partitions: BTreeMap<i32, (Option<i64>, Vec<Told>)>,
    watermark: Option<i64>,
}

impl Model {
    /// The watermark of one: its latest time that was not too far ahead, less the delay.
    fn watermark_of(&self, partition: i32) -> Option<i64> {
        let (restored, told) = &self.partitions[&partition];
        let times = told.iter().flat_map(|told| match told {
            Told::Times(times) => times.as_slice(),
            _ => &[],
        });
        (*restored).max(times.max().map(|time| time - DELAY))
    }

    /// Whether one holds the others back: by what came last that says anything.
    fn is_active(&self, partition: i32) -> bool {
        let told = &self.partitions[&partition].1;
        let last = told.iter().rposition(|told| !matches!(told, Told::Silence(_)));
        let silences = &told[last.map_or(0, |last| last + 1)..];
        let Some(Told::Silence(first)) = silences.first() else {
            return !matches!(told.last(), Some(Told::CaughtUp));
        };
        let timeout = Duration::from_millis(IDLE_MS);
        let is_over = |told: &Told| matches!(told, Told::Silence(at) if *at - *first >= timeout);
        !silences.iter().any(is_over)
    }

    fn advance(&mut self) -> Option<i64> {
        let all: Vec<i32> = self.partitions.keys().copied().collect();
        let active: Vec<i32> = all.iter().copied().filter(|one| self.is_active(*one)).collect();
        let reached = if active.is_empty() {
            all.iter().filter_map(|one| self.watermark_of(*one)).max()
        } else if active.iter().any(|one| self.watermark_of(*one).is_none()) {
            None
        } else {
            active.iter().filter_map(|one| self.watermark_of(*one)).min()
        };
        self.watermark = self.watermark.max(reached);
        self.watermark
    }

    fn tell(&mut self, partition: i32, told: Told) {
        if let Some((_, all)) = self.partitions.get_mut(&partition) {
            all.push(told);
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let partition = || 0..3i32;
    prop_oneof![
        2 => (partition(), prop::option::of(0..50i64)).prop_map(|(partition, restored)| Step::Add(partition, restored)),
        1 => partition().prop_map(Step::Remove),
        1 => (0..60i64).prop_map(Step::Raise),
        6 => (partition(), prop::collection::vec(0..120i64, 0..4)).prop_map(|(partition, times)| Step::Rows(partition, times)),
        4 => partition().prop_map(Step::Silence),
        2 => partition().prop_map(Step::CaughtUp),
        3 => (1..8u64).prop_map(Step::Time),
        4 => Just(Step::Advance),
    ]
}

proptest! {
    #[test]
    fn a_watermark_is_the_minimum_over_those_that_are_active_and_never_goes_back(steps in prop::collection::vec(step(), 0..60)) {
        let mut watermarks = PartitionWatermarks::new(&WatermarkConfig {
            delay: Duration::from_nanos(DELAY.unsigned_abs()),
            idle_timeout: Some(Duration::from_millis(IDLE_MS)),
            max_future_skew: Some(Duration::from_nanos(SKEW.unsigned_abs())),
        });
        let (mut model, mut now, mut wall_clock) = (Model::default(), Instant::now_for_tests(), 0);
        let mut last = None;
        for step in steps {
            match step {
                Step::Add(partition, restored) => {
                    watermarks.add(partition, restored);
                    model.partitions.insert(partition, (restored, Vec::new()));
                }
                Step::Remove(partition) => {
                    let expected = model.partitions.contains_key(&partition).then(|| model.watermark_of(partition)).flatten();
                    prop_assert_eq!(watermarks.remove(&partition), expected);
                    model.partitions.remove(&partition);
                }
                Step::Raise(to) => {
                    watermarks.raise(to);
                    model.watermark = model.watermark.max(Some(to));
                }
                Step::Rows(partition, times) => {
                    let skewed = rows_at(&mut watermarks, partition, &times, wall_clock, now);
                    let near: Vec<i64> = times.iter().copied().filter(|time| *time <= wall_clock + SKEW).collect();
                    let is_known = model.partitions.contains_key(&partition);
                    prop_assert_eq!(skewed, if is_known { times.len() - near.len() } else { 0 } as u64);
                    // Rows that are all too far ahead are as silence, which does not wake who is not active.
                    if !near.is_empty() {
                        model.tell(partition, Told::Times(near));
                    } else if !times.is_empty() && is_known && model.is_active(partition) {
                        model.tell(partition, Told::Silence(now));
                    }
                }
                Step::Silence(partition) => {
                    watermarks.handle_silence(&partition, now);
                    model.tell(partition, Told::Silence(now));
                }
                Step::CaughtUp(partition) => {
                    watermarks.handle_caught_up(&partition);
                    model.tell(partition, Told::CaughtUp);
                }
                Step::Time(ms) => {
                    now += Duration::from_millis(ms);
                    wall_clock += ms as i64 * 4;
                }
                Step::Advance => {
                    let reached = watermarks.advance();
                    prop_assert_eq!(reached, model.advance());
                    prop_assert!(reached >= last, "{:?} after {:?}", reached, last);
                    last = reached;
                }
            }
            prop_assert_eq!(watermarks.is_idle(), !model.partitions.keys().any(|one| model.is_active(*one)));
        }
    }
}

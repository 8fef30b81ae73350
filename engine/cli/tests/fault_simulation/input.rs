//! What the pipeline reads, and what it must make of it.

use crate::rows::Counts;
use crate::world::PARTITIONS;

/// The start of a window of 10 s.
pub(crate) const BASE_MS: i64 = 1_700_000_000_000;
const WINDOW_MS: i64 = 10_000;
/// Batches of each partition; each is of the window after the last one's, and is fetched alone.
const BATCHES: i64 = 6;
const EVENTS_OF_A_BATCH: i64 = 5;
const CAMPAIGNS: i64 = 3;

/// Where a record is that no schema reads.
pub(crate) const MALFORMED: [(i32, i64); 4] = [(0, 0), (1, 2), (2, 3), (0, 5)];

/// Every batch of records with its partition, in the order in which they are produced.
pub(crate) fn batches() -> Vec<(i32, Vec<String>)> {
    let mut batches = Vec::new();
    for batch in 0..BATCHES {
        for partition in 0..PARTITIONS {
            let mut values: Vec<_> = events(partition, batch)
                .map(|(time_ms, campaign)| format!(r#"{{"campaign":{campaign},"time":{time_ms}}}"#))
                .collect();
            if MALFORMED.contains(&(partition, batch)) {
                values.push(malformed(partition, batch));
            }
            batches.push((partition, values));
        }
    }
    batches
}

/// The record of [`MALFORMED`].
pub(crate) fn malformed(partition: i32, batch: i64) -> String {
    format!("no JSON, {batch} of {partition}")
}

/// How many records a partition has.
pub(crate) fn end_offset(partition: i32) -> i64 {
    let malformed = MALFORMED.iter().filter(|(of, _)| *of == partition).count();
    BATCHES * EVENTS_OF_A_BATCH + i64::try_from(malformed).expect("a few")
}

/// What every window must say.
pub(crate) fn expected() -> Counts {
    let mut counts = Counts::new();
    for batch in 0..BATCHES {
        for partition in 0..PARTITIONS {
            for (time_ms, campaign) in events(partition, batch) {
                *counts
                    .entry((time_ms - (time_ms - BASE_MS) % WINDOW_MS, campaign))
                    .or_default() += 1;
            }
        }
    }
    counts
}

/// Event times and campaigns of a batch: the n-th of partition p is a little later than that of partition p - 1.
fn events(partition: i32, batch: i64) -> impl Iterator<Item = (i64, i64)> {
    (0..EVENTS_OF_A_BATCH).map(move |event| {
        let time_ms = BASE_MS + batch * WINDOW_MS + event * 1_900 + i64::from(partition) * 70;
        (time_ms, (event + batch + i64::from(partition)) % CAMPAIGNS)
    })
}

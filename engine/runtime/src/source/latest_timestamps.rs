//! When the latest record of each window was produced, for the latency from producer to result.
//!
//! A record's own timestamp (CreateTime, or LogAppendTime where the topic says so) is taken before filters run, so
//! a window's latency is counted from the last record of its span whether or not that record passed.

use std::collections::BTreeMap;

use engine_stream::event_time::EventTimes;

/// The most windows that are followed per partition; beyond it the oldest is forgotten and has no latency.
const WINDOWS_MAX: usize = 4_096;

/// The largest record timestamp per window of one size, of one partition.
#[derive(Debug)]
pub(crate) struct LatestTimestamps {
    size_ns: i64,
    by_window_start: BTreeMap<i64, i64>,
}

impl LatestTimestamps {
    /// For windows of `size_ns` nanoseconds.
    pub(crate) fn new(size_ns: i64) -> Self {
        assert!(size_ns > 0, "a window has a positive size, this one has {size_ns} ns");
        LatestTimestamps {
            size_ns,
            by_window_start: BTreeMap::new(),
        }
    }

    /// Takes the rows of a micro-batch: event times, and record timestamps in milliseconds, row by row.
    pub(crate) fn add(&mut self, times: EventTimes<'_>, record_timestamps_ms: &[i64]) {
        assert_eq!(times.len(), record_timestamps_ms.len(), "one timestamp a row");
        // Neighbouring rows mostly share a window: the map is asked once a run.
        let (mut start, mut latest) = (None, i64::MIN);
        for (row, &timestamp) in record_timestamps_ms.iter().enumerate() {
            let Some(time) = times.nanoseconds(row) else { continue };
            if start.is_some_and(|start: i64| time.wrapping_sub(start) as u64 >= self.size_ns as u64) {
                self.raise(start, latest);
                start = None;
            }
            if start.is_none() {
                start = Some(time.saturating_sub(time.rem_euclid(self.size_ns)));
                latest = i64::MIN;
            }
            latest = latest.max(timestamp);
        }
        self.raise(start, latest);
    }

    /// Takes the windows that end at or before the watermark: (window start in ns, latest timestamp in ms).
    pub(crate) fn take_closed(&mut self, watermark_ns: i64) -> Vec<(i64, i64)> {
        let open_from = watermark_ns.saturating_sub(self.size_ns).saturating_add(1);
        let open = self.by_window_start.split_off(&open_from);
        std::mem::replace(&mut self.by_window_start, open).into_iter().collect()
    }

    /// Takes all windows.
    pub(crate) fn take_all(&mut self) -> Vec<(i64, i64)> {
        std::mem::take(&mut self.by_window_start).into_iter().collect()
    }

    fn raise(&mut self, start: Option<i64>, latest: i64) {
        let Some(start) = start else { return };
        let entry = self.by_window_start.entry(start).or_insert(latest);
        *entry = (*entry).max(latest);
        if self.by_window_start.len() > WINDOWS_MAX {
            self.by_window_start.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::TimestampNanosecondArray;

    use super::*;

    fn add(latest: &mut LatestTimestamps, times: &[i64], timestamps: &[i64]) {
        let column = TimestampNanosecondArray::from(times.to_vec());
        latest.add(EventTimes::new(&column).unwrap(), timestamps);
    }

    #[test]
    fn each_window_keeps_its_latest_timestamp() {
        let mut latest = LatestTimestamps::new(10);
        add(&mut latest, &[1, 9, 10, 3, -1], &[100, 90, 80, 120, 7]);
        add(&mut latest, &[2, 19], &[110, 85]);
        assert_eq!(latest.take_all(), [(-10, 7), (0, 120), (10, 85)]);
    }

    #[test]
    fn a_window_is_taken_once_the_watermark_reaches_its_end() {
        let mut latest = LatestTimestamps::new(10);
        add(&mut latest, &[0, 10, 20], &[1, 2, 3]);
        assert_eq!(latest.take_closed(9), []);
        assert_eq!(latest.take_closed(10), [(0, 1)]);
        assert_eq!(latest.take_closed(29), [(10, 2)]);
        assert_eq!(latest.take_closed(i64::MAX), [(20, 3)]);
    }

    #[test]
    fn the_number_of_windows_is_bounded() {
        let mut latest = LatestTimestamps::new(1);
        let times: Vec<i64> = (0..2 * WINDOWS_MAX as i64).collect();
        add(&mut latest, &times, &times);
        assert_eq!(latest.take_all().len(), WINDOWS_MAX);
    }

    #[test]
    fn times_at_the_edge_of_the_range_do_not_overflow() {
        let mut latest = LatestTimestamps::new(10_000_000_000);
        add(&mut latest, &[i64::MIN, i64::MAX, i64::MIN], &[1, 2, 3]);
        assert_eq!(latest.take_all().len(), 2);
    }
}

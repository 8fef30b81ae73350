//! When the latest record of each window was produced, for the latency from producer to result.
//!
//! A record's own timestamp (CreateTime, or LogAppendTime where the topic says so) is taken before filters run, so
//! a window's latency is counted from the last record of its span whether or not that record passed.

use std::collections::BTreeMap;

use engine_stream::event_time::EventTimes;

use super::window_span::WindowSpan;

/// The most panes that are followed per partition; beyond it the oldest is forgotten and its windows' latency does not see it.
const PANES_MAX: usize = 4_096;

/// The largest record timestamp per window of one kind, of one partition.
///
/// Kept by pane, so that a row costs the same in however many windows it is.
#[derive(Debug)]
pub(crate) struct LatestTimestamps {
    span: WindowSpan,
    by_pane_start: BTreeMap<i64, i64>,
    /// Windows that begin before this were taken; late rows do not bring them back.
    taken_before: i64,
}

impl LatestTimestamps {
    /// For windows of this kind.
    pub(crate) fn new(span: WindowSpan) -> Self {
        assert!(span.slide_ns > 0, "a window has a positive slide: {span:?}");
        LatestTimestamps {
            span,
            by_pane_start: BTreeMap::new(),
            taken_before: i64::MIN,
        }
    }

    /// Takes the rows of a micro-batch: event times, and record timestamps in milliseconds, row by row.
    pub(crate) fn add(&mut self, times: EventTimes<'_>, record_timestamps_ms: &[i64]) {
        assert_eq!(times.len(), record_timestamps_ms.len(), "one timestamp a row");
        // Which session a row will be in is not known here; a session tells itself when its last row was.
        if self.span.is_session {
            return;
        }
        // Neighbouring rows mostly share a pane: the map is asked once a run.
        let slide_ns = self.span.slide_ns;
        let (mut pane, mut latest) = (None, i64::MIN);
        for (row, &timestamp) in record_timestamps_ms.iter().enumerate() {
            let Some(time) = times.nanoseconds(row) else { continue };
            if pane.is_some_and(|pane: i64| time.wrapping_sub(pane) as u64 >= slide_ns as u64) {
                self.raise(pane, latest);
                pane = None;
            }
            if pane.is_none() {
                pane = Some(time.saturating_sub(time.rem_euclid(slide_ns)));
                latest = i64::MIN;
            }
            latest = latest.max(timestamp);
        }
        self.raise(pane, latest);
    }

    /// Takes the windows that the watermark closes: (window start in ns, latest timestamp in ms).
    pub(crate) fn take_closed(&mut self, watermark_ns: i64) -> Vec<(i64, i64)> {
        let open_from = self.span.open_from(watermark_ns);
        let taken = self.windows_before(Some(open_from));
        // The last window that holds a pane begins with it.
        self.by_pane_start = self.by_pane_start.split_off(&open_from);
        self.taken_before = self.taken_before.max(open_from);
        taken
    }

    /// Takes all windows.
    pub(crate) fn take_all(&mut self) -> Vec<(i64, i64)> {
        let taken = self.windows_before(None);
        self.by_pane_start.clear();
        taken
    }

    /// The windows that were not taken and begin before `end`.
    fn windows_before(&self, end: Option<i64>) -> Vec<(i64, i64)> {
        let mut windows: BTreeMap<i64, i64> = BTreeMap::new();
        for (pane, latest) in &self.by_pane_start {
            let starts = self.span.windows_of_pane(*pane);
            let open = starts.skip_while(|start| end.is_some_and(|end| *start >= end));
            for start in open.take_while(|start| *start >= self.taken_before) {
                let entry = windows.entry(start).or_insert(*latest);
                *entry = (*entry).max(*latest);
            }
        }
        windows.into_iter().collect()
    }

    fn raise(&mut self, pane: Option<i64>, latest: i64) {
        let Some(pane) = pane.filter(|pane| *pane >= self.taken_before) else {
            return;
        };
        let entry = self.by_pane_start.entry(pane).or_insert(latest);
        *entry = (*entry).max(latest);
        if self.by_pane_start.len() > PANES_MAX {
            self.by_pane_start.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::TimestampNanosecondArray;

    use super::*;

    fn tumbling(size_ns: i64) -> LatestTimestamps {
        hopping(size_ns, size_ns, 0)
    }

    fn hopping(size_ns: i64, slide_ns: i64, lateness_ns: i64) -> LatestTimestamps {
        LatestTimestamps::new(WindowSpan {
            size_ns,
            slide_ns,
            lateness_ns,
            is_session: false,
        })
    }

    fn add(latest: &mut LatestTimestamps, times: &[i64], timestamps: &[i64]) {
        let column = TimestampNanosecondArray::from(times.to_vec());
        latest.add(EventTimes::new(&column).unwrap(), timestamps);
    }

    #[test]
    fn each_window_keeps_its_latest_timestamp() {
        let mut latest = tumbling(10);
        add(&mut latest, &[1, 9, 10, 3, -1], &[100, 90, 80, 120, 7]);
        add(&mut latest, &[2, 19], &[110, 85]);
        assert_eq!(latest.take_all(), [(-10, 7), (0, 120), (10, 85)]);
    }

    #[test]
    fn a_window_is_taken_once_the_watermark_reaches_its_end() {
        let mut latest = tumbling(10);
        add(&mut latest, &[0, 10, 20], &[1, 2, 3]);
        assert_eq!(latest.take_closed(9), []);
        assert_eq!(latest.take_closed(10), [(0, 1)]);
        assert_eq!(latest.take_closed(29), [(10, 2)]);
        assert_eq!(latest.take_closed(i64::MAX), [(20, 3)]);
    }

    #[test]
    fn a_record_counts_in_every_window_that_holds_it() {
        let mut latest = hopping(10, 5, 0);
        add(&mut latest, &[-1, 0, 7, 12], &[40, 10, 30, 20]);
        assert_eq!(latest.take_closed(5), [(-10, 40), (-5, 40)]);
        assert_eq!(latest.take_closed(10), [(0, 30)]);
        assert_eq!(latest.take_all(), [(5, 30), (10, 20)]);
    }

    #[test]
    fn a_window_that_waits_for_late_rows_is_taken_with_its_results() {
        let mut latest = hopping(10, 10, 3);
        add(&mut latest, &[0], &[1]);
        assert_eq!(latest.take_closed(12), []);
        assert_eq!(latest.take_closed(13), [(0, 1)]);
    }

    #[test]
    fn a_late_record_does_not_bring_a_window_back() {
        let mut latest = tumbling(10);
        add(&mut latest, &[0, 10], &[1, 2]);
        assert_eq!(latest.take_closed(10), [(0, 1)]);
        add(&mut latest, &[5], &[9]);
        assert_eq!(latest.take_closed(20), [(10, 2)]);
    }

    #[test]
    fn the_number_of_windows_is_bounded() {
        let mut latest = tumbling(1);
        let times: Vec<i64> = (0..2 * PANES_MAX as i64).collect();
        add(&mut latest, &times, &times);
        assert_eq!(latest.take_all().len(), PANES_MAX);
    }

    #[test]
    fn times_at_the_edge_of_the_range_do_not_overflow() {
        let mut latest = tumbling(10_000_000_000);
        add(&mut latest, &[i64::MIN, i64::MAX, i64::MIN], &[1, 2, 3]);
        assert_eq!(latest.take_all().len(), 2);
    }
}

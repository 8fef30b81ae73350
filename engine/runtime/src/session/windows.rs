//! One source within a session: its partitions, its watermark, and the windows that the watermark closes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine_client::{Consumer, TopicPartition};
use engine_stream::event_time::EventTimes;
use engine_stream::graph::{Output, ProcessError, WindowOutput};
use engine_stream::watermark::PartitionWatermarks;

use super::partitions::{Partition, Quiet};
use crate::latency::windows::LatestOfWindow;
use crate::source::counts::SourceCounts;
use crate::source::task::{TaskOutcome, TaskSource, TaskWindows};
use crate::worker::TaskId;

/// One source within a session.
#[derive(Debug)]
pub(crate) struct SessionSource {
    /// What its tasks share.
    pub(crate) source: Arc<TaskSource>,
    /// Fetches its partitions, with this source's own client options.
    pub(crate) fetcher: Consumer,
    /// Every partition that this process owns.
    pub(crate) partitions: BTreeMap<TaskId, Partition>,
    /// The same, by name.
    pub(crate) by_name: HashMap<TopicPartition, TaskId>,
    /// Event time; `None` where the source has no watermark.
    pub(crate) watermarks: Option<PartitionWatermarks<TaskId>>,
    /// Merges partial windows.
    pub(crate) window_output: WindowOutput,
    /// The watermark at which windows were last taken.
    pub(crate) closed_up_to: Option<i64>,
    /// Per window of the plan: up to which end they were emitted, in this run or before; what the manifest tells of it.
    pub(crate) taken_up_to_ns: BTreeMap<String, i64>,
    /// Counted since the session began.
    pub(crate) counts: SourceCounts,
}

/// Windows that were merged over all partitions.
#[derive(Debug, Default)]
pub(crate) struct ClosedResults {
    /// Rows for sinks.
    pub(crate) outputs: Vec<Output>,
    /// What their latency is counted from, over all windows of the plan.
    pub(crate) latest: Vec<LatestOfWindow>,
    /// The windows themselves: (start, the watermark that closes it), in nanoseconds.
    pub(crate) windows: BTreeSet<(i64, i64)>,
}

impl SessionSource {
    /// The source's watermark as of the last trigger: what decides whether a row is late.
    pub(crate) fn watermark_ns(&self) -> Option<i64> {
        self.watermarks.as_ref().and_then(PartitionWatermarks::source_watermark)
    }

    /// A worker is done with a piece of a partition.
    pub(crate) fn handle_processed(&mut self, task: TaskId, outcome: &TaskOutcome, wall_clock_ns: i64, now: Instant) {
        let partition = self
            .partitions
            .get_mut(&task)
            .expect("a task is dropped only when nothing is on its way");
        partition.handle_processed(outcome.next_offset);
        self.counts.records += outcome.records;
        self.counts.bytes += outcome.bytes;
        self.counts.malformed += outcome.malformed;
        self.counts.late_rows += outcome.late_rows;
        self.counts.unplaced_rows += outcome.unplaced_rows;
        self.counts.duplicate_rows += outcome.duplicate_rows;
        let Some(watermarks) = &mut self.watermarks else { return };
        for times in &outcome.event_times {
            let times = EventTimes::new(times).expect("the plan checked that event time is a timestamp");
            self.counts.skewed_rows += watermarks.handle_rows(&task, times, wall_clock_ns, now);
        }
    }

    /// All partitions have been looked at, unless the micro-batch `is_full`: advances the watermark. Returns it if it may
    /// close windows.
    pub(crate) fn advance(&mut self, now: Instant, is_full: bool) -> Option<i64> {
        self.hear_of_ends();
        let watermarks = self.watermarks.as_mut()?;
        for (task, partition) in &mut self.partitions {
            match partition.quiet(now) {
                Quiet::Busy => {}
                Quiet::CaughtUp => watermarks.handle_caught_up(task),
                // While there is no room for more rows, nobody looks for any.
                Quiet::Silent if is_full => {}
                Quiet::Silent => watermarks.handle_silence(task, now),
            }
        }
        let watermark = match watermarks.advance() {
            Some(watermark) => watermark,
            // The first look of a session.
            None if self.closed_up_to.is_none() => watermarks.source_watermark()?,
            None => return None,
        };
        let closes = self
            .source
            .window_spans
            .iter()
            .any(|span| span.closes_between(self.closed_up_to, watermark));
        if !closes {
            return None;
        }
        self.handle_taken(watermark);
        Some(watermark)
    }

    /// All windows that this watermark closes are taken.
    fn handle_taken(&mut self, watermark: i64) {
        self.closed_up_to = self.closed_up_to.max(Some(watermark));
        for (window, span) in self.source.plan.windows.iter().zip(&self.source.window_spans) {
            let end = watermark.saturating_sub(span.lateness_ns);
            let taken = self.taken_up_to_ns.entry(window.clone()).or_insert(end);
            *taken = end.max(*taken);
        }
    }

    /// Takes what the brokers said of the ends of the logs: an empty partition never delivers, and its lag is known all the
    /// same.
    fn hear_of_ends(&mut self) {
        for partition in self.partitions.values_mut() {
            let name = TopicPartition::new(Arc::clone(&partition.topic), partition.partition);
            if let (Some(position), Some(lag)) = (self.fetcher.position(&name), self.fetcher.lag(&name)) {
                partition.log_end_offset = Some(position.offset.saturating_add_unsigned(lag));
            }
            partition.end_heard_at = self.fetcher.end_heard_at(&name);
        }
    }

    /// Merges what the partitions gave for one watermark.
    pub(crate) fn merge(&self, windows: Vec<TaskWindows>) -> Result<ClosedResults, ProcessError> {
        let mut results = ClosedResults::default();
        let mut latest: BTreeMap<(usize, i64), i64> = BTreeMap::new();
        let mut closed = Vec::new();
        for of_partition in windows {
            for windows in &of_partition.closed {
                let span = self.source.window_spans[windows.window];
                if span.is_session {
                    let sessions = windows.sessions_ns();
                    let closed_at = |end: i64| end.saturating_add(span.lateness_ns);
                    results
                        .windows
                        .extend(sessions.map(|(start, end)| (start, closed_at(end))));
                    continue;
                }
                let windows = windows.starts_ns().map(|start| (start, span.closed_at(start)));
                results.windows.extend(windows);
            }
            closed.extend(of_partition.closed);
            for (window, starts) in of_partition.latest.into_iter().enumerate() {
                for (start, timestamp) in starts {
                    let entry = latest.entry((window, start)).or_insert(timestamp);
                    *entry = (*entry).max(timestamp);
                }
            }
        }
        let of_aligned = latest.into_iter().map(|((_, start), latest_ms)| LatestOfWindow {
            start_ns: Some(start),
            latest_ms,
        });
        results.latest.extend(of_aligned);
        for sessions in self.window_output.session_spans(&closed)? {
            let gap_ns = self.source.window_spans[sessions.window].size_ns;
            results
                .latest
                .extend(sessions.spans_ns().map(|(_, end)| LatestOfWindow {
                    start_ns: None,
                    latest_ms: (end - gap_ns).div_euclid(1_000_000),
                }));
        }
        self.window_output.merge(closed, &mut results.outputs)?;
        Ok(results)
    }

    /// After a drain: what was emitted stays closed, also for the next run.
    ///
    /// Windows that begin too far in the future to advance the watermark do not advance it here either: one wrong
    /// timestamp would make everything late that comes after the drain.
    pub(crate) fn handle_drained(&mut self, windows: &BTreeSet<(i64, i64)>, wall_clock_ns: i64) {
        let Some(watermarks) = &mut self.watermarks else { return };
        let skew = self
            .source
            .plan
            .watermark
            .as_ref()
            .and_then(|spec| spec.config.max_future_skew);
        if let Some(end) = drained_up_to(windows, skew, wall_clock_ns) {
            watermarks.raise(end);
            self.handle_taken(end);
        }
    }
}

fn drained_up_to(windows: &BTreeSet<(i64, i64)>, skew: Option<Duration>, wall_clock_ns: i64) -> Option<i64> {
    let limit = skew.map_or(i64::MAX, |skew| {
        wall_clock_ns.saturating_add(i64::try_from(skew.as_nanos()).unwrap_or(i64::MAX))
    });
    let near = windows.iter().take_while(|(start, _)| *start <= limit);
    near.map(|(_, end)| *end).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_closes_what_it_emitted_but_not_all_time_up_to_a_wrong_timestamp() {
        let windows = BTreeSet::from([(0, 13), (10, 23), (1_000_000, 1_000_013)]);
        let skew = Some(Duration::from_nanos(50));
        assert_eq!(drained_up_to(&windows, skew, 15), Some(23));
        assert_eq!(drained_up_to(&windows, skew, 2_000_000), Some(1_000_013));
        assert_eq!(drained_up_to(&windows, None, 15), Some(1_000_013));
        assert_eq!(drained_up_to(&BTreeSet::new(), None, 15), None);
    }
}

//! How far each partition has come: fetched, processed, known end.
//!
//! Offsets here are *next to read*. A checkpoint takes the processed offsets, never the fetched ones.

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine_wire::record_batch::RawBatch;

use crate::checkpoint::segments::LiveSegments;

/// How long a partition must stand at the end of its log, with nothing new, before it counts as caught up.
///
/// A producer that is alive leaves gaps; were a partition to leave the watermark's minimum in each of them, the other
/// partitions could run ahead and make its next rows late.
const CAUGHT_UP_AFTER: Duration = Duration::from_millis(500);

/// How old the broker's word on the end of a log may be to count. At the end of a log it comes every `fetch.max.wait.ms`
/// (500 ms by default); when its broker is gone it comes no more, and rows may wait there that nobody tells us of.
const END_HEARD_WITHIN: Duration = Duration::from_millis(1_500);

/// One partition of one source, as the session sees it.
#[derive(Debug)]
pub(crate) struct Partition {
    /// The Kafka topic.
    pub(crate) topic: Arc<str>,
    /// The partition of that topic.
    pub(crate) partition: i32,
    /// The worker that has its task.
    pub(crate) worker: usize,
    /// Next to process; what a checkpoint commits.
    pub(crate) processed_offset: i64,
    /// Next to fetch.
    pub(crate) fetched_offset: i64,
    /// The log's end as of the last fetch (the last stable offset under `read_committed`).
    pub(crate) log_end_offset: Option<i64>,
    /// Where a bounded run ends.
    pub(crate) end_offset: Option<i64>,
    /// The leader epoch of the newest processed batch.
    pub(crate) leader_epoch: Option<i32>,
    /// Fetched, waiting for the next trigger.
    pub(crate) pending: Vec<RawBatch>,
    /// Where its state stands in the state topic.
    pub(crate) live: LiveSegments,
    /// Whether a job is at the worker.
    pub(crate) in_flight: bool,
    /// When the broker last said where the end is.
    pub(crate) end_heard_at: Option<Instant>,
    /// Since when it has stood at the end of its log.
    caught_up_since: Option<Instant>,
}

/// What a trigger found at a partition that it had no rows of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quiet {
    /// Rows are on their way: it is neither silent nor at its end.
    Busy,
    /// All rows up to the end of its log have been processed.
    CaughtUp,
    /// We looked and found nothing, though its log may hold more, or its broker is silent too.
    Silent,
}

impl Partition {
    /// At its start.
    pub(crate) fn new(topic: Arc<str>, partition: i32, worker: usize, start_offset: i64) -> Self {
        Partition {
            topic,
            partition,
            worker,
            processed_offset: start_offset,
            fetched_offset: start_offset,
            log_end_offset: None,
            end_offset: None,
            leader_epoch: None,
            pending: Vec::new(),
            live: LiveSegments::default(),
            in_flight: false,
            end_heard_at: None,
            caught_up_since: None,
        }
    }

    /// Takes what was fetched. The position moves even where compaction or control records left no batch.
    pub(crate) fn handle_fetched(&mut self, batches: Vec<RawBatch>, next_offset: i64, log_end_offset: i64) {
        self.pending.extend(batches);
        if next_offset > self.fetched_offset {
            self.fetched_offset = next_offset;
            self.caught_up_since = None;
        }
        self.log_end_offset = Some(log_end_offset);
    }

    /// Takes what waits for the next trigger, if there is anything to process: batches, or a position that moved.
    pub(crate) fn take_pending(&mut self) -> Option<(Vec<RawBatch>, i64)> {
        if self.pending.is_empty() && self.fetched_offset <= self.processed_offset {
            return None;
        }
        if let Some(batch) = self.pending.last() {
            let leader_epoch = batch.header.partition_leader_epoch;
            self.leader_epoch = (leader_epoch >= 0).then_some(leader_epoch);
        }
        self.in_flight = true;
        Some((std::mem::take(&mut self.pending), self.fetched_offset))
    }

    /// The worker is done up to `next_offset`.
    pub(crate) fn handle_processed(&mut self, next_offset: i64) {
        assert!(
            next_offset >= self.processed_offset,
            "{}-{}: a position must not go back from {} to {next_offset}",
            self.topic,
            self.partition,
            self.processed_offset
        );
        self.processed_offset = next_offset;
        self.in_flight = false;
    }

    /// Whether a bounded run has read all it should.
    pub(crate) fn is_finished(&self) -> bool {
        self.end_offset.is_some_and(|end| self.processed_offset >= end)
    }

    /// Whether a bounded run needs no more fetches of it.
    pub(crate) fn is_fetched_to_the_end(&self) -> bool {
        self.end_offset.is_some_and(|end| self.fetched_offset >= end)
    }

    /// Records between the position and the end of the log; `None` before the first fetch.
    pub(crate) fn lag(&self) -> Option<i64> {
        self.log_end_offset
            .map(|end| end.saturating_sub(self.processed_offset).max(0))
    }

    /// What can be said of it between two triggers.
    pub(crate) fn quiet(&mut self, now: Instant) -> Quiet {
        if self.in_flight || !self.pending.is_empty() {
            return Quiet::Busy;
        }
        if self.is_finished() {
            return Quiet::CaughtUp;
        }
        let heard = self
            .end_heard_at
            .filter(|heard| now.saturating_duration_since(*heard) <= END_HEARD_WITHIN);
        let (Some(heard), Some(0)) = (heard, self.lag()) else {
            self.caught_up_since = None;
            return Quiet::Silent;
        };
        // From answer to answer: time in which the broker was not asked shows nothing.
        let since = *self.caught_up_since.get_or_insert(heard);
        if heard.saturating_duration_since(since) >= CAUGHT_UP_AFTER {
            Quiet::CaughtUp
        } else {
            Quiet::Busy
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition() -> Partition {
        Partition::new("topic".into(), 0, 0, 10)
    }

    #[test]
    fn a_checkpoint_sees_processed_offsets_only() {
        let mut partition = partition();
        partition.handle_fetched(vec![], 20, 30);
        assert_eq!((partition.processed_offset, partition.lag()), (10, Some(20)));
        let (_, next_offset) = partition.take_pending().unwrap();
        assert_eq!(partition.processed_offset, 10);
        partition.handle_processed(next_offset);
        assert_eq!((partition.processed_offset, partition.lag()), (20, Some(10)));
    }

    #[test]
    fn a_tail_without_records_still_finishes_a_bounded_run() {
        let mut partition = partition();
        partition.end_offset = Some(15);
        partition.handle_fetched(vec![], 15, 15);
        let (batches, next_offset) = partition.take_pending().expect("the position moved");
        assert!(batches.is_empty());
        partition.handle_processed(next_offset);
        assert!(partition.is_finished());
        assert!(partition.take_pending().is_none());
    }

    #[test]
    fn an_empty_partition_is_finished_from_the_start() {
        let mut partition = partition();
        partition.end_offset = Some(10);
        assert!(partition.is_finished());
        assert_eq!(partition.quiet(Instant::now()), Quiet::CaughtUp);
    }

    #[test]
    fn a_gap_between_two_records_is_not_the_end() {
        let (mut partition, now) = (partition(), Instant::now());
        for offset in 11..100 {
            let now = now + CAUGHT_UP_AFTER * offset;
            partition.end_heard_at = Some(now);
            partition.handle_fetched(vec![], i64::from(offset), i64::from(offset));
            partition.take_pending();
            partition.handle_processed(i64::from(offset));
            assert_eq!(partition.quiet(now), Quiet::Busy);
            partition.end_heard_at = Some(now + CAUGHT_UP_AFTER / 2);
            assert_eq!(partition.quiet(now + CAUGHT_UP_AFTER / 2), Quiet::Busy);
        }
    }

    #[test]
    fn quiet_tells_busy_caught_up_and_silent_apart() {
        let (mut partition, now) = (partition(), Instant::now());
        assert_eq!(partition.quiet(now), Quiet::Silent, "nothing is known of its log yet");
        partition.handle_fetched(vec![], 12, 12);
        partition.end_heard_at = Some(now);
        partition.take_pending();
        assert_eq!(partition.quiet(now), Quiet::Busy);
        partition.handle_processed(12);
        assert_eq!(partition.quiet(now), Quiet::Busy, "it has only just come to the end");
        assert_eq!(
            partition.quiet(now + CAUGHT_UP_AFTER),
            Quiet::Busy,
            "the broker has not said so since"
        );
        partition.end_heard_at = Some(now + CAUGHT_UP_AFTER);
        assert_eq!(partition.quiet(now + CAUGHT_UP_AFTER), Quiet::CaughtUp);
        partition.handle_fetched(vec![], 12, 20);
        assert_eq!(
            partition.quiet(now),
            Quiet::Silent,
            "the log has more than was delivered"
        );
    }

    #[test]
    fn a_partition_whose_broker_is_silent_is_not_at_its_end() {
        let (mut partition, now) = (partition(), Instant::now());
        partition.log_end_offset = Some(10);
        partition.end_heard_at = Some(now);
        assert_eq!(partition.quiet(now), Quiet::Busy);
        partition.end_heard_at = Some(now + CAUGHT_UP_AFTER);
        assert_eq!(partition.quiet(now + END_HEARD_WITHIN), Quiet::CaughtUp);
        let later = now + CAUGHT_UP_AFTER + END_HEARD_WITHIN + Duration::from_millis(1);
        assert_eq!(
            partition.quiet(later),
            Quiet::Silent,
            "rows may wait at a broker that is gone"
        );
        partition.end_heard_at = Some(later);
        assert_eq!(partition.quiet(later), Quiet::Busy, "it begins anew");
    }
}

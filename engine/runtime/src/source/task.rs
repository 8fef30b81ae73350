//! One partition of one source: its position, its decoder, its operators and their state.
//!
//! A task lives on one worker thread and is driven by jobs. It knows neither the other partitions nor the wall clock;
//! what compares partitions (watermarks, merged windows) is the coordinator's.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use bytes::Bytes;
use engine_stream::event_time::EventTimes;
use engine_stream::graph::{
    ChangedGroups, ClosedWindows, Output, ProcessError, SessionSpans, SourcePlan, StateSize, TaskGraph,
};
use engine_stream::json::RowErrorKind;
use engine_stream::micro_batch::{MicroBatchBuilder, SourceRecord};
use engine_stream::snapshot::{self, SnapshotError, SnapshotKind, StateSegment};
use engine_wire::compression::{Compressor, Decompressor};
use engine_wire::record_batch::{BatchError, RawBatch, Record, RecordError};

use super::latest_timestamps::LatestTimestamps;
use super::reject::{Reject, RejectPolicy};
use super::task_error::TaskError;
use super::window_span::WindowSpan;
use crate::checkpoint::segments::Segment;
use crate::checkpoint::{CheckpointId, chunk};
use crate::error_chain::describe;

/// Rows per micro-batch: large enough to amortise the vectorised operators, small enough to stay in the cache.
const MICRO_BATCH_ROWS_MAX: usize = 16 * 1024;

/// One partition of one source.
#[derive(Debug)]
pub(crate) struct PartitionTask {
    source: Arc<TaskSource>,
    topic: Arc<str>,
    partition: i32,
    next_offset: i64,
    end_offset: Option<i64>,
    builder: MicroBatchBuilder,
    graph: TaskGraph,
    record_timestamps_ms: Vec<i64>,
    /// One per window of the plan.
    latest: Vec<LatestTimestamps>,
}

/// What all partitions of a source share.
#[derive(Debug)]
pub(crate) struct TaskSource {
    /// The source's name in the pipeline.
    pub(crate) name: String,
    /// Its operators.
    pub(crate) plan: Arc<SourcePlan>,
    /// The index of the event-time column in the projection, if the source has event time.
    pub(crate) time_column: Option<usize>,
    /// Length and allowed lateness of each window of the plan.
    pub(crate) window_spans: Vec<WindowSpan>,
    /// What happens to malformed records.
    pub(crate) on_error: RejectPolicy,
}

/// What became of a piece of a partition.
#[derive(Debug, Default)]
pub(crate) struct TaskOutcome {
    /// The offset of the first record that was not processed.
    pub(crate) next_offset: i64,
    /// Records read, the malformed ones included.
    pub(crate) records: u64,
    /// Bytes of their batches as they came from the broker.
    pub(crate) bytes: u64,
    /// Malformed records.
    pub(crate) malformed: u64,
    /// Rows that came too late for a window or a dedup.
    pub(crate) late_rows: u64,
    /// Rows that no window can place, for want of an event time.
    pub(crate) unplaced_rows: u64,
    /// Rows that a dedup dropped as repeats.
    pub(crate) duplicate_rows: u64,
    /// The event times of all rows, for the watermark.
    pub(crate) event_times: Vec<ArrayRef>,
    /// Rows for sinks.
    pub(crate) outputs: Vec<Output>,
}

/// What a checkpoint writes of a partition's state.
#[derive(Debug)]
pub(crate) struct TaskSegment {
    /// Full where that was asked for, or where nothing that was kept before counts any more.
    pub(crate) kind: SnapshotKind,
    /// `None` where there is nothing to write.
    pub(crate) segment: Option<Segment>,
    /// The values of its records.
    pub(crate) values: Vec<Bytes>,
}

/// The closed windows of a partition.
#[derive(Debug, Default)]
pub(crate) struct TaskWindows {
    /// Their partial states, or copies of those of open windows.
    pub(crate) closed: Vec<ClosedWindows>,
    /// Per window of the plan: (window start in ns, latest record timestamp in ms).
    pub(crate) latest: Vec<Vec<(i64, i64)>>,
}

impl PartitionTask {
    /// A task without state that reads from `next_offset` on.
    pub(crate) fn new(source: Arc<TaskSource>, topic: Arc<str>, partition: i32, next_offset: i64) -> Self {
        PartitionTask {
            builder: MicroBatchBuilder::new(&source.plan.projection, &topic, partition),
            graph: TaskGraph::new(&source.plan),
            latest: source
                .window_spans
                .iter()
                .map(|span| LatestTimestamps::new(*span))
                .collect(),
            record_timestamps_ms: Vec::new(),
            source,
            topic,
            partition,
            next_offset,
            end_offset: None,
        }
    }

    /// Reads no record at or beyond this offset.
    pub(crate) fn bound(&mut self, end_offset: i64) {
        self.end_offset = Some(end_offset);
    }

    /// What was emitted of each window before, over all partitions; told before anything is restored.
    pub(crate) fn handle_taken(&mut self, taken_up_to_ns: &BTreeMap<String, i64>) {
        self.graph.handle_taken(taken_up_to_ns);
    }

    /// Takes a segment of the state, in the order they were written. `closed_up_to` is the source's watermark of the
    /// checkpoint: what it closes was taken before.
    pub(crate) fn restore(&mut self, segment: &[u8], closed_up_to: Option<i64>) -> Result<(), TaskError> {
        let parts = snapshot::decode(segment).map_err(|cause| self.snapshot_error(cause))?;
        let restored = self.graph.restore(&parts, closed_up_to);
        restored.map_err(|cause| TaskError::Restore {
            topic: self.topic.clone(),
            partition: self.partition,
            what: describe(&cause),
        })
    }

    /// The state, or what was added to it since the last checkpoint, as records for the state topic.
    pub(crate) fn snapshot(
        &mut self,
        kind: SnapshotKind,
        checkpoint: CheckpointId,
        compressor: &mut Compressor,
    ) -> Result<TaskSegment, TaskError> {
        let StateSegment { kind, parts, closed_at } =
            self.graph.snapshot(kind).map_err(|cause| self.process_error(cause))?;
        let Some(closed_at_ns) = closed_at else {
            let (segment, values) = (None, Vec::new());
            return Ok(TaskSegment { kind, segment, values });
        };
        let bytes = snapshot::encode(&parts).map_err(|cause| self.snapshot_error(cause))?;
        let values = chunk::encode(checkpoint, &bytes, compressor);
        let segment = Segment {
            checkpoint,
            chunks: values.len() as u32,
            bytes: values.iter().map(|value| value.len() as u64).sum(),
            entries: parts.iter().map(|(_, rows)| rows.num_rows() as u64).sum(),
            closed_at_ns,
        };
        Ok(TaskSegment {
            kind,
            segment: Some(segment),
            values,
        })
    }

    /// Processes batches that were fetched in one go; the partition is then read up to `next_offset`.
    ///
    /// `closed_before` is the source's watermark before this trigger: what is late is decided by it alone, so that a
    /// batch never makes its own rows late.
    pub(crate) fn process(
        &mut self,
        batches: &[RawBatch],
        next_offset: i64,
        closed_before: Option<i64>,
        decompressor: &mut Decompressor,
    ) -> Result<TaskOutcome, TaskError> {
        let mut outcome = TaskOutcome::default();
        for batch in batches {
            outcome.bytes += batch.bytes.len() as u64;
            batch.verify_crc().map_err(|cause| self.batch_error(cause))?;
            let records = batch.records(decompressor).map_err(|cause| self.record_error(cause))?;
            for record in records {
                let record = record.map_err(|cause| self.record_error(cause))?;
                // A fetch begins with the whole batch that holds the position, and may go past the end asked for.
                if record.offset < self.next_offset || self.end_offset.is_some_and(|end| record.offset >= end) {
                    continue;
                }
                outcome.records += 1;
                self.push(&record, closed_before, &mut outcome)?;
            }
        }
        self.flush(closed_before, &mut outcome)?;
        self.next_offset = self
            .next_offset
            .max(self.end_offset.map_or(next_offset, |end| next_offset.min(end)));
        outcome.next_offset = self.next_offset;
        Ok(outcome)
    }

    /// Takes the windows that the watermark closes, `None` for all.
    pub(crate) fn take_windows(&mut self, watermark: Option<i64>) -> Result<TaskWindows, TaskError> {
        let closed = match watermark {
            Some(watermark) => self.graph.take_closed(watermark),
            None => self.graph.take_all(),
        };
        let latest = self.latest.iter_mut().map(|latest| match watermark {
            Some(watermark) => latest.take_closed(watermark),
            None => latest.take_all(),
        });
        Ok(TaskWindows {
            latest: latest.collect(),
            closed: closed.map_err(|cause| self.process_error(cause))?,
        })
    }

    /// Which of these sessions overlap one that is open here.
    pub(crate) fn open_sessions(&mut self, spans: &SessionSpans) -> Vec<usize> {
        let overlapped = self.graph.overlapped(spans);
        (0..overlapped.len()).filter(|session| overlapped[*session]).collect()
    }

    /// Takes in parts of sessions that are open here.
    pub(crate) fn absorb_sessions(&mut self, parts: &ClosedWindows) -> Result<(), TaskError> {
        self.graph.absorb(parts).map_err(|cause| self.process_error(cause))
    }

    /// The groups of windows in update mode that changed since the last snapshot.
    pub(crate) fn changed_groups(&self) -> Vec<ChangedGroups> {
        self.graph.changed_groups()
    }

    /// Copies of what is known here of groups that changed in any partition.
    pub(crate) fn copy_groups(&mut self, changed: &[ChangedGroups]) -> Result<TaskWindows, TaskError> {
        let copies = self.graph.copy_states_of(changed);
        Ok(TaskWindows {
            closed: copies.map_err(|cause| self.process_error(cause))?,
            latest: Vec::new(),
        })
    }

    /// What each operator that remembers something holds, by the name of its transform.
    pub(crate) fn state_sizes(&self) -> impl Iterator<Item = (&str, StateSize)> {
        self.graph.state_sizes()
    }

    #[inline]
    fn push(
        &mut self,
        record: &Record<'_>,
        closed_before: Option<i64>,
        outcome: &mut TaskOutcome,
    ) -> Result<(), TaskError> {
        if self.builder.len() >= MICRO_BATCH_ROWS_MAX {
            self.flush(closed_before, outcome)?;
        }
        loop {
            let row = SourceRecord {
                offset: record.offset,
                timestamp: record.timestamp,
                key: record.key,
                value: record.value,
                headers: record.headers.clone().map(|header| (header.key, header.value)),
            };
            match self.builder.push(row) {
                Ok(()) => {
                    self.record_timestamps_ms.push(record.timestamp);
                    return Ok(());
                }
                Err(error) if error.kind == RowErrorKind::BatchFull && !self.builder.is_empty() => {
                    self.flush(closed_before, outcome)?;
                }
                Err(error) => {
                    outcome.malformed += 1;
                    return self.reject(record, &error);
                }
            }
        }
    }

    #[cold]
    fn reject(&self, record: &Record<'_>, error: &engine_stream::json::RowError) -> Result<(), TaskError> {
        let offset = record.offset;
        match &self.source.on_error {
            RejectPolicy::Drop => Ok(()),
            RejectPolicy::Fail => Err(TaskError::Malformed {
                source_name: self.source.name.clone(),
                topic: self.topic.clone(),
                partition: self.partition,
                offset,
                what: error.to_string(),
            }),
            RejectPolicy::DeadLetter(dead_letters) => {
                let reject = Reject {
                    source: &self.source.name,
                    topic: &self.topic,
                    partition: self.partition,
                    record,
                    error,
                };
                dead_letters.write(&reject).map_err(|cause| TaskError::DeadLetter {
                    topic: self.topic.clone(),
                    partition: self.partition,
                    offset,
                    cause,
                })
            }
        }
    }

    fn flush(&mut self, closed_before: Option<i64>, outcome: &mut TaskOutcome) -> Result<(), TaskError> {
        if self.builder.is_empty() {
            return Ok(());
        }
        let rows: RecordBatch = self.builder.finish();
        if let Some(time_column) = self.source.time_column {
            let times = rows.column(time_column);
            let event_times = EventTimes::new(times).expect("the plan checked that event time is a timestamp");
            for latest in &mut self.latest {
                latest.add(event_times, &self.record_timestamps_ms);
            }
            outcome.event_times.push(Arc::clone(times));
        }
        self.record_timestamps_ms.clear();
        let pushed = self
            .graph
            .push(&rows, closed_before, &mut outcome.outputs)
            .map_err(|cause| self.process_error(cause))?;
        outcome.late_rows += pushed.late_rows;
        outcome.unplaced_rows += pushed.unplaced_rows;
        outcome.duplicate_rows += pushed.duplicate_rows;
        Ok(())
    }

    fn batch_error(&self, cause: BatchError) -> TaskError {
        TaskError::Batch {
            topic: self.topic.clone(),
            partition: self.partition,
            cause,
        }
    }

    fn record_error(&self, cause: RecordError) -> TaskError {
        TaskError::Records {
            topic: self.topic.clone(),
            partition: self.partition,
            cause,
        }
    }

    fn process_error(&self, cause: ProcessError) -> TaskError {
        TaskError::Process {
            topic: self.topic.clone(),
            partition: self.partition,
            cause,
        }
    }

    fn snapshot_error(&self, cause: SnapshotError) -> TaskError {
        TaskError::Snapshot {
            topic: self.topic.clone(),
            partition: self.partition,
            cause,
        }
    }
}

//! Tumbling windows: `[start, end)`, aligned to 1970, aggregated per group.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::error::WindowError;

/// What a tumbling window computes.
#[derive(Debug, Clone)]
pub struct TumblingWindow {}

/// The open windows of one source partition: mergeable with those of others.
#[derive(Debug)]
pub struct PartialWindows {}

/// What became of the rows of a micro-batch.
#[derive(Debug, Default)]
pub struct UpdateOutcome {
    /// The late rows, if the window was told to keep them.
    pub late: Option<RecordBatch>,
    /// How many rows were late.
    pub late_rows: u64,
    /// Rows without an event time, or with one outside the range of `i64` nanoseconds: in no window.
    pub unplaced_rows: u64,
}

impl PartialWindows {
    /// No open windows.
    pub fn new(_window: &TumblingWindow) -> Self {
        unimplemented!()
    }
    /// Adds rows. A row is late if its window had closed by the watermark `closed_before`, the source's before this micro-batch.
    pub fn update(&mut self, _batch: &RecordBatch, _closed_before: Option<i64>) -> Result<UpdateOutcome, WindowError> {
        unimplemented!()
    }
    /// Takes the windows that the watermark closes: `window_start`, group columns, aggregate states.
    pub fn take_closed(&mut self, _watermark: i64) -> Result<Option<RecordBatch>, WindowError> {
        unimplemented!()
    }
    /// Takes all windows (for a drain).
    pub fn take_all(&mut self) -> Result<Option<RecordBatch>, WindowError> {
        unimplemented!()
    }
    /// A copy of the state, in the columns of [`take_closed`](Self::take_closed).
    pub fn snapshot(&mut self) -> Result<RecordBatch, WindowError> {
        unimplemented!()
    }
    /// Merges a snapshot into this state.
    pub fn restore(&mut self, _state: &RecordBatch) -> Result<(), WindowError> {
        unimplemented!()
    }
    /// Groups over all open windows.
    pub fn groups(&self) -> usize {
        unimplemented!()
    }
    /// Open windows.
    pub fn windows(&self) -> usize {
        unimplemented!()
    }
    /// Bytes of state, roughly.
    pub fn size_bytes(&self) -> usize {
        unimplemented!()
    }
}

/// Merges the closed partial windows of all partitions into final rows.
#[derive(Debug)]
pub struct WindowMerger {}

impl WindowMerger {
    /// A merger of this window's partial states.
    pub fn new(_window: &TumblingWindow) -> Self {
        unimplemented!()
    }
    /// The columns of the final rows: `window_start`, `window_end`, group columns, aggregates.
    pub fn schema(&self) -> &SchemaRef {
        unimplemented!()
    }
    /// The final rows, ordered by window, then group. `None` if there are none.
    pub fn merge(&self, _states: &[RecordBatch]) -> Result<Option<RecordBatch>, WindowError> {
        unimplemented!()
    }
}

//! The operators of one source partition, and what merges their windows.

use std::sync::Arc;

use arrow::array::RecordBatch;

use super::error::ProcessError;
use super::plan::SourcePlan;

/// Rows for a sink.
#[derive(Debug, Clone)]
pub struct Output {
    /// Which of [`SourcePlan::sinks`](super::SourcePlan::sinks).
    pub sink: usize,
    /// The rows, in the sink's columns.
    pub batch: RecordBatch,
}

/// What became of the rows of a micro-batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PushOutcome {
    /// Rows that came too late for a window, over all windows.
    pub late_rows: u64,
    /// Rows without an event time that a window can place, over all windows.
    pub unplaced_rows: u64,
}

/// Closed partial windows of one source partition.
#[derive(Debug, Clone)]
pub struct ClosedWindows {
    /// Which of [`SourcePlan::windows`](super::SourcePlan::windows).
    pub window: usize,
    /// Their state, for [`WindowOutput::merge`].
    pub state: RecordBatch,
}

/// The operators and the state of one source partition. `Send`, so that it can live on any worker thread.
#[derive(Debug)]
pub struct TaskGraph {}

impl TaskGraph {
    /// Operators without state.
    pub fn new(_plan: &Arc<SourcePlan>) -> Self {
        unimplemented!()
    }
    /// Processes a micro-batch of the plan's projection. `closed_before` is the source's watermark before this micro-batch.
    pub fn push(
        &mut self,
        _batch: &RecordBatch,
        _closed_before: Option<i64>,
        _outputs: &mut Vec<Output>,
    ) -> Result<PushOutcome, ProcessError> {
        unimplemented!()
    }
    /// Takes the windows that the watermark closes.
    pub fn take_closed(&mut self, _watermark: i64) -> Result<Vec<ClosedWindows>, ProcessError> {
        unimplemented!()
    }
    /// Takes all windows, closed or not (`--drain`).
    pub fn take_all(&mut self) -> Result<Vec<ClosedWindows>, ProcessError> {
        unimplemented!()
    }
    /// A copy of the state, by window name, for [`snapshot::encode`](crate::snapshot::encode).
    pub fn snapshot(&mut self) -> Result<Vec<(String, RecordBatch)>, ProcessError> {
        unimplemented!()
    }
    /// Merges a snapshot into the state. Parts whose window is not in the plan are an error.
    pub fn restore(&mut self, _parts: &[(String, RecordBatch)]) -> Result<(), ProcessError> {
        unimplemented!()
    }
    /// Groups over all open windows.
    pub fn groups(&self) -> usize {
        unimplemented!()
    }
    /// Bytes of state, roughly.
    pub fn state_bytes(&self) -> usize {
        unimplemented!()
    }
}

/// Merges the closed windows of all partitions and runs what comes after each window.
#[derive(Debug)]
pub struct WindowOutput {}

impl WindowOutput {
    /// For all windows of a source.
    pub fn new(_plan: &Arc<SourcePlan>) -> Self {
        unimplemented!()
    }
    /// Merges the closed windows of all partitions, for one watermark, into final rows. The order of `closed` does not matter.
    pub fn merge(&self, _closed: Vec<ClosedWindows>, _outputs: &mut Vec<Output>) -> Result<(), ProcessError> {
        unimplemented!()
    }
}

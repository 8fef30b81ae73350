//! The operators of one source partition, and what merges their windows.

use std::sync::Arc;

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::TimestampNanosecondType;

use super::error::ProcessError;
use super::plan::{Operator, SinkColumns, SourcePlan, Stage};
use crate::window::error::WindowError;
use crate::window::merge::WindowMerger;
use crate::window::partial::PartialWindows;
use crate::window::tumbling::TumblingWindow;

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

impl ClosedWindows {
    /// The start of each row's window, in nanoseconds since 1970.
    pub fn starts_ns(&self) -> impl Iterator<Item = i64> + '_ {
        let starts = self.state.column(0).as_primitive::<TimestampNanosecondType>();
        starts.values().iter().copied()
    }
}

/// The operators and the state of one source partition. `Send`, so that it can live on any worker thread.
#[derive(Debug)]
pub struct TaskGraph {
    plan: Arc<SourcePlan>,
    windows: Vec<PartialWindows>,
}

impl TaskGraph {
    /// Operators without state.
    pub fn new(plan: &Arc<SourcePlan>) -> Self {
        let windows = windows(plan)
            .map(|(_, window)| PartialWindows::new(Arc::clone(window)))
            .collect();
        TaskGraph {
            plan: Arc::clone(plan),
            windows,
        }
    }

    /// Processes a micro-batch of the plan's projection. `closed_before` is the source's watermark before this micro-batch.
    pub fn push(
        &mut self,
        batch: &RecordBatch,
        closed_before: Option<i64>,
        outputs: &mut Vec<Output>,
    ) -> Result<PushOutcome, ProcessError> {
        let mut outcome = PushOutcome::default();
        if batch.num_rows() == 0 {
            return Ok(outcome);
        }
        let windows = &mut self.windows;
        let mut feed = |position: usize, batch: &RecordBatch, late: Option<&SinkColumns>, outputs: &mut Vec<Output>| {
            let updated = windows[position].update(batch, closed_before)?;
            outcome.late_rows += updated.late_rows;
            outcome.unplaced_rows += updated.unplaced_rows;
            if let (Some(rows), Some(late)) = (updated.late, late) {
                outputs.push(late.output(&rows));
            }
            Ok(())
        };
        flow(&self.plan, &self.plan.stages[0], batch, &mut feed, outputs)?;
        Ok(outcome)
    }

    /// Takes the windows that the watermark closes.
    pub fn take_closed(&mut self, watermark: i64) -> Result<Vec<ClosedWindows>, ProcessError> {
        self.take(|windows| windows.take_closed(watermark))
    }

    /// Takes all windows, closed or not (`--drain`).
    pub fn take_all(&mut self) -> Result<Vec<ClosedWindows>, ProcessError> {
        self.take(PartialWindows::take_all)
    }

    fn take(
        &mut self,
        mut take: impl FnMut(&mut PartialWindows) -> Result<Option<RecordBatch>, WindowError>,
    ) -> Result<Vec<ClosedWindows>, ProcessError> {
        let mut closed = Vec::new();
        for (window, windows) in self.windows.iter_mut().enumerate() {
            let node = || self.plan.windows[window].clone();
            let state = take(windows).map_err(|cause| ProcessError { node: node(), cause })?;
            closed.extend(state.map(|state| ClosedWindows { window, state }));
        }
        Ok(closed)
    }

    /// A copy of the state, by window name, for [`snapshot::encode`](crate::snapshot::encode).
    pub fn snapshot(&mut self) -> Result<Vec<(String, RecordBatch)>, ProcessError> {
        let parts = self.windows.iter_mut().zip(&self.plan.windows).map(|(windows, name)| {
            let state = windows.snapshot().map_err(|cause| ProcessError {
                node: name.clone(),
                cause,
            })?;
            Ok((name.clone(), state))
        });
        parts.collect()
    }

    /// Merges a snapshot into the state. A part whose window is not in the plan is an error, never dropped.
    pub fn restore(&mut self, parts: &[(String, RecordBatch)]) -> Result<(), ProcessError> {
        for (name, state) in parts {
            let error = |cause| ProcessError {
                node: name.clone(),
                cause,
            };
            let window = self.plan.windows.iter().position(|window| window == name);
            let window = window.ok_or_else(|| {
                error(WindowError::NoSuchWindow {
                    window: name.clone(),
                    windows: self.plan.windows.join(", "),
                })
            })?;
            self.windows[window].restore(state).map_err(error)?;
        }
        Ok(())
    }

    /// Groups over all open windows.
    pub fn groups(&self) -> usize {
        self.windows.iter().map(PartialWindows::groups).sum()
    }

    /// Bytes of state, roughly.
    pub fn state_bytes(&self) -> usize {
        self.windows.iter().map(PartialWindows::size_bytes).sum()
    }
}

/// Merges the closed windows of all partitions and runs what comes after each window.
#[derive(Debug)]
pub struct WindowOutput {
    plan: Arc<SourcePlan>,
    mergers: Vec<WindowMerger>,
}

impl WindowOutput {
    /// For all windows of a source.
    pub fn new(plan: &Arc<SourcePlan>) -> Self {
        let mergers = windows(plan)
            .map(|(_, window)| WindowMerger::new(Arc::clone(window)))
            .collect();
        WindowOutput {
            plan: Arc::clone(plan),
            mergers,
        }
    }

    /// Merges the closed windows of all partitions, for one watermark, into final rows. The order of `closed` does not matter.
    pub fn merge(&self, closed: Vec<ClosedWindows>, outputs: &mut Vec<Output>) -> Result<(), ProcessError> {
        let mut states: Vec<Vec<RecordBatch>> = vec![Vec::new(); self.mergers.len()];
        for ClosedWindows { window, state } in closed {
            states[window].push(state);
        }
        for ((stage, _), (merger, states)) in windows(&self.plan).zip(self.mergers.iter().zip(states)) {
            let merged = merger.merge(&states).map_err(|cause| ProcessError {
                node: stage.name.clone(),
                cause,
            })?;
            let Some(rows) = merged else { continue };
            let mut feed = |_: usize, _: &RecordBatch, _: Option<&SinkColumns>, _: &mut Vec<Output>| {
                unreachable!("a window behind a window is refused when the graph is planned")
            };
            flow(&self.plan, stage, &rows, &mut feed, outputs)?;
        }
        Ok(())
    }
}

impl SinkColumns {
    fn output(&self, batch: &RecordBatch) -> Output {
        let batch = batch
            .project(&self.columns)
            .expect("a sink's columns are positions in its input");
        Output { sink: self.sink, batch }
    }
}

fn windows(plan: &SourcePlan) -> impl Iterator<Item = (&Stage, &Arc<TumblingWindow>)> {
    plan.stages.iter().filter_map(|stage| match &stage.operator {
        Operator::Window { window, .. } => Some((stage, window)),
        _ => None,
    })
}

/// Hands a stage's rows to its sinks and readers, and theirs to theirs.
fn flow<F>(
    plan: &SourcePlan,
    stage: &Stage,
    rows: &RecordBatch,
    feed_window: &mut F,
    outputs: &mut Vec<Output>,
) -> Result<(), ProcessError>
where
    F: FnMut(usize, &RecordBatch, Option<&SinkColumns>, &mut Vec<Output>) -> Result<(), WindowError>,
{
    outputs.extend(stage.sinks.iter().map(|sink| sink.output(rows)));
    for reader in stage.readers.iter().map(|reader| &plan.stages[*reader]) {
        let error = |cause: WindowError| ProcessError {
            node: reader.name.clone(),
            cause,
        };
        match &reader.operator {
            Operator::Source => unreachable!("a source has no input"),
            Operator::Filter(filter) => {
                if let Some(kept) = filter.apply(rows).map_err(|cause| error(cause.into()))? {
                    flow(plan, reader, &kept, feed_window, outputs)?;
                }
            }
            Operator::Select(select) => {
                let selected = select.apply(rows).map_err(|cause| error(cause.into()))?;
                flow(plan, reader, &selected, feed_window, outputs)?;
            }
            Operator::Window { position, late, .. } => {
                feed_window(*position, rows, late.as_ref(), outputs).map_err(error)?;
            }
        }
    }
    Ok(())
}

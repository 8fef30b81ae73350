//! What merges the windows of all partitions of a source.

use std::sync::Arc;

use arrow::array::RecordBatch;

use super::closed_windows::ClosedWindows;
use super::error::ProcessError;
use super::flow::{Output, flow};
use super::plan::{Operator, SinkColumns, SourcePlan, Stage};
use super::planned_window::{Merger, PlannedWindow};
use super::sessions::SessionSpans;

/// Merges the closed windows of all partitions and runs what comes after each window.
#[derive(Debug)]
pub struct WindowOutput {
    plan: Arc<SourcePlan>,
    mergers: Vec<Merger>,
}

impl WindowOutput {
    /// For all windows of a source.
    pub fn new(plan: &Arc<SourcePlan>) -> Self {
        let mergers = windows(plan).map(|(_, window)| window.merger()).collect();
        WindowOutput {
            plan: Arc::clone(plan),
            mergers,
        }
    }

    /// The sessions that closed parts make, for each window of sessions that closed any.
    pub fn session_spans(&self, closed: &[ClosedWindows]) -> Result<Vec<SessionSpans>, ProcessError> {
        let mut all = Vec::new();
        for (window, ((stage, _), merger)) in windows(&self.plan).zip(&self.mergers).enumerate() {
            let Merger::Session(merger) = merger else { continue };
            let parts = closed.iter().filter(|closed| closed.window == window);
            let states: Vec<&RecordBatch> = parts.map(|closed| &closed.state).collect();
            if states.is_empty() {
                continue;
            }
            let (spans, session_of_row) = merger.spans(&states).map_err(|cause| ProcessError {
                node: stage.name.clone(),
                cause,
            })?;
            all.push(SessionSpans {
                window,
                spans,
                session_of_row,
            });
        }
        Ok(all)
    }

    /// Merges the closed windows of all partitions, for one watermark, or copies of changed groups, into rows. The order of
    /// `closed` does not matter.
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
                unreachable!("an operator with state behind a window is refused when the graph is planned")
            };
            flow(&self.plan, stage, &rows, &mut feed, outputs)?;
        }
        Ok(())
    }
}

fn windows(plan: &SourcePlan) -> impl Iterator<Item = (&Stage, &PlannedWindow)> {
    plan.stages.iter().filter_map(|stage| match &stage.operator {
        Operator::Window { window, .. } => Some((stage, window)),
        _ => None,
    })
}

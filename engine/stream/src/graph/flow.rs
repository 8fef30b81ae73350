//! How rows go from a stage to whatever reads it, and to sinks.

use arrow::array::RecordBatch;

use super::error::ProcessError;
use super::plan::{Operator, SinkColumns, SourcePlan, Stage};
use crate::stateful::error::OperatorError;

/// Rows for a sink.
#[derive(Debug, Clone)]
pub struct Output {
    /// Which of [`SourcePlan::sinks`](super::SourcePlan::sinks).
    pub sink: usize,
    /// The rows, in the sink's columns.
    pub batch: RecordBatch,
}

impl SinkColumns {
    pub(super) fn output(&self, batch: &RecordBatch) -> Output {
        let batch = batch
            .project(&self.columns)
            .expect("a sink's columns are positions in its input");
        Output { sink: self.sink, batch }
    }
}

/// Hands a stage's rows to its sinks and readers, and theirs to theirs. `feed_state` gets the index of a stage that remembers.
pub(super) fn flow<F>(
    plan: &SourcePlan,
    stage: &Stage,
    rows: &RecordBatch,
    feed_state: &mut F,
    outputs: &mut Vec<Output>,
) -> Result<(), ProcessError>
where
    F: FnMut(usize, &RecordBatch, Option<&SinkColumns>, &mut Vec<Output>) -> Result<Option<RecordBatch>, OperatorError>,
{
    outputs.extend(stage.sinks.iter().map(|sink| sink.output(rows)));
    for &index in &stage.readers {
        let reader = &plan.stages[index];
        let error = |cause: OperatorError| ProcessError {
            node: reader.name.clone(),
            cause,
        };
        match &reader.operator {
            Operator::Source => unreachable!("a source has no input"),
            Operator::Filter(filter) => {
                if let Some(kept) = filter.apply(rows).map_err(|cause| error(cause.into()))? {
                    flow(plan, reader, &kept, feed_state, outputs)?;
                }
            }
            Operator::Select(select) => {
                let selected = select.apply(rows).map_err(|cause| error(cause.into()))?;
                flow(plan, reader, &selected, feed_state, outputs)?;
            }
            Operator::Dedup(_) => {
                if let Some(passed) = feed_state(index, rows, None, outputs).map_err(error)? {
                    flow(plan, reader, &passed, feed_state, outputs)?;
                }
            }
            Operator::Window { late, .. } => {
                if let Some(passed) = feed_state(index, rows, late.as_ref(), outputs).map_err(error)? {
                    flow(plan, reader, &passed, feed_state, outputs)?;
                }
            }
        }
    }
    Ok(())
}

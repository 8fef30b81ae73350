//! Keeps the rows for which a condition is true.

use arrow::array::RecordBatch;
use arrow::compute::filter_record_batch;

use crate::expression::error::EvaluateError;
use crate::expression::scalar::Expression;

/// Keeps the rows for which a condition is true, and of those only the columns that are needed later.
///
/// Where nothing is dropped nothing is copied; where all is dropped nothing is built.
#[derive(Debug, Clone)]
pub struct Filter {
    condition: Expression,
    kept_columns: Vec<usize>,
}

impl Filter {
    /// A filter that keeps these columns of its input, by position.
    pub fn new(condition: Expression, kept_columns: Vec<usize>) -> Self {
        Filter {
            condition,
            kept_columns,
        }
    }

    /// The rows for which the condition is true, not null; `None` if there are none.
    pub fn apply(&self, batch: &RecordBatch) -> Result<Option<RecordBatch>, EvaluateError> {
        let project = || {
            batch
                .project(&self.kept_columns)
                .expect("kept columns are positions in the input's schema")
        };
        match self.condition.constant_condition() {
            Some(true) if batch.num_rows() > 0 => return Ok(Some(project())),
            Some(_) => return Ok(None),
            None => {}
        }
        let kept = self.condition.evaluate_condition(batch)?;
        let kept_rows = kept.true_count();
        if kept_rows == 0 {
            return Ok(None);
        }
        if kept_rows == batch.num_rows() {
            return Ok(Some(project()));
        }
        let rows = filter_record_batch(&project(), &kept).expect("the condition has one value per row");
        Ok(Some(rows))
    }
}

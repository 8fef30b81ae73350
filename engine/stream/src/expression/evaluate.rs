//! Running a checked expression on the rows of a micro-batch.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use datafusion_common::DataFusionError;
use datafusion_physical_expr::PhysicalExpr;

use super::error::EvaluateError;
use super::resolve::plain_message;

/// One value per row.
pub(super) fn evaluate(
    sql: &str,
    expression: &Arc<dyn PhysicalExpr>,
    batch: &RecordBatch,
) -> Result<ArrayRef, EvaluateError> {
    let values = expression.evaluate(batch);
    let values = values.and_then(|values| values.into_array(batch.num_rows()));
    values.map_err(|error| evaluate_error(sql, &error))
}

/// What DataFusion says, as a sentence about the expression.
pub(super) fn evaluate_error(sql: &str, error: &DataFusionError) -> EvaluateError {
    EvaluateError {
        sql: sql.to_owned(),
        message: plain_message(error.find_root()),
    }
}

//! An expression with one value per row.

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};

use super::error::{EvaluateError, ExpressionError};

/// A checked SQL expression, bound to the columns of a schema.
#[derive(Debug, Clone)]
pub struct Expression {}

impl Expression {
    /// Parses, resolves and type-checks.
    pub fn parse(_sql: &str, _schema: &SchemaRef) -> Result<Self, ExpressionError> {
        unimplemented!()
    }
    /// As [`parse`](Self::parse), and the expression must be a boolean.
    pub fn parse_condition(_sql: &str, _schema: &SchemaRef) -> Result<Self, ExpressionError> {
        unimplemented!()
    }
    /// The text it was parsed from.
    pub fn sql(&self) -> &str {
        unimplemented!()
    }
    /// The columns it reads, each once.
    pub fn columns(&self) -> &[String] {
        unimplemented!()
    }
    /// The type of its values.
    pub fn data_type(&self) -> &DataType {
        unimplemented!()
    }
    /// Whether it can be null.
    pub fn nullable(&self) -> bool {
        unimplemented!()
    }
    /// One value per row.
    pub fn evaluate(&self, _batch: &RecordBatch) -> Result<ArrayRef, EvaluateError> {
        unimplemented!()
    }
    /// One truth value per row.
    pub fn evaluate_condition(&self, _batch: &RecordBatch) -> Result<BooleanArray, EvaluateError> {
        unimplemented!()
    }
}

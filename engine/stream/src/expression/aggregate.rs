//! An expression with one value per group.

use arrow::datatypes::{DataType, SchemaRef};

use super::error::ExpressionError;

/// A checked SQL aggregate, bound to the columns of a schema.
#[derive(Debug, Clone)]
pub struct AggregateExpression {}

impl AggregateExpression {
    /// Parses, resolves and type-checks one call of an aggregate function: `count(*)`, `max(produce_time)`.
    pub fn parse(_sql: &str, _schema: &SchemaRef) -> Result<Self, ExpressionError> {
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
    /// The type of its final value.
    pub fn data_type(&self) -> &DataType {
        unimplemented!()
    }
}

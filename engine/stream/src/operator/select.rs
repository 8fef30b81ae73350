//! Computes columns.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};

use crate::expression::error::EvaluateError;
use crate::expression::scalar::Expression;

/// Computes columns, one expression each. A column that is passed on as it is costs a reference count.
#[derive(Debug, Clone)]
pub struct Select {
    expressions: Vec<Expression>,
    schema: SchemaRef,
}

impl Select {
    /// The columns' names and expressions.
    pub fn new(columns: Vec<(String, Expression)>) -> Self {
        let field = |(name, expression): &(String, Expression)| Field::new(name, expression.data_type().clone(), true);
        let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
        Select {
            expressions: columns.into_iter().map(|(_, expression)| expression).collect(),
            schema,
        }
    }

    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// One row for every row.
    pub fn apply(&self, batch: &RecordBatch) -> Result<RecordBatch, EvaluateError> {
        let columns = self.expressions.iter().map(|expression| expression.evaluate(batch));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(
            RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
                .expect("expressions give the types they were checked to have, and one value per row"),
        )
    }
}

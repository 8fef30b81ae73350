//! JSON objects → the columns a pipeline needs.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::error::RowError;
use crate::schema::Field;

/// Parses JSON objects straight into the builders of the wanted columns.
#[derive(Debug)]
pub struct JsonDecoder {}

impl JsonDecoder {
    /// Nesting deeper than this is malformed.
    pub const DEPTH_MAX: usize = 128;

    /// A decoder of these fields; their order is the column order.
    pub fn new(_fields: &[Field]) -> Self {
        unimplemented!()
    }
    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        unimplemented!()
    }
    /// Appends one row, or nothing at all.
    pub fn push(&mut self, _payload: &[u8]) -> Result<(), RowError> {
        unimplemented!()
    }
    /// Rows so far.
    pub fn len(&self) -> usize {
        unimplemented!()
    }
    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        unimplemented!()
    }
    /// Takes the rows.
    pub fn finish(&mut self) -> RecordBatch {
        unimplemented!()
    }
}

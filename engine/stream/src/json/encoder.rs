//! Rows of a micro-batch → JSON objects.

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};

/// How timestamps are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TimestampFormat {
    /// Integers in milliseconds since 1970, rounded down.
    #[default]
    Milliseconds,
    /// RFC 3339 text in UTC, with as many digits as the unit has.
    Rfc3339,
}

/// A column whose type JSON cannot say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column \"{column}\": {data_type} cannot be written as JSON")]
pub struct EncoderError {
    /// The column.
    pub column: String,
    /// Its type.
    pub data_type: String,
}

/// Writes rows of one schema as JSON objects.
#[derive(Debug)]
pub struct JsonEncoder {
    schema: SchemaRef,
}

/// The rows of one micro-batch, ready to be written one by one.
#[derive(Debug)]
pub struct JsonRows<'a> {
    batch: &'a RecordBatch,
}

impl JsonEncoder {
    /// Checks that every column can be written.
    pub fn new(_schema: &Schema, _timestamps: TimestampFormat) -> Result<Self, EncoderError> {
        unimplemented!()
    }
    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }
    /// Prepares a micro-batch of this encoder's schema.
    pub fn rows<'a>(&'a self, batch: &'a RecordBatch) -> JsonRows<'a> {
        JsonRows { batch }
    }
}

impl JsonRows<'_> {
    /// The number of rows.
    pub fn len(&self) -> usize {
        self.batch.num_rows()
    }
    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.batch.num_rows() == 0
    }
    /// Appends the row's object, without a line end.
    pub fn write(&self, _row: usize, _out: &mut Vec<u8>) {
        unimplemented!()
    }
}

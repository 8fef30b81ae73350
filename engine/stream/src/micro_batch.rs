//! Records of one source partition → a micro-batch: the payload's columns and the source's own.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::graph::Projection;
use crate::json::RowError;

/// A record, borrowed from wherever it was read.
#[derive(Debug, Clone, Copy)]
pub struct SourceRecord<'a, H> {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp in milliseconds.
    pub timestamp: i64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its payload; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers. Iterated only if `_headers` is used.
    pub headers: H,
}

/// Collects the records of one source partition into a micro-batch of the projected columns.
#[derive(Debug)]
pub struct MicroBatchBuilder {}

impl MicroBatchBuilder {
    /// A builder for a partition of a source.
    pub fn new(_projection: &Projection, _topic: &str, _partition: i32) -> Self {
        unimplemented!()
    }
    /// The columns: the projection's fields, then its meta columns.
    pub fn schema(&self) -> &SchemaRef {
        unimplemented!()
    }
    /// Appends one row, or nothing at all.
    pub fn push<'a, H>(&mut self, _record: SourceRecord<'a, H>) -> Result<(), RowError>
    where
        H: IntoIterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    {
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

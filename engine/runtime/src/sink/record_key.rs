//! The key of a record that a Kafka sink writes: what a column says of its row.

use std::io::Write as _;

use arrow::array::{Array, AsArray as _, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// The keys of a batch's rows.
pub(crate) struct RecordKeys<'a> {
    column: &'a dyn Array,
    text: ArrayFormatter<'a>,
}

impl<'a> RecordKeys<'a> {
    /// The text of the batch's column with this index.
    pub(crate) fn new(batch: &'a RecordBatch, column: usize) -> Result<Self, String> {
        let column = batch.column(column).as_ref();
        let text = ArrayFormatter::try_new(column, &FormatOptions::new()).map_err(|error| error.to_string())?;
        Ok(RecordKeys { column, text })
    }

    /// Appends the key of a row; false if it has none.
    pub(crate) fn write(&self, row: usize, bytes: &mut Vec<u8>) -> Result<bool, String> {
        if self.column.is_null(row) {
            return Ok(false);
        }
        match self.column.as_binary_opt::<i32>() {
            // A record's own key, `_key`, goes on as it came.
            Some(keys) => bytes.extend_from_slice(keys.value(row)),
            None => write!(bytes, "{}", self.text.value(row)).map_err(|_| "the key cannot be written as text")?,
        }
        Ok(true)
    }
}

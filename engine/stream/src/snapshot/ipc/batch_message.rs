//! Whether the lengths and places that a batch message gives for its columns are possible, before anything is read from there.

use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc::{Buffer, FieldNode, RecordBatch};

use super::error::IpcError;

/// The most rows of a column, or of the lists in it. It bounds what a column of nothing but nulls, which has no bytes, can be
/// made into.
const ROWS_MAX: i64 = i32::MAX as i64;

/// Checks the batch against the columns that it must have and the bytes of its body.
pub(super) fn check(batch: RecordBatch<'_>, schema: &Schema, body_bytes: usize) -> Result<(), IpcError> {
    if batch.compression().is_some() {
        return Err(IpcError::message(
            "a batch is compressed, which is for the pieces of a segment",
        ));
    }
    let rows = rows_of(batch.length()).ok_or_else(|| IpcError::message(format!("it has {} rows", batch.length())))?;
    let (Some(nodes), Some(buffers)) = (batch.nodes(), batch.buffers()) else {
        return Err(IpcError::message("a batch has no columns"));
    };
    let mut check = BatchCheck {
        nodes: nodes.iter(),
        buffers: buffers.iter(),
        view_buffers: batch.variadicBufferCounts().into_iter().flatten(),
        used_bytes: 0,
        body_bytes,
    };
    for field in schema.fields() {
        let column = check.column(field, Some(rows));
        column.ok_or_else(|| IpcError::Column {
            column: field.name().clone(),
            what: format!("lengths that do not fit {rows} rows of {}", field.data_type()),
        })?;
    }
    let is_all = (check.nodes.next(), check.buffers.next(), check.view_buffers.next());
    match is_all {
        (None, None, None) => Ok(()),
        _ => Err(IpcError::message("a batch has more columns than its schema")),
    }
}

fn rows_of(length: i64) -> Option<usize> {
    (0..=ROWS_MAX).contains(&length).then_some(length as usize)
}

/// What is left of a message when it is gone through column by column.
struct BatchCheck<'a, N, B, V>
where
    N: Iterator<Item = &'a FieldNode>,
    B: Iterator<Item = &'a Buffer>,
    V: Iterator<Item = i64>,
{
    nodes: N,
    buffers: B,
    view_buffers: V,
    /// Where the last buffer ends. They are written one after the other: no byte belongs to two.
    used_bytes: usize,
    body_bytes: usize,
}

impl<'a, N, B, V> BatchCheck<'a, N, B, V>
where
    N: Iterator<Item = &'a FieldNode>,
    B: Iterator<Item = &'a Buffer>,
    V: Iterator<Item = i64>,
{
    /// Goes through a column and those in it, in the order of arrow-ipc's `create_array`. `None` if something does not fit.
    fn column(&mut self, field: &Field, rows_expected: Option<usize>) -> Option<()> {
        let node = self.nodes.next()?;
        let rows = rows_of(node.length())?;
        let nulls = rows_of(node.null_count())?;
        if nulls > rows || rows_expected.is_some_and(|expected| expected != rows) {
            return None;
        }
        let data_type = field.data_type();
        if *data_type == DataType::Null {
            return (nulls == rows).then_some(());
        }
        let validity = self.buffer()?;
        if nulls > 0 && validity < rows.div_ceil(8) {
            return None;
        }
        match data_type {
            DataType::Boolean => self.buffer_of(rows.div_ceil(8)),
            DataType::FixedSizeBinary(width) => self.buffer_of(rows * usize::try_from(*width).ok()?),
            DataType::Utf8 | DataType::Binary => self.offsets(rows, 4).and_then(|()| self.buffer_of(0)),
            DataType::LargeUtf8 | DataType::LargeBinary => self.offsets(rows, 8).and_then(|()| self.buffer_of(0)),
            DataType::Utf8View | DataType::BinaryView => {
                let views = self.buffer()?;
                if views < rows * 16 || views % 16 != 0 {
                    return None;
                }
                let buffers = self.view_buffers.next().filter(|count| *count >= 0)?;
                (0..buffers).try_for_each(|_| self.buffer_of(0))
            }
            DataType::List(values) => self.offsets(rows, 4).and_then(|()| self.column(values, None)),
            DataType::LargeList(values) => self.offsets(rows, 8).and_then(|()| self.column(values, None)),
            DataType::FixedSizeList(values, length) => {
                let values_expected = rows.checked_mul(usize::try_from(*length).ok()?)?;
                self.column(values, Some(values_expected))
            }
            DataType::Struct(fields) => fields.iter().try_for_each(|field| self.column(field, Some(rows))),
            // All others have values of one width; a type that has none was refused with the schema.
            _ => self.buffer_of(rows * data_type.primitive_width()?),
        }
    }

    /// Offsets are whole, and one more than there are rows; of none, they may be left out.
    fn offsets(&mut self, rows: usize, width: usize) -> Option<()> {
        let bytes = self.buffer()?;
        let is_left_out = rows == 0 && bytes == 0;
        (is_left_out || (bytes >= (rows + 1) * width && bytes % width == 0)).then_some(())
    }

    fn buffer_of(&mut self, bytes_min: usize) -> Option<()> {
        (self.buffer()? >= bytes_min).then_some(())
    }

    /// The length of the next buffer, which lies in the body and behind the one before.
    fn buffer(&mut self) -> Option<usize> {
        let buffer = self.buffers.next()?;
        let start = usize::try_from(buffer.offset()).ok()?;
        let length = usize::try_from(buffer.length()).ok()?;
        let end = start.checked_add(length)?;
        if start < self.used_bytes || end > self.body_bytes {
            return None;
        }
        self.used_bytes = end;
        Some(length)
    }
}

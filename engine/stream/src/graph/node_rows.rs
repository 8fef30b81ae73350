//! What the rows of a source or a transform look like.

use arrow::datatypes::{DataType, Field, SchemaRef};

/// The rows of a node.
#[derive(Debug, Clone)]
pub(crate) struct NodeRows {
    /// All columns that an expression may name.
    pub(crate) visible: SchemaRef,
    /// The columns that a sink gets: `visible` without the source's own.
    pub(crate) offered: SchemaRef,
    /// Whether they come out of a window.
    pub(crate) windowed: bool,
    /// Whether a row may come again with other values, because its window is in update mode.
    pub(crate) updates: bool,
}

/// Whether a column can be event time.
pub(crate) fn is_time(field: &Field) -> bool {
    matches!(field.data_type(), DataType::Timestamp(..))
}

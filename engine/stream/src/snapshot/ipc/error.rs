//! Why bytes are not the Arrow stream of one batch, or a batch cannot become one.

use arrow::error::ArrowError;

/// Why bytes are not the Arrow stream of one batch.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IpcError {
    /// Fewer bytes than a message says it has.
    #[error("its Arrow stream ends within a message")]
    EndsWithin,
    /// The messages are not a schema and one batch.
    #[error("its Arrow stream has no {expected} where one belongs")]
    NoSuchMessage { expected: &'static str },
    /// More than the schema, one batch and the end.
    #[error("its Arrow stream goes on after its end")]
    GoesOn,
    /// A flatbuffer that points outside of itself, or says what cannot be.
    #[error("a message of its Arrow stream cannot be read: {what}")]
    Message { what: String },
    /// A column that no state has.
    #[error("its column \"{column}\" has {what}")]
    Column { column: String, what: String },
    /// The values do not fit together.
    #[error(transparent)]
    Values(#[from] ArrowError),
}

impl IpcError {
    pub(super) fn message(what: impl ToString) -> Self {
        IpcError::Message { what: what.to_string() }
    }
}

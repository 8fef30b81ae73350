//! What can be wrong with an expression, in sentences for the person who wrote it.

/// Why a text is no expression on these columns.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExpressionError {
    /// What is wrong, in a sentence without a full stop.
    pub message: String,
    /// The byte of the text at which the fault begins, where that is known.
    pub position: Option<usize>,
    /// The column or function that was probably meant.
    pub suggestion: Option<String>,
}

impl ExpressionError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        ExpressionError {
            message: message.into(),
            position: None,
            suggestion: None,
        }
    }
}

/// Why an expression failed on these rows: a division by zero, a text that is no number, …
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{sql}`: {message}")]
pub struct EvaluateError {
    /// The expression.
    pub sql: String,
    /// What happened.
    pub message: String,
}

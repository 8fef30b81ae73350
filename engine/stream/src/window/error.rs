//! Why a window cannot take rows or state.

use crate::expression::error::EvaluateError;

/// Why a window cannot take rows or state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// An argument, a filter or the aggregate itself failed.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    /// The open windows hold more groups than is allowed.
    #[error("the open windows of a partition hold more than {groups_max} groups")]
    TooManyGroups {
        /// The limit.
        groups_max: usize,
    },
    /// State that belongs to another window, or to this one before it was changed.
    #[error("this state is of another window: expected the columns {expected}, found {found}")]
    ForeignState {
        /// The columns of this window's state.
        expected: String,
        /// The columns that came.
        found: String,
    },
    /// A micro-batch without the columns that the window was planned for.
    #[error("the rows have no timestamp column \"{column}\"")]
    NoEventTime {
        /// The event time's name.
        column: String,
    },
}

//! Why a window cannot take rows or state.

use std::time::Duration;

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
    /// State of this window before its length or its aggregates were changed.
    #[error("this state is of the window `{found}`, which is `{expected}` now; its open windows cannot be continued")]
    ChangedWindow {
        /// The window as it is.
        expected: String,
        /// The window whose state came.
        found: String,
    },
    /// State of a window that begins where none does.
    #[error("this state has a window that begins at {start} ns, but windows of {size} ns do not begin there")]
    MisalignedState {
        /// Where it begins, in nanoseconds since 1970.
        start: i64,
        /// The length of this window, in nanoseconds.
        size: i64,
    },
    /// A snapshot whose own description cannot be read.
    #[error("this state says of itself \"{key}\" = \"{found}\", which is no number of nanoseconds")]
    UnreadableState {
        /// The key of the description.
        key: &'static str,
        /// What stands there.
        found: String,
    },
    /// A micro-batch without the columns that the window was planned for.
    #[error("the rows have no timestamp column \"{column}\"")]
    NoEventTime {
        /// The event time's name.
        column: String,
    },
    /// A column to group by that is not there.
    #[error("there is no column \"{column}\" to group by")]
    NoGroupColumn {
        /// Its name.
        column: String,
    },
    /// A column of a type whose values cannot be compared.
    #[error("columns of the types {columns} cannot be grouped by")]
    Ungroupable {
        /// The types.
        columns: String,
    },
    /// A length that is zero, no whole number of microseconds, or centuries.
    #[error("a window's size is at least one microsecond, in whole microseconds; {size:?} is not")]
    Size {
        /// The size.
        size: Duration,
    },
    /// State of a window that the pipeline no longer has.
    #[error("there is state of a window \"{window}\", but the pipeline's windows are {windows}")]
    NoSuchWindow {
        /// The window's name.
        window: String,
        /// Those that are there.
        windows: String,
    },
}

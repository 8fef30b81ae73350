//! Why an operator that remembers cannot be planned, or cannot take rows or state.

use std::time::Duration;

use crate::expression::aggregate::AggregateExpression;
use crate::expression::error::EvaluateError;
use crate::expression::impossible_state::ImpossibleState;

/// Why an operator that remembers cannot be planned, or cannot take rows or state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperatorError {
    /// An argument, a filter or the aggregate itself failed.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    /// The open windows hold more groups than is allowed.
    #[error("the open windows of a partition hold more than {groups_max} groups")]
    TooManyGroups {
        /// The limit.
        groups_max: usize,
    },
    /// More keys are remembered than is allowed.
    #[error("a partition has more than {keys_max} keys within the horizon")]
    TooManyKeys {
        /// The limit.
        keys_max: usize,
    },
    /// A dedup without columns to tell rows apart by, or without time to remember them for.
    #[error("a dedup has at least one key and a horizon of at most 292 years that is longer than zero")]
    NothingToRemember,
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
    #[error(
        "this state has a window that begins at {start} ns, but windows that begin every {slide} ns do not begin there"
    )]
    MisalignedState {
        /// Where it begins, in nanoseconds since 1970.
        start: i64,
        /// From the start of one window to the next, in nanoseconds.
        slide: i64,
    },
    /// State of this window that it cannot have written.
    #[error("this state has, for `{aggregate}`, {what}: somebody else wrote it")]
    ImpossibleState {
        /// The aggregate.
        aggregate: String,
        /// What it holds that the aggregate never gives.
        what: String,
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
    /// A slide that is zero, no whole number of microseconds, or centuries.
    #[error("a window's slide is at least one microsecond, in whole microseconds; {slide:?} is not")]
    Slide {
        /// The slide.
        slide: Duration,
    },
    /// Windows with gaps between them: rows in no window are a filter's business.
    #[error("a window's slide is at most its size, or rows would be in none; {slide:?} is longer than {size:?}")]
    SlideBeyondSize {
        /// The length.
        size: Duration,
        /// From the start of one window to the next.
        slide: Duration,
    },
    /// Rows would be in one window more or less depending on when they happened (Flink SQL's `HOP` refuses it too).
    #[error(
        "a window's size is a whole multiple of its slide, so that every row is in as many windows; {size:?} is not one of {slide:?}"
    )]
    UnevenSlide {
        /// The length.
        size: Duration,
        /// From the start of one window to the next.
        slide: Duration,
    },
    /// Each row would be aggregated in very many windows.
    #[error(
        "every row would be in {windows} windows of {size:?}, one every {slide:?}; at most {windows_max} are possible, so take a longer slide"
    )]
    TooManyWindows {
        /// The length.
        size: Duration,
        /// From the start of one window to the next.
        slide: Duration,
        /// How many windows there would be for each row.
        windows: i64,
        /// How many are possible.
        windows_max: u32,
    },
    /// A gap that is zero, no whole number of microseconds, or centuries.
    #[error("a session's gap is at least one microsecond, in whole microseconds; {gap:?} is not")]
    Gap {
        /// The gap.
        gap: Duration,
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

impl OperatorError {
    pub(crate) fn impossible_state(aggregate: &AggregateExpression, what: &ImpossibleState) -> Self {
        OperatorError::ImpossibleState {
            aggregate: aggregate.sql().to_owned(),
            what: what.to_string(),
        }
    }
}

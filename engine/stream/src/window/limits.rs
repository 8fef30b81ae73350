//! What a window may ask for at most.

/// The most windows that a row may be in: a day of them, each a minute after the one before. Each of them aggregates the row.
pub const WINDOWS_PER_ROW_MAX: u32 = 1_440;

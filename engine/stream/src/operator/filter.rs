//! Keeps the rows for which a condition is true.

/// Keeps the rows for which a condition is true.
#[derive(Debug, Clone)]
pub struct Filter {}

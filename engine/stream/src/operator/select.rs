//! Computes columns.

/// Computes columns.
#[derive(Debug, Clone)]
pub struct Select {}

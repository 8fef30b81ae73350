//! SQL expressions on the columns of a micro-batch, type-checked before anything runs.

pub(crate) mod aggregate;
pub(crate) mod error;
mod evaluate;
pub(crate) mod functions;
pub(crate) mod impossible_state;
mod mismatch;
pub(crate) mod nearest;
pub(crate) mod resolve;
pub(crate) mod scalar;
#[cfg(test)]
mod tests;

pub use aggregate::AggregateExpression;
pub use error::{EvaluateError, ExpressionError};
pub use scalar::Expression;

//! SQL expressions on the columns of a micro-batch, type-checked before anything runs.

pub(crate) mod aggregate;
pub(crate) mod error;
pub(crate) mod scalar;

pub use aggregate::AggregateExpression;
pub use error::{EvaluateError, ExpressionError};
pub use scalar::Expression;

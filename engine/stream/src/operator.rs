//! Operators on one micro-batch.

pub(crate) mod filter;
pub(crate) mod select;

pub use filter::Filter;
pub use select::Select;

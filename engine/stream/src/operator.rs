//! Operators on one micro-batch, and what those that remember have in common.

pub(crate) mod dedup;
pub(crate) mod filter;
pub(crate) mod select;
pub(crate) mod stateful;

pub use dedup::{Dedup, DedupKeys, DedupOptions};
pub use filter::Filter;
pub use select::Select;
pub use stateful::{StatePart, StatefulOperator, UpdateOutcome};

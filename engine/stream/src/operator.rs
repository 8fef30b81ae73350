//! Operators on one micro-batch at a time.

pub(crate) mod dedup;
pub(crate) mod filter;
pub(crate) mod select;

pub use dedup::{Dedup, DedupKeys, DedupOptions};
pub use filter::Filter;
pub use select::Select;

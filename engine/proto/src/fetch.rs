//! Fetching: where each partition is read, what is asked next, what is ready.
//!
//! - [`fetcher`]: the machine: plans fetches within the prefetch budget, takes answers in.
//! - [`partition`]: one partition's way from an assignment to a position that moves.
//! - [`position`]: positions, where to start, and what happens where there is no position.
//! - [`lookup`]: questions about positions.
//! - [`plan`]: one Fetch request, in any version; [`planned`]: one partition of it.
//! - [`session`]: what a broker remembers of the fetches before.
//! - [`aborted`]: which batches `read_committed` must not see.

pub mod aborted;
pub mod fetcher;
pub mod lookup;
pub mod partition;
pub mod plan;
pub mod planned;
pub mod position;
pub mod session;

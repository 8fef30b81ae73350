//! Stream operators on Arrow micro-batches: JSON in and out, SQL expressions, event time, windows and their state.
//!
//! Everything here is pure: no tasks, no I/O, no clock. What time it is, which rows have arrived and when to
//! emit is the caller's to say, so that every order of events is a unit test.
//!
//! # One row's way
//! 1. [`graph::plan`] checks a [`graph::GraphSpec`] and derives, for each source, which columns it needs
//!    ([`graph::SourcePlan::projection`]).
//! 2. [`micro_batch::MicroBatchBuilder`] parses payloads straight into the builders of those columns.
//! 3. [`watermark::PartitionWatermarks`] follows the event times of each source partition.
//! 4. [`graph::TaskGraph`] (one per source partition) filters, selects and keeps partial windows;
//!    [`graph::WindowOutput`] merges the closed ones of all partitions into final rows.
//! 5. [`json::JsonEncoder`] writes rows for a topic; [`snapshot`] writes state for a checkpoint.

pub mod event_time;
pub mod expression;
pub mod graph;
pub mod json;
pub mod micro_batch;
pub mod operator;
pub mod schema;
pub mod snapshot;
pub mod stateful;
pub mod watermark;
pub mod window;

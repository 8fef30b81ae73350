//! The conversation with a Kafka cluster as sans-IO state machines.
//!
//! `handle_*(now, …)` takes what happened, `poll_*` gives what to do next. Nothing here opens a
//! socket, reads a clock or draws entropy, so that every interleaving can be replayed in a test.

mod accumulator;
pub mod backoff;
pub mod cluster;
pub mod connection;
pub mod fetch;
pub mod group;
pub mod latency_stats;
pub mod partitioner;
pub mod producer;
pub mod sequence;
pub mod topic_partition;

pub use topic_partition::TopicPartition;

//! The one place where Kafka and operators meet: a pipeline file becomes a running pipeline.

pub mod checkpoint;
pub mod config;
pub mod error_chain;
pub mod explain;
pub mod generate;
pub(crate) mod graph;
pub mod latency;
pub mod metrics;
pub mod progress;
pub mod server;
pub mod stage_times;

//! The one place where Kafka and operators meet: a pipeline file becomes a running pipeline.

pub mod checkpoint;
pub mod config;
pub mod error_chain;
pub mod generate;
pub mod latency;
pub(crate) mod graph;
pub mod progress;
pub mod stage_times;

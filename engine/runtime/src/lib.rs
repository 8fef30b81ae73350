//! The one place where Kafka and operators meet: a pipeline file becomes a running pipeline.

pub mod checkpoint;
pub mod config;
pub mod error_chain;
pub mod explain;
pub mod generate;
pub mod latency;
pub mod metrics;
pub mod progress;
mod run;
pub mod server;
mod session;
mod sink;
mod source;
pub mod stage_times;
mod worker;

pub use run::{RunError, RunOptions, run};
pub use sink::SinkError;

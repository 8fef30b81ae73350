//! The one place where Kafka and operators meet: a pipeline file becomes a running pipeline.
//!
//! [`config`] reads the file, [`explain`] shows its plan, [`run()`] runs it:
//!
//! ```text
//!  network runtime             coordinator thread                  worker threads        lake threads
//!  group member ── events ──▶  session: gather, dispatch ── jobs ──▶ decode, operators ──▶ Parquet
//!  fetchers ───── batches ──▶  watermarks, closed windows ◀ replies ─┘ └── rows ──┐
//!  producers ◀──────────────── merged windows, checkpoints                        ▼
//!      ▲──────────────────────────────────────────────────────────── producers' batches
//! ```
//! The coordinator owns all that compares partitions; a worker owns the state of its partitions. What is bounded, and by
//! what: fetched bytes by `fetch.prefetch.bytes`, a micro-batch by `trigger.max_records` and 4 MiB as it came, jobs by one per
//! partition, results by the producers' `buffer.memory` and the lake writers' queues. Whoever reaches a bound waits, so
//! that a slow sink slows the fetching down.
//! Never here: argument parsing, terminals, the embedded broker.

pub mod checkpoint;
pub mod config;
mod context;
mod control;
pub mod error_chain;
pub mod explain;
pub mod generate;
pub mod latency;
mod load;
pub mod metrics;
mod outputs;
pub mod pipeline_tests;
pub mod progress;
mod refusal;
mod run;
mod run_error;
mod seconds;
pub mod server;
mod session;
mod sink;
mod sink_error;
mod source;
pub mod stage_times;
mod transaction;
mod view;
mod worker;

pub use checkpoint::state_topic::StateTopicError;
pub use control::RunOptions;
pub use run::run;
pub use run_error::RunError;
pub use sink_error::SinkError;

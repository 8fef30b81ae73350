//! Whatever fails around a pipeline, it goes on by itself or ends with a message within a bounded time, and the next run has
//! the exact counts. `engine/docs/failures.md` is the same for people.

mod brokers;
mod changes;
mod cluster;
mod guarantees;
mod lake;
#[path = "../process/long_tests.rs"]
mod long_tests;
mod network;
#[path = "../pipeline_files/text.rs"]
mod pipeline_text;
#[path = "../process/engine.rs"]
mod process;
#[path = "../views/raw_client.rs"]
mod raw_client;
#[path = "../real_broker/cluster.rs"]
mod real_broker;
#[path = "../views/rows.rs"]
mod rows;
mod scene;
mod signals;
mod sleepers;
mod starts;
mod topics;

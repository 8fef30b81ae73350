//! The embedded Kafka broker: what a first run, development and the tests without Java talk to.
//!
//! One node that speaks the Kafka protocol over TCP and keeps raw record batches, in memory or on disk. It
//! checks a batch (CRC, counts, sequences), patches its base offset and leader epoch, and never re-encodes it:
//! the bytes a producer sent are the bytes a consumer gets. Production is Apache Kafka.
//!
//! ```no_run
//! # async fn example() -> Result<(), engine_broker::StartError> {
//! use engine_broker::{Broker, BrokerConfig};
//!
//! let broker = Broker::start(BrokerConfig {
//!     listen: ([127, 0, 0, 1], 0).into(),
//!     ..BrokerConfig::default()
//! })
//! .await?;
//! println!("bootstrap.servers={}", broker.address());
//! broker.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! What it does not do: replication, security, the KIP-848 group protocol. It must never import the client, so that a shared mistake cannot hide.

mod api;
mod batch;
mod broker;
mod config;
mod connection;
mod coordinator;
mod disk_wait;
mod exchange;
mod fault;
mod fetch_session;
mod group;
mod journal;
mod log;
mod node;
mod partition;
mod produce_request;
mod start_error;
mod supported;
mod topic;
mod topic_config;
mod transaction;
mod transaction_coordinator;

pub use broker::Broker;
pub use config::{BrokerConfig, FsyncPolicy};
pub use fault::{Fault, FaultAction, FaultTextError, ObservedRequest};
pub use start_error::StartError;

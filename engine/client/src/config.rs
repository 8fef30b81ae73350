//! Configuration by Kafka's own names.
//!
//! Plain structs with `Duration`s and `Default`; `from_properties` reads Kafka's dotted names
//! (milliseconds and bytes as integers) and reports every mistake at once. What Kafka has and
//! this client does not (yet) is refused with a sentence, never ignored.
//! Never here: connections, files, TOML.

mod client;
mod consumer;
mod producer;
mod property;
#[cfg(test)]
mod tests;

pub use client::{ClientConfig, MetadataRecoveryStrategy};
pub use consumer::{AssignmentStrategy, AutoOffsetReset, ConsumerConfig, IsolationLevel};
pub use producer::{Acks, ProducerConfig};
pub use property::PropertyError;

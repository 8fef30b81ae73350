//! A Kafka client in pure Rust: thin tokio drivers over the machines of `engine-proto`.

mod cluster;
mod config;
mod connection;

pub use config::{
    Acks, AssignmentStrategy, AutoOffsetReset, ClientConfig, ConsumerConfig, IsolationLevel, ProducerConfig,
    PropertyError,
};
pub use connection::{DisconnectReason, RequestError};
pub use engine_proto::TopicPartition;

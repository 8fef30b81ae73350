//! A Kafka client in pure Rust: thin tokio drivers over the machines of `engine-proto`.

mod cluster;
mod config;
mod connection;
pub mod consumer;
pub mod offsets;

pub use config::{
    Acks, AssignmentStrategy, AutoOffsetReset, ClientConfig, ConsumerConfig, IsolationLevel, ProducerConfig,
    PropertyError,
};
pub use connection::{DisconnectReason, RequestError};
pub use consumer::{CommitError, Consumer, ConsumerError, ConsumerStats, Event, NotAssigned};
pub use engine_proto::{
    TopicPartition,
    fetch::{
        partition::Fetched,
        position::{FetchError, Position, StartAt},
    },
};
pub use offsets::{CommittedOffset, ListedOffset, OffsetsError};

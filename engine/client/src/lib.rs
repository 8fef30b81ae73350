//! A Kafka client in pure Rust: thin tokio drivers over the machines of `engine-proto`.

pub mod admin;
mod cluster;
mod config;
mod connection;
pub mod consumer;
pub mod offsets;
mod producer;

pub use admin::Admin;
pub use config::{
    Acks, AssignmentStrategy, AutoOffsetReset, ClientConfig, ConsumerConfig, IsolationLevel, ProducerConfig,
    PropertyError,
};
pub use connection::{DisconnectReason, RequestError};
pub use consumer::{CommitError, Consumer, ConsumerError, ConsumerStats, Event, NotAssigned};
pub use engine_proto::latency_stats::LatencyStats;
pub use engine_proto::producer::{
    AppendError, ConsumerGroupMetadata, DeliveryError, ProducerStats, TopicRecord, TransactionError,
};
pub use engine_proto::{
    TopicPartition,
    fetch::{
        partition::Fetched,
        position::{FetchError, Position, StartAt},
    },
};
pub use engine_wire::{
    compression::{Codec, DecodeLimits, Decompressor},
    record_batch::{Header, RawBatch, Record, TimestampType},
};
pub use offsets::{CommittedOffset, ListedOffset, OffsetsError};
pub use producer::{Delivered, ProduceRecord, Producer, ProducerError, Receipt, SendError, TrySendError};

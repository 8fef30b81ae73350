//! A Kafka client in pure Rust: thin tokio drivers over the machines of `engine-proto`.
//!
//! For Apache Kafka 2.8 to 4.4. No librdkafka, no C, no `unsafe` of its own. The configuration is Kafka's: plain structs, or Kafka's
//! own dotted names through [`ProducerConfig::from_properties`] and [`ConsumerConfig::from_properties`], which report all
//! mistakes at once.
//!
//! # Producing
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use engine_client::{ProduceRecord, Producer, ProducerConfig};
//!
//! let producer = Producer::connect(ProducerConfig::new("localhost:9092")).await?;
//! let record = ProduceRecord {
//!     topic: "greetings",
//!     key: Some(b"reader-1"),
//!     value: Some(b"hello"),
//!     ..ProduceRecord::default()
//! };
//! let receipt = producer.send(record).await?; // Waits while the buffer is full.
//! println!("{:?}", receipt.delivered().await?); // Or, for all records at once, `producer.flush()`.
//! # Ok(()) }
//! ```
//!
//! - A producer is idempotent unless told otherwise: whatever happens to connections and leaders, a record that was
//!   acknowledged is in its partition once, and records of one partition are in the order of their sending, with up to
//!   five requests in flight.
//! - `send` encodes the record on the caller's thread, straight into its batch. [`Producer::append_all`] takes many records under
//!   one lock; [`Producer::try_send`] never waits.
//! - A record is given up after `delivery.timeout.ms`; its [`DeliveryError`] says whether it may have been written all the same.
//! - Memory is bounded by `buffer.memory`, whatever the brokers do.
//! - Transactions: see [`Producer::init_transactions`] and the operations beside it. The producer speaks the protocol that the cluster has finalized
//!   (before or after KIP-890).
//!
//! # Consuming
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use engine_client::{Consumer, ConsumerConfig, DecodeLimits, Decompressor, Event, StartAt, TopicPartition};
//!
//! let mut consumer = Consumer::connect(ConsumerConfig::new("localhost:9092")).await?;
//! let partition = TopicPartition::new("greetings", 0);
//! consumer.assign([partition.clone()]);
//! consumer.start([(partition, StartAt::Earliest)])?;
//! let mut decompressor = Decompressor::new(DecodeLimits::default());
//! while let Event::Fetched(fetched) = consumer.poll().await? {
//!     for batch in &fetched.batches {
//!         batch.verify_crc()?;
//!         for record in batch.records(&mut decompressor)? {
//!             let record = record?;
//!             // Kafka gives whole batches: the first may begin before the position.
//!             if record.offset >= fetched.first_offset {
//!                 println!("{}: {:?}", record.offset, record.value);
//!             }
//!         }
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! - What is handed out are whole batches, as slices of what came from the socket. Decompression and decoding are the caller's, on
//!   whichever thread suits it; records borrow from their batch, and none is allocated.
//! - Prefetch goes on in the background up to `fetch.prefetch.bytes` over all partitions, whether `poll` is called or not.
//! - A member of a group is told what it is assigned, has to give back, or has lost ([`Event`]), and commits under the generation in
//!   which it was assigned its partitions: a stale owner cannot overwrite what the new one commits.
//! - An offset that is out of range, and a log that was cut below the position, are errors or resets as
//!   `auto.offset.reset` says; never silent.
//!
//! # Errors
//!
//! There is an enum for each operation. What the brokers can mend (a leader that moved, a coordinator that loads, a connection
//! that was cut) is retried within the operation's time limit and seen in the statistics only.
//!
//! The folder `examples/` has whole programs: `produce`, `consume` in a group, and `transform_exactly_once`.
//!
//! Never here: pipelines, Arrow, threads of its own; everything runs on the caller's tokio runtime.

pub mod admin;
mod cluster;
mod config;
mod connection;
pub mod consumer;
pub mod offsets;
mod producer;

pub use admin::Admin;
pub use config::{
    Acks, AssignmentStrategy, AutoOffsetReset, ClientConfig, ConsumerConfig, IsolationLevel, MetadataRecoveryStrategy,
    ProducerConfig, PropertyError,
};
pub use connection::{DisconnectReason, RequestError};
pub use consumer::{CommitError, ConfirmationError, Consumer, ConsumerError, ConsumerStats, Event, NotAssigned};
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

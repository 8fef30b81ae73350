//! A Kafka client in pure Rust: thin tokio drivers over the machines of `engine-proto`.

pub use engine_proto::TopicPartition;

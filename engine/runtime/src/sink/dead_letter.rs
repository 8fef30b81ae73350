//! The dead-letter topic: malformed records as they were, with headers that say why and from where.

use std::sync::{Arc, Mutex, MutexGuard};

use engine_client::{Producer, TopicRecord};
use engine_wire::record_batch::Header;
use tokio::runtime::Handle;

use crate::sink_error::SinkError;
use crate::source::reject::{DeadLetters, Reject};

/// What errors call it.
pub(crate) const NAME: &str = "dead_letter";

/// Writes malformed records to a topic. Key, value and headers are kept to the byte; the record's timestamp too, so
/// that a replay sees the time of the event and not of the mishap.
#[derive(Debug, Clone)]
pub(crate) struct DeadLetterSink {
    topic: Arc<str>,
    producer: Producer,
    network: Handle,
    failure: Arc<Mutex<Option<SinkError>>>,
}

impl DeadLetterSink {
    /// A sink on an existing topic.
    pub(crate) fn new(topic: &str, producer: Producer, network: Handle) -> Self {
        DeadLetterSink {
            topic: topic.into(),
            producer,
            network,
            failure: Arc::default(),
        }
    }

    /// Waits until the brokers have every dead letter.
    pub(crate) async fn flush(&self) -> Result<(), SinkError> {
        let flushed = self.producer.flush().await;
        let mut failure = self.failure();
        if let Err(error) = flushed {
            failure.get_or_insert(SinkError::from_delivery(NAME, &error));
        }
        failure.clone().map_or(Ok(()), Err)
    }

    fn failure(&self) -> MutexGuard<'_, Option<SinkError>> {
        self.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl DeadLetters for DeadLetterSink {
    fn write(&self, reject: &Reject<'_>) -> Result<(), SinkError> {
        let (error, partition, offset) = (
            reject.error.to_string(),
            reject.partition.to_string(),
            reject.record.offset.to_string(),
        );
        let mut headers: Vec<Header<'_>> = reject.record.headers.clone().collect();
        headers.extend(
            [
                ("engine.error", error.as_str()),
                ("engine.source", reject.source),
                ("engine.topic", reject.topic),
                ("engine.partition", partition.as_str()),
                ("engine.offset", offset.as_str()),
            ]
            .map(|(key, value)| Header {
                key: key.as_bytes(),
                value: Some(value.as_bytes()),
            }),
        );
        let record = TopicRecord {
            partition: None,
            timestamp: Some(reject.record.timestamp),
            key: reject.record.key,
            value: reject.record.value,
            headers: &headers,
        };
        let _network = self.network.enter();
        let appended = self.producer.append_all(&self.topic, [record]);
        futures::executor::block_on(appended)
            .map(|_| ())
            .map_err(|error| SinkError::from_send(NAME, &error))
    }
}

//! Writing the compacted state topic.
//!
//! One partition, `cleanup.policy=compact`, created by us. What its records mean is in `state_key`, `state_table` and
//! `manifest`; `state_reader` reads them.

use std::error::Error;

use bytes::Bytes;
use engine_client::{ConsumerConfig, IsolationLevel, ProduceRecord, Producer};

use super::OwnerEpoch;
use super::claim::Claim;
use super::manifest::Manifest;
use super::state_key::{ChunkKey, StateKey};
use crate::error_chain::describe;
use crate::refusal::is_final;

/// The state topic of one pipeline.
#[derive(Debug)]
pub(crate) struct StateTopic {
    topic: String,
    producer: Producer,
    /// Whether the producer's transaction makes a checkpoint whole: then nothing is flushed between its records.
    is_transactional: bool,
    consumer_config: ConsumerConfig,
    /// What the next manifest no longer needs: all that former owners left, and segments of our own.
    obsolete: Vec<StateKey>,
}

/// Why the state topic cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("state topic {topic}: {what}")]
pub struct StateTopicError {
    /// The topic.
    pub topic: String,
    /// What happened, with its causes.
    pub what: String,
    /// Whether it may go well another time; damage does not.
    pub(crate) is_transient: bool,
    /// Whether the brokers refuse it for good, as where a right is missing.
    pub(crate) is_refused: bool,
}

impl StateTopic {
    /// Does no I/O yet; the topic exists already. It is read with the connection options of `consumer_config`.
    pub(crate) fn open(
        topic: String,
        producer: Producer,
        is_transactional: bool,
        consumer_config: ConsumerConfig,
    ) -> Self {
        StateTopic {
            topic,
            producer,
            is_transactional,
            consumer_config: ConsumerConfig {
                group_id: None,
                isolation_level: IsolationLevel::ReadCommitted,
                ..consumer_config
            },
            obsolete: Vec::new(),
        }
    }

    /// The topic's name.
    pub(crate) fn name(&self) -> &str {
        &self.topic
    }

    /// How it is read.
    pub(crate) fn consumer_config(&self) -> &ConsumerConfig {
        &self.consumer_config
    }

    /// Takes what a former owner left, which our first whole checkpoint makes obsolete.
    pub(crate) fn handle_left(&mut self, keys: Vec<StateKey>) {
        self.obsolete = keys;
    }

    /// Takes an epoch, so that nobody else ever writes under it: at once, or when the transaction commits. Claimed once more
    /// when it is confirmed.
    pub(crate) async fn claim(&self, owner_epoch: OwnerEpoch, claim: Claim) -> Result<(), StateTopicError> {
        self.send(&StateKey::Claim(owner_epoch), Some(claim.to_string().as_bytes()))
            .await?;
        self.flush().await
    }

    /// Appends the pieces of a segment.
    pub(crate) async fn write_segment(&self, segment: &ChunkKey, values: &[Bytes]) -> Result<(), StateTopicError> {
        for (key, value) in segment.pieces(values.len() as u32).zip(values) {
            self.send(&key, Some(value.as_ref())).await?;
        }
        Ok(())
    }

    /// The next manifest names this segment no more.
    pub(crate) fn forget_segment(&mut self, segment: &ChunkKey, chunks: u32) {
        self.obsolete.extend(segment.pieces(chunks));
    }

    /// Completes the checkpoint: the manifest goes out only when the brokers have every piece that it names, or in one
    /// transaction with them.
    pub(crate) async fn write_manifest(&mut self, manifest: &Manifest) -> Result<(), StateTopicError> {
        self.flush().await?;
        let key = StateKey::manifest(manifest.owner_epoch, manifest.checkpoint);
        self.send(&key, Some(&manifest.encode())).await?;
        self.flush().await
    }

    /// Deletes what the manifest no longer needs. It was needed until the manifest counts: without a transaction, it has to be
    /// there before this, and the group must have taken its offsets. Nobody waits for these records; the next manifest does.
    pub(crate) async fn clear_obsolete(&mut self) -> Result<(), StateTopicError> {
        for key in std::mem::take(&mut self.obsolete) {
            self.send(&key, None).await?;
        }
        Ok(())
    }

    /// The commit of a transaction flushes by itself.
    async fn flush(&self) -> Result<(), StateTopicError> {
        if self.is_transactional {
            return Ok(());
        }
        let flushed = self.producer.flush().await;
        flushed.map_err(|error| self.failed(&error))
    }

    async fn send(&self, key: &StateKey, value: Option<&[u8]>) -> Result<(), StateTopicError> {
        let key = key.to_string();
        let record = ProduceRecord {
            topic: &self.topic,
            partition: Some(0),
            timestamp: None,
            key: Some(key.as_bytes()),
            value,
            headers: &[],
        };
        self.producer
            .send(record)
            .await
            .map(|_| ())
            .map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &(dyn Error + 'static)) -> StateTopicError {
        StateTopicError::failed(&self.topic, error)
    }
}

impl StateTopicError {
    /// It may go well another time.
    pub(super) fn failed(topic: &str, error: &(dyn Error + 'static)) -> StateTopicError {
        StateTopicError {
            is_refused: is_final(error),
            ..StateTopicError::failed_with(topic, describe(error))
        }
    }

    pub(super) fn failed_with(topic: &str, what: String) -> StateTopicError {
        StateTopicError {
            topic: topic.to_owned(),
            what,
            is_transient: true,
            is_refused: false,
        }
    }

    /// It will not.
    pub(crate) fn damaged(topic: &str, error: &(dyn Error + 'static)) -> StateTopicError {
        StateTopicError {
            is_transient: false,
            ..StateTopicError::failed(topic, error)
        }
    }
}

//! Reading and writing the compacted state topic.
//!
//! One partition, `cleanup.policy=compact`, created by us. What its records mean is in `state_key`, `state_table` and
//! `manifest`; this file moves them.

use std::time::Duration;

use bytes::Bytes;
use engine_client::{
    Consumer, ConsumerConfig, Event, IsolationLevel, ProduceRecord, Producer, StartAt, TopicPartition,
};
use engine_wire::compression::{DecodeLimits, Decompressor};

use super::OwnerEpoch;
use super::manifest::Manifest;
use super::state_key::{ChunkKey, StateKey};
use super::state_table::{RestoredState, StateTable};
use crate::error_chain::describe;

/// How long reading may stand still before it is given up.
const READ_STALL_MAX: Duration = Duration::from_secs(60);

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

    /// Reads the whole topic: gives the newest whole checkpoint, and the epoch to write under from now on.
    pub(crate) async fn read(&mut self) -> Result<(Option<RestoredState>, OwnerEpoch), StateTopicError> {
        let mut table = StateTable::default();
        let mut consumer = Consumer::connect(self.consumer_config.clone())
            .await
            .map_err(|error| self.failed(&error))?;
        let tp = TopicPartition::new(self.topic.as_str(), 0);
        let ends = consumer
            .end_offsets(std::slice::from_ref(&tp))
            .await
            .map_err(|error| self.failed(&error))?;
        let end = ends.into_iter().find(|(of, _)| *of == tp).map_or(0, |(_, end)| end);
        consumer.assign([tp.clone()]);
        consumer
            .start(vec![(tp, StartAt::Earliest)])
            .map_err(|error| self.failed(&error))?;
        let mut decompressor = Decompressor::new(DecodeLimits::default());
        let mut next_offset = 0;
        while next_offset < end {
            let event = tokio::time::timeout(READ_STALL_MAX, consumer.poll())
                .await
                .map_err(|_| {
                    self.failed_with(format!(
                        "no answer for {} s at offset {next_offset} of {end}",
                        READ_STALL_MAX.as_secs()
                    ))
                })?;
            let Event::Fetched(fetched) = event.map_err(|error| self.failed(&error))? else {
                continue;
            };
            for batch in &fetched.batches {
                batch.verify_crc().map_err(|error| self.damaged(&error))?;
                for record in batch.records(&mut decompressor).map_err(|error| self.damaged(&error))? {
                    let record = record.map_err(|error| self.damaged(&error))?;
                    let applied = table.apply(record.offset, record.key, record.value);
                    applied.map_err(|error| self.damaged(&error))?;
                }
            }
            next_offset = fetched.next_offset;
        }
        consumer.close().await;
        let owner_epoch = table.next_owner_epoch();
        self.obsolete = table.keys_before(owner_epoch);
        let restored = table.restore().map_err(|error| self.damaged(&error))?;
        Ok((restored, owner_epoch))
    }

    /// Takes an epoch, so that nobody else ever writes under it: at once, or when the transaction commits. `now_ms` is
    /// for people.
    pub(crate) async fn claim(&self, owner_epoch: OwnerEpoch, now_ms: i64) -> Result<(), StateTopicError> {
        self.send(&StateKey::Claim(owner_epoch), Some(now_ms.to_string().as_bytes()))
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

    /// Deletes what the manifest no longer needs. It was needed until the manifest was there: without a transaction, that has
    /// to be before this. Nobody waits for these records; the next manifest does.
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

    fn failed(&self, error: &dyn std::error::Error) -> StateTopicError {
        self.failed_with(describe(error))
    }

    fn failed_with(&self, what: String) -> StateTopicError {
        StateTopicError {
            topic: self.topic.clone(),
            what,
            is_transient: true,
        }
    }

    fn damaged(&self, error: &dyn std::error::Error) -> StateTopicError {
        StateTopicError {
            is_transient: false,
            ..self.failed(error)
        }
    }
}

//! Reading the compacted state topic: all of it, and then what came since.
//!
//! Never here: what its records mean (see `state_table`), writing (see `state_topic`).

use std::time::{Duration, Instant};

use engine_client::{Consumer, Event, StartAt, TopicPartition};
use engine_wire::compression::{DecodeLimits, Decompressor};
use tracing::warn;

use super::OwnerEpoch;
use super::state_table::StateTable;
use super::state_topic::{StateTopic, StateTopicError};

/// How long reading may stand still before it is given up.
const READ_STALL_MAX: Duration = Duration::from_secs(60);
/// How long that may take before it is told of.
const UNTOLD_MAX: Duration = Duration::from_secs(1);
/// A transaction that a former owner left open hides our own records for a moment.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// The state topic of one pipeline, as far as it was read.
pub(crate) struct StateReader {
    topic: String,
    tp: TopicPartition,
    consumer: Consumer,
    decompressor: Decompressor,
    next_offset: i64,
    table: StateTable,
}

impl StateReader {
    pub(crate) async fn open(state_topic: &StateTopic) -> Result<StateReader, StateTopicError> {
        let topic = state_topic.name().to_owned();
        let failed = |error: &(dyn std::error::Error + 'static)| StateTopicError::failed(&topic, error);
        let mut consumer = Consumer::connect(state_topic.consumer_config().clone())
            .await
            .map_err(|error| failed(&error))?;
        let tp = TopicPartition::new(topic.as_str(), 0);
        consumer.assign([tp.clone()]);
        consumer
            .start(vec![(tp.clone(), StartAt::Earliest)])
            .map_err(|error| failed(&error))?;
        Ok(StateReader {
            topic,
            tp,
            consumer,
            decompressor: Decompressor::new(DecodeLimits::default()),
            next_offset: 0,
            table: StateTable::default(),
        })
    }

    /// Reads on, to where the topic ends now.
    pub(crate) async fn read_to_end(&mut self) -> Result<(), StateTopicError> {
        let tps = std::slice::from_ref(&self.tp);
        let ends = self.consumer.end_offsets(tps).await;
        let ends = ends.map_err(|error| self.failed(&error))?;
        let end = ends
            .into_iter()
            .find(|(of, _)| *of == self.tp)
            .map_or(0, |(_, end)| end);
        while self.next_offset < end {
            let event = tokio::time::timeout(READ_STALL_MAX, self.consumer.poll()).await;
            let event = event.map_err(|_| {
                let (next_offset, seconds) = (self.next_offset, READ_STALL_MAX.as_secs());
                let what = format!("no answer for {seconds} s at offset {next_offset} of {end}");
                StateTopicError::failed_with(&self.topic, what)
            })?;
            let Event::Fetched(fetched) = event.map_err(|error| self.failed(&error))? else {
                continue;
            };
            let damaged = |error: &(dyn std::error::Error + 'static)| StateTopicError::damaged(&self.topic, error);
            for batch in &fetched.batches {
                batch.verify_crc().map_err(|error| damaged(&error))?;
                let records = batch.records(&mut self.decompressor);
                for record in records.map_err(|error| damaged(&error))? {
                    let record = record.map_err(|error| damaged(&error))?;
                    let applied = self.table.apply(record.offset, record.key, record.value);
                    applied.map_err(|error| damaged(&error))?;
                }
            }
            self.next_offset = fetched.next_offset;
        }
        Ok(())
    }

    /// Reads on, at least to the confirmed claim of this epoch, which is in the topic.
    pub(crate) async fn read_to_claim(&mut self, owner_epoch: OwnerEpoch) -> Result<(), StateTopicError> {
        let started = Instant::now();
        let mut is_told = false;
        loop {
            self.read_to_end().await?;
            if self.table.confirmed() >= owner_epoch {
                return Ok(());
            }
            if started.elapsed() >= READ_STALL_MAX {
                let seconds = READ_STALL_MAX.as_secs();
                let what = format!(
                    "our claim {owner_epoch} cannot be read back for {seconds} s: a transaction is open before it, of a run under \
                     exactly_once that was killed; it ends after that run's transaction.timeout.ms"
                );
                return Err(StateTopicError::failed_with(&self.topic, what));
            }
            if started.elapsed() >= UNTOLD_MAX && !std::mem::replace(&mut is_told, true) {
                warn!(
                    topic = self.topic,
                    "A run under exactly_once that was killed has left a transaction open; it is waited for until the brokers abort it, \
                     after that run's transaction.timeout.ms."
                );
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// What was read so far.
    pub(crate) fn table(&self) -> &StateTable {
        &self.table
    }

    pub(crate) async fn close(self) -> StateTable {
        self.consumer.close().await;
        self.table
    }

    fn failed(&self, error: &(dyn std::error::Error + 'static)) -> StateTopicError {
        StateTopicError::failed(&self.topic, error)
    }
}

//! The producer's handle.
//!
//! Records are encoded on the caller's thread, straight into the batch that goes to the broker;
//! one lock around the machine, taken once per call. Everything after that (sealing, sending,
//! retries) is one task's business, see `producer::sender`.
//! Never here: decisions about batches (see `engine_proto::producer`).

mod error;
mod identity;
mod machine;
mod produce_request;
mod receipt;
mod sender;
#[cfg(test)]
mod tests;
mod transaction;
mod transaction_request;

pub use error::{ProducerError, SendError, TrySendError};
pub use receipt::{Delivered, Receipt};

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use engine_proto::{
    backoff::BackoffPolicy,
    producer::{AppendError, DeliveryError, ProducerMachine, ProducerOptions, ProducerStats, TopicRecord},
};
use engine_wire::record_batch::Header;
use tokio::sync::{Notify, watch};

use crate::{cluster::Cluster, config::ProducerConfig, connection::now};
use machine::{Shared, Stopped};

/// One record to send; borrows everything, and is copied once, into its batch.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProduceRecord<'a> {
    /// The topic.
    pub topic: &'a str,
    /// Fixed partition, or `None` to choose by key or stickiness.
    pub partition: Option<i32>,
    /// Milliseconds since 1970; `None` is the time at which the record's batch was opened.
    pub timestamp: Option<i64>,
    /// `None` is null.
    pub key: Option<&'a [u8]>,
    /// `None` is null, a tombstone in compacted topics.
    pub value: Option<&'a [u8]>,
    /// In order, duplicates kept.
    pub headers: &'a [Header<'a>],
}

/// Sends records to a cluster. Cheap to clone; clones share buffers and connections.
///
/// Dropping the last handle never blocks: what is buffered is still sent in the background while the
/// runtime lives. Call [`Producer::close`] to know that it arrived.
#[derive(Debug, Clone)]
pub struct Producer {
    shared: Arc<Shared>,
    _last: Arc<CloseOnDrop>,
}

#[derive(Debug)]
struct CloseOnDrop(Arc<Shared>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.machine().close();
        self.0.wake_sender.notify_one();
    }
}

impl Producer {
    /// Connects, and waits for the first metadata at most `socket.connection.setup.timeout.ms`.
    pub async fn connect(config: ProducerConfig) -> Result<Producer, ProducerError> {
        let mistakes = config.validate();
        if !mistakes.is_empty() {
            return Err(ProducerError::Config(mistakes));
        }
        let cluster = Cluster::connect(&config.client).await;
        let cluster = cluster.map_err(|source| ProducerError::Connect {
            servers: config.client.bootstrap_servers.join(","),
            source,
        })?;
        Ok(Producer::on(cluster, config))
    }

    fn on(cluster: Cluster, config: ProducerConfig) -> Producer {
        let options = ProducerOptions {
            is_idempotent: config.enable_idempotence,
            linger: config.linger,
            batch_bytes_max: config.batch_bytes_max,
            buffer_bytes_max: config.buffer_bytes_max,
            request_bytes_max: config.request_bytes_max,
            in_flight_max: config.in_flight_max,
            delivery_timeout: config.delivery_timeout,
            retries: config.retries,
            retry_backoff: BackoffPolicy {
                initial: config.client.retry_backoff,
                max: config.client.retry_backoff_max,
            },
            ignores_keys: config.partitioner_ignore_keys,
            is_adaptive: config.partitioner_adaptive,
            availability_timeout: config.partitioner_availability_timeout,
        };
        let machine = ProducerMachine::new(options, cluster.seed());
        let machine = match &config.transactional_id {
            Some(transactional_id) => machine.with_transactions(transactional_id.as_str().into()),
            None => machine,
        };
        let shared = Arc::new(Shared {
            machine: Mutex::new(machine),
            config,
            cluster,
            wake_sender: Notify::new(),
            resolved: Notify::new(),
            transaction_changed: Notify::new(),
            failure: Mutex::default(),
            ended: watch::Sender::new(false),
        });
        tokio::spawn(sender::run(Arc::clone(&shared)));
        let last = Arc::new(CloseOnDrop(Arc::clone(&shared)));
        Producer { shared, _last: last }
    }

    /// Appends a record to its batch; waits while the buffer is full or the topic's metadata is on its way,
    /// at most `max.block.ms`. The receipt tells when the batch is acknowledged; it may be dropped. A partition that is
    /// not there may have been added a moment ago: the cluster is asked once before it is refused.
    ///
    /// Dropped before it is done, it appends nothing.
    pub async fn send(&self, record: ProduceRecord<'_>) -> Result<Receipt, SendError> {
        let (topic, record) = record.split();
        let deadline = now() + self.shared.config.block_max;
        let topic_index = self.topic_index(topic, deadline).await?;
        let mut has_asked = false;
        loop {
            match self.shared.append(topic_index, &record) {
                Ok(Some(receipt)) => return Ok(receipt),
                Err(AppendError::UnknownPartition { .. }) if !has_asked => {
                    has_asked = true;
                    self.shared.ask_again(deadline).await;
                    continue;
                }
                Ok(None) => {}
                Err(error) => return Err(error.into()),
            }
            let resolved = self.shared.resolved.notified();
            tokio::pin!(resolved);
            resolved.as_mut().enable();
            if let Some(receipt) = self.shared.append(topic_index, &record)? {
                return Ok(receipt);
            }
            self.shared.wait_for_room(topic, resolved, deadline).await?;
        }
    }

    /// Appends many records of one topic under one lock (let go now and then, so that sending goes on), without
    /// receipts: [`Producer::flush`] tells of failures. Waits as [`Producer::send`] does. Gives the number of records.
    ///
    /// Dropped before it is done, it keeps what it has appended: all that the iterator gave, but for one record that may
    /// have waited for room.
    pub async fn append_all<'r>(
        &self,
        topic: &str,
        records: impl IntoIterator<Item = TopicRecord<'r>>,
    ) -> Result<usize, SendError> {
        let deadline = now() + self.shared.config.block_max;
        let topic_index = self.topic_index(topic, deadline).await?;
        let mut records = records.into_iter();
        let mut waiting = None;
        let mut count = 0;
        loop {
            let resolved = self.shared.resolved.notified();
            tokio::pin!(resolved);
            resolved.as_mut().enable();
            let appended = self.shared.append_some(topic_index, &mut records, &mut waiting)?;
            count += appended.records;
            match appended.stopped {
                Stopped::AtEnd => return Ok(count),
                Stopped::ToBreathe => tokio::task::yield_now().await,
                Stopped::Full => {
                    let deadline = now() + self.shared.config.block_max;
                    self.shared.wait_for_room(topic, resolved, deadline).await?;
                }
            }
        }
    }

    /// As [`Producer::send`], without waiting.
    pub fn try_send(&self, record: ProduceRecord<'_>) -> Result<Receipt, TrySendError> {
        let (topic, record) = record.split();
        let full = || TrySendError::Full { topic: topic.into() };
        let topic_index = {
            let machine = self.shared.machine();
            machine.check_open().map_err(TrySendError::Record)?;
            machine.topic_index(topic)
        };
        let Some(topic_index) = topic_index else {
            self.shared.cluster.want_topic(topic);
            return Err(full());
        };
        let appended = self.shared.append(topic_index, &record).map_err(TrySendError::Record)?;
        appended.ok_or_else(full)
    }

    /// Resolves when a batch was resolved or metadata came, or soon after: time to try again.
    pub async fn ready(&self) {
        let mut changes = self.shared.cluster.metadata_changes();
        tokio::select! {
            () = self.shared.resolved.notified() => {}
            () = changes.changed() => {}
            () = tokio::time::sleep(READY_POLL) => {}
        }
    }

    /// Sends what is buffered without lingering and waits until all of it is acknowledged or given up.
    /// Fails with the first failure since the last flush, of any record. Dropped, it tells no failure, and the next one does.
    pub async fn flush(&self) -> Result<(), DeliveryError> {
        self.shared.flush().await
    }

    /// Flushes within `timeout`, then gives up what is left, and closes the connections. Later sends fail. A transaction that
    /// is open is aborted, so its records fail. Dropped before it is done, it leaves a producer that takes no more records
    /// and goes on in the background, as if it had been dropped itself; closing again waits for that.
    pub async fn close(&self, timeout: Duration) -> Result<(), DeliveryError> {
        self.shared.machine().close();
        let mut ended = self.shared.ended.subscribe();
        let flushed = tokio::time::timeout(timeout, async {
            let outcome = self.shared.flush().await;
            self.shared.wake_sender.notify_one();
            let _ = ended.wait_for(|ended| *ended).await; // Once a transaction is ended too.
            outcome
        });
        match flushed.await {
            Ok(outcome) => outcome,
            Err(_) => {
                let reason: Arc<str> = format!("closed after {} ms", timeout.as_millis()).into();
                self.shared.machine().abort(&reason);
                let outcome = self.shared.flush().await;
                self.shared.wake_sender.notify_one();
                let _ = ended.wait_for(|ended| *ended).await;
                outcome
            }
        }
    }

    /// What was counted so far.
    pub fn stats(&self) -> ProducerStats {
        self.shared.machine().stats()
    }

    /// The number of the topic's partitions; asks the cluster if need be.
    pub async fn partitions_for(&self, topic: &str) -> Result<i32, SendError> {
        self.topic_index(topic, now() + self.shared.config.block_max).await?;
        let count = self.shared.machine().partition_count(topic);
        Ok(count.expect("topic_index() has just found it"))
    }

    async fn topic_index(&self, topic: &str, deadline: Instant) -> Result<usize, SendError> {
        let known = self.shared.machine().topic_index(topic);
        match known {
            Some(index) => Ok(index),
            None => self.shared.find_topic(topic, deadline).await,
        }
    }
}

impl<'a> ProduceRecord<'a> {
    fn split(self) -> (&'a str, TopicRecord<'a>) {
        let record = TopicRecord {
            partition: self.partition,
            timestamp: self.timestamp,
            key: self.key,
            value: self.value,
            headers: self.headers,
        };
        (self.topic, record)
    }
}
const READY_POLL: Duration = Duration::from_millis(50);

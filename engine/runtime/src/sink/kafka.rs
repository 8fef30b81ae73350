//! A Kafka sink: rows become JSON records, appended to the producer's batches by whichever thread has them.

use std::sync::{Arc, Mutex, MutexGuard};

use arrow::array::RecordBatch;
use engine_client::{Producer, TopicRecord};
use engine_stream::json::JsonEncoder;
use tokio::runtime::Handle;

use crate::sink::record_key::RecordKeys;
use crate::sink_error::SinkError;

/// Rows encoded before they go to the producer: bounds the scratch memory, whatever the size of a micro-batch.
const ROWS_PER_APPEND: usize = 4_096;

/// Handle on the sink; clones share everything.
#[derive(Debug, Clone)]
pub(crate) struct KafkaSink {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    topic: String,
    producer: Producer,
    network: Handle,
    encoder: JsonEncoder,
    key_column: Option<usize>,
    /// The first failed delivery. The producer tells each failure once; a sink that lost rows must go on saying so.
    failure: Mutex<Option<SinkError>>,
    /// Buffers that are not in use, at most one per thread that writes.
    scratch: Mutex<Vec<Scratch>>,
}

/// Encoded rows, end to end, with where each ends.
#[derive(Debug, Default)]
struct Scratch {
    bytes: Vec<u8>,
    /// (end of the key, end of the value); a null key has none.
    ends: Vec<(Option<usize>, usize)>,
}

impl KafkaSink {
    /// A sink that writes rows of the encoder's columns to `topic`.
    pub(crate) fn new(
        name: &str,
        topic: &str,
        producer: Producer,
        network: Handle,
        encoder: JsonEncoder,
        key_column: Option<usize>,
    ) -> Self {
        let shared = Shared {
            name: name.to_owned(),
            topic: topic.to_owned(),
            producer,
            network,
            encoder,
            key_column,
            failure: Mutex::new(None),
            scratch: Mutex::new(Vec::new()),
        };
        KafkaSink {
            shared: Arc::new(shared),
        }
    }

    /// The same as [`KafkaSink::write`] for threads that may block; not for the network's.
    pub(crate) fn write_blocking(&self, batch: &RecordBatch) -> Result<u64, SinkError> {
        // The producer's clocks are the network's.
        let _network = self.shared.network.enter();
        futures::executor::block_on(self.write(batch))
    }

    /// Encodes and appends rows; waits while the producer's buffer is full. Gives the bytes of keys and values.
    pub(crate) async fn write(&self, batch: &RecordBatch) -> Result<u64, SinkError> {
        if let Some(failure) = self.failure().clone() {
            return Err(failure);
        }
        let mut scratch = lock(&self.shared.scratch).pop().unwrap_or_default();
        let mut written = Ok(());
        let mut bytes = 0;
        let mut offset = 0;
        while offset < batch.num_rows() && written.is_ok() {
            let rows = ROWS_PER_APPEND.min(batch.num_rows() - offset);
            let encoded = scratch.encode(&self.shared, &batch.slice(offset, rows));
            written = match encoded {
                Ok(()) => self.append(&scratch).await,
                Err(what) => Err(SinkError::new(&self.shared.name, what)),
            };
            offset += rows;
            bytes += scratch.bytes.len() as u64;
        }
        lock(&self.shared.scratch).push(scratch);
        written.map(|()| bytes)
    }

    /// Waits until the brokers have everything written so far, without lingering.
    pub(crate) async fn flush(&self) -> Result<(), SinkError> {
        let flushed = self.shared.producer.flush().await;
        let mut failure = self.failure();
        if let Err(error) = flushed {
            failure.get_or_insert(SinkError::from_delivery(&self.shared.name, &error));
        }
        failure.clone().map_or(Ok(()), Err)
    }

    async fn append(&self, scratch: &Scratch) -> Result<(), SinkError> {
        let appended = self.shared.producer.append_all(&self.shared.topic, scratch.records());
        appended
            .await
            .map(|_| ())
            .map_err(|error| SinkError::from_send(&self.shared.name, &error))
    }

    fn failure(&self) -> MutexGuard<'_, Option<SinkError>> {
        lock(&self.shared.failure)
    }
}

impl Scratch {
    fn encode(&mut self, sink: &Shared, batch: &RecordBatch) -> Result<(), String> {
        self.bytes.clear();
        self.ends.clear();
        let keys = match sink.key_column {
            Some(column) => Some(RecordKeys::new(batch, column)?),
            None => None,
        };
        let rows = sink.encoder.rows(batch);
        for row in 0..batch.num_rows() {
            let mut key_end = None;
            if let Some(keys) = &keys
                && keys.write(row, &mut self.bytes)?
            {
                key_end = Some(self.bytes.len());
            }
            rows.write(row, &mut self.bytes);
            self.ends.push((key_end, self.bytes.len()));
        }
        Ok(())
    }

    fn records(&self) -> impl Iterator<Item = TopicRecord<'_>> {
        let mut start = 0;
        self.ends.iter().map(move |(key_end, end)| {
            let key = key_end.map(|key_end| &self.bytes[start..key_end]);
            let value = &self.bytes[key_end.unwrap_or(start)..*end];
            start = *end;
            TopicRecord {
                partition: None,
                timestamp: None,
                key,
                value: Some(value),
                headers: &[],
            }
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

//! What becomes of a record: one completion per batch, shared by its records' receipts.

use std::sync::{Arc, Mutex};

use engine_proto::producer::{BatchDelivered, BatchOutcome, DeliveryError};
use tokio::sync::Notify;

/// The completion of one batch. Several parts only if the batch was split.
#[derive(Debug, Default)]
pub(super) struct BatchReceipt {
    parts: Mutex<Vec<Part>>,
    changed: Notify,
}

#[derive(Debug)]
struct Part {
    first_record: u32,
    record_count: u32,
    result: Result<BatchDelivered, DeliveryError>,
}

impl BatchReceipt {
    pub(super) fn complete(&self, outcome: BatchOutcome<Arc<BatchReceipt>>) {
        let part = Part {
            first_record: outcome.first_record,
            record_count: outcome.record_count,
            result: outcome.result,
        };
        self.parts
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .push(part);
        self.changed.notify_waiters();
    }

    fn result(&self, record: u32) -> Option<Result<(BatchDelivered, u32), DeliveryError>> {
        let parts = self.parts.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut parts = parts.iter();
        let part = parts.find(|part| record.wrapping_sub(part.first_record) < part.record_count)?;
        Some(
            part.result
                .clone()
                .map(|delivered| (delivered, record - part.first_record)),
        )
    }
}

/// Tells what becomes of one record. Dropping it costs nothing.
#[derive(Debug, Clone)]
pub struct Receipt {
    batch: Arc<BatchReceipt>,
    partition: i32,
    record: u32,
}

/// A record that was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    /// The partition that it is in.
    pub partition: i32,
    /// Its offset; `None` if the broker did not tell (`acks = 0`, or a duplicate that it recognised).
    pub offset: Option<i64>,
    /// The time of the append, in topics with LogAppendTime.
    pub log_append_time_ms: Option<i64>,
}

impl Receipt {
    pub(super) fn new(batch: Arc<BatchReceipt>, partition: i32, record: u32) -> Self {
        Self {
            batch,
            partition,
            record,
        }
    }

    /// The partition that the record goes to.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// Waits for the acknowledgement of the record's batch, at most `delivery.timeout.ms`.
    pub async fn delivered(&self) -> Result<Delivered, DeliveryError> {
        let (delivered, place) = loop {
            let changed = self.batch.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(result) = self.batch.result(self.record) {
                break result?;
            }
            changed.await;
        };
        Ok(Delivered {
            partition: self.partition,
            offset: delivered.base_offset.map(|base| base.saturating_add(i64::from(place))),
            log_append_time_ms: delivered.log_append_time_ms,
        })
    }
}

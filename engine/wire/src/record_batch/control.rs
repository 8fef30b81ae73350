//! Control batches: the markers that end a transaction.
//!
//! A control batch has one record; its key says which marker it is, its value names the
//! coordinator's epoch (KIP-98).
//! Never here: which transactions are open.

use bytes::Bytes;

use crate::compression::{Compression, Compressor};
use crate::record_batch::builder::BatchBuilder;
use crate::record_batch::records::Record;
use crate::record_batch::sealed::ProducerStamp;

/// What a control record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlRecord {
    /// The producer's open transaction is committed.
    Commit {
        /// Epoch of the transaction coordinator.
        coordinator_epoch: i32,
    },
    /// The producer's open transaction is aborted.
    Abort {
        /// Epoch of the transaction coordinator.
        coordinator_epoch: i32,
    },
    /// Another kind, such as a leader change; to be stepped over.
    Other {
        /// Kafka's type number.
        kind: i16,
    },
}

/// A control record whose key or value cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("control record at offset {offset}: malformed {part}")]
pub struct ControlRecordError {
    /// Where it is.
    pub offset: i64,
    /// `key` or `value`.
    pub part: &'static str,
}

impl ControlRecord {
    /// Reads the record of a control batch. Newer versions only append fields, so those are read too.
    ///
    /// # Errors
    /// [`ControlRecordError`] for a key or value that is null, too short or of a negative version.
    pub fn parse(record: &Record<'_>) -> Result<Self, ControlRecordError> {
        let fail = |part| ControlRecordError {
            offset: record.offset,
            part,
        };
        let key: [u8; 4] = record
            .key
            .and_then(|key| key.first_chunk())
            .copied()
            .ok_or(fail("key"))?;
        if i16::from_be_bytes([key[0], key[1]]) < 0 {
            return Err(fail("key"));
        }
        let kind = i16::from_be_bytes([key[2], key[3]]);
        if !matches!(kind, 0 | 1) {
            return Ok(Self::Other { kind });
        }
        let value: [u8; 6] = record
            .value
            .and_then(|value| value.first_chunk())
            .copied()
            .ok_or(fail("value"))?;
        if i16::from_be_bytes([value[0], value[1]]) < 0 {
            return Err(fail("value"));
        }
        let coordinator_epoch = i32::from_be_bytes([value[2], value[3], value[4], value[5]]);
        Ok(match kind {
            0 => Self::Abort { coordinator_epoch },
            _ => Self::Commit { coordinator_epoch },
        })
    }

    /// The whole control batch, as a coordinator writes it at the end of a transaction. Its base
    /// offset and leader epoch are still to be patched.
    #[must_use]
    pub fn encode_batch(self, timestamp: i64, producer_id: i64, producer_epoch: i16) -> Bytes {
        let (kind, coordinator_epoch) = match self {
            Self::Abort { coordinator_epoch } => (0i16, coordinator_epoch),
            Self::Commit { coordinator_epoch } => (1, coordinator_epoch),
            Self::Other { kind } => (kind, 0),
        };
        let mut key = [0; 4];
        key[2..].copy_from_slice(&kind.to_be_bytes());
        let mut value = [0; 6];
        value[2..].copy_from_slice(&coordinator_epoch.to_be_bytes());
        let mut builder = BatchBuilder::with_capacity(32);
        builder
            .append(timestamp, Some(&key), Some(&value), [])
            .expect("a record of ten bytes fits");
        let mut sealed = builder
            .seal(Compression::NONE, &mut Compressor::new(), Vec::new())
            .expect("no codec, no error");
        sealed.stamp_control(ProducerStamp {
            producer_id,
            producer_epoch,
            base_sequence: -1,
            is_transactional: true,
        })
    }
}

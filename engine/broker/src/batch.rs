//! Record batches at the broker's two doors: as a producer sends them, and as a segment file holds them.
//!
//! A producer's batch is checked by its header and CRC; its records are taken at the producer's word, except
//! for compacted topics, where every record must have a key. Nothing is re-encoded: LogAppendTime patches the
//! header and its CRC, everything else leaves the bytes as they came.

use bytes::Bytes;
use engine_wire::compression::Decompressor;
use engine_wire::record_batch::{
    BatchError, ProducedBatchError, RawBatch, RecordCheck, check_produced_batch, place_batch,
};

use crate::log::producer_state::Sequenced;

/// A producer's batch that may be appended.
#[derive(Debug, Clone)]
pub(crate) struct IncomingBatch {
    raw: RawBatch,
}

/// What a topic asks of its batches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchRules {
    pub(crate) message_bytes_max: usize,
    pub(crate) is_compacted: bool,
    /// The broker's time, for topics whose timestamps are it.
    pub(crate) log_append_time: Option<i64>,
}

/// Why a producer's batch is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BatchRefused {
    #[error("the batch has {size} bytes, the topic allows {message_bytes_max}")]
    TooLarge { size: usize, message_bytes_max: usize },
    #[error("transactions are not supported by the embedded broker")]
    Transactional,
    #[error("a compacted topic takes no record without a key")]
    NoKey,
    #[error(transparent)]
    Invalid(#[from] ProducedBatchError),
}

impl IncomingBatch {
    /// Checks the records of one partition in a Produce request.
    pub(crate) fn check(records: Bytes, rules: BatchRules) -> Result<Self, BatchRefused> {
        let size = records.len();
        let mut decompressor = Decompressor::default();
        let raw = check_produced_batch(records, RecordCheck::HeaderOnly, &mut decompressor)?;
        if size > rules.message_bytes_max {
            return Err(BatchRefused::TooLarge {
                size,
                message_bytes_max: rules.message_bytes_max,
            });
        }
        if raw.header.is_transactional() {
            return Err(BatchRefused::Transactional);
        }
        if rules.is_compacted {
            for record in raw.records(&mut decompressor).map_err(ProducedBatchError::from)? {
                if record.map_err(ProducedBatchError::from)?.key.is_none() {
                    return Err(BatchRefused::NoKey);
                }
            }
        }
        Ok(match rules.log_append_time {
            Some(time) => Self {
                raw: place_batch(raw, 0, 0, Some(time)),
            },
            None => Self { raw },
        })
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.raw.bytes
    }

    pub(crate) fn last_offset_delta(&self) -> i32 {
        self.raw.header.last_offset_delta
    }

    pub(crate) fn max_timestamp(&self) -> i64 {
        self.raw.header.max_timestamp
    }

    /// Producer and sequences, if the producer is idempotent.
    pub(crate) fn sequenced(&self) -> Option<Sequenced> {
        sequenced(&self.raw)
    }
}

/// A batch read from a segment file.
#[derive(Debug, Clone)]
pub(crate) struct StoredBatch {
    raw: RawBatch,
}

impl StoredBatch {
    /// Checks one whole batch, CRC included.
    pub(crate) fn check(bytes: Bytes) -> Result<Self, BatchError> {
        let raw = RawBatch::parse(bytes)?;
        raw.verify_crc()?;
        Ok(Self { raw })
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.raw.bytes
    }

    pub(crate) fn base_offset(&self) -> i64 {
        self.raw.header.base_offset
    }

    pub(crate) fn last_offset(&self) -> i64 {
        self.raw.header.last_offset()
    }

    pub(crate) fn leader_epoch(&self) -> i32 {
        self.raw.header.partition_leader_epoch
    }

    pub(crate) fn max_timestamp(&self) -> i64 {
        self.raw.header.max_timestamp
    }

    pub(crate) fn sequenced(&self) -> Option<Sequenced> {
        sequenced(&self.raw)
    }
}

fn sequenced(raw: &RawBatch) -> Option<Sequenced> {
    let header = &raw.header;
    (header.is_idempotent() && header.base_sequence >= 0).then(|| Sequenced {
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        first_sequence: header.base_sequence,
        last_sequence: header.last_sequence(),
    })
}

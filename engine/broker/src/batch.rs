//! Record batches at the broker's two doors: as a producer sends them, and as a segment file holds them.
//!
//! A producer's batch is checked by its header and CRC; its records are taken at the producer's word, except
//! for compacted topics, where every record must have a key. Nothing is re-encoded: LogAppendTime patches the
//! header and its CRC, everything else leaves the bytes as they came.

use bytes::Bytes;
use engine_wire::compression::Decompressor;
use engine_wire::record_batch::{
    BatchError, ControlRecord, ProducedBatchError, RawBatch, RecordCheck, check_produced_batch, place_batch,
};

use crate::log::producer_state::Sequenced;

/// A batch that may be appended: a producer's, or the marker that ends a transaction.
#[derive(Debug, Clone)]
pub(crate) struct IncomingBatch {
    raw: RawBatch,
    in_transaction: InTransaction,
}

/// What a batch means to its producer's transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InTransaction {
    /// Nothing: it is outside of any.
    No,
    /// Its records are to be read when it is committed.
    Data,
    /// It is what ends it.
    Marker { is_committed: bool },
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
        if rules.is_compacted {
            for record in raw.records(&mut decompressor).map_err(ProducedBatchError::from)? {
                if record.map_err(ProducedBatchError::from)?.key.is_none() {
                    return Err(BatchRefused::NoKey);
                }
            }
        }
        let in_transaction = match raw.header.is_transactional() {
            true => InTransaction::Data,
            false => InTransaction::No,
        };
        let raw = match rules.log_append_time {
            Some(time) => place_batch(raw, 0, 0, Some(time)),
            None => raw,
        };
        Ok(Self { raw, in_transaction })
    }

    /// The control batch that ends a transaction.
    pub(crate) fn marker(timestamp: i64, marker: Marker) -> Self {
        let Marker {
            is_committed,
            producer_id,
            producer_epoch,
            coordinator_epoch,
        } = marker;
        let record = match is_committed {
            true => ControlRecord::Commit { coordinator_epoch },
            false => ControlRecord::Abort { coordinator_epoch },
        };
        let bytes = record.encode_batch(timestamp, producer_id, producer_epoch);
        Self {
            raw: RawBatch::parse(bytes).expect("a batch of our own is whole"),
            in_transaction: InTransaction::Marker { is_committed },
        }
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

    pub(crate) fn producer_id(&self) -> i64 {
        self.raw.header.producer_id
    }

    pub(crate) fn producer_epoch(&self) -> i16 {
        self.raw.header.producer_epoch
    }

    pub(crate) fn in_transaction(&self) -> InTransaction {
        self.in_transaction
    }
}

/// Whose transaction ends how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Marker {
    pub(crate) is_committed: bool,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) coordinator_epoch: i32,
}

/// A batch read from a segment file.
#[derive(Debug, Clone)]
pub(crate) struct StoredBatch {
    raw: RawBatch,
    in_transaction: InTransaction,
}

impl StoredBatch {
    /// Checks one whole batch, CRC included.
    pub(crate) fn check(bytes: Bytes) -> Result<Self, BatchError> {
        let raw = RawBatch::parse(bytes)?;
        raw.verify_crc()?;
        let in_transaction = in_transaction(&raw);
        Ok(Self { raw, in_transaction })
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

    pub(crate) fn producer_id(&self) -> i64 {
        self.raw.header.producer_id
    }

    pub(crate) fn producer_epoch(&self) -> i16 {
        self.raw.header.producer_epoch
    }

    pub(crate) fn in_transaction(&self) -> InTransaction {
        self.in_transaction
    }
}

/// Read back from the batch: a control batch says in its record what it is.
fn in_transaction(raw: &RawBatch) -> InTransaction {
    if !raw.header.is_transactional() {
        return InTransaction::No;
    }
    if !raw.header.is_control() {
        return InTransaction::Data;
    }
    let mut decompressor = Decompressor::default();
    let record = raw.records(&mut decompressor).ok().and_then(|mut all| all.next()?.ok());
    match record.map(|record| ControlRecord::parse(&record)) {
        Some(Ok(ControlRecord::Commit { .. })) => InTransaction::Marker { is_committed: true },
        Some(Ok(ControlRecord::Abort { .. })) => InTransaction::Marker { is_committed: false },
        // Not a marker of ours, which its right checksum rules out.
        _ => InTransaction::No,
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

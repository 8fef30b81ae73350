//! What a broker does to a producer's batch: check it, then patch it in place.
//!
//! Base offset and leader epoch lie before the CRC, so they are patched without touching it; only
//! LogAppendTime changes covered fields. Records are never re-encoded.
//! Never here: sequences and producer epochs, which need the partition's state.

use bytes::{Bytes, BytesMut};

use crate::compression::Decompressor;
use crate::record_batch::header::{
    ATTRIBUTES_AT, BASE_OFFSET_AT, BATCH_HEADER_BYTES, BatchError, BatchHeader, CRC_AT, CRC_START,
    LOG_APPEND_TIME_FLAG, MAX_TIMESTAMP_AT, PARTITION_LEADER_EPOCH_AT,
};
use crate::record_batch::records::RecordError;
use crate::record_batch::split::RawBatch;

/// How thoroughly a produced batch is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordCheck {
    /// Header and CRC; the records are taken at the producer's word.
    HeaderOnly,
    /// Also walks every record, decompressing where needed: offsets must be 0, 1, 2, …
    EveryRecord,
}

/// Why a broker refuses a produced batch.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProducedBatchError {
    /// No batch in the request's records.
    #[error("no record batch in the request")]
    Empty,
    /// Two batches, or bytes after the one.
    #[error("{trailing_bytes} bytes after the record batch: a partition takes one batch per request")]
    Trailing {
        /// How many.
        trailing_bytes: usize,
    },
    /// The header or the CRC.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The records.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A field that a producer may not set so.
    #[error("a produced batch cannot have {field} {value}")]
    Field {
        /// Kafka's name.
        field: &'static str,
        /// Its value.
        value: i64,
    },
}

/// Checks the records of one partition in a Produce request: exactly one v2 batch, a right CRC,
/// at least one record, offsets from 0, no control batch.
///
/// # Errors
/// [`ProducedBatchError`]; Kafka answers CORRUPT_MESSAGE or INVALID_RECORD to it.
pub fn check_produced_batch(
    records: Bytes,
    check: RecordCheck,
    decompressor: &mut Decompressor,
) -> Result<RawBatch, ProducedBatchError> {
    if records.is_empty() {
        return Err(ProducedBatchError::Empty);
    }
    let header = BatchHeader::parse(&records)?;
    if records.len() > header.size_bytes() {
        let trailing_bytes = records.len() - header.size_bytes();
        return Err(ProducedBatchError::Trailing { trailing_bytes });
    }
    let batch = RawBatch::parse(records)?;
    batch.verify_crc()?;
    let refuse = |field, value| Err(ProducedBatchError::Field { field, value });
    if header.base_offset != 0 {
        return refuse("base_offset", header.base_offset);
    }
    if header.is_control() {
        return refuse("control attribute", 1);
    }
    if header.record_count == 0 || header.record_count - 1 != header.last_offset_delta {
        return refuse("record_count", i64::from(header.record_count));
    }
    if header.is_idempotent() && (header.producer_epoch < 0 || header.base_sequence < 0) {
        return refuse("base_sequence", i64::from(header.base_sequence));
    }
    if let Err(codec_id) = header.codec() {
        return Err(RecordError::UnknownCodec {
            base_offset: 0,
            codec_id,
        }
        .into());
    }
    if check == RecordCheck::EveryRecord {
        for (index, record) in (0i64..).zip(batch.records(decompressor)?) {
            let offset = record?.offset;
            if offset != index {
                return refuse("offset_delta", offset);
            }
        }
    }
    Ok(batch)
}

/// Gives an accepted batch its place in the log.
///
/// With `log_append_time` every record gets that time, and the CRC is computed anew; without it
/// only bytes outside the CRC change. The bytes are patched in place if nothing else holds them,
/// copied once if the request frame still does.
///
/// # Panics
/// If `base_offset` is negative.
#[must_use]
pub fn place_batch(
    batch: RawBatch,
    base_offset: i64,
    partition_leader_epoch: i32,
    log_append_time: Option<i64>,
) -> RawBatch {
    assert!(base_offset >= 0, "the log starts at 0, not at {base_offset}");
    let RawBatch { mut header, bytes } = batch;
    let mut bytes = match bytes.try_into_mut() {
        Ok(bytes) => bytes,
        Err(shared) => BytesMut::from(&shared[..]),
    };
    header.base_offset = base_offset;
    header.partition_leader_epoch = partition_leader_epoch;
    bytes[BASE_OFFSET_AT..][..8].copy_from_slice(&base_offset.to_be_bytes());
    bytes[PARTITION_LEADER_EPOCH_AT..][..4].copy_from_slice(&partition_leader_epoch.to_be_bytes());
    if let Some(append_time) = log_append_time {
        header.attributes |= LOG_APPEND_TIME_FLAG;
        header.max_timestamp = append_time;
        bytes[ATTRIBUTES_AT..][..2].copy_from_slice(&header.attributes.to_be_bytes());
        bytes[MAX_TIMESTAMP_AT..][..8].copy_from_slice(&append_time.to_be_bytes());
        header.crc = crc32c::crc32c(&bytes[CRC_START..]);
        bytes[CRC_AT..][..4].copy_from_slice(&header.crc.to_be_bytes());
    }
    RawBatch {
        header,
        bytes: bytes.freeze(),
    }
}

const _: () = assert!(CRC_START < BATCH_HEADER_BYTES && PARTITION_LEADER_EPOCH_AT < CRC_AT);

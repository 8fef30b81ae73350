//! A sealed batch and its stamp: who sends it, in which place of the sequence.
//!
//! Stamping is apart from sealing because it comes later, when the batch is about to leave, and
//! perhaps again for a retry. Never here: records, compression.

use bytes::{Bytes, BytesMut};

use crate::record_batch::header::{
    BATCH_HEADER_BYTES, BatchHeader, CONTROL_FLAG, CRC_AT, CRC_START, TRANSACTIONAL_FLAG,
};

/// Who sends a batch, in which place of the sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerStamp {
    /// -1 without idempotence.
    pub producer_id: i64,
    /// -1 without idempotence.
    pub producer_epoch: i16,
    /// Sequence of the first record, -1 without idempotence.
    pub base_sequence: i32,
    /// Whether the batch belongs to a transaction.
    pub is_transactional: bool,
}

impl ProducerStamp {
    /// Neither idempotent nor transactional.
    pub const NONE: Self = Self {
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        is_transactional: false,
    };
}

/// A compressed batch that lacks only its stamp.
#[derive(Debug, Clone)]
pub struct SealedBatch {
    pub(super) header: BatchHeader,
    pub(super) bytes: Bytes,
    pub(super) uncompressed_bytes: usize,
    pub(super) capacity_bytes: usize,
}

impl SealedBatch {
    /// Writes producer id, epoch, sequence and flags, then the CRC, and returns the batch ready
    /// to be sent. A retry with the same stamp needs no second call; one with another may call
    /// again, which copies the batch if an earlier result is still alive.
    pub fn stamp(&mut self, stamp: ProducerStamp) -> Bytes {
        self.header.producer_id = stamp.producer_id;
        self.header.producer_epoch = stamp.producer_epoch;
        self.header.base_sequence = stamp.base_sequence;
        self.header.attributes &= !TRANSACTIONAL_FLAG;
        if stamp.is_transactional {
            self.header.attributes |= TRANSACTIONAL_FLAG;
        }
        self.write_header();
        self.bytes.clone()
    }

    /// As [`stamp`](Self::stamp), for the batch a transaction coordinator writes.
    pub(crate) fn stamp_control(&mut self, stamp: ProducerStamp) -> Bytes {
        self.header.attributes |= CONTROL_FLAG;
        self.stamp(stamp)
    }

    fn write_header(&mut self) {
        let mut bytes = match std::mem::take(&mut self.bytes).try_into_mut() {
            Ok(bytes) => bytes,
            Err(shared) => BytesMut::from(&shared[..]),
        };
        let raw = bytes.first_chunk_mut::<BATCH_HEADER_BYTES>();
        self.header.write(raw.expect("a sealed batch starts with its header"));
        self.header.crc = crc32c::crc32c(&bytes[CRC_START..]);
        bytes[CRC_AT..][..4].copy_from_slice(&self.header.crc.to_be_bytes());
        self.bytes = bytes.freeze();
    }

    /// The header as last stamped.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Size on the wire.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Memory of the buffer that it was sealed into, which may be larger than the batch.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        self.capacity_bytes
    }

    /// Size before compression, header included.
    #[must_use]
    pub fn uncompressed_bytes(&self) -> usize {
        self.uncompressed_bytes
    }

    /// The buffer for the next batch, if nothing else holds on to the bytes.
    #[must_use]
    pub fn into_buffer(self) -> Option<Vec<u8>> {
        let mut bytes = self.bytes.try_into_mut().ok()?;
        bytes.clear();
        Some(Vec::from(bytes))
    }
}

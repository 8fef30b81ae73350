//! The 61-byte header of a v2 record batch.
//!
//! Everything that positions, fencing and filtering need is in here, so that a batch can be
//! stepped over without decompressing it. All fields are kept: `last_offset_delta` is the only
//! way past a batch that compaction emptied, and `max_timestamp` is the time of every record in a
//! LogAppendTime batch.
//! Never here: the records.

use crate::compression::Codec;

/// Size of the header; the records follow it.
pub const BATCH_HEADER_BYTES: usize = 61;
/// The bytes before the ones `batch_length` counts: base offset and the length itself.
pub const BATCH_PREFIX_BYTES: usize = 12;
/// The CRC covers everything from here to the end of the batch.
pub(crate) const CRC_START: usize = 21;

pub(crate) const BASE_OFFSET_AT: usize = 0;
pub(crate) const BATCH_LENGTH_AT: usize = 8;
pub(crate) const PARTITION_LEADER_EPOCH_AT: usize = 12;
pub(crate) const MAGIC_AT: usize = 16;
pub(crate) const CRC_AT: usize = 17;
pub(crate) const ATTRIBUTES_AT: usize = 21;
pub(crate) const LAST_OFFSET_DELTA_AT: usize = 23;
pub(crate) const BASE_TIMESTAMP_AT: usize = 27;
pub(crate) const MAX_TIMESTAMP_AT: usize = 35;
pub(crate) const PRODUCER_ID_AT: usize = 43;
pub(crate) const PRODUCER_EPOCH_AT: usize = 51;
pub(crate) const BASE_SEQUENCE_AT: usize = 53;
pub(crate) const RECORD_COUNT_AT: usize = 57;

pub(crate) const CODEC_MASK: i16 = 0x07;
pub(crate) const LOG_APPEND_TIME_FLAG: i16 = 0x08;
pub(crate) const TRANSACTIONAL_FLAG: i16 = 0x10;
pub(crate) const CONTROL_FLAG: i16 = 0x20;
pub(crate) const DELETE_HORIZON_FLAG: i16 = 0x40;

/// Whose clock the timestamps of a batch are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// The producer's: each record has its own.
    CreateTime,
    /// The broker's: every record has the batch's `max_timestamp`.
    LogAppendTime,
}

/// The header of a v2 record batch, all fields as they are on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record the batch was written with.
    pub base_offset: i64,
    /// Bytes after this field.
    pub batch_length: i32,
    /// Epoch of the leader that appended it; -1 from a producer.
    pub partition_leader_epoch: i32,
    /// CRC-32C from the attributes to the end.
    pub crc: u32,
    /// Codec, timestamp type, transactional, control and delete-horizon bits.
    pub attributes: i16,
    /// Distance from `base_offset` to the last offset, kept when compaction removes records.
    pub last_offset_delta: i32,
    /// What the timestamp deltas count from, in ms.
    pub base_timestamp: i64,
    /// The largest timestamp of the batch, or the append time, in ms.
    pub max_timestamp: i64,
    /// -1 without idempotence.
    pub producer_id: i64,
    /// -1 without idempotence.
    pub producer_epoch: i16,
    /// Sequence of the first record, -1 without idempotence.
    pub base_sequence: i32,
    /// Records that are in the batch now; 0 if compaction emptied it.
    pub record_count: i32,
}

/// Why bytes are not a record batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// Fewer bytes than the header takes, or than it announces.
    #[error("record batch at offset {base_offset}: {needed} bytes announced, {available} there")]
    Truncated {
        /// The batch's base offset, -1 if not even that was there.
        base_offset: i64,
        /// What the batch takes.
        needed: usize,
        /// What there is.
        available: usize,
    },
    /// A length that cannot hold the header.
    #[error("record batch at offset {base_offset}: impossible length {batch_length}")]
    Length {
        /// The batch's base offset.
        base_offset: i64,
        /// What the length field says.
        batch_length: i32,
    },
    /// A v0 or v1 message set, or something newer than we know.
    #[error(
        "record batch at offset {base_offset}: magic {magic} is not supported; only v2 batches are \
         (message formats v0 and v1 ended with Kafka 0.11, or `log.message.format.version` is below it)"
    )]
    Magic {
        /// The batch's base offset.
        base_offset: i64,
        /// The magic byte.
        magic: i8,
    },
    /// A field of the header contradicts itself or another.
    #[error("record batch at offset {base_offset}: {field} is {value}")]
    Field {
        /// The batch's base offset.
        base_offset: i64,
        /// Kafka's name of the field.
        field: &'static str,
        /// Its value.
        value: i64,
    },
    /// The bytes are not the ones that were written.
    #[error("record batch at offset {base_offset}: crc is {computed:#010x}, header says {stored:#010x}")]
    Crc {
        /// The batch's base offset.
        base_offset: i64,
        /// What the header says.
        stored: u32,
        /// What the bytes give.
        computed: u32,
    },
}

impl BatchHeader {
    /// Reads the header at the front of `bytes`, which may be longer or shorter than the batch.
    ///
    /// Checks the fields that other code relies on: the magic, a length that holds the header,
    /// offsets that do not overflow, and a record count and offset delta that are not negative.
    ///
    /// # Errors
    /// [`BatchError`] for fewer than 61 bytes or a field that cannot be.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let Some(raw) = bytes.first_chunk::<BATCH_HEADER_BYTES>() else {
            return Err(Self::parse_short(bytes));
        };
        let header = Self {
            base_offset: i64::from_be_bytes(field(raw, BASE_OFFSET_AT)),
            batch_length: i32::from_be_bytes(field(raw, BATCH_LENGTH_AT)),
            partition_leader_epoch: i32::from_be_bytes(field(raw, PARTITION_LEADER_EPOCH_AT)),
            crc: u32::from_be_bytes(field(raw, CRC_AT)),
            attributes: i16::from_be_bytes(field(raw, ATTRIBUTES_AT)),
            last_offset_delta: i32::from_be_bytes(field(raw, LAST_OFFSET_DELTA_AT)),
            base_timestamp: i64::from_be_bytes(field(raw, BASE_TIMESTAMP_AT)),
            max_timestamp: i64::from_be_bytes(field(raw, MAX_TIMESTAMP_AT)),
            producer_id: i64::from_be_bytes(field(raw, PRODUCER_ID_AT)),
            producer_epoch: i16::from_be_bytes(field(raw, PRODUCER_EPOCH_AT)),
            base_sequence: i32::from_be_bytes(field(raw, BASE_SEQUENCE_AT)),
            record_count: i32::from_be_bytes(field(raw, RECORD_COUNT_AT)),
        };
        let base_offset = header.base_offset;
        let magic = raw[MAGIC_AT] as i8;
        if magic != 2 {
            return Err(BatchError::Magic { base_offset, magic });
        }
        if header.size_bytes_checked().is_none() {
            return Err(BatchError::Length {
                base_offset,
                batch_length: header.batch_length,
            });
        }
        let refuse = |field, value| {
            Err(BatchError::Field {
                base_offset,
                field,
                value,
            })
        };
        if base_offset < 0 {
            return refuse("base_offset", base_offset);
        }
        if header.last_offset_delta < 0
            || base_offset
                .checked_add(i64::from(header.last_offset_delta) + 1)
                .is_none()
        {
            return refuse("last_offset_delta", i64::from(header.last_offset_delta));
        }
        if header.record_count < 0 {
            return refuse("record_count", i64::from(header.record_count));
        }
        Ok(header)
    }

    /// The error for fewer bytes than a header: an old message set is named as one if it shows.
    fn parse_short(bytes: &[u8]) -> BatchError {
        let base_offset = bytes.first_chunk().map_or(-1, |raw| i64::from_be_bytes(*raw));
        match bytes.get(MAGIC_AT) {
            Some(&magic) if magic != 2 => BatchError::Magic {
                base_offset,
                magic: magic as i8,
            },
            _ => BatchError::Truncated {
                base_offset,
                needed: BATCH_HEADER_BYTES,
                available: bytes.len(),
            },
        }
    }

    fn size_bytes_checked(&self) -> Option<usize> {
        let size = usize::try_from(self.batch_length).ok()? + BATCH_PREFIX_BYTES;
        (size >= BATCH_HEADER_BYTES).then_some(size)
    }

    /// The whole batch in bytes, header included.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.batch_length.max(0) as usize + BATCH_PREFIX_BYTES
    }

    /// The last offset the batch covers, whether or not its record still exists.
    #[must_use]
    pub fn last_offset(&self) -> i64 {
        self.base_offset.wrapping_add(i64::from(self.last_offset_delta))
    }

    /// Where reading goes on after this batch.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.last_offset().wrapping_add(1)
    }

    /// The codec, or its unknown id.
    ///
    /// # Errors
    /// The three-bit id if it is none we know.
    pub fn codec(&self) -> Result<Codec, i16> {
        let id = self.attributes & CODEC_MASK;
        Codec::from_id(id).ok_or(id)
    }

    /// A transaction marker or another batch that is not for applications.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_FLAG != 0
    }

    /// Written inside a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_FLAG != 0
    }

    /// Whether `base_timestamp` holds the compaction's delete horizon (KIP-534). Deltas count from
    /// it all the same.
    #[must_use]
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & DELETE_HORIZON_FLAG != 0
    }

    /// Whether it carries a producer id, and so a sequence.
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        self.producer_id >= 0
    }

    /// Whose clock the timestamps are.
    #[must_use]
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes & LOG_APPEND_TIME_FLAG == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// Sequence of the last record; wraps from [`i32::MAX`] to 0 as Kafka's does.
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return self.base_sequence;
        }
        sequence_after(self.base_sequence, self.last_offset_delta)
    }

    /// Writes the header, magic included, over the front of a batch.
    pub(crate) fn write(&self, raw: &mut [u8; BATCH_HEADER_BYTES]) {
        raw[BASE_OFFSET_AT..][..8].copy_from_slice(&self.base_offset.to_be_bytes());
        raw[BATCH_LENGTH_AT..][..4].copy_from_slice(&self.batch_length.to_be_bytes());
        raw[PARTITION_LEADER_EPOCH_AT..][..4].copy_from_slice(&self.partition_leader_epoch.to_be_bytes());
        raw[MAGIC_AT] = 2;
        raw[CRC_AT..][..4].copy_from_slice(&self.crc.to_be_bytes());
        raw[ATTRIBUTES_AT..][..2].copy_from_slice(&self.attributes.to_be_bytes());
        raw[LAST_OFFSET_DELTA_AT..][..4].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        raw[BASE_TIMESTAMP_AT..][..8].copy_from_slice(&self.base_timestamp.to_be_bytes());
        raw[MAX_TIMESTAMP_AT..][..8].copy_from_slice(&self.max_timestamp.to_be_bytes());
        raw[PRODUCER_ID_AT..][..8].copy_from_slice(&self.producer_id.to_be_bytes());
        raw[PRODUCER_EPOCH_AT..][..2].copy_from_slice(&self.producer_epoch.to_be_bytes());
        raw[BASE_SEQUENCE_AT..][..4].copy_from_slice(&self.base_sequence.to_be_bytes());
        raw[RECORD_COUNT_AT..][..4].copy_from_slice(&self.record_count.to_be_bytes());
    }
}

/// The sequence `count` records after `sequence`; wraps from [`i32::MAX`] to 0, never negative.
///
/// # Panics
/// If either is negative.
#[must_use]
pub fn sequence_after(sequence: i32, count: i32) -> i32 {
    assert!(
        sequence >= 0 && count >= 0,
        "sequence {sequence} + {count}: both count from 0"
    );
    ((i64::from(sequence) + i64::from(count)) % (i64::from(i32::MAX) + 1)) as i32
}

fn field<const N: usize>(raw: &[u8; BATCH_HEADER_BYTES], at: usize) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&raw[at..at + N]);
    value
}

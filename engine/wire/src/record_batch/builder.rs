//! Building a batch: records are encoded once, straight into the bytes that go to the broker.
//!
//! Three steps with three owners. [`BatchBuilder`] appends on the caller's thread; `seal`
//! compresses, off the network task; [`SealedBatch::stamp`] writes producer id, epoch, sequence
//! and CRC when the batch is about to leave, and again for a retry that needs others.
//! Never here: when a batch is full or due, which is the accumulator's business.

use bytes::Bytes;

use crate::compression::{Codec, CompressError, Compression, Compressor};
use crate::record_batch::header::{BATCH_HEADER_BYTES, BATCH_PREFIX_BYTES, BatchHeader};
use crate::record_batch::records::Header;
use crate::record_batch::sealed::SealedBatch;
use crate::record_batch::short_varint::ShortVarint;
use crate::varint;

/// The most a record costs beyond its key, value and headers: length (5), attributes (1),
/// timestamp delta (10), offset delta (5), key, value and header count (5 each).
pub const RECORD_OVERHEAD_BYTES_MAX: usize = 36;
/// The most a header costs beyond its key and value.
pub const HEADER_OVERHEAD_BYTES_MAX: usize = 10;

/// Appends records into an arena that starts with room for the batch header.
#[derive(Debug)]
pub struct BatchBuilder {
    arena: Vec<u8>,
    record_count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

/// A record that cannot be in any batch. Nothing was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// Lengths are 32-bit on the wire, the batch's own included.
    #[error("a record of {record_bytes} bytes does not fit behind {batch_bytes} bytes: a batch holds 2 GiB")]
    TooLarge {
        /// What the record takes.
        record_bytes: usize,
        /// What the batch holds already.
        batch_bytes: usize,
    },
    /// Offsets in a batch are 31-bit.
    #[error("a batch holds at most 2^31 - 1 records")]
    TooMany,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

impl BatchBuilder {
    /// An empty batch with room for `capacity_bytes` of records before the arena grows.
    #[must_use]
    pub fn with_capacity(capacity_bytes: usize) -> Self {
        Self::reusing(Vec::with_capacity(BATCH_HEADER_BYTES + capacity_bytes))
    }

    /// An empty batch in `buffer`, whose content is dropped and whose capacity is kept.
    #[must_use]
    pub fn reusing(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.resize(BATCH_HEADER_BYTES, 0);
        Self {
            arena: buffer,
            record_count: 0,
            base_timestamp: 0,
            max_timestamp: 0,
        }
    }

    /// An upper bound of what [`append`](Self::append) adds for such a record, without encoding it.
    #[must_use]
    pub fn record_bytes_max<'h>(
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl IntoIterator<Item = Header<'h>>,
    ) -> usize {
        let headers: usize = headers
            .into_iter()
            .map(|h| HEADER_OVERHEAD_BYTES_MAX + h.key.len() + h.value.map_or(0, <[u8]>::len))
            .sum();
        RECORD_OVERHEAD_BYTES_MAX + key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len) + headers
    }

    /// The size of an uncompressed batch with this record alone.
    #[must_use]
    pub fn lone_batch_bytes<'h, H>(key: Option<&[u8]>, value: Option<&[u8]>, headers: H) -> usize
    where
        H: IntoIterator<Item = Header<'h>>,
        H::IntoIter: ExactSizeIterator,
    {
        let headers = headers.into_iter();
        // Attributes and the two deltas take a byte each.
        let content_bytes = 3
            + varint::size_u32(length_zigzag(key))
            + key.map_or(0, <[u8]>::len)
            + varint::size_u32(length_zigzag(value))
            + value.map_or(0, <[u8]>::len)
            + varint::size_i32(headers.len() as i32)
            + headers.map(header_size).sum::<usize>();
        BATCH_HEADER_BYTES + varint::size_u64((content_bytes as u64) << 1) + content_bytes
    }

    /// Encodes one record behind the others. `timestamp` is in ms.
    ///
    /// Headers keep their order, duplicates and non-UTF-8 keys included; pass `[]` for none.
    ///
    /// # Errors
    /// [`AppendError`] if the record or the batch would outgrow the format; nothing is appended.
    #[inline]
    pub fn append<'h, H>(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: H,
    ) -> Result<(), AppendError>
    where
        H: IntoIterator<Item = Header<'h>>,
        H::IntoIter: ExactSizeIterator + Clone,
    {
        let headers = headers.into_iter();
        let header_count = headers.len();
        if self.record_count == 0 {
            self.base_timestamp = timestamp;
            self.max_timestamp = timestamp;
        }
        let key_bytes = key.map_or(0, <[u8]>::len);
        let value_bytes = value.map_or(0, <[u8]>::len);
        let mut headers_bytes = 0usize;
        if header_count > 0 {
            headers_bytes = headers
                .clone()
                .map(|h| HEADER_OVERHEAD_BYTES_MAX + h.key.len() + h.value.map_or(0, <[u8]>::len))
                .sum();
        }
        let bound = RECORD_OVERHEAD_BYTES_MAX
            .saturating_add(key_bytes)
            .saturating_add(value_bytes)
            .saturating_add(headers_bytes);
        if bound.saturating_add(self.arena.len()) > i32::MAX as usize {
            return Err(AppendError::TooLarge {
                record_bytes: bound,
                batch_bytes: self.arena.len(),
            });
        }
        if self.record_count == i32::MAX {
            return Err(AppendError::TooMany);
        }
        // From here on all lengths fit 31 bits.
        if header_count > 0 {
            headers_bytes = headers.clone().map(header_size).sum();
        }
        self.arena.reserve(bound);
        let timestamp_delta = varint::zigzag_i64(timestamp.wrapping_sub(self.base_timestamp));
        let offset_delta = varint::zigzag_i32(self.record_count);
        let (key_length, value_length) = (length_zigzag(key), length_zigzag(value));
        // All but these four varints; one byte are the attributes, which are unused.
        let content_bytes = 1 + key_bytes + value_bytes + varint::size_i32(header_count as i32) + headers_bytes;
        // Nearly every record: see `ShortVarint`. All lengths are below that of the record.
        if (timestamp_delta | u64::from(offset_delta) | (bound as u64) << 1) < ShortVarint::LIMIT {
            let timestamp_delta = ShortVarint::new(timestamp_delta as u32);
            let offset_delta = ShortVarint::new(offset_delta);
            let (key_length, value_length) = (ShortVarint::new(key_length), ShortVarint::new(value_length));
            let varints = [timestamp_delta, offset_delta, key_length, value_length];
            let varint_bytes: usize = varints.into_iter().map(ShortVarint::size_bytes).sum();
            ShortVarint::new(varint::zigzag_i32((content_bytes + varint_bytes) as i32))
                .then(ShortVarint::new(0))
                .then(timestamp_delta)
                .put(&mut self.arena);
            let lengths = offset_delta.then(key_length);
            if let Some(key) = key {
                lengths.put(&mut self.arena);
                self.arena.extend_from_slice(key);
                value_length.put(&mut self.arena);
            } else {
                // The length of a null key takes one byte.
                lengths.then(value_length).put(&mut self.arena);
            }
        } else {
            let length = content_bytes
                + varint::size_u64(timestamp_delta)
                + varint::size_u32(offset_delta)
                + varint::size_u32(key_length)
                + varint::size_u32(value_length);
            varint::put_i32(&mut self.arena, length as i32);
            self.arena.push(0);
            varint::put_u64(&mut self.arena, timestamp_delta);
            varint::put_u32(&mut self.arena, offset_delta);
            varint::put_u32(&mut self.arena, key_length);
            self.arena.extend_from_slice(key.unwrap_or_default());
            varint::put_u32(&mut self.arena, value_length);
        }
        if let Some(value) = value {
            self.arena.extend_from_slice(value);
        }
        if header_count == 0 {
            self.arena.push(0);
        } else {
            varint::put_i32(&mut self.arena, header_count as i32);
            for header in headers {
                varint::put_i32(&mut self.arena, header.key.len() as i32);
                self.arena.extend_from_slice(header.key);
                varint::put_u32(&mut self.arena, length_zigzag(header.value));
                self.arena.extend_from_slice(header.value.unwrap_or_default());
            }
        }
        self.record_count += 1;
        self.max_timestamp = self.max_timestamp.max(timestamp);
        Ok(())
    }

    /// Size of the batch as it would be without compression, header included.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.arena.len()
    }

    /// Memory of the arena: what it holds, and the room behind that.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        self.arena.capacity()
    }

    /// Makes the arena at least so large. Without this call it grows by itself, to twice its size.
    pub fn grow_to(&mut self, capacity_bytes: usize) {
        self.arena
            .reserve_exact(capacity_bytes.saturating_sub(self.arena.len()));
    }

    /// Records so far.
    #[must_use]
    pub fn record_count(&self) -> i32 {
        self.record_count
    }

    /// Whether nothing was appended yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// Timestamp of the first record; `None` without one.
    #[must_use]
    pub fn base_timestamp(&self) -> Option<i64> {
        (self.record_count > 0).then_some(self.base_timestamp)
    }

    /// The largest timestamp; `None` without a record.
    #[must_use]
    pub fn max_timestamp(&self) -> Option<i64> {
        (self.record_count > 0).then_some(self.max_timestamp)
    }

    /// Ends the batch: compresses it and leaves the builder empty for the next one.
    ///
    /// `spare` is a buffer to reuse, possibly empty. Without compression the sealed batch takes
    /// the arena and the builder goes on with `spare`; otherwise the compressed bytes go to
    /// `spare` and the arena stays. Feed back [`SealedBatch::into_buffer`], and a steady state
    /// allocates nothing.
    ///
    /// # Errors
    /// [`CompressError`] if the codec cannot write; the records stay in the builder.
    ///
    /// # Panics
    /// If the builder is empty: there is no batch without a record.
    pub fn seal(
        &mut self,
        compression: Compression,
        compressor: &mut Compressor,
        mut spare: Vec<u8>,
    ) -> Result<SealedBatch, CompressError> {
        assert!(self.record_count > 0, "a sealed batch has a record");
        let uncompressed_bytes = self.arena.len();
        spare.clear();
        spare.resize(BATCH_HEADER_BYTES, 0);
        if compression.codec == Codec::None {
            std::mem::swap(&mut self.arena, &mut spare);
        } else {
            compressor.compress(compression, &self.arena[BATCH_HEADER_BYTES..], &mut spare)?;
            // A codec makes room for the worst case; a sealed batch must not take more memory than an open one.
            spare.shrink_to(self.arena.capacity());
            self.arena.truncate(BATCH_HEADER_BYTES);
        }
        let header = BatchHeader {
            base_offset: 0,
            batch_length: (spare.len() - BATCH_PREFIX_BYTES) as i32,
            partition_leader_epoch: -1,
            crc: 0,
            attributes: compression.codec.id(),
            last_offset_delta: self.record_count - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            record_count: self.record_count,
        };
        self.record_count = 0;
        Ok(SealedBatch {
            header,
            capacity_bytes: spare.capacity(),
            bytes: Bytes::from(spare),
            uncompressed_bytes,
        })
    }

    /// The arena, for [`reusing`](Self::reusing); whatever was appended is dropped.
    #[must_use]
    pub fn into_buffer(self) -> Vec<u8> {
        self.arena
    }
}

fn length_zigzag(bytes: Option<&[u8]>) -> u32 {
    match bytes {
        // Checked against the limit of a batch before.
        Some(bytes) => varint::zigzag_i32(bytes.len() as i32),
        None => varint::zigzag_i32(-1),
    }
}

fn header_size(header: Header<'_>) -> usize {
    varint::size_i32(header.key.len() as i32)
        + header.key.len()
        + varint::size_u32(length_zigzag(header.value))
        + header.value.map_or(0, <[u8]>::len)
}

//! The records of a batch, read in place.
//!
//! Keys, values and headers borrow from the batch (or from the decompressor's scratch buffer):
//! walking a batch allocates nothing. Every count and length is checked against the bytes that
//! are there before it is used.
//! Never here: CRC (see `RawBatch::verify_crc`), filtering of control or aborted batches.

use crate::compression::{DecompressError, Decompressor};
use crate::record_batch::header::{BatchHeader, TimestampType};
use crate::record_batch::split::RawBatch;
use crate::varint;

/// The smallest record: length, attributes, two deltas, two null lengths, no headers.
const RECORD_BYTES_MIN: usize = 7;

/// One record; its bytes belong to the batch it was read from.
#[derive(Debug, Clone)]
pub struct Record<'a> {
    /// Absolute offset.
    pub offset: i64,
    /// In ms; the batch's `max_timestamp` under LogAppendTime.
    pub timestamp: i64,
    /// `None` is null, which is not the same as empty.
    pub key: Option<&'a [u8]>,
    /// `None` is null: a tombstone in a compacted topic.
    pub value: Option<&'a [u8]>,
    /// In the order they were written, duplicates included.
    pub headers: Headers<'a>,
}

/// One header of a record. Keys are bytes: Kafka promises UTF-8, but not every client keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// Not unique within a record, and not always UTF-8.
    pub key: &'a [u8],
    /// `None` is null.
    pub value: Option<&'a [u8]>,
}

/// The headers of a record, decoded as they are iterated; they were checked with the record.
#[derive(Debug, Clone, Default)]
pub struct Headers<'a> {
    rest: &'a [u8],
    count: usize,
}

/// Why the records of a batch cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The codec bits name none we know.
    #[error("record batch at offset {base_offset}: unknown codec id {codec_id}")]
    UnknownCodec {
        /// The batch.
        base_offset: i64,
        /// The three bits.
        codec_id: i16,
    },
    /// The payload does not decompress, or to more than the limit.
    #[error("record batch at offset {base_offset}")]
    Decompress {
        /// The batch.
        base_offset: i64,
        /// What the codec says.
        #[source]
        source: DecompressError,
    },
    /// The header announces more records than there can be.
    #[error("record batch at offset {base_offset}: {record_count} records in {payload_bytes} bytes")]
    Count {
        /// The batch.
        base_offset: i64,
        /// From the header.
        record_count: i32,
        /// Uncompressed.
        payload_bytes: usize,
    },
    /// A record that contradicts its own length, or ends with the payload.
    #[error("record batch at offset {base_offset}: record {index} is malformed: {field}")]
    Malformed {
        /// The batch.
        base_offset: i64,
        /// Counted from 0.
        index: i32,
        /// Kafka's name of the field that does not fit.
        field: &'static str,
    },
    /// Bytes are left after the last record.
    #[error("record batch at offset {base_offset}: {trailing_bytes} bytes after the last record")]
    Trailing {
        /// The batch.
        base_offset: i64,
        /// How many.
        trailing_bytes: usize,
    },
}

impl RawBatch {
    /// The records, decompressed into `decompressor`'s scratch buffer if they are compressed and
    /// straight from the batch if not.
    ///
    /// The CRC is not checked here: see [`RawBatch::verify_crc`].
    ///
    /// # Errors
    /// An unknown codec, a payload that does not decompress within the limits, or a record count
    /// that cannot be.
    pub fn records<'a>(&'a self, decompressor: &'a mut Decompressor) -> Result<RecordIter<'a>, RecordError> {
        let base_offset = self.header.base_offset;
        let codec = self
            .header
            .codec()
            .map_err(|codec_id| RecordError::UnknownCodec { base_offset, codec_id })?;
        // A batch that compaction emptied has no payload, whatever its codec bits say.
        let payload = if self.header.record_count == 0 && self.payload().is_empty() {
            &[]
        } else {
            decompressor
                .decompress(codec, self.payload())
                .map_err(|source| RecordError::Decompress { base_offset, source })?
        };
        RecordIter::new(&self.header, payload)
    }
}

/// Walks the records of one batch. Ends after the first error.
#[derive(Debug, Clone)]
pub struct RecordIter<'a> {
    rest: &'a [u8],
    base_offset: i64,
    last_offset_delta: i32,
    base_timestamp: i64,
    append_time: Option<i64>,
    index: i32,
    record_count: i32,
}

impl<'a> RecordIter<'a> {
    /// Walks uncompressed records under `header`.
    ///
    /// # Errors
    /// [`RecordError::Count`] if `payload` cannot hold as many records as the header says.
    pub fn new(header: &BatchHeader, payload: &'a [u8]) -> Result<Self, RecordError> {
        let record_count = header.record_count;
        if record_count < 0 || record_count as usize > payload.len() / RECORD_BYTES_MIN {
            return Err(RecordError::Count {
                base_offset: header.base_offset,
                record_count,
                payload_bytes: payload.len(),
            });
        }
        Ok(Self {
            rest: payload,
            base_offset: header.base_offset,
            last_offset_delta: header.last_offset_delta,
            base_timestamp: header.base_timestamp,
            append_time: (header.timestamp_type() == TimestampType::LogAppendTime).then_some(header.max_timestamp),
            index: 0,
            record_count,
        })
    }

    #[inline]
    fn take_record(&mut self) -> Result<Record<'a>, &'static str> {
        let length = varint::take_i32(&mut self.rest).ok_or("length")?;
        let length = usize::try_from(length).map_err(|_| "length")?;
        let (mut body, rest) = self.rest.split_at_checked(length).ok_or("length")?;
        self.rest = rest;
        let (_attributes, after) = body.split_first().ok_or("attributes")?;
        body = after;
        let timestamp_delta = varint::take_i64(&mut body).ok_or("timestamp_delta")?;
        let offset_delta = varint::take_i32(&mut body).ok_or("offset_delta")?;
        if offset_delta < 0 || offset_delta > self.last_offset_delta {
            return Err("offset_delta");
        }
        let key = take_bytes(&mut body).ok_or("key")?;
        let value = take_bytes(&mut body).ok_or("value")?;
        let headers = match body {
            [0] => Headers::default(),
            _ => Headers::parse(body).ok_or("headers")?,
        };
        Ok(Record {
            offset: self.base_offset + i64::from(offset_delta),
            timestamp: match self.append_time {
                Some(append_time) => append_time,
                None => self.base_timestamp.wrapping_add(timestamp_delta),
            },
            key,
            value,
            headers,
        })
    }

    #[cold]
    fn fail(&mut self, field: &'static str) -> RecordError {
        let index = self.index;
        self.index = self.record_count;
        self.rest = &[];
        RecordError::Malformed {
            base_offset: self.base_offset,
            index,
            field,
        }
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.index >= self.record_count {
            if self.rest.is_empty() {
                return None;
            }
            let trailing_bytes = self.rest.len();
            self.rest = &[];
            return Some(Err(RecordError::Trailing {
                base_offset: self.base_offset,
                trailing_bytes,
            }));
        }
        match self.take_record() {
            Ok(record) => {
                self.index += 1;
                Some(Ok(record))
            }
            Err(field) => Some(Err(self.fail(field))),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // One more than the records: trailing bytes are reported as an error.
        let left = (self.record_count - self.index) as usize;
        (0, Some(left + 1))
    }
}

impl<'a> Headers<'a> {
    /// Checks that `raw` is exactly a header count and that many headers.
    fn parse(raw: &'a [u8]) -> Option<Self> {
        let mut rest = raw;
        let count = usize::try_from(varint::take_i32(&mut rest)?).ok()?;
        // A header takes two bytes at least.
        if count > rest.len() / 2 {
            return None;
        }
        let headers = Self { rest, count };
        for _ in 0..count {
            take_header(&mut rest)?;
        }
        rest.is_empty().then_some(headers)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        self.count = self.count.checked_sub(1)?;
        let header = take_header(&mut self.rest);
        assert!(header.is_some(), "headers are checked before they are handed out");
        header
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count, Some(self.count))
    }
}

impl ExactSizeIterator for Headers<'_> {}

fn take_header<'a>(input: &mut &'a [u8]) -> Option<Header<'a>> {
    Some(Header {
        key: take_bytes(input)??,
        value: take_bytes(input)?,
    })
}

/// Takes a length-prefixed byte string; the inner `None` is null.
#[inline]
fn take_bytes<'a>(input: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = varint::take_i32(input)?;
    if length < 0 {
        return (length == -1).then_some(None);
    }
    let (bytes, rest) = input.split_at_checked(length as usize)?;
    *input = rest;
    Some(Some(bytes))
}

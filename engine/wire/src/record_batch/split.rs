//! Cutting the `records` of a Fetch response or a log segment into batches, without copying.
//!
//! A broker fills a response to `max_bytes` and cuts the last batch wherever that falls; the
//! earlier batches must survive it.
//! Never here: decompression, single records.

use bytes::Bytes;

use crate::record_batch::header::{BATCH_HEADER_BYTES, BatchError, BatchHeader, CRC_START, MAGIC_AT};

/// One batch as it came: its header and all of its bytes, still compressed.
///
/// `bytes` is a slice of the response it came in and keeps that alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawBatch {
    /// The parsed header.
    pub header: BatchHeader,
    /// The whole batch, header included.
    pub bytes: Bytes,
}

impl RawBatch {
    /// Takes exactly one batch; bytes after it are an error.
    ///
    /// # Errors
    /// As [`BatchHeader::parse`], and if `bytes` is not exactly as long as the header says.
    pub fn parse(bytes: Bytes) -> Result<Self, BatchError> {
        let header = BatchHeader::parse(&bytes)?;
        if header.size_bytes() != bytes.len() {
            return Err(BatchError::Truncated {
                base_offset: header.base_offset,
                needed: header.size_bytes(),
                available: bytes.len(),
            });
        }
        Ok(Self { header, bytes })
    }

    /// Compares the stored CRC with that of the bytes.
    ///
    /// # Errors
    /// [`BatchError::Crc`] if they differ.
    pub fn verify_crc(&self) -> Result<(), BatchError> {
        let computed = crc32c::crc32c(&self.bytes[CRC_START..]);
        if computed == self.header.crc {
            return Ok(());
        }
        Err(BatchError::Crc {
            base_offset: self.header.base_offset,
            stored: self.header.crc,
            computed,
        })
    }

    /// What follows the header: records, possibly compressed.
    pub(crate) fn payload(&self) -> &[u8] {
        &self.bytes[BATCH_HEADER_BYTES..]
    }
}

/// Cuts `records` into batches; each is a slice of it.
///
/// A truncated tail ends the iteration without an error, see [`Batches::truncated_tail`]; a null
/// or empty `records` is no batch at all. After an error the iteration is over.
#[must_use]
pub fn split_batches(records: Bytes) -> Batches {
    Batches {
        rest: records,
        truncated_tail: None,
    }
}

/// Iterator of [`split_batches`].
#[derive(Debug, Clone)]
pub struct Batches {
    rest: Bytes,
    truncated_tail: Option<usize>,
}

impl Batches {
    /// After the iteration: how many bytes the cut-off last batch needs in all, if one was cut
    /// off and its length was readable (0 if it was not).
    ///
    /// A consumer that got no batch but a truncated tail must ask for at least this much.
    #[must_use]
    pub fn truncated_tail(&self) -> Option<usize> {
        self.truncated_tail
    }

    fn end(&mut self, truncated_tail: Option<usize>) {
        self.rest = Bytes::new();
        self.truncated_tail = truncated_tail;
    }
}

impl Iterator for Batches {
    type Item = Result<RawBatch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        if self.rest.len() < BATCH_HEADER_BYTES && self.rest.get(MAGIC_AT).is_none_or(|&m| m == 2) {
            let needed = self.rest.get(8..12).map_or(0, |raw| {
                let length = i32::from_be_bytes([raw[0], raw[1], raw[2], raw[3]]);
                length.max(0) as usize + 12
            });
            self.end(Some(needed));
            return None;
        }
        let header = match BatchHeader::parse(&self.rest) {
            Ok(header) => header,
            Err(error) => {
                self.end(None);
                return Some(Err(error));
            }
        };
        if header.size_bytes() > self.rest.len() {
            self.end(Some(header.size_bytes()));
            return None;
        }
        let bytes = self.rest.split_to(header.size_bytes());
        Some(Ok(RawBatch { header, bytes }))
    }
}

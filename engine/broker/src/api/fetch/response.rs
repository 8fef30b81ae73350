//! A Fetch response, written by hand so that batches are not copied.
//!
//! Never here: where batches come from.

use bytes::{BufMut, Bytes, BytesMut};
use engine_wire::error_code::ErrorCode;
use tracing::error;

use crate::api::fetch::wanted::{Fetched, TOPIC_IDS, Wanted};
use crate::log::read::Run;
use crate::log::transactions::AbortedTransaction;

/// Runs of bytes up to this size are copied into the piece that is being written, which is cheaper than a
/// piece of their own in the vectored write.
const COPIED_BYTES_MAX: usize = 2_048;

/// Where a batch has its checksum, and how much of it is kept apart from the rest in memory.
const CRC_AT: usize = 17;
const HEAD_BYTES: usize = 16;

/// First flexible version.
const FLEXIBLE: i16 = 12;

/// Writes a Fetch response as pieces: small ones copied together, batches as they are.
pub(super) struct ResponseWriter {
    version: i16,
    pieces: Vec<Bytes>,
    open: BytesMut,
    /// The next batch gets a wrong checksum: a fault that was asked for.
    corrupts_crc: bool,
}

impl ResponseWriter {
    pub(super) fn new(version: i16, correlation_id: i32, corrupts_crc: bool) -> Self {
        let mut open = BytesMut::with_capacity(512);
        open.put_i32(correlation_id);
        let mut writer = Self {
            version,
            pieces: vec![Bytes::new()],
            open,
            corrupts_crc,
        };
        writer.put_tags(); // Of the response header.
        writer
    }

    fn is_flexible(&self) -> bool {
        self.version >= FLEXIBLE
    }

    pub(super) fn put_top(&mut self, throttle_ms: i32, error: ErrorCode, session_id: i32, topics: usize) {
        self.open.put_i32(throttle_ms);
        if self.version >= 7 {
            self.open.put_i16(error.code());
            self.open.put_i32(session_id);
        }
        self.put_length(topics);
    }

    /// A topic of which `partitions` partitions follow.
    pub(super) fn put_topic(&mut self, topic: &Wanted, partitions: usize) {
        if self.version >= TOPIC_IDS {
            self.open.put_u128(topic.topic_id.as_u128());
        } else {
            if self.is_flexible() {
                self.put_length(topic.name.len());
            } else {
                self.open.put_u16(u16::try_from(topic.name.len()).unwrap_or(u16::MAX));
            }
            self.open.put_slice(topic.name.as_bytes());
        }
        self.put_length(partitions);
    }

    pub(super) fn put_partition(&mut self, index: i32, fetched: Fetched) {
        let Fetched {
            mut error,
            high_watermark,
            last_stable_offset,
            log_start_offset,
            aborted,
            batches,
        } = fetched;
        // Read first: a disk that fails must still be able to change the error code.
        let mut size = batches.size();
        let runs = batches.load().unwrap_or_else(|failure| {
            error!(partition = index, error = %failure, "A log was not read.");
            error = ErrorCode::KAFKA_STORAGE_ERROR;
            size = 0;
            Vec::new()
        });
        self.open.put_i32(index);
        self.open.put_i16(error.code());
        self.open.put_i64(high_watermark);
        self.open.put_i64(last_stable_offset);
        if self.version >= 5 {
            self.open.put_i64(log_start_offset);
        }
        self.put_aborted(aborted);
        if self.version >= 11 {
            self.open.put_i32(-1); // Preferred read replica.
        }
        self.put_length(size);
        for Run { head, mut bytes } in runs {
            if std::mem::take(&mut self.corrupts_crc) {
                bytes = with_wrong_crc(&bytes, head.is_some());
            }
            if let Some(head) = head {
                self.open.put_slice(&head);
            }
            match bytes.len() {
                0..=COPIED_BYTES_MAX => self.open.put_slice(&bytes),
                _ => {
                    self.pieces.push(self.open.split().freeze());
                    self.pieces.push(bytes);
                }
            }
        }
        self.put_tags();
    }

    /// Null for who did not ask.
    fn put_aborted(&mut self, aborted: Option<Vec<AbortedTransaction>>) {
        let Some(aborted) = aborted else {
            match self.is_flexible() {
                true => self.open.put_u8(0),
                false => self.open.put_i32(-1),
            }
            return;
        };
        self.put_length(aborted.len());
        for transaction in aborted {
            self.open.put_i64(transaction.producer_id);
            self.open.put_i64(transaction.first_offset);
            self.put_tags();
        }
    }

    /// An array's or a bytes field's length; one more in compact form.
    fn put_length(&mut self, length: usize) {
        if !self.is_flexible() {
            self.open.put_i32(i32::try_from(length).unwrap_or(i32::MAX));
            return;
        }
        let mut rest = length + 1;
        while rest >= 0x80 {
            self.open.put_u8((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        self.open.put_u8(rest as u8);
    }

    /// No tagged fields, where there may be some.
    pub(super) fn put_tags(&mut self) {
        if self.is_flexible() {
            self.open.put_u8(0);
        }
    }

    pub(super) fn finish(mut self) -> Vec<Bytes> {
        self.put_tags();
        self.pieces.push(self.open.freeze());
        let size: usize = self.pieces.iter().map(Bytes::len).sum();
        let size = i32::try_from(size).unwrap_or(i32::MAX);
        self.pieces[0] = Bytes::copy_from_slice(&size.to_be_bytes());
        self.pieces
    }
}

/// The same with a bit of the first batch's checksum flipped.
fn with_wrong_crc(bytes: &[u8], is_without_head: bool) -> Bytes {
    let at = if is_without_head { CRC_AT - HEAD_BYTES } else { CRC_AT };
    let mut wrong = BytesMut::from(bytes);
    wrong[at] ^= 1;
    wrong.freeze()
}

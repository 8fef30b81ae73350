//! Decoding control-plane messages from hostile bytes.
//!
//! `kafka-protocol` calls `Vec::with_capacity(count)` with whatever count is on the wire: one
//! message announcing 2^31 elements aborts the process. Its decoders read through a trait that we
//! implement, so [`GuardedBuf`] sees every count before it is used. It does not know the schema;
//! it knows that a byte string's length is followed at once by the read of that many bytes, that
//! a count is not, and that no decoder branches on a plain number.
//!
//! - A value above the bytes left cannot be a count or length at all.
//! - A value above [`count_max`] can only be a length. It is answered with one that
//!   asks for a single byte; if the next read is for bytes, it gets all of them, and nothing is
//!   different from plain decoding. If not, it was a count (or a number that nothing depends on).
//! - *Varints* (flexible versions) are counts, lengths, tags and tag sizes only. One that cannot
//!   be a length is refused. An array whose count was answered with one element leaves bytes over,
//!   which is an error.
//! - *`i32`s* (classic versions) are mostly plain fields. So a first pass only finds the lengths;
//!   a second answers every other large value with -2, which an array refuses and a plain field
//!   takes; if it succeeds no large value was a count, and a third pass reads the true values.
//!   Passes end with the first one that had nothing to answer differently.
//!
//! So no array is reserved for more than half of the bytes left (small ones excepted; no array
//! in use has elements of one byte) nor for more than [`ARRAY_ELEMENTS_MAX`].
//! Never here: records, and the headers of requests and responses.

use bytes::{Buf, Bytes, TryGetError};
use kafka_protocol::protocol::buf::ByteBuf;
use kafka_protocol::protocol::{Decodable, HeaderVersion};

/// No array of a control-plane message may be longer, however large the frame.
pub const ARRAY_ELEMENTS_MAX: usize = 1 << 20;
/// Up to this count an array may have elements of one byte.
const SMALL_COUNT: usize = 128;
/// What an array decoder refuses as negative.
const NOT_A_COUNT: i32 = -2;

/// Why a message does not decode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A count or length that the frame cannot hold.
    #[error("{message} v{version}: a count or length of {value} with {remaining} bytes left")]
    Count {
        /// Name of the message.
        message: &'static str,
        /// Its version.
        version: i16,
        /// What was announced.
        value: u64,
        /// Bytes left in the frame.
        remaining: usize,
    },
    /// Truncated, not UTF-8, negative length, unknown version.
    #[error("{message} v{version}: {reason}")]
    Malformed {
        /// Name of the message.
        message: &'static str,
        /// Its version.
        version: i16,
        /// What the generated decoder says.
        reason: String,
    },
    /// Bytes left over after the message.
    #[error("{message} v{version}: {trailing_bytes} bytes after the message")]
    Trailing {
        /// Name of the message.
        message: &'static str,
        /// Its version.
        version: i16,
        /// How many.
        trailing_bytes: usize,
    },
}

/// Decodes a request's body; flexible versions are those with header version 2.
pub(crate) fn decode_request_guarded<T: Decodable + HeaderVersion>(
    version: i16,
    body: Bytes,
) -> Result<T, DecodeError> {
    decode_guarded(version, body, T::header_version(version) >= 2)
}

/// Decodes a response's body; flexible versions are those with header version 1. The answer to
/// ApiVersions, whose header version is always 0, is taken for classic, which is only slower.
pub(crate) fn decode_response_guarded<T: Decodable + HeaderVersion>(
    version: i16,
    body: Bytes,
) -> Result<T, DecodeError> {
    decode_guarded(version, body, T::header_version(version) >= 1)
}

/// Decodes one message that fills `body`. Byte fields are slices of it.
///
/// `is_flexible` promises that no `i32` of the message is a count or length.
fn decode_guarded<T: Decodable>(version: i16, body: Bytes, is_flexible: bool) -> Result<T, DecodeError> {
    if is_flexible {
        let mut buf = GuardedBuf::new(body, LargeInts::Pass);
        let decoded = T::decode(&mut buf, version);
        return buf.finish(version, decoded);
    }
    let mut finding = GuardedBuf::new(body.clone(), LargeInts::FindLengths);
    let decoded = T::decode(&mut finding, version);
    if finding.suspect.is_none() {
        return finding.finish(version, decoded);
    }
    let lengths = finding.lengths_at;
    let mut refusing = GuardedBuf::new(body.clone(), LargeInts::Refuse);
    refusing.lengths_at.clone_from(&lengths);
    let decoded = T::decode(&mut refusing, version);
    if decoded.is_err() {
        return refusing.finish(version, decoded);
    }
    let mut reading = GuardedBuf::new(body, LargeInts::Pass);
    let decoded = T::decode(&mut reading, version);
    reading.finish(version, decoded)
}

/// The largest count that is passed on as it is with so many bytes left.
fn count_max(remaining: usize) -> usize {
    (remaining / 2).clamp(SMALL_COUNT, ARRAY_ELEMENTS_MAX)
}

fn message_name<T>() -> &'static str {
    let path = std::any::type_name::<T>();
    path.rsplit("::").next().unwrap_or(path)
}

/// What to do with an `i32` that is too large for a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LargeInts {
    /// It is no count: the version is flexible, or an earlier pass has shown it.
    Pass,
    /// Answer 1 and see whether bytes are read next.
    FindLengths,
    /// Answer [`NOT_A_COUNT`], unless it was found to be a length.
    Refuse,
}

/// A length that was answered with a stand-in; the next read decides.
#[derive(Debug, Clone, Copy)]
struct Pending {
    /// Where the length was read.
    at: usize,
    /// What a length of one asks for, as a stand-in for this many bytes.
    bytes: usize,
}

/// The `Buf` that generated decoders read from.
struct GuardedBuf {
    inner: Bytes,
    total: usize,
    large_ints: LargeInts,
    /// The byte before was read alone and had its high bit set.
    in_varint: bool,
    pending: Option<Pending>,
    /// Positions of large `i32`s that are lengths of byte strings, ascending.
    lengths_at: Vec<usize>,
    /// The last value that was answered with a stand-in and is no length, and the bytes left then.
    suspect: Option<(u64, usize)>,
}

impl GuardedBuf {
    fn new(inner: Bytes, large_ints: LargeInts) -> Self {
        Self {
            total: inner.len(),
            inner,
            large_ints,
            in_varint: false,
            pending: None,
            lengths_at: Vec::new(),
            suspect: None,
        }
    }

    /// Called by every read but that of bytes: what was answered with a stand-in is no length.
    fn settle(&mut self) {
        self.in_varint = false;
        if let Some(pending) = self.pending.take() {
            self.suspect = Some((pending.bytes as u64, self.inner.len()));
        }
    }

    fn refuse(&mut self, value: u64) -> TryGetError {
        self.suspect = Some((value, self.inner.len()));
        TryGetError {
            requested: usize::try_from(value).unwrap_or(usize::MAX),
            available: self.inner.len(),
        }
    }

    /// The varint at the front, and its size; the fifth byte ends one whatever it is.
    fn peek_varint(&self) -> Option<(u64, usize)> {
        let mut value = 0u64;
        for (index, &byte) in self.inner.iter().take(5).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 || index == 4 {
                return Some((value & u64::from(u32::MAX), index + 1));
            }
        }
        None
    }

    fn finish<T, E: std::fmt::Display>(self, version: i16, decoded: Result<T, E>) -> Result<T, DecodeError> {
        let message = message_name::<T>();
        let failure = match decoded {
            Ok(value) if self.inner.is_empty() => return Ok(value),
            Ok(_) => DecodeError::Trailing {
                message,
                version,
                trailing_bytes: self.inner.len(),
            },
            Err(error) => DecodeError::Malformed {
                message,
                version,
                reason: error.to_string().trim_end().to_owned(),
            },
        };
        Err(match self.suspect {
            Some((value, remaining)) => DecodeError::Count {
                message,
                version,
                value,
                remaining,
            },
            None => failure,
        })
    }
}

impl Buf for GuardedBuf {
    fn remaining(&self) -> usize {
        self.inner.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.inner
    }

    fn advance(&mut self, count: usize) {
        self.settle();
        self.inner.advance(count);
    }

    fn try_get_u8(&mut self) -> Result<u8, TryGetError> {
        let was_in_varint = self.in_varint;
        self.settle();
        let at = self.total - self.inner.len();
        let byte = *self.inner.first().ok_or(TryGetError {
            requested: 1,
            available: 0,
        })?;
        let varint = if byte < 0x80 { None } else { self.peek_varint() };
        let Some((value, size)) = varint else {
            self.inner.advance(1);
            self.in_varint = byte >= 0x80;
            return Ok(byte);
        };
        let remaining = self.inner.len() - size;
        // Compact counts and lengths are written plus one.
        let bytes = value.saturating_sub(1) as usize;
        if bytes <= count_max(remaining) {
            self.inner.advance(1);
            self.in_varint = true;
            return Ok(byte);
        }
        // Inside a varint only after a boolean that no broker writes.
        if bytes > remaining || was_in_varint {
            return Err(self.refuse(value));
        }
        self.inner.advance(size);
        self.pending = Some(Pending { at, bytes });
        Ok(2)
    }

    fn try_get_i32(&mut self) -> Result<i32, TryGetError> {
        self.settle();
        let at = self.total - self.inner.len();
        let value = self.inner.try_get_i32()?;
        let remaining = self.inner.len();
        let Ok(bytes) = usize::try_from(value) else {
            return Ok(value);
        };
        if bytes <= count_max(remaining) || self.large_ints == LargeInts::Pass {
            return Ok(value);
        }
        if self.large_ints == LargeInts::FindLengths && bytes <= remaining {
            self.pending = Some(Pending { at, bytes });
            return Ok(1);
        }
        if self.large_ints == LargeInts::Refuse && self.lengths_at.binary_search(&at).is_ok() {
            return Ok(value);
        }
        self.suspect = Some((bytes as u64, remaining));
        Ok(NOT_A_COUNT)
    }
}

impl ByteBuf for GuardedBuf {
    fn peek_bytes(&mut self, range: std::ops::Range<usize>) -> Bytes {
        self.inner.slice(range)
    }

    fn get_bytes(&mut self, size: usize) -> Bytes {
        self.in_varint = false;
        let size = match self.pending.take() {
            Some(pending) if size == 1 => {
                self.lengths_at.push(pending.at);
                pending.bytes
            }
            // The size of a tagged field, which is not written plus one.
            Some(pending) => size.saturating_sub(1) + pending.bytes,
            None => size,
        };
        self.inner.split_to(size.min(self.inner.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::{FetchResponse, MetadataRequest, MetadataResponse};

    fn count_error<T: std::fmt::Debug>(result: Result<T, DecodeError>) -> u64 {
        match result {
            Err(DecodeError::Count { value, .. }) => value,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_huge_array_count_is_refused_classic_and_compact() {
        let classic = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        assert_eq!(
            count_error(decode_response_guarded::<MetadataResponse>(0, classic)),
            0x7fff_ffff
        );
        let compact = Bytes::from_static(&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0]);
        assert_eq!(
            count_error(decode_response_guarded::<MetadataResponse>(12, compact)),
            0xffff_ffff
        );
    }

    #[test]
    fn a_count_that_the_bytes_left_could_hold_only_as_a_length_is_refused() {
        for (version, prefix) in [(0i16, &[0, 0, 3, 0xe8][..]), (12, &[0, 0, 0, 0, 0xe9, 0x07])] {
            let mut body = prefix.to_vec();
            body.resize(prefix.len() + 1000, 0);
            let result = decode_response_guarded::<MetadataResponse>(version, Bytes::from(body));
            assert!(result.is_err(), "v{version}");
        }
    }

    #[test]
    fn a_boolean_cannot_hide_the_start_of_a_count() {
        // MetadataRequest v12: topics null, then booleans, then a tag count.
        for boolean in [0u8, 1, 2, 0x80, 0xff] {
            let body = [0, boolean, boolean, 0xff, 0xff, 0xff, 0xff, 0x0f];
            let result = decode_request_guarded::<MetadataRequest>(12, Bytes::copy_from_slice(&body));
            assert!(result.is_err(), "{boolean:#x}");
        }
    }

    #[test]
    fn plain_numbers_larger_than_the_frame_and_byte_strings_that_fill_it_are_read() {
        // FetchResponse v11: throttle, error, a large session id, one topic, one partition.
        let mut body = vec![0, 0, 0, 0, 0, 0, 0x7a, 0, 0, 0, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1];
        body.extend_from_slice(&[0, 0, 0, 2, 0, 0]); // Index and error.
        body.extend_from_slice(&[0; 24]); // High watermark, last stable offset, log start offset.
        body.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 9]); // No aborted; replica 9.
        body.extend_from_slice(&[0, 0, 4, 0]);
        body.resize(body.len() + 1024, 7);
        let body = Bytes::from(body);
        let response: FetchResponse = decode_response_guarded(11, body.clone()).unwrap();
        assert_eq!(response.session_id, 0x7a00_0000);
        let partition = &response.responses[0].partitions[0];
        assert_eq!(partition.preferred_read_replica.0, 9);
        let records = partition.records.as_ref().unwrap();
        assert_eq!((records.len(), records[0]), (1024, 7));
        assert_eq!(records.as_ptr() as usize, body.as_ptr() as usize + body.len() - 1024);
    }
}

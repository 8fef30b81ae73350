//! Decoding control-plane messages from hostile bytes.
//!
//! `kafka-protocol` calls `Vec::with_capacity(count)` with whatever count is on the wire: one
//! message announcing 2^31 elements aborts the process. Its decoders read through a trait of
//! ours, so [`GuardedBuf`] sees every count before it is used, without knowing the schema:
//!
//! - A *compact* count, length or tag is a varint, read byte by byte. Any value above what is
//!   left of the frame (plus a margin for tag numbers) is refused on the spot. A boolean is read
//!   the same way; so that one cannot hide the start of a varint, every byte of a run is taken
//!   for a possible start.
//! - A *classic* array count is an `i32`, and so are many plain fields. A value that could not be
//!   a count is answered as -2: the array decoder refuses it as negative, a plain field takes it.
//!   Did the message decode although something was replaced, then no replaced value was a count
//!   (decoding never branches on a plain `i32`), and a second pass reads the true values.
//!
//! So a count is at most a quarter of the bytes left (no array in use has smaller elements, small
//! counts excepted) and at most [`ARRAY_ELEMENTS_MAX`].
//! Never here: records, requests' and responses' headers.

use bytes::{Buf, Bytes, TryGetError};
use kafka_protocol::protocol::Decodable;
use kafka_protocol::protocol::buf::ByteBuf;

/// No array of a control-plane message may be longer, however large the frame.
pub const ARRAY_ELEMENTS_MAX: usize = 1 << 20;
/// Up to this count an array may have elements of fewer than four bytes.
const SMALL_COUNT: usize = 64;
/// Tag numbers are varints too and may exceed the bytes left; Kafka's are below 20.
const TAG_MARGIN: usize = 64;
/// What a suspicious `i32` is answered as in the first pass.
const NOT_A_COUNT: i32 = -2;

/// Why a message does not decode.
#[derive(Debug, thiserror::Error)]
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

/// Decodes one message that fills `body`. Byte fields are slices of it.
///
/// # Errors
/// [`DecodeError`]; never panics, and never reserves more than a small multiple of `body`.
pub(crate) fn decode_guarded<T: Decodable>(version: i16, body: Bytes) -> Result<T, DecodeError> {
    let message = message_name::<T>();
    let mut first = GuardedBuf::new(body.clone(), true);
    let decoded = T::decode(&mut first, version);
    if let Some((value, remaining)) = first.refused {
        return Err(DecodeError::Count {
            message,
            version,
            value,
            remaining,
        });
    }
    let malformed = |error: &dyn std::fmt::Display| DecodeError::Malformed {
        message,
        version,
        reason: error.to_string().trim_end().to_owned(),
    };
    let (value, rest) = match decoded {
        Ok(value) if first.replaced.is_none() => (value, first.inner),
        Ok(_) => {
            let mut second = GuardedBuf::new(body, false);
            let value = T::decode(&mut second, version).map_err(|error| malformed(&error))?;
            (value, second.inner)
        }
        Err(error) => {
            return Err(match first.replaced {
                Some((value, remaining)) => DecodeError::Count {
                    message,
                    version,
                    value,
                    remaining,
                },
                None => malformed(&error),
            });
        }
    };
    if !rest.is_empty() {
        return Err(DecodeError::Trailing {
            message,
            version,
            trailing_bytes: rest.len(),
        });
    }
    Ok(value)
}

fn message_name<T>() -> &'static str {
    let path = std::any::type_name::<T>();
    path.rsplit("::").next().unwrap_or(path)
}

/// The `Buf` that generated decoders read from.
struct GuardedBuf {
    inner: Bytes,
    replace: bool,
    /// The last single bytes read in a row, newest lowest; a varint is made of those.
    run: u64,
    run_bytes: usize,
    /// The varint that stopped the decoding, and the bytes left then.
    refused: Option<(u64, usize)>,
    /// The last `i32` that was answered as [`NOT_A_COUNT`], and the bytes left then.
    replaced: Option<(u64, usize)>,
}

impl GuardedBuf {
    fn new(inner: Bytes, replace: bool) -> Self {
        Self {
            inner,
            replace,
            run: 0,
            run_bytes: 0,
            refused: None,
            replaced: None,
        }
    }

    fn count_max(&self) -> usize {
        let remaining = self.inner.len();
        (remaining / 4)
            .max(remaining.min(SMALL_COUNT))
            .min(ARRAY_ELEMENTS_MAX)
    }

    /// The largest value of a varint that could have ended with the byte just read.
    fn largest_varint(&self, byte: u8) -> u64 {
        let mut largest = 0;
        let longest = self.run_bytes.min(5);
        // A fifth byte ends a varint whatever it is; an earlier one only without its high bit.
        let shortest = if byte < 0x80 { 1 } else { 5 };
        for length in shortest..=longest {
            let mut value = 0u64;
            for index in 0..length {
                let raw = self.run >> (8 * (length - 1 - index)) & 0x7f;
                value |= raw << (7 * index);
            }
            largest = largest.max(value & u64::from(u32::MAX));
        }
        largest
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
        self.run_bytes = 0;
        self.inner.advance(count);
    }

    fn try_get_u8(&mut self) -> Result<u8, TryGetError> {
        let byte = self.inner.try_get_u8()?;
        self.run = self.run << 8 | u64::from(byte);
        self.run_bytes += 1;
        if self.run_bytes == 1 && byte < 0x80 && usize::from(byte) <= TAG_MARGIN {
            self.run_bytes = 0;
            return Ok(byte);
        }
        let largest = self.largest_varint(byte);
        // One less is the count; byte strings may take all that is left, arrays may not.
        if largest > (self.inner.len() + TAG_MARGIN) as u64 {
            self.refused = Some((largest, self.inner.len()));
            return Err(TryGetError {
                requested: largest as usize,
                available: self.inner.len(),
            });
        }
        if byte < 0x80 {
            self.run_bytes = 0;
        }
        Ok(byte)
    }

    fn try_get_i32(&mut self) -> Result<i32, TryGetError> {
        self.run_bytes = 0;
        let value = self.inner.try_get_i32()?;
        if self.replace && value > 0 && value as usize > self.count_max() {
            self.replaced = Some((value as u64, self.inner.len()));
            return Ok(NOT_A_COUNT);
        }
        Ok(value)
    }
}

impl ByteBuf for GuardedBuf {
    fn peek_bytes(&mut self, range: std::ops::Range<usize>) -> Bytes {
        self.inner.slice(range)
    }

    fn get_bytes(&mut self, size: usize) -> Bytes {
        self.run_bytes = 0;
        self.inner.split_to(size)
    }
}

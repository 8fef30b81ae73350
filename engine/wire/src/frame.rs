//! Size-prefixed frames, cut out of a socket's read buffer without copying.
//!
//! Never here: sockets, and what is in a frame.

use bytes::{Bytes, BytesMut};

/// The size prefix of every request and response.
pub const FRAME_PREFIX_BYTES: usize = 4;

/// Cuts frames out of a growing buffer. Has no state but its limit.
#[derive(Debug, Clone, Copy)]
pub struct FrameDecoder {
    frame_bytes_max: usize,
}

/// A size prefix that no frame of ours has. The stream has no meaning from there on: close it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Less than nothing.
    #[error("frame of {size} bytes announced")]
    Negative {
        /// What the prefix says.
        size: i32,
    },
    /// Above the limit; often a TLS or HTTP endpoint that was taken for Kafka.
    #[error("frame of {size} bytes announced, the limit is {frame_bytes_max}{}", taken_for_kafka(*size))]
    TooLarge {
        /// What the prefix says.
        size: i32,
        /// The decoder's limit.
        frame_bytes_max: usize,
    },
}

/// What the four bytes are when they are no size.
fn taken_for_kafka(size: i32) -> &'static str {
    match size.to_be_bytes() {
        [b'H', b'T', b'T', b'P'] => "; the peer speaks HTTP, not Kafka",
        // A record of an alert, or of a handshake.
        [0x15 | 0x16, 3, ..] => "; the peer speaks TLS",
        _ => "",
    }
}

impl FrameDecoder {
    /// Frames of more than `frame_bytes_max` bytes (prefix not counted) are refused as soon as
    /// their prefix is there.
    #[must_use]
    pub fn new(frame_bytes_max: usize) -> Self {
        Self { frame_bytes_max }
    }

    /// Takes the next whole frame, without its prefix, off the front of `buffer`.
    ///
    /// `Ok(None)` means: read more. The frame is a slice of the buffer's allocation and keeps it alive, so a large
    /// one gets a buffer of just its size. Room is made for a frame of up to 8 MiB at once, and beyond that only up
    /// to four times of what is already there: a lying prefix costs at most that, in memory that nobody touches.
    ///
    /// # Errors
    /// [`FrameError`] for a negative or too large size.
    pub fn decode(&self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        let Some(prefix) = buffer.first_chunk::<FRAME_PREFIX_BYTES>() else {
            return Ok(None);
        };
        let size = i32::from_be_bytes(*prefix);
        let frame_bytes = usize::try_from(size).map_err(|_| FrameError::Negative { size })?;
        if frame_bytes > self.frame_bytes_max {
            return Err(FrameError::TooLarge {
                size,
                frame_bytes_max: self.frame_bytes_max,
            });
        }
        let whole = FRAME_PREFIX_BYTES + frame_bytes;
        if buffer.len() < whole {
            let believed = whole.min((4 * buffer.len()).max(RESERVED_BYTES));
            if buffer.capacity() < believed {
                // Each growth copies what has arrived. The usual fetch answer needs one, when little has; growing by
                // doubling from 1 MiB took a fifth of a consumer's time (`bench/src/bin/consume.rs`). Small frames share
                // a buffer with those behind them.
                let exact = if believed < SHARED_BYTES / 4 {
                    SHARED_BYTES
                } else {
                    believed
                };
                let mut larger = BytesMut::with_capacity(exact);
                larger.extend_from_slice(buffer);
                *buffer = larger;
            }
            return Ok(None);
        }
        let mut frame = buffer.split_to(whole).freeze();
        Ok(Some(frame.split_off(FRAME_PREFIX_BYTES)))
    }
}

/// What a prefix is believed before the bytes are there: `max.partition.fetch.bytes` for several partitions.
const RESERVED_BYTES: usize = 8 << 20;
/// The buffer that small frames share.
const SHARED_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_whole_and_share_the_buffer() {
        let mut buffer = BytesMut::from(&[0, 0, 0, 2, 7, 8, 0, 0, 0, 0, 0, 0, 0, 1][..]);
        let start = buffer.as_ptr() as usize;
        let decoder = FrameDecoder::new(2);
        let first = decoder.decode(&mut buffer).unwrap().unwrap();
        assert_eq!(&first[..], [7, 8]);
        assert_eq!(first.as_ptr() as usize, start + 4);
        assert_eq!(decoder.decode(&mut buffer).unwrap().unwrap().len(), 0);
        assert_eq!(decoder.decode(&mut buffer), Ok(None));
        buffer.extend_from_slice(&[9]);
        assert_eq!(&decoder.decode(&mut buffer).unwrap().unwrap()[..], [9]);
        assert_eq!(decoder.decode(&mut buffer), Ok(None));
    }

    #[test]
    fn a_large_frame_keeps_no_more_alive_than_itself() {
        let decoder = FrameDecoder::new(1 << 30);
        for size in [20_000usize, 1 << 20, 5 << 20] {
            let mut buffer = BytesMut::with_capacity(SHARED_BYTES);
            buffer.extend_from_slice(&(size as u32).to_be_bytes());
            let frame = loop {
                if let Some(frame) = decoder.decode(&mut buffer).unwrap() {
                    break frame;
                }
                let room = buffer.capacity() - buffer.len();
                assert!(room > 0, "more can be read");
                let arrived = buffer.len() + room.min(FRAME_PREFIX_BYTES + size - buffer.len());
                buffer.resize(arrived, 7);
            };
            assert_eq!(frame.len(), size);
            drop(buffer);
            let capacity = frame.try_into_mut().expect("nobody else holds it").capacity();
            assert!(capacity <= size.max(SHARED_BYTES), "{capacity} for {size}");
        }
    }

    #[test]
    fn a_fetch_answer_is_hardly_copied_while_it_arrives() {
        let decoder = FrameDecoder::new(1 << 30);
        for (size, copied_max) in [(4usize << 20, SHARED_BYTES), (30 << 20, 9 << 20)] {
            let mut buffer = BytesMut::with_capacity(SHARED_BYTES);
            buffer.extend_from_slice(&(size as u32).to_be_bytes());
            let mut copied = 0;
            loop {
                let (arrived, start) = (buffer.len(), buffer.as_ptr());
                if decoder.decode(&mut buffer).unwrap().is_some() {
                    break;
                }
                if buffer.as_ptr() != start {
                    copied += arrived;
                }
                let room = buffer.capacity() - buffer.len();
                buffer.resize(buffer.len() + room.min(FRAME_PREFIX_BYTES + size - buffer.len()), 7);
            }
            assert!(copied <= copied_max, "{copied} bytes of {size}");
        }
    }

    #[test]
    fn a_peer_that_is_no_broker_is_told_by_its_first_bytes() {
        for (first, told) in [
            (&b"HTTP/1.1 400 Bad Request"[..], "the peer speaks HTTP, not Kafka"),
            (b"\x15\x03\x03\x00\x02\x02\x0a and something", "the peer speaks TLS"),
        ] {
            let mut buffer = BytesMut::from(first);
            let error = FrameDecoder::new(1 << 20).decode(&mut buffer).unwrap_err().to_string();
            assert!(error.ends_with(told), "{error}");
        }
    }

    #[test]
    fn a_lying_prefix_is_refused_or_costs_eight_mebibytes_at_most() {
        let decoder = FrameDecoder::new(1 << 30);
        for (prefix, error) in [
            (-1i32, Some(FrameError::Negative { size: -1 })),
            (i32::MIN, Some(FrameError::Negative { size: i32::MIN })),
            (
                i32::MAX,
                Some(FrameError::TooLarge {
                    size: i32::MAX,
                    frame_bytes_max: 1 << 30,
                }),
            ),
            (1 << 30, None),
        ] {
            let mut buffer = BytesMut::from(&prefix.to_be_bytes()[..]);
            assert_eq!(decoder.decode(&mut buffer).err(), error);
            assert!(buffer.capacity() <= 2 * RESERVED_BYTES, "{}", buffer.capacity());
        }
    }
}

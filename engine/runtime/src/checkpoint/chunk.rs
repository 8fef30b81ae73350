//! One piece of a segment as the value of a record: compressed, behind a version and a checksum.
//!
//! ```text
//! mark "ESC" · version u8 · CRC-32C of all that follows u32 · checkpoint u64 · piece u32 · pieces u32 · codec u8 · length u32 · piece
//! ```
//! All integers are little-endian; the length is that of the piece before it was compressed. Nothing behind the checksum
//! is believed before it was checked.

use bytes::Bytes;
use engine_wire::compression::{Codec, Compression, Compressor, DecodeLimits, DecompressError, Decompressor};

use super::CheckpointId;

/// The most bytes of a segment in one piece: also where they do not compress, its record is well under Kafka's default
/// `max.message.bytes` of 1 MiB.
pub const PIECE_BYTES_MAX: usize = 512 * 1024;

const MARK: [u8; 3] = *b"ESC";
const VERSION: u8 = 2;
const CHECKED_FROM: usize = 8;
const HEADER_BYTES: usize = CHECKED_FROM + 8 + 4 + 4 + 1 + 4;

/// A piece that was read back.
#[derive(Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// The checkpoint that wrote it.
    pub checkpoint: CheckpointId,
    /// 0-based number of the piece.
    pub piece: u32,
    /// How many pieces its segment has.
    pub pieces: u32,
    /// Its bytes of the segment.
    pub bytes: &'a [u8],
}

/// Why a value is no piece of a segment.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// Not what this engine writes.
    #[error("its {bytes} bytes do not begin as a piece of state does")]
    NoChunk {
        /// How many there are.
        bytes: usize,
    },
    /// Written by another engine.
    #[error(
        "it has version {found}, this engine reads version {VERSION}: a newer one wrote it and is needed to read it"
    )]
    Version {
        /// What it says.
        found: u8,
    },
    /// Some of it is not what was written.
    #[error("its checksum is {found:#010x}, {expected:#010x} was written")]
    Checksum {
        /// What was written.
        expected: u32,
        /// Of what is there.
        found: u32,
    },
    /// The checksum is right and the contents are not.
    #[error("it names the codec {id}, which there is not")]
    Codec {
        /// The id.
        id: u8,
    },
    /// The checksum is right and the contents are not.
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    /// The checksum is right and the contents are not.
    #[error("it has {found} bytes instead of {expected}")]
    Length {
        /// What was written.
        expected: usize,
        /// What came out.
        found: usize,
    },
}

/// Cuts a segment into the values of its records.
pub fn encode(checkpoint: CheckpointId, segment: &[u8], compressor: &mut Compressor) -> Vec<Bytes> {
    let pieces = segment.len().div_ceil(PIECE_BYTES_MAX) as u32;
    let encoded = segment.chunks(PIECE_BYTES_MAX).zip(0u32..);
    encoded
        .map(|(bytes, piece)| Bytes::from(encode_piece(checkpoint, piece, pieces, bytes, compressor)))
        .collect()
}

fn encode_piece(
    checkpoint: CheckpointId,
    piece: u32,
    pieces: u32,
    bytes: &[u8],
    compressor: &mut Compressor,
) -> Vec<u8> {
    let mut value = vec![0; CHECKED_FROM];
    value.extend_from_slice(&checkpoint.0.to_le_bytes());
    value.extend_from_slice(&piece.to_le_bytes());
    value.extend_from_slice(&pieces.to_le_bytes());
    value.push(Codec::Lz4.id() as u8);
    value.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    let compressed = compressor.compress(Compression::from(Codec::Lz4), bytes, &mut value);
    if compressed.is_err() || value.len() - HEADER_BYTES > bytes.len() {
        value.truncate(HEADER_BYTES);
        value[HEADER_BYTES - 5] = Codec::None.id() as u8;
        value.extend_from_slice(bytes);
    }
    let checksum = crc32c::crc32c(&value[CHECKED_FROM..]);
    value[..3].copy_from_slice(&MARK);
    value[3] = VERSION;
    value[4..8].copy_from_slice(&checksum.to_le_bytes());
    value
}

/// A decompressor that gives out no more than one piece.
pub fn decompressor() -> Decompressor {
    Decompressor::new(DecodeLimits {
        decompressed_bytes_max: PIECE_BYTES_MAX,
    })
}

/// Reads a piece back.
pub fn decode<'a>(value: &'a [u8], decompressor: &'a mut Decompressor) -> Result<Chunk<'a>, ChunkError> {
    let no_chunk = ChunkError::NoChunk { bytes: value.len() };
    let Some((mark, rest)) = value.split_first_chunk::<3>() else {
        return Err(no_chunk);
    };
    let (Some(version), true) = (rest.first(), *mark == MARK) else {
        return Err(no_chunk);
    };
    if *version != VERSION {
        return Err(ChunkError::Version { found: *version });
    }
    let (Some(header), Some(piece)) = (value.first_chunk::<HEADER_BYTES>(), value.get(HEADER_BYTES..)) else {
        return Err(no_chunk);
    };
    let u32_at = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
    let (expected, found) = (u32_at(4), crc32c::crc32c(&value[CHECKED_FROM..]));
    if found != expected {
        return Err(ChunkError::Checksum { expected, found });
    }
    let checkpoint = header[8..16].try_into().expect("eight bytes");
    let id = header[HEADER_BYTES - 5];
    let codec = Codec::from_id(i16::from(id)).ok_or(ChunkError::Codec { id })?;
    let bytes = decompressor.decompress(codec, piece)?;
    let expected = u32_at(HEADER_BYTES - 4) as usize;
    if bytes.len() != expected {
        let found = bytes.len();
        return Err(ChunkError::Length { expected, found });
    }
    Ok(Chunk {
        checkpoint: CheckpointId(u64::from_le_bytes(checkpoint)),
        piece: u32_at(16),
        pieces: u32_at(20),
        bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(segment: &[u8]) -> Vec<Bytes> {
        encode(CheckpointId(7), segment, &mut Compressor::new())
    }

    /// Bytes that no codec makes smaller.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1u64;
        let next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        std::iter::repeat_with(next).take(length).collect()
    }

    #[test]
    fn a_segment_comes_back_piece_by_piece() {
        let mut decompressor = decompressor();
        for (segment, pieces) in [
            (vec![], 0),
            (vec![5], 1),
            (vec![5; PIECE_BYTES_MAX], 1),
            (vec![5; PIECE_BYTES_MAX + 1], 2),
            (noise(2 * PIECE_BYTES_MAX + 9), 3),
        ] {
            let values = encoded(&segment);
            assert_eq!(values.len(), pieces);
            let mut back = Vec::new();
            for (number, value) in values.iter().enumerate() {
                assert!(value.len() <= PIECE_BYTES_MAX + HEADER_BYTES, "{} bytes", value.len());
                let chunk = decode(value, &mut decompressor).unwrap();
                let described = (chunk.checkpoint, chunk.piece as usize, chunk.pieces as usize);
                assert_eq!(described, (CheckpointId(7), number, pieces));
                back.extend_from_slice(chunk.bytes);
            }
            assert_eq!(back, segment);
        }
    }

    #[test]
    fn what_compresses_gets_smaller() {
        let bytes: usize = encoded(&vec![5; PIECE_BYTES_MAX]).iter().map(Bytes::len).sum();
        assert!(bytes < PIECE_BYTES_MAX / 50, "{bytes}");
    }

    #[test]
    fn every_truncation_and_every_flipped_byte_is_noticed() {
        let value = encoded(b"some state, some state, some state").remove(0);
        let mut decompressor = decompressor();
        for length in 0..value.len() {
            decode(&value[..length], &mut decompressor).expect_err("truncated");
        }
        for position in 0..value.len() {
            let mut value = value.to_vec();
            value[position] ^= 0x40;
            decode(&value, &mut decompressor).expect_err("flipped");
        }
        decode(&[&value[..], b"x"].concat(), &mut decompressor).expect_err("longer");
    }

    #[test]
    fn a_piece_of_a_newer_engine_is_told_from_a_damaged_one() {
        let mut value = encoded(b"some state").remove(0).to_vec();
        value[3] = 3;
        let error = decode(&value, &mut decompressor()).unwrap_err();
        assert_eq!(error, ChunkError::Version { found: 3 });
        assert_eq!(
            error.to_string(),
            "it has version 3, this engine reads version 2: a newer one wrote it and is needed to read it"
        );
    }

    #[test]
    fn a_piece_that_announces_more_than_a_piece_holds_is_refused() {
        let mut value = vec![0; CHECKED_FROM];
        value.extend_from_slice(&[0; 16]);
        value.push(Codec::Lz4.id() as u8);
        value.extend_from_slice(&u32::MAX.to_le_bytes());
        let large = vec![0; PIECE_BYTES_MAX + 1];
        let compressed = Compressor::new().compress(Compression::from(Codec::Lz4), &large, &mut value);
        compressed.unwrap();
        let checksum = crc32c::crc32c(&value[CHECKED_FROM..]).to_le_bytes();
        value[..4].copy_from_slice(b"ESC\x02");
        value[4..8].copy_from_slice(&checksum);
        let error = decode(&value, &mut decompressor()).unwrap_err();
        assert!(
            matches!(error, ChunkError::Decompress(DecompressError::TooLarge { .. })),
            "{error}"
        );
    }
}

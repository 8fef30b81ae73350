//! Snappy, in the framings that Kafka clients use.
//!
//! The Java client wraps blocks in the framing of xerial's snappy-java: a magic, two version
//! numbers, then blocks with a 32-bit length each. librdkafka writes one raw block. Some writers
//! put the numbers of the xerial framing in little-endian order.

use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

use crate::compression::output::{Fault, Growing};

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const FRAME_HEADER_BYTES: usize = 16;
/// The densest element, a copy of 64 bytes, takes three; rounded up.
const EXPANSION_MAX: usize = 22;
/// snappy-java's default, which Kafka uses.
const BLOCK_BYTES: usize = 32 * 1024;

/// Appends `input` in xerial framing, as the Java client does.
pub(crate) fn encode(encoder: &mut Encoder, input: &[u8], output: &mut Vec<u8>) -> Result<(), String> {
    output.extend_from_slice(&MAGIC);
    output.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1]);
    for block in input.chunks(BLOCK_BYTES) {
        let start = output.len();
        output.resize(start + 4 + max_compress_len(block.len()), 0);
        let written = encoder
            .compress(block, &mut output[start + 4..])
            .map_err(|error| error.to_string())?;
        output[start..start + 4].copy_from_slice(&(written as u32).to_be_bytes());
        output.truncate(start + 4 + written);
    }
    Ok(())
}

pub(crate) fn decode(decoder: &mut Decoder, input: &[u8], output: &mut Growing<'_>) -> Result<(), Fault> {
    if !input.starts_with(&MAGIC) {
        return decode_block(decoder, input, output);
    }
    let order = [u32::from_be_bytes, u32::from_le_bytes]
        .into_iter()
        .find(|&order| XerialBlocks { rest: input, order }.all(|block| block.is_some()))
        .ok_or_else(|| Fault::corrupt("xerial block lengths do not add up in either byte order"))?;
    for block in (XerialBlocks { rest: input, order }).flatten() {
        decode_block(decoder, block, output)?;
    }
    Ok(())
}

fn decode_block(decoder: &mut Decoder, block: &[u8], output: &mut Growing<'_>) -> Result<(), Fault> {
    let size = decompress_len(block).map_err(|error| Fault::corrupt(error.to_string()))?;
    // A few bytes may announce gigabytes: room is made for what they can expand to.
    if size > block.len().saturating_mul(EXPANSION_MAX) {
        let bytes = block.len();
        return Err(Fault::corrupt(format!("a block of {bytes} bytes announces {size}")));
    }
    let room = output.exact(size)?;
    let written = decoder
        .decompress(block, room)
        .map_err(|error| Fault::corrupt(error.to_string()))?;
    output.advance(written);
    Ok(())
}

/// The blocks of one or several xerial streams; yields `None` once where a length does not fit.
struct XerialBlocks<'a> {
    rest: &'a [u8],
    order: fn([u8; 4]) -> u32,
}

impl<'a> Iterator for XerialBlocks<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        // Streams may be concatenated; the magic is no block length that could be.
        while self.rest.starts_with(&MAGIC) {
            let Some(after) = self.rest.get(FRAME_HEADER_BYTES..) else {
                self.rest = &[];
                return Some(None);
            };
            self.rest = after;
        }
        if self.rest.is_empty() {
            return None;
        }
        let block = self
            .rest
            .split_first_chunk::<4>()
            .and_then(|(length, after)| after.split_at_checked((self.order)(*length) as usize));
        self.rest = block.map_or(&[], |(_, rest)| rest);
        Some(block.map(|(block, _)| block))
    }
}

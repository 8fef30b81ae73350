//! Where the quotes of a record are, found 16 bytes at a time.
//!
//! Nearly every record is *plain*: no escapes and no control characters. In a plain record a string ends at the next
//! quote, whatever is in it, so that passing over one is a look into a bit mask. `bench/src/bin/json.rs` shows what
//! that brings.
//! Never here: JSON's grammar. A record that is not plain is scanned byte by byte and may be JSON all the same.

use wide::i8x16;

const BLOCK_BYTES: usize = 64;
const VECTOR_BYTES: usize = 16;

/// One bit per byte of a plain record, set for quotes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Quotes {
    blocks: Vec<u64>,
    is_plain: bool,
    is_ascii: bool,
}

/// What was seen in a record, in the sign bits of any of the 16 places.
struct Seen {
    special: i8x16,
    beyond_ascii: i8x16,
}

impl Quotes {
    /// Looks at a record.
    pub(crate) fn fill(&mut self, record: &[u8]) {
        let mut seen = Seen {
            special: i8x16::ZERO,
            beyond_ascii: i8x16::ZERO,
        };
        let (blocks, rest) = record.as_chunks::<BLOCK_BYTES>();
        self.blocks.clear();
        self.blocks.extend(blocks.iter().map(|block| quotes(block, &mut seen)));
        if !rest.is_empty() {
            let mut block = [b' '; BLOCK_BYTES];
            block[..rest.len()].copy_from_slice(rest);
            self.blocks.push(quotes(&block, &mut seen));
        }
        self.is_plain = seen.special.to_bitmask() == 0;
        self.is_ascii = seen.beyond_ascii.to_bitmask() == 0;
    }

    /// Whether the record has no backslashes and no control characters.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// Whether the record is ASCII, and therefore UTF-8.
    #[inline]
    pub(crate) fn is_ascii(&self) -> bool {
        self.is_ascii
    }

    /// The first quote at or behind a position.
    #[inline]
    pub(crate) fn next(&self, position: usize) -> Option<usize> {
        let mut block = position / BLOCK_BYTES;
        let mut bits = *self.blocks.get(block)? & (u64::MAX << (position % BLOCK_BYTES));
        while bits == 0 {
            block += 1;
            bits = *self.blocks.get(block)?;
        }
        Some(block * BLOCK_BYTES + bits.trailing_zeros() as usize)
    }
}

/// The quotes of a block, one bit each.
#[inline]
fn quotes(block: &[u8; BLOCK_BYTES], seen: &mut Seen) -> u64 {
    let quote = i8x16::splat(b'"' as i8);
    let backslash = i8x16::splat(b'\\' as i8);
    let space = i8x16::splat(b' ' as i8);
    let mut bits = 0;
    for (position, bytes) in block.as_chunks::<VECTOR_BYTES>().0.iter().enumerate() {
        let bytes = i8x16::from(bytes.map(|byte| byte as i8));
        // As signed bytes, those beyond ASCII are negative: less than a space, but no control characters.
        seen.special |= bytes.simd_eq(backslash) | (bytes.simd_lt(space) & !bytes);
        seen.beyond_ascii |= bytes;
        bits |= u64::from(bytes.simd_eq(quote).to_bitmask() as u16) << (position * VECTOR_BYTES);
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_found_wherever_they_stand_and_however_long_the_record_is() {
        for length in [0, 1, 15, 16, 17, 63, 64, 65, 127, 128, 200] {
            for quote in 0..length {
                let mut record = vec![b'x'; length];
                record[quote] = b'"';
                let mut quotes = Quotes::default();
                quotes.fill(&record);
                assert!(quotes.is_plain());
                for position in 0..length + 70 {
                    let expected = (position <= quote).then_some(quote);
                    assert_eq!(quotes.next(position), expected, "{length} {quote} {position}");
                }
            }
        }
    }

    #[test]
    fn a_record_is_plain_if_every_byte_of_it_is() {
        let mut quotes = Quotes::default();
        for byte in 0..=u8::MAX {
            for position in [0, 15, 16, 63, 64, 70] {
                let mut record = [b'x'; 71];
                record[position] = byte;
                quotes.fill(&record);
                let plain = byte >= 0x20 && byte != b'\\';
                assert_eq!(quotes.is_plain(), plain, "{byte:#x} at {position}");
                assert_eq!(quotes.is_ascii(), byte.is_ascii(), "{byte:#x} at {position}");
            }
        }
    }
}

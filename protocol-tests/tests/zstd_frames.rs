//! zstd frames that we write: an independent decoder gives back what went in, for contents that
//! lead the encoder down each of its ways. The C library and other clients read them in the
//! interoperability matrix.

use engine_wire::compression::{Codec, Compressor, DecodeLimits, Decompressor};
use proptest::collection::vec;
use proptest::prelude::*;

fn compressed(compressor: &mut Compressor, content: &[u8]) -> Vec<u8> {
    let mut output = Vec::new();
    compressor.compress(Codec::Zstd.into(), content, &mut output).unwrap();
    output
}

fn decompressed(frame: &[u8]) -> Vec<u8> {
    let mut decompressor = Decompressor::new(DecodeLimits::default());
    decompressor.decompress(Codec::Zstd, frame).unwrap().to_vec()
}

/// The same every time: xorshift.
fn numbers(seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    })
}

/// How often each byte occurs decides the Huffman code; how long runs and repeats are, the rest.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// Bytes below a bound, all equally likely: barely or not compressible.
    Even { bytes: u64 },
    /// Each byte half as likely as the one before, so that codes would grow past their limit.
    Falling,
    /// Words of a vocabulary, one after the other.
    Words { words: u64, bytes: u64 },
    /// Runs of one byte.
    Runs { length_max: u64 },
    /// One period again and again, with some bytes changed.
    Periodic { period: u64, changed_per_mille: u64 },
}

fn content(shape: Shape, length: usize, seed: u64) -> Vec<u8> {
    let mut numbers = numbers(seed);
    let mut next = |bound: u64| (numbers.next().unwrap() >> 8) % bound.max(1);
    let mut content = Vec::with_capacity(length);
    match shape {
        Shape::Even { bytes } => content.extend((0..length).map(|_| next(bytes) as u8)),
        Shape::Falling => content.extend((0..length).map(|_| next(1 << 30).leading_zeros() as u8)),
        Shape::Words { words, bytes } => {
            let vocabulary: Vec<Vec<u8>> = (0..words)
                .map(|_| (0..1 + next(20)).map(|_| next(bytes) as u8).collect())
                .collect();
            while content.len() < length {
                content.extend_from_slice(&vocabulary[next(words) as usize]);
            }
        }
        Shape::Runs { length_max } => {
            while content.len() < length {
                let byte = next(256) as u8;
                content.extend(std::iter::repeat_n(byte, 1 + next(length_max) as usize));
            }
        }
        Shape::Periodic {
            period,
            changed_per_mille,
        } => {
            let first: Vec<u8> = (0..period).map(|_| next(256) as u8).collect();
            content.extend((0..length).map(|at| {
                let byte = first[at % first.len()];
                if next(1000) < changed_per_mille {
                    next(256) as u8
                } else {
                    byte
                }
            }));
        }
    }
    content.truncate(length);
    content
}

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![
        (1..=256_u64).prop_map(|bytes| Shape::Even { bytes }),
        Just(Shape::Falling),
        (1..500_u64, 2..=256_u64).prop_map(|(words, bytes)| Shape::Words { words, bytes }),
        (1..50_000_u64).prop_map(|length_max| Shape::Runs { length_max }),
        (1..5_000_u64, 0..200_u64).prop_map(|(period, changed_per_mille)| Shape::Periodic {
            period,
            changed_per_mille
        }),
    ]
}

/// The sizes at which headers and blocks change their form lie within.
fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        0..300_usize,
        200..2_000_usize,
        15_000..70_000_usize,
        130_000..300_000_usize
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_decoder_gives_back_what_was_compressed(contents in vec((shape(), length(), any::<u64>()), 1..4)) {
        // One compressor for all: reuse must not leak from one frame into the next.
        let mut compressor = Compressor::new();
        for (shape, length, seed) in contents {
            let content = content(shape, length, seed);
            let frame = compressed(&mut compressor, &content);
            // Three bytes for each block, and the header: never more than that above the content.
            prop_assert!(frame.len() <= content.len() + 11 + 3 * (content.len() / (128 * 1024) + 1));
            prop_assert!(decompressed(&frame) == content, "{shape:?}, {length} bytes, seed {seed}");
        }
    }

    #[test]
    fn bytes_of_any_kind_come_back(content in vec(any::<u8>(), 0..3_000)) {
        prop_assert_eq!(decompressed(&compressed(&mut Compressor::new(), &content)), content);
    }
}

#[test]
fn a_frame_says_how_large_its_content_is() {
    for (length, descriptor_and_size) in [
        (0_usize, &[0x20, 0][..]),
        (255, &[0x20, 0xff]),
        (256, &[0x60, 0, 0]),
        (65_791, &[0x60, 0xff, 0xff]),
        (65_792, &[0xa0, 0, 1, 1, 0]),
        // Above the window its size is said too: 2^20.
        ((1 << 20) + 1, &[0x80, 10 << 3, 1, 0, 0x10, 0]),
    ] {
        let frame = compressed(&mut Compressor::new(), &vec![7; length]);
        assert_eq!(frame[..4], [0x28, 0xb5, 0x2f, 0xfd]);
        assert_eq!(
            &frame[4..][..descriptor_and_size.len()],
            descriptor_and_size,
            "{length} bytes"
        );
        assert_eq!(decompressed(&frame), vec![7; length]);
    }
}

#[test]
fn nothing_is_copied_from_further_back_than_the_window() {
    // A period longer than the window: a decoder that keeps no more than the window must do.
    let shape = Shape::Periodic {
        period: (1 << 20) + 4_096,
        changed_per_mille: 0,
    };
    let content = content(shape, 3 << 20, 1);
    let frame = compressed(&mut Compressor::new(), &content);
    assert!(frame.len() > content.len(), "{} bytes", frame.len());
    assert_eq!(decompressed(&frame), content);
}

#[test]
fn a_block_that_was_stored_leaves_the_offsets_of_the_next_alone() {
    const BLOCK_BYTES: usize = 128 * 1024;
    const OFFSET: usize = 60;
    // Five bytes repeated do not pay for their sequence: the first block is stored, and no reader
    // learns the offset that the second one has again. Near the blocks' beginnings, because the
    // search takes longer steps the longer it finds nothing.
    let mut content = content(Shape::Even { bytes: 256 }, 2 * BLOCK_BYTES, 5);
    content.copy_within(20..25, 20 + OFFSET);
    content.copy_within(BLOCK_BYTES + 20..BLOCK_BYTES + 70, BLOCK_BYTES + 20 + OFFSET);

    let frame = compressed(&mut Compressor::new(), &content);

    assert_eq!(frame[9] >> 1 & 3, 0, "the first block is stored");
    assert_eq!(frame[9 + 3 + BLOCK_BYTES] >> 1 & 3, 2, "the second is compressed");
    assert!(decompressed(&frame) == content);
}

#[test]
fn records_that_resemble_each_other_become_a_fifth() {
    let mut numbers = numbers(7);
    let mut next = |bound: u64| (numbers.next().unwrap() >> 8) % bound;
    let mut content = Vec::new();
    for event in 0..400 {
        content.extend_from_slice(
            format!(
                r#"{{"user_id":"{:08x}","page_id":"{:08x}","ad_type":"{}","event_type":"{}","event_time":{}}}"#,
                next(100_000),
                next(10_000),
                ["banner", "modal", "mail", "mobile"][next(4) as usize],
                ["view", "click", "purchase"][next(3) as usize],
                1_700_000_000_000_u64 + event * 3,
            )
            .as_bytes(),
        );
    }
    let frame = compressed(&mut Compressor::new(), &content);
    assert!(
        frame.len() * 5 < content.len(),
        "{} of {} bytes",
        frame.len(),
        content.len()
    );
    assert_eq!(decompressed(&frame), content);
}

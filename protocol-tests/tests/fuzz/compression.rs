//! Each decompressor alone, and each codec's way there and back.

use engine_wire::compression::{Codec, Compressor, DecodeLimits, Decompressor};
use protocol_tests::fuzzing::fuzz;
use protocol_tests::golden;

use super::{allocating_at_most, alone};

const DECOMPRESSED_BYTES_MAX: usize = 256 << 10;

fn decompressed(target: &str, codec: Codec, inputs: u64) {
    let _alone = alone();
    let mut examples: Vec<Vec<u8>> = golden::files("batches")
        .into_iter()
        .filter(|(name, _)| name.ends_with(codec.name()))
        .map(|(_, bytes)| bytes[61..].to_vec())
        .collect();
    for content in [&b""[..], b"abcabcabcabcabcabcabcabcabc", &[0; 70_000]] {
        let mut compressed = Vec::new();
        let written = Compressor::new().compress(codec.into(), content, &mut compressed);
        written.expect("every codec can be written");
        examples.push(compressed);
    }
    fuzz(target, examples, inputs, |input| {
        // Some codecs build tables of up to a few hundred KiB; a window is at most the limit.
        let budget = 12 * DECOMPRESSED_BYTES_MAX + (2 << 20) + 8 * input.len();
        let outcome = allocating_at_most(budget, || {
            let mut decompressor = Decompressor::new(DecodeLimits {
                decompressed_bytes_max: DECOMPRESSED_BYTES_MAX,
            });
            let outcome = match decompressor.decompress(codec, input) {
                Ok(content) => {
                    assert!(content.len() <= DECOMPRESSED_BYTES_MAX);
                    format!("{} bits of content", usize::BITS - content.len().leading_zeros())
                }
                Err(error) => error.to_string(),
            };
            // What was refused leaves nothing behind.
            let mut good = Vec::new();
            let written = Compressor::new().compress(codec.into(), b"good", &mut good);
            written.expect("every codec can be written");
            assert_eq!(decompressor.decompress(codec, &good).expect("it is good"), b"good");
            outcome
        });
        let mut compressed = Vec::new();
        let written = Compressor::new().compress(codec.into(), input, &mut compressed);
        written.expect("every codec can be written");
        let limit = DecodeLimits {
            decompressed_bytes_max: input.len(),
        };
        let mut decompressor = Decompressor::new(limit);
        assert_eq!(
            decompressor.decompress(codec, &compressed).expect("our own bytes"),
            input
        );
        outcome
    });
}

#[test]
fn gzip() {
    decompressed("gzip", Codec::Gzip, 600);
}

#[test]
fn snappy() {
    decompressed("snappy", Codec::Snappy, 4_000);
}

#[test]
fn lz4() {
    decompressed("lz4", Codec::Lz4, 4_000);
}

#[test]
fn zstd() {
    decompressed("zstd", Codec::Zstd, 1_000);
}

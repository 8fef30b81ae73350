//! Bytes that mean harm, and what decoding them may cost.

use std::alloc::System;

use cap::Cap;

/// How many rounds to run: `HOSTILE_ROUNDS`, or `default`.
#[must_use]
pub fn rounds(default: u64) -> u64 {
    std::env::var("HOSTILE_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// xorshift64*, so that a seed means the same everywhere.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// The same numbers for the same seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 16) as usize % bound.max(1)
    }

    /// Bytes that decoders are tempted by.
    pub fn noise(&mut self, size: usize) -> Vec<u8> {
        // Small numbers are likelier to be taken for counts that make sense.
        (0..size)
            .map(|_| match self.below(4) {
                0 => 0,
                1 => self.below(8) as u8,
                2 => 0xff,
                _ => self.next() as u8,
            })
            .collect()
    }

    /// Up to five changes: bytes set or flipped, the tail cut, counts overwritten, bytes inserted.
    pub fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            if bytes.is_empty() {
                return;
            }
            let at = self.below(bytes.len());
            match self.below(6) {
                0 => bytes[at] = self.next() as u8,
                1 => bytes[at] ^= 1 << self.below(8),
                2 => bytes.truncate(at),
                3 => {
                    let end = (at + 5).min(bytes.len());
                    bytes[at..end].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x0f][..end - at]);
                }
                4 => {
                    let end = (at + 4).min(bytes.len());
                    let value = (self.next() as u32 >> self.below(32)).to_be_bytes();
                    bytes[at..end].copy_from_slice(&value[..end - at]);
                }
                _ => {
                    let noise = self.noise(3);
                    bytes.splice(at..at, noise);
                }
            }
        }
    }
}

/// Runs `decode` and checks what it allocated at its highest.
///
/// # Panics
/// If that is more than `budget`.
pub fn allocating_at_most(allocator: &Cap<System>, budget: usize, what: &str, decode: impl FnOnce()) {
    let before = allocator.total_allocated();
    decode();
    // The total counts everything ever allocated: an upper bound of the highest point.
    let allocated = allocator.total_allocated() - before;
    assert!(
        allocated <= budget,
        "{what}: {allocated} bytes allocated, {budget} paid for"
    );
}

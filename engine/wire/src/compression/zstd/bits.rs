//! Bits in zstd's order: the first one written is the lowest of its byte.

/// Appends bits to a byte buffer.
pub(super) struct BitWriter<'a> {
    output: &'a mut Vec<u8>,
    /// Bits not yet in `output`; those at `held` and above are zero.
    pending: u64,
    held: u32,
}

impl<'a> BitWriter<'a> {
    pub(super) fn new(output: &'a mut Vec<u8>) -> Self {
        Self {
            output,
            pending: 0,
            held: 0,
        }
    }

    /// Appends the `count` low bits of `value`, at most 32 of them; higher ones are ignored.
    pub(super) fn put(&mut self, value: u32, count: u32) {
        debug_assert!(count <= 32, "at most 32 bits at a time, not {count}");
        self.pending |= (u64::from(value) & ((1 << count) - 1)) << self.held;
        self.held += count;
        if self.held >= 32 {
            self.output.extend_from_slice(&(self.pending as u32).to_le_bytes());
            self.pending >>= 32;
            self.held -= 32;
        }
    }

    /// Fills the last byte with zeros.
    pub(super) fn finish(self) {
        let bytes = self.held.div_ceil(8) as usize;
        self.output.extend_from_slice(&self.pending.to_le_bytes()[..bytes]);
    }

    /// Ends a stream that is read from its end: a one marks where the bits stop.
    pub(super) fn finish_backward(mut self) {
        self.put(1, 1);
        self.finish();
    }
}

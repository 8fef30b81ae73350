//! Several short varints in one store: what makes appending a small record cheap.

/// One or several varints of at most three bytes each, in a register.
///
/// They are stored eight bytes at once: storing single bytes and copying them together makes the
/// copy wait for the stores, which took half of the time (`bench/src/bin/codec.rs`).
#[derive(Clone, Copy)]
pub(super) struct ShortVarint {
    register: u64,
    bytes: u32,
}

impl ShortVarint {
    /// Values below take at most three bytes.
    pub(super) const LIMIT: u64 = 1 << 21;

    #[inline]
    pub(super) fn new(value: u32) -> Self {
        let value = u64::from(value);
        let (register, bytes) = if value < 0x80 {
            (value, 1)
        } else if value < 0x4000 {
            (value & 0x7f | value << 1 & 0x7f00 | 0x80, 2)
        } else {
            (value & 0x7f | value << 1 & 0x7f00 | value << 2 & 0x7f_0000 | 0x8080, 3)
        };
        Self { register, bytes }
    }

    #[inline]
    pub(super) fn size_bytes(self) -> usize {
        self.bytes as usize
    }

    /// Both, if they take at most eight bytes together.
    #[inline]
    pub(super) fn then(self, next: Self) -> Self {
        Self {
            register: self.register | next.register << (8 * self.bytes),
            bytes: self.bytes + next.bytes,
        }
    }

    #[inline]
    pub(super) fn put(self, arena: &mut Vec<u8>) {
        let end = arena.len() + self.bytes as usize;
        arena.extend_from_slice(&self.register.to_le_bytes());
        arena.truncate(end);
    }
}

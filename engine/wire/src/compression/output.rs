//! Where decompressed bytes go: a scratch buffer that grows as content appears, up to a limit.
//!
//! The buffer keeps its length from one batch to the next, so a steady state neither allocates
//! nor clears memory: the content is its front part.

/// Why a codec gave up; the codec's name and the sizes are added above.
#[derive(Debug)]
pub(crate) enum Fault {
    /// More content than the limit.
    TooLarge,
    /// Not what the codec writes.
    Corrupt(String),
}

impl Fault {
    pub(crate) fn corrupt(reason: impl Into<String>) -> Self {
        Self::Corrupt(reason.into())
    }
}

/// A scratch buffer, how much of it is content, and the limit.
pub(crate) struct Growing<'a> {
    buffer: &'a mut Vec<u8>,
    used: usize,
    limit: usize,
}

impl<'a> Growing<'a> {
    pub(crate) fn new(buffer: &'a mut Vec<u8>, limit: usize) -> Self {
        Self { buffer, used: 0, limit }
    }

    pub(crate) fn used(&self) -> usize {
        self.used
    }

    pub(crate) fn content(&self) -> &[u8] {
        &self.buffer[..self.used]
    }

    pub(crate) fn is_at_limit(&self) -> bool {
        self.used >= self.limit
    }

    /// Everything up to the buffer's end, after growing it so that at least `wanted` more bytes
    /// fit; fewer only where the limit says so.
    pub(crate) fn room(&mut self, wanted: usize) -> &mut [u8] {
        let needed = self.used.saturating_add(wanted).min(self.limit);
        if self.buffer.len() < needed {
            // Doubling, but never past the limit.
            let grown = needed.max((self.buffer.len() * 2).min(self.limit));
            self.buffer.reserve_exact(grown - self.buffer.len());
            self.buffer.resize(grown, 0);
        }
        let end = self.buffer.len().min(self.limit);
        &mut self.buffer[self.used..end]
    }

    /// Exactly `size` more bytes.
    pub(crate) fn exact(&mut self, size: usize) -> Result<&mut [u8], Fault> {
        if size > self.limit - self.used {
            return Err(Fault::TooLarge);
        }
        Ok(&mut self.room(size)[..size])
    }

    /// The content so far and the room behind it, as [`room`](Self::room).
    pub(crate) fn content_and_room(&mut self, wanted: usize) -> (&[u8], &mut [u8]) {
        self.room(wanted);
        let end = self.buffer.len().min(self.limit);
        let (content, room) = self.buffer[..end].split_at_mut(self.used);
        (content, room)
    }

    /// Counts `written` bytes of the room as content.
    pub(crate) fn advance(&mut self, written: usize) {
        self.used += written;
        assert!(self.used <= self.limit.min(self.buffer.len()), "content fits its room");
    }
}

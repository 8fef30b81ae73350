//! What a read found, before its bytes are fetched.
//!
//! Collected under the partition's lock, turned into bytes after it is released: memory batches are shared,
//! neighbouring disk batches become one positioned read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::log::{Entry, Payload};

/// Consecutive batches of one log.
#[derive(Debug, Default)]
pub(crate) struct LogSlice {
    pieces: Vec<Piece>,
    size: usize,
}

#[derive(Debug)]
enum Piece {
    Memory {
        head: [u8; 16],
        rest: Bytes,
    },
    Disk {
        file: Arc<File>,
        position: u64,
        size: usize,
    },
}

impl LogSlice {
    /// Bytes of all batches.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    pub(crate) fn push(&mut self, entry: &Entry) {
        let entry_size = entry.size as usize;
        self.size += entry_size;
        match (&entry.payload, self.pieces.last_mut()) {
            (
                Payload::Disk { file, position },
                Some(Piece::Disk {
                    file: last,
                    position: start,
                    size,
                }),
            ) if Arc::ptr_eq(file, last) && *start + *size as u64 == *position => {
                *size += entry_size;
            }
            (Payload::Disk { file, position }, _) => {
                self.pieces.push(Piece::Disk {
                    file: Arc::clone(file),
                    position: *position,
                    size: entry_size,
                });
            }
            (Payload::Memory(rest), _) => {
                self.pieces.push(Piece::Memory {
                    head: entry.head(),
                    rest: rest.clone(),
                });
            }
        }
    }

    /// Gives each run of bytes to `write`, in order; `copied` is for the 16-byte heads, `shared` for the rest.
    /// An error leaves what was already written to the caller, which must drop it.
    pub(crate) fn write_to(self, out: &mut impl PieceSink) -> io::Result<()> {
        for piece in self.pieces {
            match piece {
                Piece::Memory { head, rest } => {
                    out.copied(&head);
                    out.shared(rest);
                }
                Piece::Disk { file, position, size } => out.shared(read_at(&file, position, size)?),
            }
        }
        Ok(())
    }

    /// All bytes in one buffer.
    pub(crate) fn into_bytes(self) -> io::Result<Bytes> {
        let mut out = BytesMut::with_capacity(self.size);
        self.write_to(&mut out)?;
        Ok(out.freeze())
    }
}

/// Takes the bytes of a [`LogSlice`] piece by piece.
pub(crate) trait PieceSink {
    /// Few bytes that live on the stack.
    fn copied(&mut self, bytes: &[u8]);
    /// Bytes that may be kept without copying.
    fn shared(&mut self, bytes: Bytes);
}

impl PieceSink for BytesMut {
    fn copied(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn shared(&mut self, bytes: Bytes) {
        self.extend_from_slice(&bytes);
    }
}

fn read_at(file: &File, position: u64, size: usize) -> io::Result<Bytes> {
    let mut buffer = BytesMut::zeroed(size);
    file.read_exact_at(&mut buffer, position)?;
    Ok(buffer.freeze())
}

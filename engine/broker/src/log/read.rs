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
        bytes: Bytes,
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
                    bytes: rest.clone(),
                });
            }
        }
    }

    /// The bytes, read from the disk if that is where they are.
    pub(crate) fn load(self) -> io::Result<Vec<Run>> {
        let load = |piece| match piece {
            Piece::Memory { head, bytes } => Ok(Run {
                head: Some(head),
                bytes,
            }),
            Piece::Disk { file, position, size } => {
                let bytes = read_at(&file, position, size)?;
                Ok(Run { head: None, bytes })
            }
        };
        self.pieces.into_iter().map(load).collect()
    }

    /// All bytes in one buffer.
    pub(crate) fn into_bytes(self) -> io::Result<Bytes> {
        let mut out = BytesMut::with_capacity(self.size);
        for run in self.load()? {
            out.extend_from_slice(run.head.as_ref().map_or(&[][..], |head| &head[..]));
            out.extend_from_slice(&run.bytes);
        }
        Ok(out.freeze())
    }
}

/// Bytes of one or more whole batches.
#[derive(Debug)]
pub(crate) struct Run {
    /// The patched bytes in front of `bytes`, for a batch in memory.
    pub(crate) head: Option<[u8; 16]>,
    pub(crate) bytes: Bytes,
}

fn read_at(file: &File, position: u64, size: usize) -> io::Result<Bytes> {
    let mut buffer = BytesMut::zeroed(size);
    file.read_exact_at(&mut buffer, position)?;
    Ok(buffer.freeze())
}

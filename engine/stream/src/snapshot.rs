//! State in segments, and state ⇄ bytes: named micro-batches as Arrow IPC behind a version and a checksum.
//!
//! ```text
//! mark "EST\x01" · version u32 · body length u64 · CRC-32C of the body u32 · body
//! body: number of parts u32, then for each: name length u32 · name · IPC length u64 · Arrow IPC stream
//! ```
//! All integers are little-endian. The checksum is checked before anything in the body is believed. It keeps accidents out,
//! not malice, so the body is read as what a stranger may have written: every length and place in it is checked (see `ipc`).
//! Whether its rows are a state is for an operator's `restore` to say.

pub(crate) mod ipc;
#[cfg(test)]
pub(crate) mod tests;

use arrow::array::RecordBatch;

use ipc::error::IpcError;

const MARK: [u8; 4] = *b"EST\x01";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 20;

/// How much of a state a snapshot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotKind {
    /// What was added since the last snapshot. It is taken out of a delta and not looked for, so it costs what it holds.
    Changes,
    /// Everything: all segments before it are obsolete.
    Full,
}

/// What a task's state gave for one snapshot. A state is a full segment and the changes after it, in order.
#[derive(Debug, Clone)]
pub struct StateSegment {
    /// What it holds; full where that was asked for, or where nothing before it counts any more.
    pub kind: SnapshotKind,
    /// The operators that have something in it, by name, for [`encode`].
    pub parts: Vec<(String, RecordBatch)>,
    /// The watermark, in nanoseconds, that closes the last of it; `None` without parts.
    pub closed_at: Option<i64>,
}

/// Why bytes are no snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The bytes do not begin as a snapshot does.
    #[error("this is no snapshot: it does not begin with its mark")]
    NoSnapshot,
    /// Written by another version of the engine.
    #[error("the snapshot has version {found}; this engine reads version {expected}")]
    Version {
        /// The version we read.
        expected: u32,
        /// The version that is there.
        found: u32,
    },
    /// Fewer or more bytes than were written.
    #[error("the snapshot has {found} bytes instead of {expected}")]
    Length {
        /// The bytes that were written.
        expected: u64,
        /// The bytes that are there.
        found: u64,
    },
    /// The checksum does not match.
    #[error("the snapshot is corrupt: its checksum is {found:#010x}, {expected:#010x} was written")]
    Checksum {
        /// The checksum that was written.
        expected: u32,
        /// The checksum of what is there.
        found: u32,
    },
    /// The checksum matches, but the contents do not parse.
    #[error("the snapshot cannot be read: {message}")]
    Contents {
        /// What is wrong.
        message: String,
    },
}

/// Writes named micro-batches. Their schemas and metadata come back as they were.
pub fn encode(parts: &[(String, RecordBatch)]) -> Result<Vec<u8>, SnapshotError> {
    let mut bytes = vec![0; HEADER_BYTES];
    bytes.extend_from_slice(&(parts.len() as u32).to_le_bytes());
    for (name, batch) in parts {
        bytes.extend_from_slice(&(name.len() as u32).to_le_bytes());
        bytes.extend_from_slice(name.as_bytes());
        let length_at = bytes.len();
        bytes.extend_from_slice(&[0; 8]);
        ipc::encode(batch, &mut bytes).map_err(contents)?;
        let length = (bytes.len() - length_at - 8) as u64;
        bytes[length_at..length_at + 8].copy_from_slice(&length.to_le_bytes());
    }
    let body = &bytes[HEADER_BYTES..];
    let (length, checksum) = (body.len() as u64, crc32c::crc32c(body));
    bytes[..4].copy_from_slice(&MARK);
    bytes[4..8].copy_from_slice(&VERSION.to_le_bytes());
    bytes[8..16].copy_from_slice(&length.to_le_bytes());
    bytes[16..20].copy_from_slice(&checksum.to_le_bytes());
    Ok(bytes)
}

/// Reads what [`encode`] wrote.
pub fn decode(bytes: &[u8]) -> Result<Vec<(String, RecordBatch)>, SnapshotError> {
    let mut header = Reader { rest: bytes };
    if header.take(4) != Some(&MARK) {
        return Err(SnapshotError::NoSnapshot);
    }
    let too_short = SnapshotError::Length {
        expected: HEADER_BYTES as u64,
        found: bytes.len() as u64,
    };
    let version = header.u32().ok_or_else(|| too_short.clone())?;
    if version != VERSION {
        return Err(SnapshotError::Version {
            expected: VERSION,
            found: version,
        });
    }
    let length = header.u64().ok_or_else(|| too_short.clone())?;
    let checksum = header.u32().ok_or(too_short)?;
    let body = header.rest;
    if body.len() as u64 != length {
        let expected = length.saturating_add(HEADER_BYTES as u64);
        return Err(SnapshotError::Length {
            expected,
            found: bytes.len() as u64,
        });
    }
    let found = crc32c::crc32c(body);
    if found != checksum {
        return Err(SnapshotError::Checksum {
            expected: checksum,
            found,
        });
    }
    decode_body(body)
}

fn decode_body(body: &[u8]) -> Result<Vec<(String, RecordBatch)>, SnapshotError> {
    let mut reader = Reader { rest: body };
    let short = || SnapshotError::Contents {
        message: "it ends within a part".into(),
    };
    let count = reader.u32().ok_or_else(short)?;
    let mut parts = Vec::new();
    for _ in 0..count {
        let name_length = reader.u32().ok_or_else(short)? as usize;
        let name = reader.take(name_length).ok_or_else(short)?;
        let name = str::from_utf8(name).map_err(|error| SnapshotError::Contents {
            message: error.to_string(),
        })?;
        let length = reader
            .u64()
            .and_then(|length| usize::try_from(length).ok())
            .ok_or_else(short)?;
        let stream = reader.take(length).ok_or_else(short)?;
        parts.push((name.to_owned(), ipc::decode(stream).map_err(contents)?));
    }
    if !reader.rest.is_empty() {
        return Err(SnapshotError::Contents {
            message: format!("{} bytes follow its last part", reader.rest.len()),
        });
    }
    Ok(parts)
}

fn contents(error: IpcError) -> SnapshotError {
    SnapshotError::Contents {
        message: error.to_string(),
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)
            .map(|bytes| u32::from_le_bytes(bytes.try_into().expect("four bytes")))
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(8)
            .map(|bytes| u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
    }
}

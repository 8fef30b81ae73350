//! State ⇄ bytes: named micro-batches as Arrow IPC behind a version and a checksum.

use arrow::array::RecordBatch;

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
    #[error("the snapshot has {found} bytes of {expected}")]
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

/// Writes named micro-batches.
pub fn encode(_parts: &[(String, RecordBatch)]) -> Result<Vec<u8>, SnapshotError> {
    unimplemented!()
}

/// Reads what [`encode`] wrote.
pub fn decode(_bytes: &[u8]) -> Result<Vec<(String, RecordBatch)>, SnapshotError> {
    unimplemented!()
}

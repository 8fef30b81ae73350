//! What is counted of a source.

use std::ops::Add;

/// What a source has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SourceCounts {
    /// Records read, the malformed ones included.
    pub(crate) records: u64,
    /// Bytes of their batches as they came from the brokers.
    pub(crate) bytes: u64,
    /// Malformed records.
    pub(crate) malformed: u64,
    /// Rows too late for a window or a dedup.
    pub(crate) late_rows: u64,
    /// Rows without an event time that a window can place.
    pub(crate) unplaced_rows: u64,
    /// Rows that a dedup dropped as repeats.
    pub(crate) duplicate_rows: u64,
    /// Rows too far in the future to advance a watermark.
    pub(crate) skewed_rows: u64,
}

impl Add for SourceCounts {
    type Output = SourceCounts;

    fn add(self, other: SourceCounts) -> SourceCounts {
        SourceCounts {
            records: self.records + other.records,
            bytes: self.bytes + other.bytes,
            malformed: self.malformed + other.malformed,
            late_rows: self.late_rows + other.late_rows,
            unplaced_rows: self.unplaced_rows + other.unplaced_rows,
            duplicate_rows: self.duplicate_rows + other.duplicate_rows,
            skewed_rows: self.skewed_rows + other.skewed_rows,
        }
    }
}

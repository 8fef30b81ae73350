//! What operators that remember have in common, so that a task can feed, checkpoint and restore any of them.
//!
//! A new one is a file with an implementation of [`StatefulOperator`], and a line in `graph::task` that makes it.
//! Never here: what a segment looks like as bytes (see `snapshot`).

pub(crate) mod error;
pub(crate) mod group_index;
pub(crate) mod keyed_columns;

use std::fmt;

use arrow::array::RecordBatch;

pub use error::OperatorError;

use crate::snapshot::SnapshotKind;

/// What became of the rows of a micro-batch.
#[derive(Debug, Default)]
pub struct UpdateOutcome {
    /// Rows that go on to whoever reads the operator, at once. Windows have none: theirs come out of the merged state.
    pub passed: Option<RecordBatch>,
    /// The late rows, if the operator was told to keep them.
    pub late: Option<RecordBatch>,
    /// How many rows were late.
    pub late_rows: u64,
    /// Rows without an event time, or in a window that reaches beyond the range of `i64` nanoseconds: in no window.
    pub unplaced_rows: u64,
    /// Rows that repeat one that went on before them.
    pub duplicate_rows: u64,
}

/// One operator's part of a segment.
#[derive(Debug, Clone)]
pub struct StatePart {
    /// The rows, with what [`StatefulOperator::restore`] must know of them in the metadata of their schema.
    pub rows: RecordBatch,
    /// The watermark, in nanoseconds, that closes the last of them: from then on the part is worth nothing.
    pub closed_at: i64,
}

/// An operator of one source partition that remembers rows.
///
/// After an error its state is incomplete and must be thrown away.
pub trait StatefulOperator: fmt::Debug + Send {
    /// Adds rows. A row is late if it was closed by the watermark `closed_before`, the source's before this micro-batch.
    fn update(&mut self, rows: &RecordBatch, closed_before: Option<i64>) -> Result<UpdateOutcome, OperatorError>;

    /// Takes what the watermark closes. From now on its rows are late.
    fn take_closed(&mut self, watermark: i64) -> Result<Option<RecordBatch>, OperatorError>;

    /// Takes what is still to be emitted, closed or not (for a drain).
    fn take_all(&mut self) -> Result<Option<RecordBatch>, OperatorError>;

    /// The state, or what was added to it since the last snapshot of either kind. `None` if that is nothing.
    ///
    /// What was taken by [`take_closed`](StatefulOperator::take_closed) is not told: `restore` is given the watermark.
    fn snapshot(&mut self, kind: SnapshotKind) -> Result<Option<StatePart>, OperatorError>;

    /// Whether what the snapshots so far say of themselves is not true any more, so that the next must be a full one.
    fn needs_full_snapshot(&self) -> bool {
        false
    }

    /// Over all partitions of the source, what ends up to here (in nanoseconds) was taken before: told before anything is
    /// restored. What gives nothing out when time passes has no use for it.
    fn handle_taken(&mut self, _end: i64) {}

    /// Adds a part that a snapshot gave: first a full one, then the changes after it, in the order they were taken.
    ///
    /// What the watermark `closed_up_to` closed had been taken when the last of them was kept. It is left out, by the rules
    /// that were valid when the part was written.
    fn restore(&mut self, rows: &RecordBatch, closed_up_to: Option<i64>) -> Result<(), OperatorError>;

    /// The windows and groups that changed since the last snapshot, if their rows are to be emitted before their windows
    /// close. Their rows come out of the states of all partitions, see [`copy_states_of`](StatefulOperator::copy_states_of).
    fn changed_groups(&self) -> Option<RecordBatch> {
        None
    }

    /// Copies of the states of these groups, which changed here or in another partition, as far as they are here.
    fn copy_states_of(&mut self, groups: &RecordBatch) -> Result<Option<RecordBatch>, OperatorError> {
        unreachable!("{} groups of an operator that never told of any", groups.num_rows())
    }

    /// How many groups, keys or sessions it remembers; exact after a snapshot, before it those that changed may count twice.
    fn groups(&self) -> usize;

    /// Bytes of state, roughly.
    fn size_bytes(&self) -> usize;

    /// Itself, if it holds sessions: those of several partitions may be one.
    fn sessions(&mut self) -> Option<&mut dyn OpenSessions> {
        None
    }
}

/// What an operator with sessions can be asked while those of several partitions are put together.
pub trait OpenSessions {
    /// For each of these spans (start, end and group columns), whether a session that is open here overlaps it.
    fn overlapped(&self, spans: &RecordBatch) -> Vec<bool>;

    /// Takes parts that another partition had closed into the sessions that are open here.
    fn absorb(&mut self, state: &RecordBatch) -> Result<(), OperatorError>;
}

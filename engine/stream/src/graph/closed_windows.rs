//! Partial windows on their way from the partitions to whoever merges them.

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::TimestampNanosecondType;

use crate::window::session::spans;

/// Closed partial windows of one source partition, or copies of open ones that changed.
#[derive(Debug, Clone)]
pub struct ClosedWindows {
    /// Which of [`SourcePlan::windows`](super::SourcePlan::windows).
    pub window: usize,
    /// Their state, for [`WindowOutput::merge`](super::WindowOutput::merge).
    pub state: RecordBatch,
}

impl ClosedWindows {
    /// The start of each row's window, in nanoseconds since 1970.
    pub fn starts_ns(&self) -> impl Iterator<Item = i64> + '_ {
        let starts = self.state.column(0).as_primitive::<TimestampNanosecondType>();
        starts.values().iter().copied()
    }

    /// Start and end of each row's session, if the window is of sessions, in nanoseconds since 1970.
    pub fn sessions_ns(&self) -> impl Iterator<Item = (i64, i64)> + '_ {
        spans(&self.state)
    }
}

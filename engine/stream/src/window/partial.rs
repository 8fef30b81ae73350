//! The open windows of one source partition: which rows they take, which are late, and when they close.
//!
//! Each source partition has its own, so that they can move with it. A window is closed once, when the watermark has
//! passed its end and the allowed lateness; one that emits updates also tells which of its groups changed before that.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, max, take_record_batch};

use super::aligned::AlignedWindow;
use super::layers::LayeredWindows;
use super::output_mode::OutputMode;
use super::rows::WindowRows;
use super::taken::Taken;
use crate::event_time::EventTimes;
use crate::snapshot::SnapshotKind;
use crate::stateful::error::OperatorError;
use crate::stateful::{StatePart, StatefulOperator, UpdateOutcome};

/// The open windows of one source partition: mergeable with those of others.
///
/// Bounded by `groups_max`. After an error the state is incomplete and must be thrown away.
#[derive(Debug)]
pub struct PartialWindows {
    window: Arc<AlignedWindow>,
    windows: LayeredWindows,
    /// Windows that start before its bound were taken.
    taken: Taken,
}

impl PartialWindows {
    /// No open windows.
    pub fn new(window: Arc<AlignedWindow>) -> Self {
        PartialWindows {
            windows: LayeredWindows::new(),
            taken: Taken::nothing(window.allowed_lateness()),
            window,
        }
    }

    /// Open windows.
    pub fn windows(&self) -> usize {
        self.windows.len()
    }
}

impl StatefulOperator for PartialWindows {
    /// Adds rows to those of their windows that are open. A row is late if all its windows had closed.
    fn update(&mut self, batch: &RecordBatch, closed_before: Option<i64>) -> Result<UpdateOutcome, OperatorError> {
        let window = Arc::clone(&self.window);
        let column = batch.column(window.time_column);
        let times = EventTimes::new(column).ok_or_else(|| OperatorError::NoEventTime {
            column: batch.schema_ref().field(window.time_column).name().clone(),
        })?;
        let late_before = closed_before
            .map(|watermark| window.closed_before(watermark))
            .max(self.taken.bound());
        let late_before = late_before.unwrap_or(i64::MIN);
        let mut outcome = UpdateOutcome::default();
        let mut rows = WindowRows::default();
        let mut late = Vec::new();
        // Most rows are in the same windows as the row before.
        let (mut pane, mut end) = (0, 0);
        for row in 0..times.len() {
            let Some(time) = times.nanoseconds(row) else {
                outcome.unplaced_rows += 1;
                continue;
            };
            if time < pane || time >= end {
                let Some(found) = window.pane_start(time) else {
                    outcome.unplaced_rows += 1;
                    continue;
                };
                (pane, end) = (found, found + window.slide());
            }
            // The last of its windows begins with the pane.
            if pane < late_before {
                late.push(row as u32);
            } else {
                rows.push(pane, row as u32);
            }
        }
        outcome.late_rows = late.len() as u64;
        if window.keep_late_rows && !late.is_empty() {
            let late = take_record_batch(batch, &UInt32Array::from(late));
            outcome.late = Some(late.expect("rows are positions in the micro-batch"));
        }
        self.windows.update(&window, batch, &rows, late_before)?;
        Ok(outcome)
    }

    /// Earliest window first.
    fn take_closed(&mut self, watermark: i64) -> Result<Option<RecordBatch>, OperatorError> {
        let end = self.window.closed_before(watermark);
        self.taken.take(end, self.window.allowed_lateness());
        self.windows.take_states(&self.window, Some(end))
    }

    fn take_all(&mut self) -> Result<Option<RecordBatch>, OperatorError> {
        self.windows.take_states(&self.window, None)
    }

    fn snapshot(&mut self, kind: SnapshotKind) -> Result<Option<StatePart>, OperatorError> {
        let states = match kind {
            SnapshotKind::Changes => self.windows.take_changes(&self.window)?,
            SnapshotKind::Full => self.windows.copy_states(&self.window)?,
        };
        let Some(states) = states else { return Ok(None) };
        let starts = self.window.state_starts(&states);
        let last = max(&starts).expect("a state without rows is none");
        let metadata = self.taken.tell(self.window.definition());
        let schema = self.window.state_schema.as_ref().clone().with_metadata(metadata);
        Ok(Some(StatePart {
            rows: states.with_schema(Arc::new(schema)).expect("only the metadata changed"),
            closed_at: self.window.closed_at(last, self.taken.lateness()),
        }))
    }

    fn restore(&mut self, state: &RecordBatch, closed_up_to: Option<i64>) -> Result<(), OperatorError> {
        self.window.check_state(state)?;
        self.window.check_values(state)?;
        let (metadata, definition) = (state.schema_ref().metadata(), self.window.definition());
        let closed_before = |watermark, lateness| self.window.closed_before_with(watermark, lateness);
        self.taken.restore(metadata, definition, closed_up_to, closed_before)?;
        let Some(taken_before) = self.taken.bound() else {
            return self.windows.restore(&self.window, state);
        };
        self.windows.drop_before(taken_before);
        let starts = self.window.state_starts(state);
        let open = BooleanArray::from_unary(&starts, |start| start >= taken_before);
        let open = filter_record_batch(state, &open).expect("one answer a row");
        self.windows.restore(&self.window, &open)
    }

    fn handle_taken(&mut self, end: i64) {
        self.taken.handle_taken(self.window.closed_before_with(end, 0));
    }

    fn needs_full_snapshot(&self) -> bool {
        self.taken.is_told_otherwise()
    }

    fn changed_groups(&self) -> Option<RecordBatch> {
        match self.window.mode {
            OutputMode::Append => None,
            OutputMode::Update => self.windows.changed_groups(&self.window),
        }
    }

    fn copy_states_of(&mut self, groups: &RecordBatch) -> Result<Option<RecordBatch>, OperatorError> {
        self.windows.copy_states_of(&self.window, groups)
    }

    fn groups(&self) -> usize {
        self.windows.groups()
    }

    fn size_bytes(&self) -> usize {
        self.windows.size_bytes()
    }
}

//! The open sessions of one source partition: which rows they take, which are late, and when they close.
//!
//! The same group may have rows in several partitions. A session that is closed here may be a part of one that another
//! partition holds open: [`OpenSessions::overlapped`] tells, and [`OpenSessions::absorb`] takes it in.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, take_record_batch};

use super::SessionWindow;
use super::table::SessionTable;
use crate::event_time::EventTimes;
use crate::snapshot::SnapshotKind;
use crate::stateful::error::OperatorError;
use crate::stateful::{OpenSessions, StatePart, StatefulOperator, UpdateOutcome};
use crate::window::partial::{ALLOWED_LATENESS, WINDOW, nanoseconds};

/// The open sessions of one source partition: mergeable with those of others.
///
/// Bounded by `groups_max`. After an error the state is incomplete and must be thrown away.
#[derive(Debug)]
pub struct PartialSessions {
    window: Arc<SessionWindow>,
    table: SessionTable,
    /// Sessions that end here or before have been taken, and are not opened again.
    taken_until: Option<i64>,
}

impl PartialSessions {
    /// No open sessions.
    pub fn new(window: Arc<SessionWindow>) -> Self {
        PartialSessions {
            table: SessionTable::new(&window),
            window,
            taken_until: None,
        }
    }
}

impl OpenSessions for PartialSessions {
    fn overlapped(&self, spans: &RecordBatch) -> Vec<bool> {
        let keys = self.window.keys.prepare(self.window.state_keys(spans));
        self.table.overlapped(&keys, super::spans(spans))
    }

    fn absorb(&mut self, state: &RecordBatch) -> Result<(), OperatorError> {
        self.table.merge(&self.window, state)
    }
}

impl StatefulOperator for PartialSessions {
    /// A row is late if a session of its own would have closed, also where it falls into one that is open: so what is late
    /// depends on the watermark alone, not on the order of rows nor on their partition.
    fn update(&mut self, batch: &RecordBatch, closed_before: Option<i64>) -> Result<UpdateOutcome, OperatorError> {
        let window = Arc::clone(&self.window);
        let column = batch.column(window.time_column);
        let times = EventTimes::new(column).ok_or_else(|| OperatorError::NoEventTime {
            column: batch.schema_ref().field(window.time_column).name().clone(),
        })?;
        let late_until = closed_before
            .map(|watermark| window.closed_ends(watermark))
            .max(self.taken_until);
        let mut outcome = UpdateOutcome::default();
        let (mut rows, mut spans) = (Vec::with_capacity(times.len()), Vec::with_capacity(times.len()));
        let mut late = Vec::new();
        for row in 0..times.len() {
            let time = times.nanoseconds(row);
            let Some((start, end)) = time.and_then(|time| Some((time, window.end_of(time)?))) else {
                outcome.unplaced_rows += 1;
                continue;
            };
            if late_until.is_some_and(|until| end <= until) {
                late.push(row as u32);
            } else {
                rows.push(row as u32);
                spans.push((start, end));
            }
        }
        outcome.late_rows = late.len() as u64;
        if window.keep_late_rows && !late.is_empty() {
            let late = take_record_batch(batch, &UInt32Array::from(late));
            outcome.late = Some(late.expect("rows are positions in the micro-batch"));
        }
        self.table.update(&window, batch, &rows, &spans)?;
        Ok(outcome)
    }

    fn take_closed(&mut self, watermark: i64) -> Result<Option<RecordBatch>, OperatorError> {
        let until = self.window.closed_ends(watermark);
        self.taken_until = self.taken_until.max(Some(until));
        self.table.take_until(&self.window, until)
    }

    fn take_all(&mut self) -> Result<Option<RecordBatch>, OperatorError> {
        self.table.take_all(&self.window)
    }

    /// Changes are all sessions of the groups that changed: they replace what was told of the group before.
    fn snapshot(&mut self, kind: SnapshotKind) -> Result<Option<StatePart>, OperatorError> {
        let states = match kind {
            SnapshotKind::Changes => self.table.copy_changed(&self.window)?,
            SnapshotKind::Full => self.table.copy_all(&self.window)?,
        };
        let Some(states) = states else { return Ok(None) };
        let last = super::spans(&states).map(|(_, end)| end).max();
        let metadata = HashMap::from([
            (WINDOW.to_owned(), self.window.definition()),
            (ALLOWED_LATENESS.to_owned(), self.window.allowed_lateness().to_string()),
        ]);
        let schema = self.window.state_schema.as_ref().clone().with_metadata(metadata);
        Ok(Some(StatePart {
            rows: states.with_schema(Arc::new(schema)).expect("only the metadata changed"),
            closed_at: self.window.closed_at(last.expect("a state without rows is none")),
        }))
    }

    fn restore(&mut self, state: &RecordBatch, closed_up_to: Option<i64>) -> Result<(), OperatorError> {
        self.window.check_state(state)?;
        let metadata = state.schema_ref().metadata();
        let (expected, found) = (self.window.definition(), metadata.get(WINDOW));
        if found != Some(&expected) {
            let found = found.cloned().unwrap_or_default();
            return Err(OperatorError::ChangedWindow { expected, found });
        }
        self.table.forget_groups_of(&self.window, state);
        // The lateness may have been changed since. What was closed by the former one has been emitted, and what was not has not.
        let lateness = nanoseconds(metadata, ALLOWED_LATENESS)?.unwrap_or_default();
        let until = closed_up_to.map(|watermark| watermark.saturating_sub(lateness));
        self.taken_until = self.taken_until.max(until);
        if let Some(until) = until {
            self.table.forget_until(until);
        }
        let is_open = |(_, end): (i64, i64)| Some(until.is_none_or(|until| end > until));
        let open: BooleanArray = super::spans(state).map(is_open).collect();
        let open = filter_record_batch(state, &open).expect("one answer a row");
        self.table.merge(&self.window, &open)?;
        self.table.forget_changes();
        Ok(())
    }

    fn groups(&self) -> usize {
        self.table.len()
    }

    fn size_bytes(&self) -> usize {
        self.table.size_bytes()
    }

    fn sessions(&mut self) -> Option<&mut dyn OpenSessions> {
        Some(self)
    }
}

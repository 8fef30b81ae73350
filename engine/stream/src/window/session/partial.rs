//! The open sessions of one source partition: which rows they take, which are late, and when they close.
//!
//! The same group may have rows in several partitions. A session that is closed here may be a part of one that another
//! partition holds open: [`OpenSessions::overlapped`] tells, and [`OpenSessions::absorb`] takes it in.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, take_record_batch};

use super::SessionWindow;
use super::table::SessionTable;
use crate::event_time::EventTimes;
use crate::snapshot::SnapshotKind;
use crate::stateful::error::OperatorError;
use crate::stateful::{OpenSessions, StatePart, StatefulOperator, UpdateOutcome};
use crate::window::taken::Taken;

/// The open sessions of one source partition: mergeable with those of others.
///
/// Bounded by `groups_max`. After an error the state is incomplete and must be thrown away.
#[derive(Debug)]
pub struct PartialSessions {
    window: Arc<SessionWindow>,
    table: SessionTable,
    /// Sessions that end at its bound or before were taken.
    taken: Taken,
}

impl PartialSessions {
    /// No open sessions.
    pub fn new(window: Arc<SessionWindow>) -> Self {
        PartialSessions {
            table: SessionTable::new(&window),
            taken: Taken::nothing(window.allowed_lateness()),
            window,
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
            .max(self.taken.bound());
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
        self.taken.take(until, self.window.allowed_lateness());
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
        let metadata = self.taken.tell(self.window.definition());
        let schema = self.window.state_schema.as_ref().clone().with_metadata(metadata);
        Ok(Some(StatePart {
            rows: states.with_schema(Arc::new(schema)).expect("only the metadata changed"),
            closed_at: last
                .expect("a state without rows is none")
                .saturating_add(self.taken.lateness()),
        }))
    }

    fn restore(&mut self, state: &RecordBatch, closed_up_to: Option<i64>) -> Result<(), OperatorError> {
        self.window.check_state(state)?;
        self.window.check_values(state)?;
        let (metadata, definition) = (state.schema_ref().metadata(), self.window.definition());
        let closed_ends = |watermark: i64, lateness| watermark.saturating_sub(lateness);
        self.taken.restore(metadata, definition, closed_up_to, closed_ends)?;
        self.table.forget_groups_of(&self.window, state);
        let until = self.taken.bound();
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

    fn handle_taken(&mut self, end: i64) {
        self.taken.handle_taken(end);
    }

    fn needs_full_snapshot(&self) -> bool {
        self.taken.is_told_otherwise()
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

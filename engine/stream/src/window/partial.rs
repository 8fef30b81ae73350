//! The open windows of one source partition: which rows they take, which are late, and when they close.
//!
//! Each source partition has its own, so that they can move with it. A window is closed once, when the watermark has
//! passed its end and the allowed lateness; one that emits updates also tells which of its groups changed before that.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, max, take_record_batch};

use super::aligned::AlignedWindow;
use super::layers::LayeredWindows;
use super::output_mode::OutputMode;
use super::rows::WindowRows;
use crate::event_time::EventTimes;
use crate::snapshot::SnapshotKind;
use crate::stateful::error::OperatorError;
use crate::stateful::{StatePart, StatefulOperator, UpdateOutcome};

/// The metadata key under which a snapshot says that windows which begin before this had been taken.
const CLOSED_THROUGH: &str = "closed_through";
/// The metadata key under which a snapshot says how long after their end windows had stayed open when they were taken, in
/// nanoseconds.
pub(crate) const ALLOWED_LATENESS: &str = "allowed_lateness";
/// The metadata key under which a snapshot says of which window it is.
pub(crate) const WINDOW: &str = "window";

/// The open windows of one source partition: mergeable with those of others.
///
/// Bounded by `groups_max`. After an error the state is incomplete and must be thrown away.
#[derive(Debug)]
pub struct PartialWindows {
    window: Arc<AlignedWindow>,
    windows: LayeredWindows,
    /// Windows that start before this have been taken, and are not opened again.
    taken_before: Option<i64>,
    /// The allowed lateness by which windows were last taken; after a restore, the longest of those that were valid.
    taken_with_lateness: i64,
}

impl PartialWindows {
    /// No open windows.
    pub fn new(window: Arc<AlignedWindow>) -> Self {
        PartialWindows {
            windows: LayeredWindows::new(),
            taken_before: None,
            taken_with_lateness: window.allowed_lateness(),
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
            .max(self.taken_before);
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
        self.taken_before = self.taken_before.max(Some(end));
        self.taken_with_lateness = self.window.allowed_lateness();
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
        let mut metadata = HashMap::from([
            (WINDOW.to_owned(), self.window.definition()),
            (ALLOWED_LATENESS.to_owned(), self.taken_with_lateness.to_string()),
        ]);
        metadata.extend(
            self.taken_before
                .map(|start| (CLOSED_THROUGH.to_owned(), start.to_string())),
        );
        let schema = self.window.state_schema.as_ref().clone().with_metadata(metadata);
        Ok(Some(StatePart {
            rows: states.with_schema(Arc::new(schema)).expect("only the metadata changed"),
            closed_at: self.window.closed_at(last, self.taken_with_lateness),
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
        // The lateness may have been changed since. What was closed by the former one has been emitted, and what was not has
        // not. A state that does not tell it is one of a former format, which was written anew for every checkpoint.
        let lateness = nanoseconds(metadata, ALLOWED_LATENESS)?;
        self.taken_with_lateness = self.taken_with_lateness.max(lateness.unwrap_or(0));
        let closed = closed_up_to.zip(lateness);
        let closed = closed.map(|(watermark, lateness)| self.window.closed_before_with(watermark, lateness));
        let taken_before = nanoseconds(metadata, CLOSED_THROUGH)?.max(closed);
        self.taken_before = self.taken_before.max(taken_before);
        let Some(taken_before) = self.taken_before else {
            return self.windows.restore(&self.window, state);
        };
        self.windows.drop_before(taken_before);
        let starts = self.window.state_starts(state);
        let open = BooleanArray::from_unary(&starts, |start| start >= taken_before);
        let open = filter_record_batch(state, &open).expect("one answer a row");
        self.windows.restore(&self.window, &open)
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

pub(crate) fn nanoseconds(metadata: &HashMap<String, String>, key: &'static str) -> Result<Option<i64>, OperatorError> {
    let parsed = metadata.get(key).map(|text| {
        let found = text.clone();
        text.parse::<i64>()
            .map_err(|_| OperatorError::UnreadableState { key, found })
    });
    parsed.transpose()
}

//! Tumbling windows: `[start, end)`, aligned to 1970, aggregated per group.
//!
//! The state of each source partition is a [`PartialWindows`] of its own, so that it can move with the partition.
//! A window is emitted once, when the watermark has passed its end and the allowed lateness.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampNanosecondArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit, TimestampNanosecondType};
use datafusion_expr::GroupsAccumulator;

use super::error::WindowError;
use super::group_index::GroupKeys;
use super::table::{WindowRows, WindowTable};
use crate::event_time::EventTimes;
use crate::expression::aggregate::AggregateExpression;
use crate::schema::{type_name, utc};

/// The start of a window, in every window's columns.
pub const WINDOW_START: &str = "window_start";
/// The end of a window, in every window's columns.
pub const WINDOW_END: &str = "window_end";

/// The metadata key under which a snapshot says which watermark had closed windows.
const CLOSED_THROUGH: &str = "closed_through";

/// What a tumbling window computes, as options for [`TumblingWindow::new`].
#[derive(Debug, Clone)]
pub struct TumblingOptions {
    /// The column that holds the event time.
    pub time_column: String,
    /// The length: a whole number of microseconds, at least one.
    pub size: Duration,
    /// How much longer than its end a window stays open.
    pub allowed_lateness: Duration,
    /// The columns to group by.
    pub group_by: Vec<String>,
    /// The result columns' names and aggregates.
    pub aggregates: Vec<(String, AggregateExpression)>,
    /// Whether late rows are handed back, or only counted.
    pub keep_late_rows: bool,
    /// How many groups, over all open windows, are too many.
    pub groups_max: usize,
}

/// A tumbling window over rows of one schema.
#[derive(Debug, Clone)]
pub struct TumblingWindow {
    time_column: usize,
    size: i64,
    allowed_lateness: i64,
    key_columns: Vec<usize>,
    keep_late_rows: bool,
    pub(crate) keys: GroupKeys,
    pub(crate) aggregates: Vec<(String, AggregateExpression)>,
    pub(crate) groups_max: usize,
    pub(crate) state_schema: SchemaRef,
    final_schema: SchemaRef,
}

impl TumblingWindow {
    /// Resolves the columns. The aggregates must have been parsed with the same schema.
    pub fn new(input: &SchemaRef, options: TumblingOptions) -> Result<Self, WindowError> {
        let size = i64::try_from(options.size.as_nanos())
            .ok()
            .filter(|size| *size > 0 && size % 1_000 == 0);
        let size = size.ok_or(WindowError::Size { size: options.size })?;
        let time_column = input.index_of(&options.time_column).ok();
        let is_time = |column: &usize| matches!(input.field(*column).data_type(), DataType::Timestamp(..));
        let time_column = time_column.filter(is_time).ok_or_else(|| WindowError::NoEventTime {
            column: options.time_column.clone(),
        })?;
        let key_columns = options.group_by.iter().map(|name| {
            input
                .index_of(name)
                .map_err(|_| WindowError::NoGroupColumn { column: name.clone() })
        });
        let key_columns = key_columns.collect::<Result<Vec<_>, _>>()?;
        let key_fields: Vec<FieldRef> = key_columns
            .iter()
            .map(|column| Arc::clone(&input.fields()[*column]))
            .collect();
        let keys = GroupKeys::new(key_fields.clone()).ok_or_else(|| WindowError::Ungroupable {
            columns: key_fields
                .iter()
                .map(|field| type_name(field.data_type()))
                .collect::<Vec<_>>()
                .join(", "),
        })?;
        Ok(TumblingWindow {
            time_column,
            size,
            allowed_lateness: i64::try_from(options.allowed_lateness.as_nanos()).unwrap_or(i64::MAX),
            key_columns,
            keep_late_rows: options.keep_late_rows,
            state_schema: state_schema(&key_fields, &options.aggregates),
            final_schema: final_schema(&key_fields, &options.aggregates),
            keys,
            aggregates: options.aggregates,
            groups_max: options.groups_max,
        })
    }

    /// The columns of final rows: `window_start`, `window_end` (timestamps in microseconds), group columns, aggregates.
    pub fn final_schema(&self) -> &SchemaRef {
        &self.final_schema
    }

    /// The columns of partial states: `window_start` (in nanoseconds), group columns, then each aggregate's own.
    pub fn state_schema(&self) -> &SchemaRef {
        &self.state_schema
    }

    /// The length, in nanoseconds.
    pub(crate) fn size(&self) -> i64 {
        self.size
    }

    pub(crate) fn key_columns(&self, batch: &RecordBatch) -> Vec<ArrayRef> {
        self.key_columns
            .iter()
            .map(|column| Arc::clone(batch.column(*column)))
            .collect()
    }

    pub(crate) fn accumulators(&self) -> Result<Vec<Box<dyn GroupsAccumulator>>, WindowError> {
        let accumulators = self.aggregates.iter().map(|(_, aggregate)| aggregate.accumulator());
        Ok(accumulators.collect::<Result<_, _>>()?)
    }

    pub(crate) fn check_state(&self, state: &RecordBatch) -> Result<(), WindowError> {
        let same = self
            .state_schema
            .fields()
            .iter()
            .zip(state.schema_ref().fields())
            .all(|(ours, theirs)| ours.name() == theirs.name() && ours.data_type() == theirs.data_type());
        if same && self.state_schema.fields().len() == state.num_columns() && state.column(0).null_count() == 0 {
            return Ok(());
        }
        Err(WindowError::ForeignState {
            expected: describe(&self.state_schema),
            found: describe(state.schema_ref()),
        })
    }

    pub(crate) fn state_starts(&self, state: &RecordBatch) -> TimestampNanosecondArray {
        state.column(0).as_primitive::<TimestampNanosecondType>().clone()
    }

    /// The start of the window that a time is in; `None` if the window reaches beyond the range of `i64` nanoseconds.
    fn window_start(&self, time: i64) -> Option<i64> {
        let start = time.div_euclid(self.size).checked_mul(self.size)?;
        start.checked_add(self.size)?;
        Some(start)
    }

    /// Windows that start before this are closed at a watermark.
    fn closed_before(&self, watermark: i64) -> i64 {
        // start + size + allowed_lateness <= watermark
        watermark
            .saturating_sub(self.allowed_lateness)
            .saturating_sub(self.size)
            .saturating_add(1)
    }
}

fn state_schema(keys: &[FieldRef], aggregates: &[(String, AggregateExpression)]) -> SchemaRef {
    let start = Field::new(
        WINDOW_START,
        DataType::Timestamp(TimeUnit::Nanosecond, Some(utc())),
        false,
    );
    let mut fields = vec![Arc::new(start)];
    fields.extend(
        keys.iter()
            .map(|field| Arc::new(field.as_ref().clone().with_nullable(true))),
    );
    for (name, aggregate) in aggregates {
        fields.extend(aggregate.state_fields().iter().enumerate().map(|(position, field)| {
            Arc::new(Field::new(
                format!("{name}#{position}"),
                field.data_type().clone(),
                true,
            ))
        }));
    }
    Arc::new(Schema::new(fields))
}

fn final_schema(keys: &[FieldRef], aggregates: &[(String, AggregateExpression)]) -> SchemaRef {
    let time = |name| {
        Arc::new(Field::new(
            name,
            DataType::Timestamp(TimeUnit::Microsecond, Some(utc())),
            false,
        ))
    };
    let mut fields = vec![time(WINDOW_START), time(WINDOW_END)];
    fields.extend(keys.iter().cloned());
    fields.extend(
        aggregates
            .iter()
            .map(|(name, aggregate)| Arc::new(Field::new(name, aggregate.data_type().clone(), true))),
    );
    Arc::new(Schema::new(fields))
}

fn describe(schema: &Schema) -> String {
    let fields = schema.fields().iter();
    fields
        .map(|field| format!("{} {}", field.name(), type_name(field.data_type())))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The open windows of one source partition: mergeable with those of others.
///
/// Bounded by `groups_max`. After an error the state is incomplete and must be thrown away.
#[derive(Debug)]
pub struct PartialWindows {
    window: Arc<TumblingWindow>,
    table: WindowTable,
    /// Windows that start before this have been taken, and are not opened again.
    taken_before: Option<i64>,
}

/// What became of the rows of a micro-batch.
#[derive(Debug, Default)]
pub struct UpdateOutcome {
    /// The late rows, if the window was told to keep them.
    pub late: Option<RecordBatch>,
    /// How many rows were late.
    pub late_rows: u64,
    /// Rows without an event time, or in a window that reaches beyond the range of `i64` nanoseconds: in no window.
    pub unplaced_rows: u64,
}

impl PartialWindows {
    /// No open windows.
    pub fn new(window: Arc<TumblingWindow>) -> Self {
        PartialWindows {
            window,
            table: WindowTable::new(),
            taken_before: None,
        }
    }

    /// Adds rows. A row is late if its window had closed by the watermark `closed_before`, the source's before this micro-batch.
    pub fn update(&mut self, batch: &RecordBatch, closed_before: Option<i64>) -> Result<UpdateOutcome, WindowError> {
        let window = Arc::clone(&self.window);
        let column = batch.column(window.time_column);
        let times = EventTimes::new(column).ok_or_else(|| WindowError::NoEventTime {
            column: batch.schema_ref().field(window.time_column).name().clone(),
        })?;
        let late_before = closed_before
            .map(|watermark| window.closed_before(watermark))
            .max(self.taken_before);
        let late_before = late_before.unwrap_or(i64::MIN);
        let mut outcome = UpdateOutcome::default();
        let mut rows = WindowRows::default();
        let mut late = Vec::new();
        // Most rows are in the same window as the row before.
        let (mut start, mut end) = (0, 0);
        for row in 0..times.len() {
            let Some(time) = times.nanoseconds(row) else {
                outcome.unplaced_rows += 1;
                continue;
            };
            if time < start || time >= end {
                let Some(found) = window.window_start(time) else {
                    outcome.unplaced_rows += 1;
                    continue;
                };
                (start, end) = (found, found + window.size);
            }
            if start < late_before {
                late.push(row as u32);
            } else {
                rows.push(start, row as u32);
            }
        }
        outcome.late_rows = late.len() as u64;
        if window.keep_late_rows && !late.is_empty() {
            let late = take_record_batch(batch, &UInt32Array::from(late));
            outcome.late = Some(late.expect("rows are positions in the micro-batch"));
        }
        self.table.update(&window, batch, &rows)?;
        Ok(outcome)
    }

    /// Takes the windows that the watermark closes, earliest first. From now on their rows are late.
    pub fn take_closed(&mut self, watermark: i64) -> Result<Option<RecordBatch>, WindowError> {
        let end = self.window.closed_before(watermark);
        self.taken_before = self.taken_before.max(Some(end));
        if self.table.first_start().is_none_or(|start| start >= end) {
            return Ok(None);
        }
        self.table.take_states(&self.window, Some(end))
    }

    /// Takes all windows, closed or not (for a drain).
    pub fn take_all(&mut self) -> Result<Option<RecordBatch>, WindowError> {
        self.table.take_states(&self.window, None)
    }

    /// A copy of the state; it may have no rows.
    pub fn snapshot(&mut self) -> Result<RecordBatch, WindowError> {
        let states = self.table.copy_states(&self.window)?;
        let states = states.unwrap_or_else(|| RecordBatch::new_empty(Arc::clone(&self.window.state_schema)));
        let Some(taken_before) = self.taken_before else {
            return Ok(states);
        };
        let metadata = [(CLOSED_THROUGH.to_owned(), taken_before.to_string())].into();
        let schema = self.window.state_schema.as_ref().clone().with_metadata(metadata);
        Ok(states.with_schema(Arc::new(schema)).expect("only the metadata changed"))
    }

    /// Merges a snapshot into this state.
    pub fn restore(&mut self, state: &RecordBatch) -> Result<(), WindowError> {
        self.table.merge(&self.window, state)?;
        let taken_before = state
            .schema_ref()
            .metadata()
            .get(CLOSED_THROUGH)
            .and_then(|text| text.parse().ok());
        self.taken_before = self.taken_before.max(taken_before);
        Ok(())
    }

    /// Groups over all open windows.
    pub fn groups(&self) -> usize {
        self.table.groups()
    }

    /// Open windows.
    pub fn windows(&self) -> usize {
        self.table.len()
    }

    /// Bytes of state, roughly.
    pub fn size_bytes(&self) -> usize {
        self.table.size_bytes()
    }
}

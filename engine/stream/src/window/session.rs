//! What a session window is: rows of a group less than a gap apart; its columns, resolved and checked.
//!
//! A row opens `[time, time + gap)`. Sessions of a group that overlap are one: so a row exactly a gap after the last one opens
//! another, and a session `[first row, last row + gap)` is closed when the watermark reaches its end and the allowed lateness.
//! Never here: rows or state (see `partial`).

mod group_sessions;
pub(crate) mod merge;
pub(crate) mod partial;
mod slots;
pub(crate) mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit, TimestampNanosecondType};
use datafusion_expr::GroupsAccumulator;

use super::aligned::{WINDOW_END, WINDOW_START, describe, final_schema};
use crate::expression::aggregate::AggregateExpression;
use crate::expression::impossible_state;
use crate::schema::utc;
use crate::stateful::error::OperatorError;
use crate::stateful::group_index::GroupKeys;
use crate::stateful::keyed_columns::KeyedColumns;

/// What a session window computes, as options for [`SessionWindow::new`].
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// The column that holds the event time.
    pub time_column: String,
    /// How long a group must be silent for its session to end: a whole number of microseconds, at least one.
    pub gap: Duration,
    /// How much longer than its end a session stays open.
    pub allowed_lateness: Duration,
    /// The columns to group by.
    pub group_by: Vec<String>,
    /// The result columns' names and aggregates.
    pub aggregates: Vec<(String, AggregateExpression)>,
    /// Whether late rows are handed back, or only counted.
    pub keep_late_rows: bool,
    /// How many open sessions are too many.
    pub groups_max: usize,
}

/// A session window over rows of one schema.
#[derive(Debug, Clone)]
pub struct SessionWindow {
    pub(crate) time_column: usize,
    gap: i64,
    allowed_lateness: i64,
    key_columns: Vec<usize>,
    pub(crate) keep_late_rows: bool,
    pub(crate) keys: GroupKeys,
    pub(crate) aggregates: Vec<(String, AggregateExpression)>,
    pub(crate) groups_max: usize,
    pub(crate) state_schema: SchemaRef,
    final_schema: SchemaRef,
}

impl SessionWindow {
    /// Resolves the columns. The aggregates must have been parsed with the same schema.
    pub fn new(input: &SchemaRef, options: SessionOptions) -> Result<Self, OperatorError> {
        let gap = i64::try_from(options.gap.as_nanos())
            .ok()
            .filter(|gap| *gap > 0 && gap % 1_000 == 0);
        let gap = gap.ok_or(OperatorError::Gap { gap: options.gap })?;
        let KeyedColumns {
            time_column,
            key_columns,
            key_fields,
            keys,
        } = KeyedColumns::resolve(input, &options.time_column, &options.group_by)?;
        Ok(SessionWindow {
            time_column,
            gap,
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

    pub(crate) fn allowed_lateness(&self) -> i64 {
        self.allowed_lateness
    }

    /// The end of the session that a row opens; `None` beyond the range of `i64` nanoseconds.
    pub(crate) fn end_of(&self, time: i64) -> Option<i64> {
        time.checked_add(self.gap)
    }

    /// Sessions that end at or before this are closed at a watermark.
    pub(crate) fn closed_ends(&self, watermark: i64) -> i64 {
        watermark.saturating_sub(self.allowed_lateness)
    }

    pub(crate) fn key_columns(&self, batch: &RecordBatch) -> Vec<ArrayRef> {
        self.key_columns
            .iter()
            .map(|column| Arc::clone(batch.column(*column)))
            .collect()
    }

    pub(crate) fn accumulators(&self) -> Result<Vec<Box<dyn GroupsAccumulator>>, OperatorError> {
        let accumulators = self.aggregates.iter().map(|(_, aggregate)| aggregate.accumulator());
        Ok(accumulators.collect::<Result<_, _>>()?)
    }

    /// Which columns of a state belong to each aggregate: the first and how many.
    pub(crate) fn state_columns(&self) -> impl Iterator<Item = (&AggregateExpression, std::ops::Range<usize>)> {
        let mut first = 2 + self.keys.fields().len();
        self.aggregates.iter().map(move |(_, aggregate)| {
            let columns = first..first + aggregate.state_fields().len();
            first = columns.end;
            (aggregate, columns)
        })
    }

    /// The key columns of a state.
    pub(crate) fn state_keys<'a>(&self, state: &'a RecordBatch) -> &'a [ArrayRef] {
        &state.columns()[2..2 + self.keys.fields().len()]
    }

    pub(crate) fn check_state(&self, state: &RecordBatch) -> Result<(), OperatorError> {
        let (ours, theirs) = (self.state_schema.fields(), state.schema_ref().fields());
        let same = ours.len() == theirs.len()
            && ours
                .iter()
                .zip(theirs)
                .all(|(ours, theirs)| ours.name() == theirs.name() && ours.data_type() == theirs.data_type());
        let foreign = |found: String| OperatorError::ForeignState {
            expected: describe(&self.state_schema),
            found,
        };
        if !same || state.column(0).null_count() > 0 || state.column(1).null_count() > 0 {
            return Err(foreign(describe(state.schema_ref())));
        }
        let mut spans = spans(state);
        match spans.find(|(start, end)| end.checked_sub(*start).is_none_or(|length| length < self.gap)) {
            Some((start, end)) => Err(foreign(format!("a session from {start} to {end} ns"))),
            None => Ok(()),
        }
    }

    /// Checks what no row tells of itself: that these are states which the aggregates may have given.
    pub(crate) fn check_values(&self, state: &RecordBatch) -> Result<(), OperatorError> {
        for (aggregate, columns) in self.state_columns() {
            impossible_state::check(aggregate, &state.columns()[columns])
                .map_err(|error| OperatorError::impossible_state(aggregate, &error))?;
        }
        Ok(())
    }

    /// Of which window a state is: two with the same definition may be merged, whatever their lateness.
    pub(crate) fn definition(&self) -> String {
        let gap = Duration::from_nanos(self.gap.unsigned_abs());
        let aggregates = self.aggregates.iter().map(|(name, aggregate)| {
            let words: Vec<&str> = aggregate.sql().split_whitespace().collect();
            format!(", {name} = {}", words.join(" "))
        });
        format!("sessions of {gap:?}{}", aggregates.collect::<String>())
    }
}

/// Start and end of each row of a state, in nanoseconds.
pub(crate) fn spans(state: &RecordBatch) -> impl Iterator<Item = (i64, i64)> + '_ {
    let times = |column: usize| state.column(column).as_primitive::<TimestampNanosecondType>().values();
    times(0).iter().copied().zip(times(1).iter().copied())
}

fn state_schema(keys: &[FieldRef], aggregates: &[(String, AggregateExpression)]) -> SchemaRef {
    let time = |name| Field::new(name, DataType::Timestamp(TimeUnit::Nanosecond, Some(utc())), false);
    let mut fields = vec![Arc::new(time(WINDOW_START)), Arc::new(time(WINDOW_END))];
    fields.extend(
        keys.iter()
            .map(|field| Arc::new(field.as_ref().clone().with_nullable(true))),
    );
    for (name, aggregate) in aggregates {
        fields.extend(aggregate.state_fields().iter().enumerate().map(|(position, field)| {
            let name = format!("{name}#{position}");
            Arc::new(Field::new(name, field.data_type().clone(), true))
        }));
    }
    Arc::new(Schema::new(fields))
}

//! What a window of fixed length is: `[start, end)`, aligned to 1970, aggregated per group; its columns, resolved and checked.
//!
//! Windows begin every `slide`; where that is less than their length (a hopping window), a row is in `size / slide` of them.
//! All rows of one *pane* `[n × slide, (n + 1) × slide)` are in the same windows. A tumbling window is its own pane.
//!
//! Never here: rows or state (see `partial`).

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampNanosecondArray};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit, TimestampNanosecondType};
use datafusion_expr::GroupsAccumulator;

use super::limits::WINDOWS_PER_ROW_MAX;
use super::output_mode::OutputMode;
use crate::expression::aggregate::AggregateExpression;
use crate::expression::impossible_state;
use crate::schema::{type_name, utc};
use crate::stateful::error::OperatorError;
use crate::stateful::group_index::GroupKeys;
use crate::stateful::keyed_columns::KeyedColumns;

/// The start of a window, in every window's columns.
pub const WINDOW_START: &str = "window_start";
/// The end of a window, in every window's columns.
pub const WINDOW_END: &str = "window_end";

/// What a tumbling or hopping window computes, as options for [`AlignedWindow::new`].
#[derive(Debug, Clone)]
pub struct AlignedOptions {
    /// The column that holds the event time.
    pub time_column: String,
    /// The length: a whole number of microseconds, at least one.
    pub size: Duration,
    /// From the start of one window to the next: the size, or less, which the size is then a whole multiple of.
    pub slide: Duration,
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
    /// When it gives its rows.
    pub mode: OutputMode,
}

/// A tumbling or hopping window over rows of one schema.
#[derive(Debug, Clone)]
pub struct AlignedWindow {
    pub(crate) time_column: usize,
    size: i64,
    slide: i64,
    allowed_lateness: i64,
    key_columns: Vec<usize>,
    pub(crate) keep_late_rows: bool,
    pub(crate) keys: GroupKeys,
    pub(crate) aggregates: Vec<(String, AggregateExpression)>,
    pub(crate) groups_max: usize,
    pub(crate) mode: OutputMode,
    pub(crate) state_schema: SchemaRef,
    final_schema: SchemaRef,
}

impl AlignedWindow {
    /// Resolves the columns. The aggregates must have been parsed with the same schema.
    pub fn new(input: &SchemaRef, options: AlignedOptions) -> Result<Self, OperatorError> {
        let (size, slide) = size_and_slide(&options)?;
        let KeyedColumns {
            time_column,
            key_columns,
            key_fields,
            keys,
        } = KeyedColumns::resolve(input, &options.time_column, &options.group_by)?;
        Ok(AlignedWindow {
            time_column,
            size,
            slide,
            allowed_lateness: i64::try_from(options.allowed_lateness.as_nanos()).unwrap_or(i64::MAX),
            key_columns,
            keep_late_rows: options.keep_late_rows,
            state_schema: state_schema(&key_fields, &options.aggregates),
            final_schema: final_schema(&key_fields, &options.aggregates),
            keys,
            aggregates: options.aggregates,
            groups_max: options.groups_max,
            mode: options.mode,
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

    /// The first columns of partial states: `window_start` and the group columns.
    pub(crate) fn groups_schema(&self) -> SchemaRef {
        let count = 1 + self.keys.fields().len();
        Arc::new(Schema::new(self.state_schema.fields()[..count].to_vec()))
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

    pub(crate) fn accumulators(&self) -> Result<Vec<Box<dyn GroupsAccumulator>>, OperatorError> {
        let accumulators = self.aggregates.iter().map(|(_, aggregate)| aggregate.accumulator());
        Ok(accumulators.collect::<Result<_, _>>()?)
    }

    pub(crate) fn check_state(&self, state: &RecordBatch) -> Result<(), OperatorError> {
        let same = self
            .state_schema
            .fields()
            .iter()
            .zip(state.schema_ref().fields())
            .all(|(ours, theirs)| ours.name() == theirs.name() && ours.data_type() == theirs.data_type());
        if !same || self.state_schema.fields().len() != state.num_columns() || state.column(0).null_count() > 0 {
            return Err(OperatorError::ForeignState {
                expected: describe(&self.state_schema),
                found: describe(state.schema_ref()),
            });
        }
        let starts = self.state_starts(state);
        match starts
            .values()
            .iter()
            .find(|start| self.pane_start(**start) != Some(**start))
        {
            Some(start) => Err(OperatorError::MisalignedState {
                start: *start,
                slide: self.slide,
            }),
            None => Ok(()),
        }
    }

    /// Checks what no row tells of itself: that these are states which the aggregates may have given.
    pub(crate) fn check_values(&self, state: &RecordBatch) -> Result<(), OperatorError> {
        let mut first = 1 + self.keys.fields().len();
        for (_, aggregate) in &self.aggregates {
            let columns = first..first + aggregate.state_fields().len();
            first = columns.end;
            impossible_state::check(aggregate, &state.columns()[columns])
                .map_err(|error| OperatorError::impossible_state(aggregate, &error))?;
        }
        Ok(())
    }

    /// What makes the state of one window worthless to another: length and aggregates, for people and for comparison.
    pub(crate) fn definition(&self) -> String {
        let size = Duration::from_nanos(self.size.unsigned_abs());
        let aggregates = self.aggregates.iter().map(|(name, aggregate)| {
            let words: Vec<&str> = aggregate.sql().split_whitespace().collect();
            format!(", {name} = {}", words.join(" "))
        });
        let slide = Duration::from_nanos(self.slide.unsigned_abs());
        let every = match slide < size {
            true => format!(" every {slide:?}"),
            false => String::new(),
        };
        format!("{size:?}{every}{}", aggregates.collect::<String>())
    }

    pub(crate) fn state_starts(&self, state: &RecordBatch) -> TimestampNanosecondArray {
        state.column(0).as_primitive::<TimestampNanosecondType>().clone()
    }

    /// How long a pane is, in nanoseconds: from the start of one window to the next.
    pub(crate) fn slide(&self) -> i64 {
        self.slide
    }

    /// The start of the pane that a time is in, which is the start of the last window that the time is in; `None` if a
    /// window of that pane reaches beyond the range of `i64` nanoseconds.
    pub(crate) fn pane_start(&self, time: i64) -> Option<i64> {
        let start = time.div_euclid(self.slide).checked_mul(self.slide)?;
        start.checked_add(self.size)?;
        start.checked_sub(self.size - self.slide)?;
        Some(start)
    }

    /// The starts of the windows that hold a pane, earliest first. The pane's start is one that [`Self::pane_start`] gave.
    pub(crate) fn windows_of_pane(&self, pane: i64) -> impl Iterator<Item = i64> + use<> {
        let slide = self.slide;
        (0..self.size / slide).rev().map(move |back| pane - back * slide)
    }

    /// How much longer than its end a window stays open, in nanoseconds.
    pub(crate) fn allowed_lateness(&self) -> i64 {
        self.allowed_lateness
    }

    /// Windows that start before this are closed at a watermark.
    pub(crate) fn closed_before(&self, watermark: i64) -> i64 {
        self.closed_before_with(watermark, self.allowed_lateness)
    }

    /// As [`closed_before`](AlignedWindow::closed_before), but with another allowed lateness.
    pub(crate) fn closed_before_with(&self, watermark: i64, allowed_lateness: i64) -> i64 {
        // start + size + allowed_lateness <= watermark
        watermark
            .saturating_sub(allowed_lateness)
            .saturating_sub(self.size)
            .saturating_add(1)
    }

    /// The watermark that closes the window with this start, with an allowed lateness of its own.
    pub(crate) fn closed_at(&self, start: i64, allowed_lateness: i64) -> i64 {
        start.saturating_add(self.size).saturating_add(allowed_lateness)
    }
}

/// Length and slide in nanoseconds, checked.
fn size_and_slide(options: &AlignedOptions) -> Result<(i64, i64), OperatorError> {
    let AlignedOptions { size, slide, .. } = *options;
    let nanoseconds = |duration: Duration| {
        i64::try_from(duration.as_nanos())
            .ok()
            .filter(|nanoseconds| *nanoseconds > 0 && nanoseconds % 1_000 == 0)
    };
    let size_ns = nanoseconds(size).ok_or(OperatorError::Size { size })?;
    let slide_ns = nanoseconds(slide).ok_or(OperatorError::Slide { slide })?;
    if slide_ns > size_ns {
        return Err(OperatorError::SlideBeyondSize { size, slide });
    }
    if size_ns % slide_ns != 0 {
        return Err(OperatorError::UnevenSlide { size, slide });
    }
    let windows = size_ns / slide_ns;
    if windows > i64::from(WINDOWS_PER_ROW_MAX) {
        return Err(OperatorError::TooManyWindows {
            size,
            slide,
            windows,
            windows_max: WINDOWS_PER_ROW_MAX,
        });
    }
    Ok((size_ns, slide_ns))
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

pub(crate) fn final_schema(keys: &[FieldRef], aggregates: &[(String, AggregateExpression)]) -> SchemaRef {
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

pub(crate) fn describe(schema: &Schema) -> String {
    let fields = schema.fields().iter();
    fields
        .map(|field| format!("{} {}", field.name(), type_name(field.data_type())))
        .collect::<Vec<_>>()
        .join(", ")
}

mod aggregates;
mod event_time;
mod forged;
mod groups;
mod hopping;
mod model;
mod segments;
mod state;
mod steps;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use arrow::datatypes::{Int64Type, SchemaRef, TimestampMicrosecondType};

use super::{AlignedOptions, AlignedWindow, OutputMode, PartialWindows, WindowMerger};
use crate::expression::AggregateExpression;
use crate::schema::{Field, FieldType, SourceSchema};
use crate::snapshot::SnapshotKind;
use crate::stateful::StatefulOperator;

pub(crate) const MS: i64 = 1_000_000;

/// Event time in milliseconds, campaign, ad, price, flag.
pub(crate) type Row = (Option<i64>, Option<i64>, Option<&'static str>, f64, bool);

pub(crate) fn schema() -> SchemaRef {
    let fields = [
        ("time", "timestamp(ms)"),
        ("campaign", "int64"),
        ("ad", "string"),
        ("price", "float64"),
        ("flag", "bool"),
    ];
    let fields = fields.map(|(name, field_type)| Field::new(name, field_type.parse::<FieldType>().unwrap()));
    SourceSchema::new(fields.to_vec()).unwrap().arrow()
}

pub(crate) fn batch(rows: &[Row]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(
            rows.iter()
                .map(|row| row.0)
                .collect::<TimestampMillisecondArray>()
                .with_timezone("UTC"),
        ),
        Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.2).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| Some(row.3)).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|row| Some(row.4)).collect::<BooleanArray>()),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

pub(crate) fn times(times: &[i64]) -> RecordBatch {
    batch(
        &times
            .iter()
            .map(|time| (Some(*time), Some(1), Some("a"), 1.0, true))
            .collect::<Vec<_>>(),
    )
}

fn options(group_by: &[&str], aggregates: &[&str]) -> AlignedOptions {
    let aggregate = |(position, sql): (usize, &&str)| {
        (
            format!("a{position}"),
            AggregateExpression::parse(sql, &schema()).unwrap(),
        )
    };
    AlignedOptions {
        time_column: "time".into(),
        size: Duration::from_millis(10),
        slide: Duration::from_millis(10),
        allowed_lateness: Duration::ZERO,
        group_by: group_by.iter().map(|name| (*name).to_owned()).collect(),
        aggregates: aggregates.iter().enumerate().map(aggregate).collect(),
        keep_late_rows: true,
        groups_max: 1_000,
        mode: OutputMode::Append,
    }
}

fn window(options: AlignedOptions) -> Arc<AlignedWindow> {
    Arc::new(AlignedWindow::new(&schema(), options).unwrap())
}

fn counting() -> Arc<AlignedWindow> {
    window(options(&[], &["count(*)"]))
}

/// A full snapshot of a state that is not empty.
fn full(partial: &mut PartialWindows) -> RecordBatch {
    let part = partial.snapshot(SnapshotKind::Full).unwrap();
    part.expect("there is state").rows
}

/// Window starts in milliseconds, and counts, of windows without groups.
fn counts(window: &Arc<AlignedWindow>, states: &[Option<RecordBatch>]) -> Vec<(i64, i64)> {
    let states: Vec<RecordBatch> = states.iter().flatten().cloned().collect();
    let Some(rows) = WindowMerger::new(Arc::clone(window)).merge(&states).unwrap() else {
        return vec![];
    };
    let starts = rows.column(0).as_primitive::<TimestampMicrosecondType>();
    let counts = rows.column(2).as_primitive::<Int64Type>();
    (0..rows.num_rows())
        .map(|row| (starts.value(row) / 1_000, counts.value(row)))
        .collect()
}

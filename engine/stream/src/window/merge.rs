//! Closed partial windows of all partitions → final rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};

use super::aligned::AlignedWindow;
use super::table::{FinalWindow, WindowTable};
use crate::schema::utc;
use crate::stateful::error::OperatorError;

/// Merges the closed partial windows of all partitions into final rows.
#[derive(Debug)]
pub struct WindowMerger {
    window: Arc<AlignedWindow>,
}

impl WindowMerger {
    /// A merger of this window's partial states.
    pub fn new(window: Arc<AlignedWindow>) -> Self {
        WindowMerger { window }
    }

    /// The columns of the final rows.
    pub fn schema(&self) -> &SchemaRef {
        self.window.final_schema()
    }

    /// The final rows, ordered by window, then by group in the order of its columns, nulls first. `None` if there are none.
    ///
    /// The order of the states changes nothing, except for aggregates that depend on it (`first_value`, sums of floats in their last bits).
    pub fn merge(&self, states: &[RecordBatch]) -> Result<Option<RecordBatch>, OperatorError> {
        let mut table = WindowTable::new();
        for state in states {
            table.merge(&self.window, state)?;
        }
        let finals = table.take_finals(&self.window)?;
        if finals.is_empty() {
            return Ok(None);
        }
        let rows = finals.into_iter().map(|window| self.rows(window)).collect::<Vec<_>>();
        Ok(Some(
            concat_batches(self.schema(), &rows).expect("all batches have the final schema"),
        ))
    }

    fn rows(&self, window: FinalWindow) -> RecordBatch {
        let order = group_order(&window.keys, window.rows);
        // A window's size is a whole number of microseconds, and so is its start.
        let time = |nanoseconds: i64| {
            let times = TimestampMicrosecondArray::from(vec![nanoseconds.div_euclid(1_000); window.rows]);
            Arc::new(times.with_timezone(utc())) as ArrayRef
        };
        let mut columns = vec![time(window.start), time(window.start + self.window.size())];
        columns.extend(window.keys.iter().chain(&window.values).map(|column| match &order {
            Some(order) => take(column, order, None).expect("the order is of these rows"),
            None => Arc::clone(column),
        }));
        RecordBatch::try_new(Arc::clone(self.schema()), columns).expect("keys and values have their declared types")
    }
}

fn group_order(keys: &[ArrayRef], rows: usize) -> Option<UInt32Array> {
    if keys.is_empty() || rows < 2 {
        return None;
    }
    let fields = keys
        .iter()
        .map(|column| SortField::new(column.data_type().clone()))
        .collect();
    let converter = RowConverter::new(fields).expect("keys were checked to be groupable");
    let keys = converter
        .convert_columns(keys)
        .expect("the columns have their own types");
    let mut order: Vec<u32> = (0..rows as u32).collect();
    order.sort_unstable_by(|a, b| keys.row(*a as usize).cmp(&keys.row(*b as usize)));
    Some(UInt32Array::from(order))
}

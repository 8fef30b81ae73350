//! Which rows of a batch belong together, and taking them out of its columns.

use arrow::array::{ArrayRef, BooleanArray, UInt32Array};
use arrow::compute::take;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::expression::aggregate::AggregateArguments;

/// The rows of a micro-batch by pane, or rows of state by window.
#[derive(Debug, Default)]
pub(crate) struct WindowRows {
    /// Starts and their rows, in the order of their first row.
    pub(super) starts: Vec<(i64, Vec<u32>)>,
    positions: HashMap<i64, usize, FixedState>,
    current: usize,
}

impl WindowRows {
    /// Adds a row. A run of rows with one start costs no look-up.
    #[inline]
    pub(crate) fn push(&mut self, start: i64, row: u32) {
        match self.starts.get_mut(self.current) {
            Some((current, rows)) if *current == start => rows.push(row),
            _ => self.push_elsewhere(start, row),
        }
    }

    fn push_elsewhere(&mut self, start: i64, row: u32) {
        let next = self.starts.len();
        self.current = *self.positions.entry(start).or_insert(next);
        if self.current == next {
            self.starts.push((start, Vec::new()));
        }
        self.starts[self.current].1.push(row);
    }
}

/// Some rows of a micro-batch.
pub(super) struct PickedRows {
    /// `None`: all rows.
    rows: Option<UInt32Array>,
}

impl PickedRows {
    pub(super) fn new(rows: &[u32], row_count: usize) -> Self {
        PickedRows {
            rows: (rows.len() < row_count).then(|| UInt32Array::from(rows.to_vec())),
        }
    }

    pub(super) fn arguments(&self, arguments: &AggregateArguments) -> AggregateArguments {
        AggregateArguments {
            values: self.arrays(&arguments.values),
            filter: arguments.filter.as_ref().map(|filter| self.filter(filter)),
        }
    }

    pub(super) fn arrays(&self, arrays: &[ArrayRef]) -> Vec<ArrayRef> {
        let Some(rows) = &self.rows else { return arrays.to_vec() };
        arrays
            .iter()
            .map(|array| take(array, rows, None).expect("rows are positions in the micro-batch"))
            .collect()
    }

    pub(super) fn filter(&self, filter: &BooleanArray) -> BooleanArray {
        let Some(rows) = &self.rows else { return filter.clone() };
        BooleanArray::from(
            take(filter, rows, None)
                .expect("rows are positions in the micro-batch")
                .to_data(),
        )
    }
}

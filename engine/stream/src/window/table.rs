//! Open windows and their aggregates: what the layers of partial windows and the merger have in common.
//!
//! Each window has its own groups and accumulators, so closing one is taking it out of a map.
//! Never here: which windows are late or closed (see `partial`).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, TimestampNanosecondArray, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use datafusion_common::DataFusionError;
use datafusion_expr::{EmitTo, GroupsAccumulator};

use super::aligned::AlignedWindow;
use super::rows::{PickedRows, WindowRows};
use crate::expression::aggregate::AggregateArguments;
use crate::schema::utc;
use crate::stateful::error::OperatorError;
use crate::stateful::group_index::{GroupIndex, KeyColumns};

/// Open windows by their start in nanoseconds.
pub(crate) struct WindowTable {
    windows: BTreeMap<i64, OpenWindow>,
    groups: usize,
    group_numbers: Vec<usize>,
}

struct OpenWindow {
    index: GroupIndex,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    /// How many of its first groups [`WindowTable::count_shared`] has looked up, and how many of them it found.
    looked_up: (usize, usize),
}

impl fmt::Debug for WindowTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WindowTable")
            .field("windows", &self.windows.len())
            .field("groups", &self.groups)
            .finish()
    }
}

impl WindowTable {
    /// No windows.
    pub(crate) fn new() -> Self {
        WindowTable {
            windows: BTreeMap::new(),
            groups: 0,
            group_numbers: Vec::new(),
        }
    }

    /// Groups over all windows.
    pub(crate) fn groups(&self) -> usize {
        self.groups
    }

    /// The starts of the windows, in order.
    pub(crate) fn starts(&self) -> impl DoubleEndedIterator<Item = i64> + '_ {
        self.windows.keys().copied()
    }

    /// Whether a window is open.
    pub(crate) fn has(&self, start: i64) -> bool {
        self.windows.contains_key(&start)
    }

    /// How many groups are in `base` too, which must not have changed since the last look: each group is looked up once.
    pub(crate) fn count_shared(&mut self, base: &WindowTable) -> usize {
        for (start, open) in &mut self.windows {
            if let Some(base) = base.windows.get(start) {
                let (groups, shared) = &mut open.looked_up;
                *shared += base.index.count_held(&open.index, *groups);
                *groups = open.index.len();
            }
        }
        self.known_shared()
    }

    /// What the last [`count_shared`](WindowTable::count_shared) found in the windows that are still open.
    pub(crate) fn known_shared(&self) -> usize {
        self.windows.values().map(|open| open.looked_up.1).sum()
    }

    /// Moves all windows of `other` into this table, and copies their partial states to `states`, earliest first.
    pub(crate) fn absorb(
        &mut self,
        window: &AlignedWindow,
        other: &mut WindowTable,
        mut states: Option<&mut Vec<RecordBatch>>,
    ) -> Result<(), OperatorError> {
        other.groups = 0;
        for (start, mut open) in std::mem::take(&mut other.windows) {
            if self.windows.contains_key(&start) {
                let state = open.take_state(window, start)?;
                self.merge(window, &state)?;
                states.iter_mut().for_each(|states| states.push(state.clone()));
                continue;
            }
            if let Some(states) = &mut states {
                states.push(open.copy_state(window, start)?);
            }
            self.groups += open.index.len();
            self.windows.insert(start, open);
        }
        Ok(())
    }

    /// Bytes held, roughly.
    pub(crate) fn size_bytes(&self) -> usize {
        let size = |window: &OpenWindow| {
            window.index.size_bytes()
                + window
                    .accumulators
                    .iter()
                    .map(|accumulator| accumulator.size())
                    .sum::<usize>()
        };
        self.windows.values().map(size).sum()
    }

    /// Aggregates rows, given by pane, into those of their windows that begin at `open_from` or later.
    pub(crate) fn update(
        &mut self,
        window: &AlignedWindow,
        batch: &RecordBatch,
        panes: &WindowRows,
        open_from: i64,
    ) -> Result<(), OperatorError> {
        let keys = window.keys.prepare(&window.key_columns(batch));
        let arguments = window
            .aggregates
            .iter()
            .map(|(_, aggregate)| aggregate.arguments(batch));
        let arguments = arguments.collect::<Result<Vec<_>, _>>()?;
        for (pane, rows) in &panes.starts {
            let picked = PickedRows::new(rows, batch.num_rows());
            let arguments: Vec<_> = arguments.iter().map(|arguments| picked.arguments(arguments)).collect();
            for start in window.windows_of_pane(*pane).filter(|start| *start >= open_from) {
                self.feed(
                    window,
                    start,
                    &keys,
                    rows,
                    |position, accumulator, groups, group_count| {
                        let AggregateArguments { values, filter } = &arguments[position];
                        accumulator.update_batch(values, groups, filter.as_ref(), group_count)
                    },
                )?;
            }
        }
        Ok(())
    }

    /// Merges partial states into their windows.
    pub(crate) fn merge(&mut self, window: &AlignedWindow, state: &RecordBatch) -> Result<(), OperatorError> {
        window.check_state(state)?;
        let starts = window.state_starts(state);
        let mut windows = WindowRows::default();
        for (row, start) in starts.values().iter().enumerate() {
            windows.push(*start, row as u32);
        }
        let key_count = window.keys.fields().len();
        let keys = window.keys.prepare(&state.columns()[1..=key_count]);
        for (start, rows) in &windows.starts {
            let picked = PickedRows::new(rows, state.num_rows());
            let mut first = 1 + key_count;
            let values = window.aggregates.iter().map(|(_, aggregate)| {
                let columns = &state.columns()[first..first + aggregate.state_fields().len()];
                first += columns.len();
                picked.arrays(columns)
            });
            let values: Vec<_> = values.collect();
            self.feed(
                window,
                *start,
                &keys,
                rows,
                |position, accumulator, groups, group_count| {
                    accumulator.merge_batch(&values[position], groups, group_count)
                },
            )?;
        }
        Ok(())
    }

    /// Gives rows of one window their groups, and each accumulator what `apply` makes of them:
    /// `apply(position of the aggregate, accumulator, group of each row, number of groups)`.
    fn feed(
        &mut self,
        window: &AlignedWindow,
        start: i64,
        keys: &KeyColumns,
        rows: &[u32],
        apply: impl Fn(usize, &mut dyn GroupsAccumulator, &[usize], usize) -> Result<(), DataFusionError>,
    ) -> Result<(), OperatorError> {
        let open = match self.windows.entry(start) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(OpenWindow::new(window)?),
        };
        let groups_before = open.index.len();
        self.group_numbers.clear();
        open.index.assign(keys, rows, &mut self.group_numbers);
        let groups = open.index.len();
        self.groups += groups - groups_before;
        if self.groups > window.groups_max {
            return Err(OperatorError::TooManyGroups {
                groups_max: window.groups_max,
            });
        }
        for (position, ((_, aggregate), accumulator)) in
            window.aggregates.iter().zip(&mut open.accumulators).enumerate()
        {
            apply(position, accumulator.as_mut(), &self.group_numbers, groups)
                .map_err(|error| aggregate.error(&error))?;
        }
        Ok(())
    }

    /// Drops all windows that begin before `end`.
    pub(crate) fn drop_before(&mut self, end: i64) {
        let open = self.windows.split_off(&end);
        let dropped = std::mem::replace(&mut self.windows, open);
        self.groups -= dropped.values().map(|open| open.index.len()).sum::<usize>();
    }

    /// Takes all windows that begin before `end` (all, if `None`) as one batch of partial states, earliest first.
    pub(crate) fn take_states(
        &mut self,
        window: &AlignedWindow,
        end: Option<i64>,
    ) -> Result<Option<RecordBatch>, OperatorError> {
        let mut batches = Vec::new();
        while let Some(entry) = self.windows.first_entry() {
            if end.is_some_and(|end| *entry.key() >= end) {
                break;
            }
            let (start, mut open) = entry.remove_entry();
            self.groups -= open.index.len();
            batches.push(open.take_state(window, start)?);
        }
        Ok(concat(window, &batches))
    }

    /// A copy of all windows as one batch of partial states, earliest first.
    pub(crate) fn copy_states(&mut self, window: &AlignedWindow) -> Result<Option<RecordBatch>, OperatorError> {
        let batches = self
            .windows
            .iter_mut()
            .map(|(start, open)| open.copy_state(window, *start));
        Ok(concat(window, &batches.collect::<Result<Vec<_>, _>>()?))
    }

    /// All windows and groups: the columns of partial states without those of the aggregates. `None` if there are none.
    pub(crate) fn group_keys(&self, window: &AlignedWindow) -> Option<RecordBatch> {
        let schema = window.groups_schema();
        let groups = self.windows.iter().map(|(start, open)| {
            RecordBatch::try_new(Arc::clone(&schema), open.groups(window, *start))
                .expect("keys have their declared types")
        });
        let groups: Vec<RecordBatch> = groups.collect();
        (!groups.is_empty()).then(|| concat_batches(&schema, &groups).expect("all batches have the schema of groups"))
    }

    /// Appends copies of the partial states of those of these windows and groups that are here, each once.
    pub(crate) fn copy_states_of(
        &mut self,
        window: &AlignedWindow,
        groups: &RecordBatch,
        states: &mut Vec<RecordBatch>,
    ) -> Result<(), OperatorError> {
        let starts = window.state_starts(groups);
        let mut windows = WindowRows::default();
        for (row, start) in starts.values().iter().enumerate() {
            windows.push(*start, row as u32);
        }
        let keys = window.keys.prepare(&groups.columns()[1..]);
        for (start, rows) in &windows.starts {
            let Some(open) = self.windows.get_mut(start) else {
                continue;
            };
            let found = rows.iter().filter_map(|row| open.index.find(&keys, *row as usize));
            let mut found: Vec<u32> = found.map(|group| group as u32).collect();
            // Several partitions may ask for one group.
            found.sort_unstable();
            found.dedup();
            if found.is_empty() {
                continue;
            }
            let state = open.copy_state(window, *start)?;
            let of_groups = take_record_batch(&state, &UInt32Array::from(found));
            states.push(of_groups.expect("groups are rows of their window's state"));
        }
        Ok(())
    }

    /// Takes all windows with their groups and final values, earliest first, groups in the order of their numbers.
    pub(crate) fn take_finals(&mut self, window: &AlignedWindow) -> Result<Vec<FinalWindow>, OperatorError> {
        self.groups = 0;
        let mut finals = Vec::new();
        for (start, mut open) in std::mem::take(&mut self.windows) {
            let mut values = Vec::new();
            for ((_, aggregate), accumulator) in window.aggregates.iter().zip(&mut open.accumulators) {
                let value = accumulator
                    .evaluate(EmitTo::All)
                    .map_err(|error| aggregate.error(&error))?;
                let value = arrow::compute::cast(&value, aggregate.data_type());
                values.push(value.map_err(|error| aggregate.error(&error.into()))?);
            }
            finals.push(FinalWindow {
                start,
                keys: open.index.columns(&window.keys),
                values,
                rows: open.index.len(),
            });
        }
        Ok(finals)
    }
}

/// The final values of one window.
pub(crate) struct FinalWindow {
    pub(crate) start: i64,
    pub(crate) rows: usize,
    pub(crate) keys: Vec<ArrayRef>,
    pub(crate) values: Vec<ArrayRef>,
}

impl OpenWindow {
    fn new(window: &AlignedWindow) -> Result<Self, OperatorError> {
        Ok(OpenWindow {
            index: GroupIndex::new(&window.keys),
            accumulators: window.accumulators()?,
            looked_up: (0, 0),
        })
    }

    /// Taking the state of an accumulator empties it, so it is merged into a new one.
    fn copy_state(&mut self, window: &AlignedWindow, start: i64) -> Result<RecordBatch, OperatorError> {
        let state = self.take_state(window, start)?;
        self.accumulators = window.accumulators()?;
        let groups: Vec<usize> = (0..self.index.len()).collect();
        let mut first = 1 + window.keys.fields().len();
        for ((_, aggregate), accumulator) in window.aggregates.iter().zip(&mut self.accumulators) {
            let columns = &state.columns()[first..first + aggregate.state_fields().len()];
            let merged = accumulator.merge_batch(columns, &groups, groups.len());
            merged.map_err(|error| aggregate.error(&error))?;
            first += columns.len();
        }
        Ok(state)
    }

    /// The window's start and the keys, one row per group.
    fn groups(&self, window: &AlignedWindow, start: i64) -> Vec<ArrayRef> {
        let starts = TimestampNanosecondArray::from(vec![start; self.index.len()]).with_timezone(utc());
        let mut columns: Vec<ArrayRef> = vec![Arc::new(starts)];
        columns.extend(self.index.columns(&window.keys));
        columns
    }

    fn take_state(&mut self, window: &AlignedWindow, start: i64) -> Result<RecordBatch, OperatorError> {
        let mut columns = self.groups(window, start);
        for ((_, aggregate), accumulator) in window.aggregates.iter().zip(&mut self.accumulators) {
            columns.extend(
                accumulator
                    .state(EmitTo::All)
                    .map_err(|error| aggregate.error(&error))?,
            );
        }
        RecordBatch::try_new(Arc::clone(&window.state_schema), columns).map_err(|error| OperatorError::ForeignState {
            expected: "the declared types of the aggregates".into(),
            found: error.to_string(),
        })
    }
}

/// One batch of partial states; `None` of none.
pub(crate) fn concat(window: &AlignedWindow, batches: &[RecordBatch]) -> Option<RecordBatch> {
    if batches.is_empty() {
        return None;
    }
    Some(concat_batches(&window.state_schema, batches).expect("all batches have the schema of the state"))
}

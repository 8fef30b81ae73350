//! The aggregates of sessions: accumulators with a *slot* for each.
//!
//! A row that bridges two sessions makes one of them, and the slot of the other is only marked as a part of it: partial
//! states move when the accumulators are emptied anyway, all at once.
//! Never here: which session has which slot (see `table`).

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take;
use datafusion_expr::{EmitTo, GroupsAccumulator};

use super::SessionWindow;
use crate::stateful::error::OperatorError;

/// Accumulators with a slot for each session.
#[derive(Default)]
pub(crate) struct Slots {
    /// Empty until there is something to aggregate.
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    /// For each slot the one it became a part of, or itself.
    parents: Vec<usize>,
}

impl Slots {
    /// How many slots there are. This is the next one, too.
    pub(crate) fn len(&self) -> usize {
        self.parents.len()
    }

    /// Adds a slot.
    pub(crate) fn add(&mut self) {
        self.parents.push(self.parents.len());
    }

    /// From now on a slot is a part of another.
    pub(crate) fn join(&mut self, part: usize, whole: usize) {
        self.parents[part] = whole;
    }

    /// The slot that this one is a part of. What was found is remembered, or a long chain would be walked from each of its links.
    pub(crate) fn whole_of(&mut self, mut slot: usize) -> usize {
        while self.parents[slot] != slot {
            self.parents[slot] = self.parents[self.parents[slot]];
            slot = self.parents[slot];
        }
        slot
    }

    /// Bytes held, roughly.
    pub(crate) fn size_bytes(&self) -> usize {
        let accumulators = self.accumulators.iter().map(|accumulator| accumulator.size());
        self.parents.capacity() * size_of::<usize>() + accumulators.sum::<usize>()
    }

    /// Aggregates rows of a micro-batch, each into its slot.
    pub(crate) fn update(
        &mut self,
        window: &SessionWindow,
        batch: &RecordBatch,
        rows: &[u32],
        slots: &[usize],
    ) -> Result<(), OperatorError> {
        self.prepare(window)?;
        let picked = (rows.len() < batch.num_rows()).then(|| UInt32Array::from(rows.to_vec()));
        for ((_, aggregate), accumulator) in window.aggregates.iter().zip(&mut self.accumulators) {
            let arguments = aggregate.arguments(batch)?;
            let values = pick(&arguments.values, picked.as_ref());
            let filter = arguments.filter.map(|filter| {
                let filter: ArrayRef = std::sync::Arc::new(filter);
                pick(&[filter], picked.as_ref()).remove(0).as_boolean().clone()
            });
            accumulator
                .update_batch(&values, slots, filter.as_ref(), self.parents.len())
                .map_err(|error| aggregate.error(&error))?;
        }
        Ok(())
    }

    /// Adds partial states, each to its slot.
    pub(crate) fn merge(
        &mut self,
        window: &SessionWindow,
        state: &RecordBatch,
        slots: &[usize],
    ) -> Result<(), OperatorError> {
        self.prepare(window)?;
        for ((aggregate, columns), accumulator) in window.state_columns().zip(&mut self.accumulators) {
            accumulator
                .merge_batch(&state.columns()[columns], slots, self.parents.len())
                .map_err(|error| aggregate.error(&error))?;
        }
        Ok(())
    }

    /// Empties all slots. Returns the states of those that are `told`; fills `count` new slots with `kept`: former slots, and
    /// the new slot of each.
    pub(crate) fn refill(
        &mut self,
        window: &SessionWindow,
        told: Vec<u32>,
        kept: (Vec<u32>, Vec<usize>),
        count: usize,
    ) -> Result<Vec<ArrayRef>, OperatorError> {
        let (kept, new_slots) = (UInt32Array::from(kept.0), kept.1);
        let told = UInt32Array::from(told);
        let mut states_told = Vec::new();
        let mut filled = window.accumulators()?;
        for (((_, aggregate), former), new) in window.aggregates.iter().zip(&mut self.accumulators).zip(&mut filled) {
            let state = former.state(EmitTo::All).map_err(|error| aggregate.error(&error))?;
            states_told.extend(pick(&state, Some(&told)));
            if !new_slots.is_empty() {
                new.merge_batch(&pick(&state, Some(&kept)), &new_slots, count)
                    .map_err(|error| aggregate.error(&error))?;
            }
        }
        self.accumulators = filled;
        self.parents = (0..count).collect();
        Ok(states_told)
    }

    fn prepare(&mut self, window: &SessionWindow) -> Result<(), OperatorError> {
        if self.accumulators.is_empty() {
            self.accumulators = window.accumulators()?;
        }
        Ok(())
    }
}

/// Some rows of columns; all of them without a choice.
fn pick(columns: &[ArrayRef], rows: Option<&UInt32Array>) -> Vec<ArrayRef> {
    let Some(rows) = rows else { return columns.to_vec() };
    columns
        .iter()
        .map(|column| take(column, rows, None).expect("rows are positions in the column"))
        .collect()
}

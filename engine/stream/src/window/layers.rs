//! Open windows in two layers, so that a checkpoint writes what changed and not what there is.
//!
//! ```text
//! rows ──▶ delta ──(a checkpoint: its states are taken out and written)──▶ merged into the base
//! ```
//! Aggregates cannot tell which of their groups changed, but their states can be merged: what was added since the last
//! checkpoint is a table of its own. A row costs what it cost with one table; a checkpoint costs a merge of the
//! groups that changed; a window that closes gives the states of both layers, which whoever merges the partitions
//! merges like those of two partitions.
//! Never here: which windows are late or closed (see `partial`).

use arrow::array::RecordBatch;

use super::aligned::AlignedWindow;
use super::rows::WindowRows;
use super::table::{WindowTable, concat};
use crate::stateful::error::OperatorError;

/// Open windows: those of the last checkpoint, and what was added since.
#[derive(Debug)]
pub(crate) struct LayeredWindows {
    base: WindowTable,
    delta: WindowTable,
    /// Groups that are known to be in both layers.
    shared: usize,
}

impl LayeredWindows {
    /// No windows.
    pub(crate) fn new() -> Self {
        LayeredWindows {
            base: WindowTable::new(),
            delta: WindowTable::new(),
            shared: 0,
        }
    }

    /// Groups over all windows. A group in both layers counts twice until the next snapshot, unless `groups_max` made us look.
    pub(crate) fn groups(&self) -> usize {
        self.base.groups() + self.delta.groups() - self.shared
    }

    /// The number of windows.
    pub(crate) fn len(&self) -> usize {
        let delta = self.delta.starts().filter(|start| !self.base.has(*start));
        self.base.starts().count() + delta.count()
    }

    /// Bytes held, roughly.
    pub(crate) fn size_bytes(&self) -> usize {
        self.base.size_bytes() + self.delta.size_bytes()
    }

    /// Aggregates rows, given by pane, into those of their windows that begin at `open_from` or later.
    pub(crate) fn update(
        &mut self,
        window: &AlignedWindow,
        batch: &RecordBatch,
        panes: &WindowRows,
        open_from: i64,
    ) -> Result<(), OperatorError> {
        self.delta.update(window, batch, panes, open_from)?;
        if self.groups() <= window.groups_max {
            return Ok(());
        }
        // Each group of the delta is looked up in the base once, and only near the limit.
        self.shared = self.delta.count_shared(&self.base);
        if self.groups() > window.groups_max {
            return Err(OperatorError::TooManyGroups {
                groups_max: window.groups_max,
            });
        }
        Ok(())
    }

    /// Merges states that were kept.
    pub(crate) fn restore(&mut self, window: &AlignedWindow, state: &RecordBatch) -> Result<(), OperatorError> {
        assert_eq!(self.delta.groups(), 0, "state is restored before rows are added");
        self.base.merge(window, state)
    }

    /// Drops all windows that begin before `end`.
    pub(crate) fn drop_before(&mut self, end: i64) {
        self.base.drop_before(end);
    }

    /// Takes all windows that begin before `end` (all, if `None`) as partial states. A group may be there twice.
    pub(crate) fn take_states(
        &mut self,
        window: &AlignedWindow,
        end: Option<i64>,
    ) -> Result<Option<RecordBatch>, OperatorError> {
        let base = self.base.take_states(window, end)?;
        let delta = self.delta.take_states(window, end)?;
        self.shared = self.delta.known_shared();
        let layers: Vec<RecordBatch> = base.into_iter().chain(delta).collect();
        Ok(concat(window, &layers))
    }

    /// The partial states of what was added since the last snapshot, earliest window first.
    pub(crate) fn take_changes(&mut self, window: &AlignedWindow) -> Result<Option<RecordBatch>, OperatorError> {
        let mut changes = Vec::new();
        self.settle(window, Some(&mut changes))?;
        Ok(concat(window, &changes))
    }

    /// The windows and groups that were added to since the last snapshot; `None` if there are none.
    pub(crate) fn changed_groups(&self, window: &AlignedWindow) -> Option<RecordBatch> {
        self.delta.group_keys(window)
    }

    /// Copies of the partial states of these groups, as far as they are here. A group may be there twice.
    pub(crate) fn copy_states_of(
        &mut self,
        window: &AlignedWindow,
        groups: &RecordBatch,
    ) -> Result<Option<RecordBatch>, OperatorError> {
        let mut states = Vec::new();
        for layer in [&mut self.base, &mut self.delta] {
            layer.copy_states_of(window, groups, &mut states)?;
        }
        Ok(concat(window, &states))
    }

    /// A copy of all windows as partial states, earliest first.
    pub(crate) fn copy_states(&mut self, window: &AlignedWindow) -> Result<Option<RecordBatch>, OperatorError> {
        self.settle(window, None)?;
        self.base.copy_states(window)
    }

    fn settle(&mut self, window: &AlignedWindow, changes: Option<&mut Vec<RecordBatch>>) -> Result<(), OperatorError> {
        self.shared = 0;
        self.base.absorb(window, &mut self.delta, changes)
    }
}

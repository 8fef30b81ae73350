//! A window of either kind: aligned (tumbling and hopping), or sessions.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::stateful::StatefulOperator;
use crate::stateful::error::OperatorError;
use crate::window::aligned::AlignedWindow;
use crate::window::merge::WindowMerger;
use crate::window::partial::PartialWindows;
use crate::window::session::SessionWindow;
use crate::window::session::merge::SessionMerger;
use crate::window::session::partial::PartialSessions;

/// A window whose columns are resolved.
#[derive(Debug, Clone)]
pub(crate) enum PlannedWindow {
    Aligned(Arc<AlignedWindow>),
    Session(Arc<SessionWindow>),
}

/// What makes final rows of its partial states.
#[derive(Debug)]
pub(crate) enum Merger {
    Aligned(WindowMerger),
    Session(SessionMerger),
}

impl PlannedWindow {
    /// The columns of final rows.
    pub(crate) fn final_schema(&self) -> &SchemaRef {
        match self {
            PlannedWindow::Aligned(window) => window.final_schema(),
            PlannedWindow::Session(window) => window.final_schema(),
        }
    }

    /// The state of one partition, empty.
    pub(crate) fn partial(&self) -> Box<dyn StatefulOperator> {
        match self {
            PlannedWindow::Aligned(window) => Box::new(PartialWindows::new(Arc::clone(window))),
            PlannedWindow::Session(window) => Box::new(PartialSessions::new(Arc::clone(window))),
        }
    }

    pub(crate) fn merger(&self) -> Merger {
        match self {
            PlannedWindow::Aligned(window) => Merger::Aligned(WindowMerger::new(Arc::clone(window))),
            PlannedWindow::Session(window) => Merger::Session(SessionMerger::new(Arc::clone(window))),
        }
    }
}

impl Merger {
    /// The final rows; `None` if there are none.
    pub(crate) fn merge(&self, states: &[RecordBatch]) -> Result<Option<RecordBatch>, OperatorError> {
        match self {
            Merger::Aligned(merger) => merger.merge(states),
            Merger::Session(merger) => merger.merge(states),
        }
    }
}

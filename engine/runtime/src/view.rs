//! What the coordinator last told of its run, for whoever asks at any time from another thread: the HTTP server.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::metrics::request_totals::RequestTotals;
use crate::metrics::snapshot::{SinkMetrics, SourceMetrics};
use crate::progress::RunStatus;

/// What the coordinator last told.
#[derive(Debug, Default, Clone)]
pub(crate) struct View {
    /// The status.
    pub(crate) status: RunStatus,
    /// Every source, in the order of the pipeline.
    pub(crate) sources: Vec<SourceMetrics>,
    /// Every sink, in the order of the pipeline.
    pub(crate) sinks: Vec<SinkMetrics>,
    /// Requests of the fetchers and of the group's member.
    pub(crate) requests: RequestTotals,
}

/// A [`View`] that the coordinator replaces.
#[derive(Debug, Default)]
pub(crate) struct SharedView(Mutex<View>);

impl SharedView {
    /// Replaces what is shown.
    pub(crate) fn show(&self, view: View) {
        *self.lock() = view;
    }

    /// What is shown now.
    pub(crate) fn current(&self) -> View {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, View> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

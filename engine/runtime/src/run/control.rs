//! What can end a run from outside, and where it reports to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::load::LoadState;
use super::observe::SharedView;
use super::{RunContext, RunError, RunOptions};
use crate::progress::{ProgressReporter, RunPhase};
use crate::session::Session;

/// How often a snapshot is reported at most.
const REPORT_INTERVAL: Duration = Duration::from_millis(100);

/// What can end a run from outside, and where it reports to.
#[derive(Debug)]
pub(crate) struct Control {
    stop: watch::Receiver<bool>,
    generators: Option<watch::Receiver<LoadState>>,
    /// Whether the run is bounded by the end of its topics.
    pub(crate) until_end: bool,
    /// Whether open windows are closed at the end.
    pub(crate) drain: bool,
    /// Where snapshots go.
    pub(crate) reporter: ProgressReporter,
    view: Arc<SharedView>,
    /// Where the HTTP server listens.
    pub(crate) server_url: Option<String>,
    reported: Option<Instant>,
}

impl Control {
    pub(crate) fn new(
        options: RunOptions,
        stop: watch::Receiver<bool>,
        reporter: ProgressReporter,
        generators: Option<watch::Receiver<LoadState>>,
        view: Arc<SharedView>,
    ) -> Self {
        Control {
            stop,
            generators,
            until_end: options.until_end,
            drain: options.until_end && options.drain,
            reporter,
            view,
            server_url: None,
            reported: None,
        }
    }

    /// Resolves when somebody asks to stop. Safe to drop.
    pub(crate) async fn stopped(&self) {
        stopped(&mut self.stop.clone()).await;
    }

    /// Whether the end of the topics is not known before the generators are done.
    pub(crate) fn waits_for_generators(&self) -> bool {
        self.until_end && self.generators.is_some()
    }

    /// Resolves when the generators have ended, until that is handled. Safe to drop.
    pub(crate) async fn generators_ended(&self) {
        let Some(mut state) = self.generators.clone() else {
            return std::future::pending().await;
        };
        // A sender that is gone is a generator that is gone.
        let _ = state.wait_for(|state| *state != LoadState::Running).await;
    }

    /// From now on a bounded run's end is known, unless a generator failed.
    pub(crate) fn handle_generators_ended(&mut self) -> Result<(), RunError> {
        match self.generators.take().map(|state| state.borrow().clone()) {
            Some(LoadState::Failed(why)) => Err(RunError::Generator(why)),
            Some(LoadState::Running) => Err(RunError::Generator("was cut short".to_owned())),
            Some(LoadState::Done) | None => Ok(()),
        }
    }

    /// Reports a snapshot, to the observer and to the HTTP server.
    pub(crate) fn report(&self, context: &RunContext, phase: RunPhase, session: Option<&Session>) {
        let status = context.status(phase, session);
        self.view.show(context, status.clone(), session);
        self.reporter.status(status);
    }

    /// Whether it is time for another snapshot.
    pub(crate) fn report_due(&mut self, now: Instant) -> bool {
        let due = self.reported.is_none_or(|reported| now - reported >= REPORT_INTERVAL);
        if due {
            self.reported = Some(now);
        }
        due
    }
}

/// Resolves when somebody asks to stop. Safe to drop.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        // Nobody can ask any more.
        std::future::pending::<()>().await;
    }
}

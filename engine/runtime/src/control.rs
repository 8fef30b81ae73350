//! What can end a run from outside, and where it reports to.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use engine_client::{Consumer, ConsumerStats};
use tokio::sync::watch;
use tracing::warn;

use crate::context::RunContext;
use crate::context::status::Running;
use crate::load::LoadState;
use crate::progress::{ProgressReporter, RunPhase};
use crate::run_error::RunError;
use crate::view::SharedView;

/// How often a snapshot is reported at most.
const REPORT_INTERVAL: Duration = Duration::from_millis(100);

/// How long a run may go on once somebody has asked it to stop: brokers or a bucket that do not answer must not hold the process.
const STOP_PATIENCE: Duration = Duration::from_secs(15);
/// How long each step of cleaning up may take after that: an open transaction is aborted, the group left. All of it happens by
/// itself later too.
const CLOSE_PATIENCE: Duration = Duration::from_secs(3);

/// How to run.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunOptions {
    /// Stop at the end of the topics as it is at the start; with generators, when they are done and read.
    pub until_end: bool,
    /// With `until_end`: close and emit the windows that are still open.
    pub drain: bool,
    /// Worker threads; by default one per core.
    pub workers: Option<NonZeroUsize>,
}

/// What can end a run from outside, and where it reports to.
#[derive(Debug)]
pub(crate) struct Control {
    stop: watch::Receiver<bool>,
    /// When the wish to stop was heard.
    stop_heard: Arc<OnceLock<Instant>>,
    generators: Option<watch::Receiver<LoadState>>,
    /// Whether the run is bounded by the end of its topics.
    pub(crate) until_end: bool,
    /// Whether open windows are closed at the end.
    pub(crate) drain: bool,
    /// Where snapshots go.
    pub(crate) reporter: ProgressReporter,
    view: Arc<SharedView>,
    /// Told when a pattern has matched new topics.
    new_topics: watch::Receiver<()>,
    subscribed: BTreeSet<String>,
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
        new_topics: watch::Receiver<()>,
        view: Arc<SharedView>,
        server_url: Option<String>,
    ) -> Self {
        Control {
            stop,
            stop_heard: Arc::default(),
            generators,
            until_end: options.until_end,
            drain: options.until_end && options.drain,
            reporter,
            view,
            new_topics,
            subscribed: BTreeSet::new(),
            server_url,
            reported: None,
        }
    }

    /// Resolves when somebody asks to stop, or with the error of a generator that failed: a load that is not the one
    /// asked for makes the whole run worthless. Safe to drop.
    pub(crate) fn interrupted(&self) -> impl Future<Output = Result<(), RunError>> + use<> {
        let (stop, generators) = (self.stop.clone(), self.generators.clone());
        async move {
            tokio::select! {
                biased;
                () = stopped(stop) => Ok(()),
                why = generator_failed(generators) => Err(RunError::Generator(why)),
            }
        }
    }

    /// Resolves when somebody has asked to stop and has waited for long enough: only the last checkpoint counts then.
    pub(crate) fn out_of_patience(&self) -> impl Future<Output = RunError> + use<> {
        let waited = self.after_stop(STOP_PATIENCE);
        async move {
            waited.await;
            RunError::StoppedInCheckpoint {
                patience: STOP_PATIENCE,
            }
        }
    }

    /// Waits for a step of cleaning up; for a few seconds at most where somebody has run out of patience.
    pub(crate) fn close_in_time<F: Future<Output = ()>>(&self, closing: F) -> impl Future<Output = ()> + use<F> {
        let out_of_patience = self.after_stop(STOP_PATIENCE);
        async move {
            let waited = async {
                out_of_patience.await;
                tokio::time::sleep(CLOSE_PATIENCE).await;
            };
            tokio::select! {
                biased;
                () = closing => {}
                () = waited => warn!("Not everything is cleaned up; the brokers' timeouts do the rest."),
            }
        }
    }

    /// Resolves so long after somebody has asked to stop.
    fn after_stop(&self, patience: Duration) -> impl Future<Output = ()> + use<> {
        let (stop, heard) = (self.stop.clone(), Arc::clone(&self.stop_heard));
        async move {
            stopped(stop).await;
            let heard = *heard.get_or_init(Instant::now);
            tokio::time::sleep_until((heard + patience).into()).await;
        }
    }

    /// Subscribes to every topic that is known now; tells whether they are others than before. Then the group rebalances:
    /// partitions that are ours are revoked and come again, with the new ones.
    pub(crate) fn subscribe(&mut self, group: &mut Consumer, context: &RunContext) -> Result<bool, RunError> {
        let topics = context.topics();
        if topics == self.subscribed {
            return Ok(false);
        }
        group.subscribe(topics.iter().cloned()).map_err(RunError::group)?;
        self.subscribed = topics;
        Ok(true)
    }

    /// Subscribes a new member to every topic that is known now.
    pub(crate) fn subscribe_anew(&mut self, group: &mut Consumer, context: &RunContext) -> Result<(), RunError> {
        self.subscribed.clear();
        self.subscribe(group, context).map(|_| ())
    }

    /// Resolves when a pattern has matched new topics since this resolved the last time. Safe to drop.
    pub(crate) async fn new_topics(&mut self) {
        if self.new_topics.changed().await.is_err() {
            // Nobody looks any more.
            std::future::pending::<()>().await;
        }
    }

    /// Whether the end of the topics is not known before the generators are done.
    pub(crate) fn waits_for_generators(&self) -> bool {
        self.until_end && self.generators.is_some()
    }

    /// Resolves when the generators have ended, until that is handled. Safe to drop.
    pub(crate) fn generators_ended(&self) -> impl Future<Output = ()> + use<> {
        let generators = self.generators.clone();
        async move {
            let Some(mut state) = generators else {
                return std::future::pending().await;
            };
            // A sender that is gone is a generator that is gone.
            let _ = state.wait_for(|state| *state != LoadState::Running).await;
        }
    }

    /// From now on a bounded run's end is known, unless a generator failed.
    pub(crate) fn handle_generators_ended(&mut self) -> Result<(), RunError> {
        match self.generators.take().map(|state| state.borrow().clone()) {
            Some(LoadState::Failed(why)) => Err(RunError::Generator(why)),
            Some(LoadState::Running) => Err(RunError::Generator("was cut short".to_owned())),
            Some(LoadState::Done) | None => Ok(()),
        }
    }

    /// Reports a snapshot, to the observer and to the HTTP server; see [`RunContext::view`].
    pub(crate) fn report(
        &self,
        context: &RunContext,
        phase: RunPhase,
        running: Option<&Running>,
        member: &ConsumerStats,
    ) {
        let view = context.view(phase, running, member);
        self.reporter.status(view.status.clone());
        self.view.show(view);
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
pub(crate) async fn stopped(mut stop: watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        // Nobody can ask any more.
        std::future::pending::<()>().await;
    }
}

async fn generator_failed(generators: Option<watch::Receiver<LoadState>>) -> String {
    let Some(mut state) = generators else {
        return std::future::pending().await;
    };
    let failed = state.wait_for(|state| matches!(state, LoadState::Failed(_))).await;
    match failed.as_deref() {
        Ok(LoadState::Failed(why)) => why.clone(),
        _ => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::progress;

    fn control(stop: &watch::Sender<bool>, load: &watch::Sender<LoadState>) -> Control {
        let (reporter, _) = progress();
        let load = Some(load.subscribe());
        let (_, new_topics) = watch::channel(());
        let view = Arc::default();
        Control::new(
            RunOptions::default(),
            stop.subscribe(),
            reporter,
            load,
            new_topics,
            view,
            None,
        )
    }

    #[tokio::test]
    async fn a_generator_that_fails_interrupts_the_run_at_once_and_one_that_is_done_does_not() {
        let (stop, load) = (watch::Sender::new(false), watch::Sender::new(LoadState::Running));
        let control = control(&stop, &load);
        load.send_replace(LoadState::Done);
        let wait = Duration::from_millis(20);
        assert!(tokio::time::timeout(wait, control.interrupted()).await.is_err());
        load.send_replace(LoadState::Failed("\"ads\": no broker".to_owned()));
        let error = control.interrupted().await.unwrap_err();
        assert_eq!(error.to_string(), "generator \"ads\": no broker");
    }

    #[tokio::test]
    async fn somebody_who_asks_to_stop_is_heard_before_a_failure() {
        let (stop, load) = (
            watch::Sender::new(true),
            watch::Sender::new(LoadState::Failed("x".to_owned())),
        );
        assert!(control(&stop, &load).interrupted().await.is_ok());
        let control = control(&stop, &load);
        drop((stop, load));
        assert!(control.interrupted().await.is_ok(), "the last word counts");
    }
}

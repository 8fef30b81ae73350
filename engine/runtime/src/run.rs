//! Running a pipeline: set everything up, own the partitions session after session, say how it went.
//!
//! The network (producers, consumers, HTTP) lives on the caller's tokio runtime. The coordinator, which merges windows
//! and encodes results, and the workers have threads of their own.

mod member;
mod observe;
mod setbacks;
mod summary;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine_client::ConsumerStats;
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;
use tracing::{info, warn};

use self::member::coordinate;
use self::observe::RunObserver;
use self::setbacks::Setbacks;
use self::summary::summary;
use crate::config::pipeline::Pipeline;
use crate::context::RunContext;
use crate::control::{Control, RunOptions, stopped};
use crate::load::Load;
use crate::progress::{ProgressReporter, RunPhase, RunSummary};
use crate::run_error::RunError;
use crate::server::Server;

/// Runs a pipeline until its end, until `stop` turns true, or until it fails.
///
/// Whatever was emitted stays emitted; what a failure left unfinished is done again by the next run, from the last
/// checkpoint.
pub async fn run(
    pipeline: Pipeline,
    options: RunOptions,
    stop: watch::Receiver<bool>,
    reporter: ProgressReporter,
) -> Result<RunSummary, RunError> {
    let observer = Arc::new(RunObserver::default());
    // Before anything else: that the address is taken must not be told after half a minute of connecting.
    let server = match pipeline.server {
        Some(server) => {
            let started = Server::start(server.listen, Arc::clone(&observer) as _).await;
            Some(started.map_err(|error| RunError::Server(error.to_string()))?)
        }
        None => None,
    };
    let server_url = server.as_ref().map(|server| format!("http://{}", server.address()));
    let ended = run_observed(pipeline, options, stop, reporter, &observer, server_url).await;
    if let Some(server) = server {
        server.stop().await;
    }
    ended
}

async fn run_observed(
    pipeline: Pipeline,
    options: RunOptions,
    stop: watch::Receiver<bool>,
    reporter: ProgressReporter,
    observer: &RunObserver,
    server_url: Option<String>,
) -> Result<RunSummary, RunError> {
    let started = Instant::now();
    let name = pipeline.name.clone();
    let context = tokio::select! {
        biased;
        () = stopped(stop.clone()) => return Ok(RunSummary::before_the_start(name, started.elapsed())),
        context = prepare(&pipeline, options.workers) => Arc::new(context?),
    };
    let _ = observer.context.set(Arc::clone(&context));
    let load = match context.pipeline.generators.is_empty() {
        true => None,
        false => Some(Load::start(&context.pipeline)),
    };
    let (found, new_topics) = watch::channel(());
    // A bounded run reads the topics that are there when it starts.
    let looking = (context.reads_by_pattern() && !options.until_end)
        .then(|| tokio::spawn(look_for_topics(Arc::clone(&context), found)).abort_handle());
    let _looking = AbortOnDrop(looking);
    let generators = load.as_ref().map(Load::state);
    let view = Arc::clone(&observer.view);
    let control = Control::new(options, stop, reporter, generators, new_topics, view, server_url);
    // From here on every source and sink is shown, with zeros.
    control.report(&context, RunPhase::Starting, None, &ConsumerStats::default());
    let (ended_sender, ended) = oneshot::channel();
    let coordinator = Arc::clone(&context);
    std::thread::Builder::new()
        .name("coordinator".to_owned())
        .spawn(move || {
            let network = coordinator.network.clone();
            let _ = ended_sender.send(network.block_on(coordinate(coordinator, control)));
        })
        .map_err(RunError::Threads)?;
    let outcome = ended.await.map_err(|_| RunError::CoordinatorGone)??;
    drop(load);
    Ok(summary(&context, outcome, started.elapsed()))
}

/// Connects and makes everything ready, as often as it takes within the patience of a run: what is started beside its brokers
/// may be there before them.
async fn prepare(pipeline: &Pipeline, workers: Option<NonZeroUsize>) -> Result<RunContext, RunError> {
    let mut setbacks = Setbacks::default();
    loop {
        let error = match RunContext::prepare(pipeline, workers).await {
            Ok(context) => return Ok(context),
            Err(error) => error,
        };
        let pause = match error.may_pass_at_the_start() {
            true => setbacks.handle_failure(Instant::now(), 0),
            false => None,
        };
        let Some(pause) = pause else { return Err(error) };
        setbacks::tell_of_a_late_start(&error, pause);
        tokio::time::sleep(pause).await;
    }
}

/// Looks for new topics that a pattern matches, as often as `metadata.max.age.ms` says, for ever.
async fn look_for_topics(context: Arc<RunContext>, found: watch::Sender<()>) {
    let pause = context.pipeline.kafka.options.client_config().metadata_age_max;
    loop {
        tokio::time::sleep(pause.max(LOOK_PAUSE_MIN)).await;
        match context.look_for_topics().await {
            Ok(true) => {
                info!(topics = ?context.topics(), "A topic pattern matches new topics; the group rebalances to read them.");
                found.send_replace(());
            }
            Ok(false) => {}
            Err(error) => warn!(%error, "Cannot look for new topics."),
        }
    }
}

/// The shortest pause between two looks for new topics.
const LOOK_PAUSE_MIN: Duration = Duration::from_millis(10);

struct AbortOnDrop(Option<AbortHandle>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

//! Running a pipeline: set everything up, own the partitions session after session, say how it went.
//!
//! The network (producers, consumers, HTTP) lives on the caller's tokio runtime. The coordinator, which merges windows
//! and encodes results, and the workers have threads of their own.

pub(crate) mod context;
pub(crate) mod control;
pub(crate) mod error;
pub(crate) mod load;
pub(crate) mod observe;
pub(crate) mod report;
pub(crate) mod topics;
pub(crate) mod totals;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use engine_client::{Consumer, Event};
use tokio::sync::{oneshot, watch};
use tracing::{info, warn};

pub(crate) use self::context::RunContext;
pub(crate) use self::control::{Control, stopped};
pub use self::error::RunError;
use self::load::Load;
use self::observe::{RunObserver, SharedView};
use crate::config::pipeline::Pipeline;
use crate::progress::{ProgressReporter, RunOutcome, RunPhase, RunSummary};
use crate::server::Server;
use crate::session::{Session, SessionEnd};

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
    let started = Instant::now();
    let name = pipeline.name.clone();
    let mut stop_early = stop.clone();
    let context = tokio::select! {
        biased;
        () = stopped(&mut stop_early) => return Ok(RunSummary::before_the_start(name, started.elapsed())),
        context = RunContext::prepare(pipeline, options) => Arc::new(context?),
    };
    let load = match context.pipeline.generators.is_empty() {
        true => None,
        false => Some(Load::start(&context.pipeline)),
    };
    let view = Arc::new(SharedView::default());
    let server = match context.pipeline.server {
        Some(server) => {
            let observer = Arc::new(RunObserver {
                context: Arc::clone(&context),
                view: Arc::clone(&view),
            });
            Some(
                Server::start(server.listen, observer)
                    .await
                    .map_err(|error| RunError::Server(error.to_string()))?,
            )
        }
        None => None,
    };
    let mut control = Control::new(options, stop, reporter, load.as_ref().map(Load::state), view);
    control.server_url = server.as_ref().map(|server| format!("http://{}", server.address()));
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
    context.close().await;
    if let Some(server) = server {
        server.stop().await;
    }
    Ok(context.summary(outcome, started.elapsed()))
}

/// Belongs to the group and owns the partitions whenever they are ours.
async fn coordinate(context: Arc<RunContext>, mut control: Control) -> Result<RunOutcome, RunError> {
    let mut group = tokio::select! {
        biased;
        () = control.stopped() => return Ok(RunOutcome::Stopped),
        group = Consumer::connect(context.group_config.clone()) => group.map_err(RunError::connect)?,
    };
    group.subscribe(context.topics()).map_err(RunError::group)?;
    let ended = own(&context, &mut group, &mut control).await;
    // Leaving tells the group at once that the partitions are free; a failed process too has nothing more to say.
    group.close().await;
    ended
}

async fn own(context: &Arc<RunContext>, group: &mut Consumer, control: &mut Control) -> Result<RunOutcome, RunError> {
    loop {
        let event = tokio::select! {
            biased;
            () = control.stopped() => return Ok(RunOutcome::Stopped),
            event = group.poll() => event.map_err(RunError::group)?,
        };
        let assigned = match event {
            Event::Assigned(assigned) if assigned.is_empty() => {
                info!(
                    group = context.pipeline.group_id(),
                    "Standing by: another process owns the partitions."
                );
                continue;
            }
            Event::Assigned(assigned) => assigned,
            Event::Revoked(_) => {
                group.revoked_done();
                continue;
            }
            _ => continue,
        };
        let mut session = tokio::select! {
            biased;
            () = control.stopped() => return Ok(RunOutcome::Stopped),
            session = Session::begin(Arc::clone(context), group, &assigned, control) => session?,
        };
        let end = session.run(group, control).await?;
        session.close().await;
        match end {
            SessionEnd::Finished if control.drain => return Ok(RunOutcome::Drained),
            SessionEnd::Finished => return Ok(RunOutcome::EndReached),
            SessionEnd::Stopped => return Ok(RunOutcome::Stopped),
            SessionEnd::Revoked => {
                info!("The group rebalances; everything up to here is in a checkpoint.");
                group.revoked_done();
            }
            SessionEnd::Lost => {
                warn!("The partitions went to another process; work since the last checkpoint is its.");
            }
        }
        control.report(context, RunPhase::Starting, None);
    }
}

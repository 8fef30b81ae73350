//! Membership of the group: owning the partitions whenever they are ours, session after session.
//!
//! A member that fails or loses its partitions leaves, and a new one joins in its place, as the youngest: another process
//! that has taken over keeps what it has.

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine_client::{Consumer, Event};
use tracing::{info, warn};

use super::setbacks::{GIVE_UP_AFTER, Setbacks, tell_of_a_late_start};
use crate::config::pipeline::Guarantee;
use crate::context::RunContext;
use crate::control::Control;
use crate::progress::{RunOutcome, RunPhase};
use crate::run_error::RunError;
use crate::session::{Session, SessionEnd};

/// How a membership ended.
enum MemberEnd {
    /// The run is over.
    Run(RunOutcome),
    /// The partitions are another process's.
    Lost,
}

/// Why a membership failed.
struct Failure {
    error: RunError,
    /// Whether anything was processed since the last checkpoint.
    has_processed: bool,
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        Failure {
            error,
            has_processed: false,
        }
    }
}

/// Belongs to the group until the run is over.
///
/// A failure that may be of the moment costs nothing while nothing was processed, as while the partitions are taken over.
/// Later, under exactly once, it costs what was done since the last checkpoint and no more: the
/// transaction is aborted, so doing it again doubles nothing. Under at least once the process ends, as every
/// repetition shows in the results; whoever supervises it decides.
pub(super) async fn coordinate(context: Arc<RunContext>, mut control: Control) -> Result<RunOutcome, RunError> {
    let mut setbacks = Setbacks::default();
    loop {
        let ended = be_member(&context, &mut control, &mut setbacks).await;
        let checkpoints = context.totals().checkpoints;
        let Failure { error, has_processed } = match ended {
            Ok(MemberEnd::Run(outcome)) => return Ok(outcome),
            Ok(MemberEnd::Lost) => {
                let pause = setbacks.handle_loss(Instant::now(), checkpoints);
                let Some(pause) = pause else {
                    return Err(RunError::AlwaysLost { after: GIVE_UP_AFTER });
                };
                context.handle_loss(setbacks.count());
                warn!(
                    pause_ms = pause.as_millis(),
                    "The partitions, or the transaction, are not this process's any more; what came after the last checkpoint \
                     is done again by whoever owns the partitions next."
                );
                if let Some(outcome) = wait(pause, &control).await? {
                    return Ok(outcome);
                }
                continue;
            }
            Err(failure) => failure,
        };
        let is_exactly_once = context.pipeline.checkpoint.guarantee == Guarantee::ExactlyOnce;
        let is_taken_back = is_exactly_once && context.has_belonged();
        let may_pass = match context.has_belonged() {
            true => error.is_transient() && (is_exactly_once || !has_processed),
            false => error.may_pass_at_the_start(),
        };
        let pause = match &error {
            _ if may_pass => setbacks.handle_failure(Instant::now(), checkpoints),
            RunError::Sink(_) if is_taken_back && !error.is_transient() => setbacks
                .handle_refusal(Instant::now(), checkpoints)
                .then_some(Duration::ZERO),
            _ => None,
        };
        let Some(pause) = pause else {
            if may_pass {
                warn!(
                    minutes = GIVE_UP_AFTER.as_secs() / 60,
                    "No checkpoint succeeded for too long; giving up."
                );
            }
            return Err(error);
        };
        context.handle_setback(setbacks.count());
        if is_taken_back {
            warn!(
                %error,
                pause_ms = pause.as_millis(),
                "Back to the last checkpoint; what came after it is aborted and done again, in smaller micro-batches at first."
            );
        } else {
            tell_of_a_late_start(&error, pause);
        }
        if let Some(outcome) = wait(pause, &control).await? {
            return Ok(outcome);
        }
    }
}

/// Waits before the next try; gives the outcome of a run that somebody asks to stop meanwhile.
async fn wait(pause: Duration, control: &Control) -> Result<Option<RunOutcome>, RunError> {
    tokio::select! {
        biased;
        interrupted = control.interrupted() => interrupted.map(|()| Some(RunOutcome::Stopped)),
        () = tokio::time::sleep(pause) => Ok(None),
    }
}

async fn be_member(
    context: &Arc<RunContext>,
    control: &mut Control,
    setbacks: &mut Setbacks,
) -> Result<MemberEnd, Failure> {
    let mut group = tokio::select! {
        biased;
        interrupted = control.interrupted() => return stopped(interrupted),
        group = Consumer::connect(context.member_config()) => group.map_err(RunError::connect)?,
    };
    control.subscribe_anew(&mut group, context)?;
    let ended = own(context, &mut group, control, setbacks).await;
    let phase = match &ended {
        Ok(MemberEnd::Run(_)) => RunPhase::Stopping,
        _ => RunPhase::Starting,
    };
    control.report(context, phase, None, &group.stats());
    // Leaving tells the group at once that the partitions are free; a failed process too has nothing more to say.
    control.close_in_time(group.close()).await;
    ended
}

fn stopped(interrupted: Result<(), RunError>) -> Result<MemberEnd, Failure> {
    interrupted?;
    Ok(MemberEnd::Run(RunOutcome::Stopped))
}

async fn own(
    context: &Arc<RunContext>,
    group: &mut Consumer,
    control: &mut Control,
    setbacks: &mut Setbacks,
) -> Result<MemberEnd, Failure> {
    loop {
        let event = tokio::select! {
            biased;
            interrupted = control.interrupted() => return stopped(interrupted),
            event = group.poll() => event.map_err(RunError::group)?,
        };
        let assigned = match event {
            Event::Assigned(assigned) if assigned.is_empty() => {
                // The moment itself: the status says it again, but only from time to time.
                info!(
                    group = context.pipeline.group_id(),
                    "Standing by: another process owns the partitions."
                );
                setbacks.handle_standing_by();
                context.handle_belonging();
                control.report(context, RunPhase::StandingBy, None, &group.stats());
                continue;
            }
            Event::Assigned(assigned) => assigned,
            Event::Revoked(_) => {
                group.revoked_done();
                continue;
            }
            _ => continue,
        };
        // The last owner may have read topics that are new since this process started: its state must find them.
        if context.reads_by_pattern() && !control.until_end {
            context.look_for_topics().await?;
            if control.subscribe(group, context)? {
                continue;
            }
        }
        let begun = tokio::select! {
            biased;
            interrupted = control.interrupted() => return stopped(interrupted),
            begun = Session::begin(Arc::clone(context), group, &assigned, control) => begun?,
        };
        let Some(mut session) = begun else {
            return Ok(MemberEnd::Lost);
        };
        let out_of_patience = control.out_of_patience();
        let ended = tokio::select! {
            biased;
            ended = session.run(group, control) => ended,
            error = out_of_patience => Err(error),
        };
        let ended = ended.map_err(|error| session.cause_of(error));
        let is_covered = matches!(&ended, Ok(end) if *end != SessionEnd::Lost);
        control.close_in_time(session.close(is_covered)).await;
        let ended = ended.map_err(|error| Failure {
            error,
            has_processed: true,
        });
        match ended? {
            SessionEnd::Finished if control.drain => return Ok(MemberEnd::Run(RunOutcome::Drained)),
            SessionEnd::Finished => return Ok(MemberEnd::Run(RunOutcome::EndReached)),
            SessionEnd::Stopped => return Ok(MemberEnd::Run(RunOutcome::Stopped)),
            SessionEnd::Revoked => {
                info!("The group rebalances; everything up to here is in a checkpoint.");
                group.revoked_done();
            }
            SessionEnd::Lost => return Ok(MemberEnd::Lost),
        }
        control.report(context, RunPhase::Starting, None, &group.stats());
    }
}

//! The session's loop: gather, process, advance, checkpoint, until something ends it.

use std::time::Instant;

use engine_client::{Consumer, Event};
use futures::future::select_all;
use tracing::{info, warn};

use super::pace::Step;
use super::silence::Word;
use super::{Session, SessionEnd};
use crate::control::Control;
use crate::progress::RunPhase;
use crate::run_error::RunError;
use crate::stage_times::Stage;
use crate::worker::{Job, Reply};

/// What woke the loop.
enum Happened {
    Group(Event),
    Fetched(usize, Event),
    Reply(Reply),
    GeneratorsEnded,
    NewTopics,
    Stop,
    Time,
}

impl Session {
    /// Runs until the end. `group` is polled all the while, so that membership lives on.
    pub(crate) async fn run(&mut self, group: &mut Consumer, control: &mut Control) -> Result<SessionEnd, RunError> {
        loop {
            while self.outstanding == 0 {
                let now = Instant::now();
                match self.pace.next_step(now) {
                    Step::Checkpoint if self.checkpoint(group).await? => {}
                    Step::Checkpoint => return Ok(SessionEnd::Lost),
                    Step::Process => self.dispatch(now),
                    Step::Wait if self.is_finished() => {
                        return Ok(if self.finish(group, control).await? {
                            SessionEnd::Finished
                        } else {
                            SessionEnd::Lost
                        });
                    }
                    Step::Wait => break,
                }
            }
            match self.wait(group, control, Instant::now()).await? {
                Happened::Reply(reply) => {
                    self.handle_reply(reply)?;
                    if self.outstanding == 0 {
                        self.advance(Instant::now()).await?;
                    }
                }
                Happened::Fetched(source, event) => self.handle_fetched(source, event),
                Happened::Time if self.outstanding == 0 => self.advance(Instant::now()).await?,
                Happened::Time => {}
                Happened::GeneratorsEnded => {
                    control.handle_generators_ended()?;
                    if control.until_end {
                        self.bound_by_log_end().await?;
                    }
                }
                // The rebalance that follows ends the session with a checkpoint.
                Happened::NewTopics => {
                    control.subscribe(group, &self.context)?;
                }
                Happened::Stop => {
                    self.tell(control, RunPhase::Stopping, group);
                    return Ok(if self.last_checkpoint(group).await? {
                        SessionEnd::Stopped
                    } else {
                        SessionEnd::Lost
                    });
                }
                Happened::Group(Event::Revoked(_)) => {
                    return Ok(if self.last_checkpoint(group).await? {
                        SessionEnd::Revoked
                    } else {
                        SessionEnd::Lost
                    });
                }
                Happened::Group(Event::Lost(_)) => return Ok(SessionEnd::Lost),
                // The coordinator confirms the assignment after a rebalance that changed nothing.
                Happened::Group(_) => {}
            }
            if control.report_due(Instant::now()) {
                self.tell(control, RunPhase::Running, group);
                self.listen(Instant::now());
            }
        }
    }

    async fn wait(&mut self, group: &mut Consumer, control: &mut Control, now: Instant) -> Result<Happened, RunError> {
        let (room, outstanding) = (!self.pace.is_full(), self.outstanding > 0);
        let wake = self.pace.next_wake(now, outstanding);
        let Session { sources, replies, .. } = self;
        let fetched = select_all(sources.iter_mut().map(|source| Box::pin(source.fetcher.poll())));
        // A backlog keeps replies and fetches coming without end: what comes once goes before them.
        let (generators_ended, interrupted) = (control.generators_ended(), control.interrupted());
        Ok(tokio::select! {
            biased;
            outcome = interrupted => outcome.map(|()| Happened::Stop)?,
            () = generators_ended => Happened::GeneratorsEnded,
            () = control.new_topics() => Happened::NewTopics,
            reply = replies.recv(), if outstanding => {
                Happened::Reply(reply.expect("the workers live as long as the session"))
            }
            event = group.poll() => Happened::Group(event.map_err(RunError::group)?),
            (event, source, _) = fetched, if room => {
                Happened::Fetched(source, event.map_err(RunError::fetch)?)
            }
            () = tokio::time::sleep_until(wake.into()) => Happened::Time,
        })
    }

    fn handle_fetched(&mut self, source: usize, event: Event) {
        let Event::Fetched(fetched) = event else { return };
        let source = &mut self.sources[source];
        let Some(partition) = source
            .by_name
            .get(&fetched.tp)
            .and_then(|task| source.partitions.get_mut(task))
        else {
            return;
        };
        let records = fetched
            .batches
            .iter()
            .map(|batch| batch.header.record_count.max(0) as usize)
            .sum();
        let log_end = match fetched.last_stable_offset {
            end if end >= 0 => end,
            _ => fetched.high_watermark,
        };
        let backlog = fetched.next_offset < log_end;
        partition.handle_fetched(fetched.batches, fetched.next_offset, log_end);
        if partition.is_fetched_to_the_end() {
            source.fetcher.pause(std::slice::from_ref(&fetched.tp));
        }
        let now = Instant::now();
        self.gather_started.get_or_insert(now);
        self.pace.handle_records(now, records, fetched.bytes, backlog);
    }

    /// Tells of brokers that do not answer, and that they do again.
    fn listen(&mut self, now: Instant) {
        let is_looking = !self.pace.is_full() && self.outstanding == 0;
        let sources = self.sources.iter();
        let partitions = sources.flat_map(|source| source.partitions.values());
        let fetched = partitions.filter(|partition| !partition.is_fetched_to_the_end());
        let heard = fetched.map(|partition| (&*partition.topic, partition.partition, partition.end_heard_at));
        match self.silence.handle(now, is_looking, heard) {
            Some(Word::Silent(partitions)) => warn!(
                partitions = partitions.len(),
                first = partitions[0],
                "The brokers of these partitions do not answer; they are asked until they do."
            ),
            Some(Word::Answering) => info!("The brokers of all partitions answer again."),
            None => {}
        }
    }

    /// Sends what was gathered to the workers.
    fn dispatch(&mut self, now: Instant) {
        if let Some(started) = self.gather_started.take() {
            self.context.record(Stage::Gather, now - started);
        }
        for source in &mut self.sources {
            let closed_before = source.watermark_ns();
            for (task, partition) in &mut source.partitions {
                let Some((batches, next_offset)) = partition.take_pending() else {
                    continue;
                };
                let job = Job::Process {
                    task: *task,
                    batches,
                    next_offset,
                    closed_before,
                };
                self.workers.send(partition.worker, job);
                self.outstanding += 1;
            }
        }
        self.pace.handle_triggered();
    }

    /// Takes a worker's answer to a process job.
    pub(super) fn handle_reply(&mut self, reply: Reply) -> Result<(), RunError> {
        match reply {
            Reply::Processed { task, outcome, times } => {
                self.outstanding -= 1;
                self.changed = true;
                self.context.record(Stage::Process, times.process);
                self.context.record(Stage::Sinks, times.sinks);
                let source = self.tasks[&task];
                let wall_clock_ns = self.context.wall_clock_ns();
                self.sources[source].handle_processed(task, &outcome, wall_clock_ns, Instant::now());
                Ok(())
            }
            Reply::Failed(error) => Err(error.into()),
            Reply::Windows { .. } | Reply::Sessions { .. } | Reply::ChangedGroups { .. } | Reply::Snapshots { .. } => {
                unreachable!("only asked for when nothing is outstanding, and taken at once")
            }
        }
    }

    /// Whether a bounded run has read everything.
    fn is_finished(&self) -> bool {
        self.sources
            .iter()
            .flat_map(|source| source.partitions.values())
            .all(super::partitions::Partition::is_finished)
    }
}

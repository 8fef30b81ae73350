//! Positions that are not known yet: what to ask the cluster, and what its answer does.
//!
//! A position is looked up where a partition starts without one, and validated where the leader
//! changed (KIP-320). Never here: fetches.

use std::time::Instant;

use super::{Fetcher, back_off};
use crate::{
    fetch::{
        lookup::{EARLIEST, Found, LATEST, Lookup, Question},
        partition::{PartitionState, Phase},
        position::{FetchError, OffsetReset, Position, StartAt},
    },
    topic_partition::TopicPartition,
};

impl Fetcher {
    /// Positions to ask the cluster for.
    pub fn poll_lookups(&mut self, now: Instant) -> Vec<Lookup> {
        let mut lookups = Vec::new();
        for (tp, state) in &mut self.partitions {
            let question = match state.phase {
                Phase::Looking {
                    start: StartAt::Committed,
                } => Question::Committed,
                Phase::Looking {
                    start: StartAt::Earliest,
                } => Question::Timestamp(EARLIEST),
                Phase::Looking { start: StartAt::Latest } => Question::Timestamp(LATEST),
                Phase::Looking {
                    start: StartAt::Timestamp(at),
                } => Question::Timestamp(at),
                Phase::Looking {
                    start: StartAt::Ago(duration),
                } => Question::Ago(duration),
                Phase::Looking {
                    start: StartAt::Offset { .. },
                } => {
                    unreachable!("an offset is its own position")
                }
                Phase::Validating { position } => Question::EndOfEpoch {
                    leader_epoch: position.leader_epoch.unwrap_or(-1),
                    current_leader_epoch: state.leader.map_or(-1, |leader| leader.leader_epoch),
                },
                Phase::Assigned | Phase::Fetching { .. } | Phase::Failed => continue,
            };
            if !state.may_ask(now) {
                continue;
            }
            let ticket = self.next_ticket;
            self.next_ticket += 1;
            state.ticket = Some(ticket);
            lookups.push(Lookup {
                ticket,
                tp: tp.clone(),
                question,
            });
        }
        lookups
    }

    /// Answer to a [`Lookup`].
    pub fn handle_found(&mut self, now: Instant, lookup: &Lookup, found: Found) {
        let waiting = self.partitions.get_mut(&lookup.tp);
        let Some(state) = waiting.filter(|state| state.ticket == Some(lookup.ticket)) else {
            self.stats.late_answers += 1;
            return; // A seek, a new leader or a revocation was faster.
        };
        state.ticket = None;
        let tp = lookup.tp.clone();
        let error = match (found, state.phase) {
            (Found::Retry, _) => {
                back_off(state, now, &self.config.backoff, &mut self.rng);
                self.metadata_wanted = true;
                None
            }
            (Found::Refused(code), phase) => {
                let offset = match phase {
                    Phase::Validating { position } => position.offset,
                    _ => -1,
                };
                state.fail();
                Some(FetchError::Refused { tp, offset, code })
            }
            (Found::At(position), Phase::Looking { start }) => {
                // After a reset, the application may not have had all of what came before it.
                if state.queue.is_empty() {
                    state.handed_out = Some(position);
                }
                match start {
                    StartAt::Committed => state.fetch_from(position),
                    _ => state.enter(Phase::Fetching { position }),
                }
                None
            }
            (
                Found::Nothing,
                Phase::Looking {
                    start: StartAt::Committed,
                },
            ) => {
                let error = FetchError::NoCommittedOffset { tp };
                state.reset(self.config.offset_reset, error)
            }
            (
                Found::Nothing,
                Phase::Looking {
                    start: StartAt::Timestamp(_) | StartAt::Ago(_),
                },
            ) => {
                state.enter(Phase::Looking { start: StartAt::Latest });
                None
            }
            (Found::Nothing, Phase::Looking { .. }) => {
                // Every log has a beginning and an end: to go on at the other one would skip all of it.
                back_off(state, now, &self.config.backoff, &mut self.rng);
                None
            }
            (Found::Unsupported, Phase::Validating { position }) => {
                state.enter(Phase::Fetching { position });
                None
            }
            (Found::EpochEnd(end), Phase::Validating { position }) => {
                return self.handle_epoch_end(&tp, position, end);
            }
            (found, phase) => {
                // The driver answers the question that was asked; anything else is asked again.
                debug_assert!(false, "{tp}: {found:?} answers nothing in {phase:?}");
                back_off(state, now, &self.config.backoff, &mut self.rng);
                None
            }
        };
        self.errors.extend(error);
    }

    /// Where the leader says that the epoch of the position ended. Below the position the log was cut. An epoch that
    /// the leader has no record of any more, although its log goes on beyond the position, was compacted away: the
    /// epoch before it stands for it, as in the Java client.
    pub(super) fn handle_epoch_end(&mut self, tp: &TopicPartition, position: Position, end: Position) {
        let state = self.partitions.get_mut(tp).expect("its answer was waited for");
        let is_known = end.offset >= 0 && end.leader_epoch.is_some();
        if is_known && end.offset >= position.offset {
            let position = Position {
                leader_epoch: position.leader_epoch.min(end.leader_epoch),
                ..position
            };
            state.enter(Phase::Fetching { position });
            return;
        }
        self.queued_bytes -= state.queued_bytes;
        state.clear_queue();
        self.ready.retain(|ready| ready != tp);
        let end = is_known.then_some(end);
        let error = truncated(state, tp.clone(), position, end, self.config.offset_reset);
        self.stats.truncations += 1;
        self.errors.extend(error);
    }
}

/// The log was cut below the position (KIP-320): with a reset policy reading goes on where the log
/// still agrees, as in the Java client; without one it is the application's decision.
fn truncated(
    state: &mut PartitionState,
    tp: TopicPartition,
    position: Position,
    end: Option<Position>,
    policy: OffsetReset,
) -> Option<FetchError> {
    let offset = position.offset;
    let end_offset = end.map(|end| end.offset);
    match (end, policy) {
        (Some(end), OffsetReset::Earliest | OffsetReset::Latest | OffsetReset::ByDuration(_)) => {
            // What was prefetched is dropped, so go back to where the application is, if that is earlier.
            let handed_out = state.handed_out.filter(|handed_out| handed_out.offset < end.offset);
            let position = handed_out.unwrap_or(end);
            state.handed_out = Some(position);
            state.enter(Phase::Fetching { position });
            None
        }
        _ => state.reset(policy, FetchError::LogTruncated { tp, offset, end_offset }),
    }
}

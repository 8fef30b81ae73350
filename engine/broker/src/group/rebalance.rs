//! A rebalance: from the first member that must rejoin to the next generation.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use engine_wire::error_code::ErrorCode;
use tracing::debug;

use crate::group::member::Member;
use crate::group::sync::SyncAnswer;
use crate::group::{Group, InitialDelay, State};

impl Group {
    /// Asks everybody to rejoin, unless that is under way.
    pub(super) fn prepare_rebalance(&mut self, now: Instant, reason: &str) {
        let rebalance_timeout = self.rebalance_timeout();
        let delay = self.limits.initial_rebalance_delay;
        self.state = match self.state {
            State::Preparing { .. } => return,
            State::Empty => State::Preparing {
                deadline: now + delay.min(rebalance_timeout),
                initial: Some(InitialDelay {
                    latest: now + rebalance_timeout,
                    joined_since: false,
                }),
            },
            State::Completing { .. } | State::Stable => State::Preparing {
                deadline: now + rebalance_timeout,
                initial: None,
            },
        };
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
            if member.sync_reply.is_some() {
                member.touch(now); // It could not send heartbeats while it waited for us.
            }
            member.answer_sync(SyncAnswer::error(ErrorCode::REBALANCE_IN_PROGRESS));
        }
        debug!(generation_id = self.generation_id, reason, "A group rebalances.");
    }

    /// Begins the next generation if nobody is missing. An initial delay of zero is over at once.
    pub(super) fn complete_join_if_all_are_here(&mut self, now: Instant) {
        let State::Preparing { deadline, initial } = &self.state else {
            return;
        };
        let all_here = self.members.values().all(|member| member.join_reply.is_some());
        let delayed = initial.is_some() && *deadline > now;
        if all_here && self.pending_members.is_empty() && !delayed {
            self.complete_join(now);
        } else if initial.is_some() && !delayed && all_here {
            // The delay is over, but members that were told their id are still to come: wait for them as in
            // any other rebalance.
            self.state = State::Preparing {
                deadline: now + self.rebalance_timeout(),
                initial: None,
            };
        }
    }

    pub(super) fn handle_join_deadline(&mut self, now: Instant, deadline: Instant, initial: Option<InitialDelay>) {
        match initial {
            Some(InitialDelay {
                latest,
                joined_since: true,
            }) if latest > deadline => {
                let extended = (deadline + self.limits.initial_rebalance_delay).min(latest);
                let initial = Some(InitialDelay {
                    latest,
                    joined_since: false,
                });
                self.state = State::Preparing {
                    deadline: extended.max(now),
                    initial,
                };
            }
            _ => self.complete_join(now),
        }
    }

    /// Ends the joining: dynamic members that did not rejoin are out, static ones stay.
    fn complete_join(&mut self, now: Instant) {
        let missing = |member: &&Member| member.join_reply.is_none() && member.instance_id.is_none();
        let missing: Vec<String> = self
            .members
            .values()
            .filter(missing)
            .map(|member| member.id.clone())
            .collect();
        for member_id in missing {
            self.remove_member(&member_id);
        }
        if self.members.is_empty() {
            self.generation_id = next_generation(self.generation_id);
            self.protocol_name = None;
            self.state = State::Empty;
            return;
        }
        let is_here = |id: &String| self.members.get(id).is_some_and(|member| member.join_reply.is_some());
        if !self.leader.as_ref().is_some_and(is_here) {
            let Some(leader) = self.members.keys().find(|id| is_here(id)).cloned() else {
                // Only static members, none of which is back: nobody could assign. Go on waiting.
                self.state = State::Preparing {
                    deadline: now + self.rebalance_timeout(),
                    initial: None,
                };
                return;
            };
            self.leader = Some(leader);
        }
        self.generation_id = next_generation(self.generation_id);
        self.protocol_name = self.select_protocol();
        self.state = State::Completing {
            deadline: now + self.rebalance_timeout(),
        };
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for member_id in ids {
            let answer = self.answer_for(&member_id);
            if let Some(member) = self.members.get_mut(&member_id) {
                member.assignment = Bytes::new();
                member.touch(now);
                member.answer_join(answer);
            }
        }
    }

    /// The protocol that every member supports and most prefer.
    pub(super) fn select_protocol(&self) -> Option<String> {
        let first = self.members.values().next()?;
        let shared = |name: &&String| self.members.values().all(|member| member.supports(name));
        let candidates: Vec<&String> = first.protocols.iter().map(|(name, _)| name).filter(shared).collect();
        let mut votes: BTreeMap<&String, usize> = BTreeMap::new();
        for member in self.members.values() {
            let choice = member
                .protocols
                .iter()
                .map(|(name, _)| name)
                .find(|name| candidates.contains(name));
            *votes.entry(choice?).or_default() += 1;
        }
        let most = votes.values().copied().max()?;
        candidates
            .into_iter()
            .find(|name| votes.get(name) == Some(&most))
            .cloned()
    }

    /// The longest any member wants to be waited for. Never zero: a group of absent static members waits for them
    /// from one timeout to the next.
    fn rebalance_timeout(&self) -> Duration {
        let wanted = self.members.values().map(|member| member.rebalance_timeout);
        wanted.max().unwrap_or_default().max(REBALANCE_TIMEOUT_MIN)
    }
}

const REBALANCE_TIMEOUT_MIN: Duration = Duration::from_millis(10);

/// Generations never become negative, which is how clients without one are told apart.
fn next_generation(generation_id: i32) -> i32 {
    generation_id.checked_add(1).unwrap_or(1)
}

//! Who is still alive: the session at the coordinator, and the application that must poll.
//!
//! All timers of a member are here but the backoff between attempts. Never here: joining.

use std::time::Instant;

use super::{Application, Membership};
use crate::group::{action::GroupError, member_state::MemberState};

impl Membership {
    /// The application entered `poll`: it is alive as long as it stays there. True if that gives the
    /// driver something to do.
    pub fn handle_poll_entered(&mut self, now: Instant) -> bool {
        self.handle_timeout(now);
        let was_too_slow = self.application.too_slow;
        self.application = Application {
            polling: true,
            last_poll: now,
            too_slow: false,
        };
        was_too_slow
    }

    /// The application left `poll` and processes.
    pub fn handle_poll_left(&mut self, now: Instant) {
        self.application.polling = false;
        self.application.last_poll = now;
    }

    /// Answer to [`GroupAction::Heartbeat`](crate::group::action::GroupAction::Heartbeat).
    pub fn handle_heartbeat(&mut self, now: Instant, generation_id: i32, answer: Result<(), GroupError>) {
        let sent_at = match self.heartbeat.sent {
            Some((sent_generation, sent_at)) if sent_generation == generation_id => sent_at,
            _ => return, // A late answer from a generation we already left.
        };
        self.heartbeat.sent = None;
        if self.generation_in_hand() != Some(generation_id) {
            return; // The same, and nothing was sent since.
        }
        if matches!(answer, Ok(()) | Err(GroupError::RebalanceInProgress)) {
            // The coordinator renews the session of a member that it tells of a rebalance, too.
            self.heartbeat.session_until = sent_at + self.config.session_timeout;
        }
        let Err(error) = answer else {
            self.backoff.reset();
            return;
        };
        self.stats.heartbeat_errors += u64::from(error != GroupError::RebalanceInProgress);
        match error {
            GroupError::RebalanceInProgress => {
                // While revoking we know; old brokers also say it to a member that is syncing.
                if let MemberState::Stable { .. } = self.state {
                    self.rebalance(now, generation_id);
                }
            }
            GroupError::CoordinatorUnavailable => self.lose_coordinator(now),
            GroupError::CoordinatorLoading => {}
            GroupError::UnknownMemberId | GroupError::MemberIdRequired { .. } => {
                self.member_id.clear();
                self.lose(now);
            }
            GroupError::IllegalGeneration => self.lose(now),
            GroupError::FencedInstanceId | GroupError::Fatal { .. } => self.fail(error),
        }
    }

    /// The coordinator refused a commit under `generation_id` because of the membership. A stale
    /// owner learns here, before its next heartbeat, that it must stop.
    pub fn handle_commit_refused(&mut self, now: Instant, generation_id: i32, error: GroupError) {
        if self.commit_generation() != Some(generation_id) {
            return; // A late answer from a generation we already left.
        }
        match error {
            GroupError::RebalanceInProgress => {
                if let MemberState::Stable { .. } = self.state {
                    self.rebalance(now, generation_id);
                }
            }
            GroupError::UnknownMemberId => {
                self.member_id.clear();
                self.lose(now);
            }
            GroupError::IllegalGeneration => self.lose(now),
            GroupError::FencedInstanceId => self.fail(error),
            GroupError::CoordinatorUnavailable => self.lose_coordinator(now),
            _ => {}
        }
    }

    /// Looks for the coordinator again, after a pause: the cluster names a dead one for a while.
    fn lose_coordinator(&mut self, now: Instant) {
        if self.coordinator.take().is_some() {
            self.back_off(now);
        }
    }

    /// When to call [`Membership::poll_action`] again if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let mut timers: Vec<Instant> = Vec::new();
        if !self.finding && (self.wants_in() || self.coordinator.is_none()) {
            timers.extend(self.retry_at);
        }
        if self.has_something_to_lose() {
            timers.push(self.heartbeat.session_until);
        }
        let may_send = self.heartbeat.sent.is_none() && self.coordinator.is_some();
        if self.generation_in_hand().is_some() && may_send {
            timers.push(self.heartbeat.next);
        }
        if let MemberState::Revoking { until, .. } = self.state {
            timers.push(until);
        }
        if self.is_watching_the_application() {
            timers.push(self.application.last_poll + self.config.max_poll_interval);
        }
        timers.extend(self.next_look());
        timers.into_iter().min()
    }

    /// Timers that run out without an answer.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.is_watching_the_application() && now >= self.application.last_poll + self.config.max_poll_interval {
            self.application.too_slow = true;
            self.push_leave();
            if self.config.group_instance_id.is_none() {
                self.member_id.clear();
            }
            return self.lose(now);
        }
        if self.has_something_to_lose() && now >= self.heartbeat.session_until {
            // The coordinator was silent or gone for a whole session; others own our partitions.
            self.coordinator = None;
            return self.lose(now);
        }
        if let MemberState::Revoking { until, .. } = self.state
            && now >= until
        {
            self.lose(now);
        }
    }

    /// A parked JoinGroup keeps a member alive. One that waits to send it is not kept, but may own partitions
    /// under a cooperative assignor.
    fn has_something_to_lose(&self) -> bool {
        let rejoins_with_partitions = self.state == MemberState::Unjoined && !self.ownership.owned().is_empty();
        self.generation_in_hand().is_some() || rejoins_with_partitions
    }

    fn is_watching_the_application(&self) -> bool {
        !self.application.polling && self.generation_in_hand().is_some()
    }
}

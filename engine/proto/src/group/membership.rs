//! Membership in a classic consumer group.
//!
//! A rebalance is several timers racing several responses and one application, so this file does
//! no I/O and reads no clock: every interleaving we know of is a unit test.
//!
//! ```text
//!             join sent             answered: follower          assignment
//!  Unjoined ────────────▶ Joining ────────────────────▶ Syncing ──────────▶ Stable
//!   ▲  ▲  ▲                 │  └──▶ Assigning ─counts──▶  │                  │  │
//!   │  │  └── error ────────┴─────── (leader) ────────────┘                  │  │
//!   │  └──── lost: session timeout, unknown member, illegal generation, ─────┘  │
//!   │               application too slow (then it waits for the next poll)      │
//!   └──── revoked, or too slow ──── Revoking ◀──── the group rebalances ────────┘
//! ```
//!
//! Heartbeats run in Assigning, Syncing, Stable and Revoking, whatever the application does; a
//! parked JoinGroup keeps the member alive by itself. `Left` (closed, or refused for good) is final.
//!
//! Never here: sockets, tokio, offsets. A commit that the coordinator refuses because of the
//! membership comes in through [`Membership::handle_commit_refused`].

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;

use crate::{
    backoff::Backoff,
    group::{
        action::{GroupAction, GroupError, Identity, Join, Joined, Sync, encoded},
        assignor::{GroupMember, PartitionCounts, RebalanceProtocol},
        consumer_protocol::{Assignment, Subscription},
        member_state::{MemberState, MembershipConfig, MembershipStats},
        ownership::{GroupEvent, Ownership},
    },
    topic_partition::TopicPartition,
};

/// One member of a classic group.
#[derive(Debug)]
pub struct Membership {
    config: MembershipConfig,
    state: MemberState,
    topics: BTreeSet<Arc<str>>,
    joined_topics: BTreeSet<Arc<str>>,
    member_id: String,
    /// The last generation in which we were stable; for the `owned_partitions` of a rejoin.
    generation_id: Option<i32>,
    coordinator: Option<i32>,
    finding: bool,
    backoff: Backoff,
    retry_at: Option<Instant>,
    attempts: u64,
    rebalance_started: Option<Instant>,
    protocol_name: String,
    /// What the leader dealt from; a difference in the cluster starts a rebalance.
    led_counts: Option<PartitionCounts>,
    led_members: Vec<GroupMember>,
    heartbeat: Heartbeats,
    application: Application,
    ownership: Ownership,
    revoking: BTreeSet<TopicPartition>,
    revocation_seen: bool,
    actions: VecDeque<GroupAction>,
    failure: Option<GroupError>,
    stats: MembershipStats,
}

#[derive(Debug)]
struct Heartbeats {
    next: Instant,
    sent: Option<(i32, Instant)>,
    session_until: Instant,
}

/// Whether the application is inside `poll`, and when it was there last.
#[derive(Debug)]
struct Application {
    polling: bool,
    last_poll: Instant,
    too_slow: bool,
}

impl Membership {
    /// A member of nothing yet. `seed` spreads the backoff.
    pub fn new(now: Instant, config: MembershipConfig, seed: u64) -> Membership {
        assert!(!config.assignors.is_empty(), "a member offers at least one assignor");
        Membership {
            backoff: Backoff::new(config.backoff, seed),
            config,
            state: MemberState::Unjoined,
            topics: BTreeSet::new(),
            joined_topics: BTreeSet::new(),
            member_id: String::new(),
            generation_id: None,
            coordinator: None,
            finding: false,
            retry_at: None,
            attempts: 0,
            rebalance_started: None,
            protocol_name: String::new(),
            led_counts: None,
            led_members: Vec::new(),
            heartbeat: Heartbeats {
                next: now,
                sent: None,
                session_until: now,
            },
            application: Application {
                polling: false,
                last_poll: now,
                too_slow: false,
            },
            ownership: Ownership::default(),
            revoking: BTreeSet::new(),
            revocation_seen: false,
            actions: VecDeque::new(),
            failure: None,
            stats: MembershipStats::default(),
        }
    }

    /// Where the member stands.
    pub fn state(&self) -> MemberState {
        self.state
    }

    /// The coordinator, if known.
    pub fn coordinator(&self) -> Option<i32> {
        self.coordinator
    }

    /// Our id, empty before the first join.
    pub fn member_id(&self) -> &str {
        &self.member_id
    }

    /// The generation under which commits are valid now.
    pub fn commit_generation(&self) -> Option<i32> {
        match self.state {
            MemberState::Stable { generation_id } | MemberState::Revoking { generation_id, .. } => Some(generation_id),
            _ => None,
        }
    }

    /// Counts since the start.
    pub fn stats(&self) -> MembershipStats {
        self.stats
    }

    /// Topics of the whole group while this member leads it: their metadata must be kept fresh.
    pub fn led_topics(&self) -> impl Iterator<Item = &Arc<str>> {
        self.led_counts.iter().flat_map(|counts| counts.keys())
    }

    /// The next thing to tell the application.
    pub fn poll_event(&mut self) -> Option<GroupEvent> {
        let event = self.ownership.poll_event();
        if let Some(GroupEvent::Revoked { .. }) = event {
            self.revocation_seen = true;
        }
        event
    }

    /// Whether the application has something to be told.
    pub fn has_event(&self) -> bool {
        self.ownership.has_event() || self.failure.is_some()
    }

    /// The refusal that ended the membership, once.
    pub fn poll_failure(&mut self) -> Option<GroupError> {
        self.failure.take()
    }

    /// The next thing to do.
    pub fn poll_action(&mut self, now: Instant) -> Option<GroupAction> {
        self.handle_timeout(now);
        if let Some(action) = self.actions.pop_front() {
            return Some(action);
        }
        let wants_in = self.wants_in();
        let backing_off = self.retry_at.is_some_and(|retry_at| retry_at > now);
        let Some(coordinator) = self.coordinator else {
            let needed = wants_in || self.generation_in_hand().is_some();
            if needed && !self.finding && !backing_off {
                self.finding = true;
                return Some(GroupAction::FindCoordinator);
            }
            return None;
        };
        if wants_in && !backing_off {
            return Some(GroupAction::Join(self.join(now, coordinator)));
        }
        let generation_id = self.generation_in_hand()?;
        if self.heartbeat.sent.is_none() && self.heartbeat.next <= now {
            self.heartbeat.sent = Some((generation_id, now));
            self.heartbeat.next = now + self.config.heartbeat_interval;
            self.stats.heartbeats += 1;
            return Some(GroupAction::Heartbeat(self.identity(coordinator, generation_id)));
        }
        None
    }

    /// When to call [`Membership::poll_action`] again if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let mut timers: Vec<Instant> = Vec::new();
        if !self.finding && (self.wants_in() || self.coordinator.is_none()) {
            timers.extend(self.retry_at);
        }
        if self.generation_in_hand().is_some() {
            timers.push(self.heartbeat.session_until);
            if self.heartbeat.sent.is_none() && self.coordinator.is_some() {
                timers.push(self.heartbeat.next);
            }
        }
        if let MemberState::Revoking { until, .. } = self.state {
            timers.push(until);
        }
        if self.is_watching_the_application() {
            timers.push(self.application.last_poll + self.config.max_poll_interval);
        }
        timers.into_iter().min()
    }

    /// The application subscribes; a change makes a member rejoin.
    pub fn handle_subscribe(&mut self, now: Instant, topics: impl IntoIterator<Item = Arc<str>>) {
        self.topics = topics.into_iter().collect();
        self.application.last_poll = now;
        if let MemberState::Stable { generation_id } = self.state
            && self.topics != self.joined_topics
        {
            self.rebalance(now, generation_id);
        }
    }

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

    /// Whether there are topics to be a member for.
    pub fn is_subscribed(&self) -> bool {
        !self.topics.is_empty()
    }

    /// The application left `poll` and processes.
    pub fn handle_poll_left(&mut self, now: Instant) {
        self.application.polling = false;
        self.application.last_poll = now;
    }

    /// The application has finished and committed what was revoked.
    pub fn handle_revoked(&mut self, now: Instant) {
        if !matches!(self.state, MemberState::Revoking { .. }) || !self.revocation_seen {
            return; // Late: the membership was lost meanwhile, and the application is told so.
        }
        self.revoking.clear();
        self.state = MemberState::Unjoined;
        self.retry_at = Some(now);
    }

    /// The cluster's partition counts changed; the leader rebalances if its group is concerned.
    pub fn handle_cluster(&mut self, now: Instant, counts: &PartitionCounts) {
        let (MemberState::Stable { generation_id }, Some(led)) = (self.state, &self.led_counts) else {
            return;
        };
        // A topic that is missing for a moment while a broker restarts has not lost its partitions.
        let grown = led
            .iter()
            .any(|(topic, count)| counts.get(topic).is_some_and(|n| n != count));
        if grown {
            self.rebalance(now, generation_id);
        }
    }

    /// Answer to [`GroupAction::FindCoordinator`].
    pub fn handle_coordinator(&mut self, now: Instant, found: Result<i32, GroupError>) {
        self.finding = false;
        match found {
            Ok(node) => {
                self.coordinator = Some(node);
                self.retry_at = None;
                self.heartbeat.next = self.heartbeat.next.min(now);
            }
            Err(GroupError::Fatal { .. }) => self.fail(found.expect_err("matched an error")),
            Err(_) => self.back_off(now),
        }
    }

    /// Answer to [`GroupAction::Join`].
    pub fn handle_join(&mut self, now: Instant, attempt: u64, answer: Result<Joined, GroupError>) {
        if self.state != (MemberState::Joining { attempt }) {
            return; // A late answer to a join that we gave up.
        }
        let joined = match answer {
            Ok(joined) => joined,
            Err(error) => return self.handle_rebalance_error(now, error),
        };
        self.backoff.reset();
        self.member_id = joined.member_id;
        self.protocol_name = joined.protocol_name;
        self.heartbeat = Heartbeats {
            next: now + self.config.heartbeat_interval,
            sent: None,
            session_until: now + self.config.session_timeout,
        };
        let generation_id = joined.generation_id;
        if joined.leader != self.member_id || joined.skip_assignment {
            self.led_counts = None;
            return self.sync(generation_id, Vec::new());
        }
        let topics: BTreeSet<Arc<str>> = joined
            .members
            .iter()
            .flat_map(|member| member.subscription.topics.iter())
            .map(|topic| Arc::from(topic.as_str()))
            .collect();
        self.led_members = joined.members;
        self.state = MemberState::Assigning { generation_id };
        self.actions.push_back(GroupAction::CountPartitions {
            generation_id,
            topics: topics.into_iter().collect(),
        });
    }

    /// Answer to [`GroupAction::CountPartitions`]; topics that do not exist are absent.
    pub fn handle_partition_counts(
        &mut self,
        generation_id: i32,
        counts: Result<PartitionCounts, GroupError>,
        now: Instant,
    ) {
        if self.state != (MemberState::Assigning { generation_id }) {
            return; // A late answer for a generation we already left.
        }
        let counts = match counts {
            Ok(counts) => counts,
            Err(error) => return self.handle_rebalance_error(now, error),
        };
        let picked = self.config.assignors.iter().find(|a| a.name() == self.protocol_name);
        let Some(assignor) = picked else {
            return self.fail(GroupError::Fatal {
                name: "INCONSISTENT_GROUP_PROTOCOL".into(),
                message: format!("the coordinator picked {:?}, not offered", self.protocol_name),
            });
        };
        let members = std::mem::take(&mut self.led_members);
        let assignment = assignor.assign(&counts, &members);
        self.led_counts = Some(counts);
        self.sync(generation_id, encoded(&assignment));
    }

    /// Answer to [`GroupAction::Sync`].
    pub fn handle_sync(&mut self, now: Instant, generation_id: i32, answer: Result<Bytes, GroupError>) {
        if self.state != (MemberState::Syncing { generation_id }) {
            return; // A late answer for a generation we already left.
        }
        let assignment = match answer.map(Assignment::decode) {
            Ok(Ok(assignment)) => assignment,
            Ok(Err(error)) => {
                return self.fail(GroupError::Fatal {
                    name: "INVALID_ASSIGNMENT".into(),
                    message: error.to_string(),
                });
            }
            Err(error) => return self.handle_rebalance_error(now, error),
        };
        self.stats.rebalances += 1;
        if let Some(started) = self.rebalance_started.take() {
            self.stats.last_rebalance = now.saturating_duration_since(started);
        }
        self.state = MemberState::Stable { generation_id };
        self.generation_id = Some(generation_id);
        let partitions: BTreeSet<_> = assignment
            .partitions
            .into_iter()
            .filter(|tp| tp.partition >= 0)
            .collect();
        let owned = self.ownership.owned().clone();
        self.ownership
            .assign(generation_id, partitions.difference(&owned).cloned().collect());
        // Only a cooperative member still owns something here; what moved away is revoked now.
        let moved: BTreeSet<_> = owned.difference(&partitions).cloned().collect();
        if !moved.is_empty() {
            self.revoke(now, generation_id, moved);
        } else if self.topics != self.joined_topics {
            self.rebalance(now, generation_id);
        }
    }

    /// Answer to [`GroupAction::Heartbeat`].
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
            GroupError::CoordinatorUnavailable => self.coordinator = None,
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
            GroupError::CoordinatorUnavailable => self.coordinator = None,
            _ => {}
        }
    }

    /// Leaves the group for good. Static members only go silent, so that a restart within the
    /// session timeout moves nothing (KIP-345).
    pub fn handle_close(&mut self) {
        self.push_leave();
        self.state = MemberState::Left;
        self.ownership = Ownership::default();
        self.revoking.clear();
    }

    /// Timers that run out without an answer.
    fn handle_timeout(&mut self, now: Instant) {
        if self.is_watching_the_application() && now >= self.application.last_poll + self.config.max_poll_interval {
            self.application.too_slow = true;
            self.push_leave();
            if self.config.group_instance_id.is_none() {
                self.member_id.clear();
            }
            return self.lose(now);
        }
        if self.generation_in_hand().is_some() && now >= self.heartbeat.session_until {
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

    fn handle_rebalance_error(&mut self, now: Instant, error: GroupError) {
        self.state = MemberState::Unjoined;
        match error {
            GroupError::MemberIdRequired { member_id } => {
                self.member_id = member_id;
                self.retry_at = Some(now);
            }
            GroupError::UnknownMemberId => {
                self.member_id.clear();
                self.lose(now);
            }
            GroupError::IllegalGeneration => self.lose(now),
            GroupError::RebalanceInProgress => self.retry_at = Some(now),
            GroupError::CoordinatorUnavailable => {
                self.coordinator = None;
                self.back_off(now);
            }
            GroupError::CoordinatorLoading => self.back_off(now),
            GroupError::FencedInstanceId | GroupError::Fatal { .. } => self.fail(error),
        }
    }

    fn join(&mut self, now: Instant, coordinator: i32) -> Join {
        self.attempts += 1;
        let attempt = self.attempts;
        self.state = MemberState::Joining { attempt };
        self.rebalance_started.get_or_insert(now);
        self.joined_topics = self.topics.clone();
        self.led_counts = None;
        let protocols = self.config.assignors.iter().map(|assignor| {
            let subscription = Subscription {
                topics: self.topics.iter().map(|topic| topic.to_string()).collect(),
                user_data: assignor.user_data(),
                owned_partitions: self.ownership.owned().iter().cloned().collect(),
                generation_id: self.generation_id,
                rack_id: self.config.rack_id.clone(),
            };
            (assignor.name().to_owned(), subscription.encode())
        });
        Join {
            attempt,
            coordinator,
            member_id: self.member_id.clone(),
            protocols: protocols.collect(),
        }
    }

    fn sync(&mut self, generation_id: i32, assignments: Vec<(String, Bytes)>) {
        self.state = MemberState::Syncing { generation_id };
        let Some(coordinator) = self.coordinator else {
            self.state = MemberState::Unjoined; // A heartbeat found it gone meanwhile.
            return;
        };
        self.actions.push_back(GroupAction::Sync(Sync {
            identity: self.identity(coordinator, generation_id),
            protocol_name: self.protocol_name.clone(),
            assignments,
        }));
    }

    fn rebalance(&mut self, now: Instant, generation_id: i32) {
        let revoked = match self.config.assignors[0].rebalance_protocol() {
            RebalanceProtocol::Eager => self.ownership.owned().clone(),
            RebalanceProtocol::Cooperative => BTreeSet::new(),
        };
        self.revoke(now, generation_id, revoked);
    }

    fn revoke(&mut self, now: Instant, generation_id: i32, revoked: BTreeSet<TopicPartition>) {
        self.retry_at = Some(now);
        self.state = MemberState::Unjoined;
        if self.ownership.revoke(generation_id, &revoked) {
            let until = now + self.config.rebalance_timeout;
            self.state = MemberState::Revoking { generation_id, until };
            self.revoking = revoked;
            self.revocation_seen = false;
        }
    }

    fn lose(&mut self, now: Instant) {
        let revoking = std::mem::take(&mut self.revoking);
        if !revoking.is_empty() || !self.ownership.owned().is_empty() {
            self.stats.losses += 1;
        }
        self.ownership.lose(revoking);
        self.generation_id = None;
        self.led_counts = None;
        self.heartbeat.sent = None;
        self.state = MemberState::Unjoined;
        self.retry_at = Some(now);
    }

    fn fail(&mut self, error: GroupError) {
        let revoking = std::mem::take(&mut self.revoking);
        self.ownership.lose(revoking);
        self.state = MemberState::Left;
        self.actions.clear();
        self.failure = Some(error);
    }

    fn back_off(&mut self, now: Instant) {
        self.retry_at = Some(now + self.backoff.fail());
    }

    fn push_leave(&mut self) {
        self.actions.clear();
        if let Some(coordinator) = self.coordinator
            && !self.member_id.is_empty()
            && self.config.group_instance_id.is_none()
        {
            let generation_id = self.generation_id.unwrap_or(-1);
            let leave = GroupAction::Leave(self.identity(coordinator, generation_id));
            self.actions.push_back(leave);
        }
    }

    fn identity(&self, coordinator: i32, generation_id: i32) -> Identity {
        Identity {
            coordinator,
            member_id: self.member_id.clone(),
            generation_id,
        }
    }

    fn wants_in(&self) -> bool {
        self.state == MemberState::Unjoined && !self.topics.is_empty() && !self.application.too_slow
    }

    /// The generation that heartbeats keep alive.
    fn generation_in_hand(&self) -> Option<i32> {
        match self.state {
            MemberState::Assigning { generation_id }
            | MemberState::Syncing { generation_id }
            | MemberState::Stable { generation_id }
            | MemberState::Revoking { generation_id, .. } => Some(generation_id),
            MemberState::Unjoined | MemberState::Joining { .. } | MemberState::Left => None,
        }
    }

    fn is_watching_the_application(&self) -> bool {
        !self.application.polling && self.generation_in_hand().is_some()
    }
}

#[cfg(test)]
mod tests;

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

mod liveness;
mod rebalance;
mod watching;

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Instant,
};

use crate::{
    backoff::Backoff,
    group::{
        action::{GroupAction, GroupError, Identity},
        assignor::{GroupMember, LastAssignment, PartitionCounts},
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
    last_assignment: Option<LastAssignment>,
    coordinator: Option<i32>,
    finding: bool,
    backoff: Backoff,
    retry_at: Option<Instant>,
    attempts: u64,
    /// Rejoins without a pause since the member was last stable.
    rejoins_at_once: u32,
    rebalance_started: Option<Instant>,
    protocol_name: String,
    /// What the leader dealt from, 0 for a topic that does not exist; a difference in the cluster starts a
    /// rebalance.
    led_counts: Option<PartitionCounts>,
    led_members: Vec<GroupMember>,
    /// Between looks for topics that do not exist, and when the next one is.
    missing: Backoff,
    look_at: Option<Instant>,
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
            missing: Backoff::new(config.backoff, seed.wrapping_add(1)),
            look_at: None,
            config,
            state: MemberState::Unjoined,
            topics: BTreeSet::new(),
            joined_topics: BTreeSet::new(),
            member_id: String::new(),
            generation_id: None,
            last_assignment: None,
            coordinator: None,
            finding: false,
            retry_at: None,
            attempts: 0,
            rejoins_at_once: 0,
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

    /// Whether partitions stay ours through a rebalance that is under way (KIP-429), or one whose end the application has
    /// not heard of: nothing of them is lost, and they can be committed when it has.
    pub fn keeps_partitions(&self) -> bool {
        !self.ownership.owned().is_empty() && !self.ownership.has_lost()
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

    /// Whether there are topics to be a member for.
    pub fn is_subscribed(&self) -> bool {
        !self.topics.is_empty()
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

    /// Leaves the group for good. Static members only go silent, so that a restart within the
    /// session timeout moves nothing (KIP-345).
    pub fn handle_close(&mut self) {
        self.push_leave();
        self.state = MemberState::Left;
        self.ownership = Ownership::default();
        self.revoking.clear();
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
        self.rejoin(now);
    }

    /// Joins again at once, unless that did not help several times in a row.
    fn rejoin(&mut self, now: Instant) {
        if self.rejoins_at_once < REJOINS_AT_ONCE_MAX {
            self.rejoins_at_once += 1;
            self.retry_at = Some(now);
        } else {
            self.back_off(now);
        }
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
}

/// An ordinary rebalance needs up to three: the member id is required, the member is unknown after a
/// restart of the coordinator, and another member joins while this one syncs.
const REJOINS_AT_ONCE_MAX: u32 = 3;

#[cfg(test)]
pub(in crate::group) mod tests;

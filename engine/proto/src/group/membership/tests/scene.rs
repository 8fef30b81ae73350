//! A member, its clock, and a coordinator that says what a test wants.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::backoff::BackoffPolicy;
use crate::group::action::{GroupAction, GroupError, Join, Joined};
use crate::group::assignor::range::RangeAssignor;
use crate::group::consumer_protocol::Assignment;
use crate::group::member_state::MembershipConfig;
use crate::group::membership::Membership;
use crate::group::ownership::GroupEvent;
use crate::topic_partition::TopicPartition;

pub(super) const SESSION: Duration = Duration::from_secs(45);

pub(super) const HEARTBEAT: Duration = Duration::from_secs(3);

pub(super) const MAX_POLL: Duration = Duration::from_secs(300);

/// A member, its clock, and a coordinator that says what the test wants.
pub(super) struct Scene {
    pub(super) member: Membership,
    pub(super) now: Instant,
}

pub(super) fn config() -> MembershipConfig {
    MembershipConfig {
        group_instance_id: None,
        session_timeout: SESSION,
        heartbeat_interval: HEARTBEAT,
        max_poll_interval: MAX_POLL,
        rebalance_timeout: MAX_POLL,
        backoff: BackoffPolicy {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(1),
        },
        assignors: vec![Arc::new(RangeAssignor)],
        rack_id: None,
    }
}

pub(super) fn partitions(list: &[i32]) -> Vec<TopicPartition> {
    list.iter().map(|p| TopicPartition::new("t", *p)).collect()
}

pub(super) fn assignment(list: &[i32]) -> Bytes {
    Assignment {
        partitions: partitions(list),
        user_data: None,
    }
    .encode()
}

pub(super) fn joined(generation_id: i32, leader: &str) -> Joined {
    Joined {
        generation_id,
        member_id: "me".into(),
        leader: leader.into(),
        protocol_name: "range".into(),
        members: Vec::new(),
        skip_assignment: false,
    }
}

impl Scene {
    pub(super) fn with(config: MembershipConfig) -> Scene {
        let now = start_of_time();
        let mut member = Membership::new(now, config, 1);
        member.handle_subscribe(now, [Arc::from("t")]);
        member.handle_poll_entered(now);
        Scene { member, now }
    }

    pub(super) fn new() -> Scene {
        Scene::with(config())
    }

    /// A member that owns t-0 and t-1 in generation 1, and whose application knows.
    pub(super) fn stable() -> Scene {
        Scene::stable_with(config())
    }

    pub(super) fn stable_with(config: MembershipConfig) -> Scene {
        let mut scene = Scene::with(config);
        scene.find();
        scene.join(1, &[0, 1]);
        assert_eq!(
            scene.event(),
            Some(GroupEvent::Assigned {
                generation_id: 1,
                partitions: partitions(&[0, 1]),
            })
        );
        scene
    }

    pub(super) fn action(&mut self) -> Option<GroupAction> {
        self.member.poll_action(self.now)
    }

    pub(super) fn event(&mut self) -> Option<GroupEvent> {
        self.member.poll_event()
    }

    pub(super) fn find(&mut self) {
        assert_eq!(self.action(), Some(GroupAction::FindCoordinator));
        self.member.handle_coordinator(self.now, Ok(9));
    }

    pub(super) fn expect_join(&mut self) -> Join {
        match self.action() {
            Some(GroupAction::Join(join)) => join,
            other => panic!("expected a join, got {other:?}"),
        }
    }

    pub(super) fn join(&mut self, generation_id: i32, list: &[i32]) {
        let join = self.expect_join();
        let answer = Ok(joined(generation_id, "someone else"));
        self.member.handle_join(self.now, join.attempt, answer);
        assert!(matches!(self.action(), Some(GroupAction::Sync(_))));
        self.member.handle_sync(self.now, generation_id, Ok(assignment(list)));
    }

    pub(super) fn advance(&mut self, by: Duration) {
        self.now += by;
    }

    /// Lets the heartbeat interval pass and answers the heartbeat.
    pub(super) fn heartbeat(&mut self, generation_id: i32, answer: Result<(), GroupError>) {
        self.advance(HEARTBEAT);
        assert!(matches!(self.action(), Some(GroupAction::Heartbeat(_))));
        self.member.handle_heartbeat(self.now, generation_id, answer);
    }
}

pub(super) fn lost(list: &[i32]) -> Option<GroupEvent> {
    Some(GroupEvent::Lost {
        partitions: partitions(list),
    })
}

pub(super) fn revoked(list: &[i32]) -> Option<GroupEvent> {
    Some(GroupEvent::Revoked {
        generation_id: 1,
        partitions: partitions(list),
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "an origin for the virtual clock; only differences matter"
)]
pub(in crate::group) fn start_of_time() -> Instant {
    Instant::now()
}

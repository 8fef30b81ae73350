//! Every interleaving of answers, timers and the application that we know of.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::{
    backoff::BackoffPolicy,
    group::{
        action::{Join, Joined},
        assignor::{Assignor, GroupAssignment, RebalanceProtocol, range::RangeAssignor},
        consumer_protocol::{Assignment, Subscription},
    },
};

const SESSION: Duration = Duration::from_secs(45);
const HEARTBEAT: Duration = Duration::from_secs(3);
const MAX_POLL: Duration = Duration::from_secs(300);

/// A member, its clock, and a coordinator that says what the test wants.
struct Scene {
    member: Membership,
    now: Instant,
}

#[derive(Debug)]
struct CooperativeRange;

impl Assignor for CooperativeRange {
    fn name(&self) -> &'static str {
        "cooperative-range"
    }
    fn rebalance_protocol(&self) -> RebalanceProtocol {
        RebalanceProtocol::Cooperative
    }
    fn assign(&self, partitions: &PartitionCounts, members: &[GroupMember]) -> GroupAssignment {
        RangeAssignor.assign(partitions, members)
    }
}

fn config() -> MembershipConfig {
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

fn partitions(list: &[i32]) -> Vec<TopicPartition> {
    list.iter().map(|p| TopicPartition::new("t", *p)).collect()
}

fn assignment(list: &[i32]) -> Bytes {
    Assignment {
        partitions: partitions(list),
        user_data: None,
    }
    .encode()
}

fn joined(generation_id: i32, leader: &str) -> Joined {
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
    fn with(config: MembershipConfig) -> Scene {
        let now = start_of_time();
        let mut member = Membership::new(now, config, 1);
        member.handle_subscribe(now, [Arc::from("t")]);
        member.handle_poll_entered(now);
        Scene { member, now }
    }

    fn new() -> Scene {
        Scene::with(config())
    }

    /// A member that owns t-0 and t-1 in generation 1, and whose application knows.
    fn stable() -> Scene {
        Scene::stable_with(config())
    }

    fn stable_with(config: MembershipConfig) -> Scene {
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

    fn action(&mut self) -> Option<GroupAction> {
        self.member.poll_action(self.now)
    }

    fn event(&mut self) -> Option<GroupEvent> {
        self.member.poll_event()
    }

    fn find(&mut self) {
        assert_eq!(self.action(), Some(GroupAction::FindCoordinator));
        self.member.handle_coordinator(self.now, Ok(9));
    }

    fn expect_join(&mut self) -> Join {
        match self.action() {
            Some(GroupAction::Join(join)) => join,
            other => panic!("expected a join, got {other:?}"),
        }
    }

    fn join(&mut self, generation_id: i32, list: &[i32]) {
        let join = self.expect_join();
        let answer = Ok(joined(generation_id, "someone else"));
        self.member.handle_join(self.now, join.attempt, answer);
        assert!(matches!(self.action(), Some(GroupAction::Sync(_))));
        self.member.handle_sync(self.now, generation_id, Ok(assignment(list)));
    }

    fn advance(&mut self, by: Duration) {
        self.now += by;
    }

    /// Lets the heartbeat interval pass and answers the heartbeat.
    fn heartbeat(&mut self, generation_id: i32, answer: Result<(), GroupError>) {
        self.advance(HEARTBEAT);
        assert!(matches!(self.action(), Some(GroupAction::Heartbeat(_))));
        self.member.handle_heartbeat(self.now, generation_id, answer);
    }
}

fn lost(list: &[i32]) -> Option<GroupEvent> {
    Some(GroupEvent::Lost {
        partitions: partitions(list),
    })
}

fn revoked(list: &[i32]) -> Option<GroupEvent> {
    Some(GroupEvent::Revoked {
        generation_id: 1,
        partitions: partitions(list),
    })
}

#[test]
fn a_member_finds_joins_syncs_and_is_stable() {
    let mut scene = Scene::stable();
    assert_eq!(scene.member.state(), MemberState::Stable { generation_id: 1 });
    assert_eq!(scene.member.commit_generation(), Some(1));
    assert_eq!(scene.action(), None);
}

#[test]
fn a_required_member_id_is_used_at_once() {
    let mut scene = Scene::new();
    scene.find();
    let join = scene.expect_join();
    assert_eq!(join.member_id, "");
    let error = GroupError::MemberIdRequired {
        member_id: "me-1".into(),
    };
    scene.member.handle_join(scene.now, join.attempt, Err(error));
    assert_eq!(scene.expect_join().member_id, "me-1");
}

#[test]
fn the_leader_assigns_and_followers_send_nothing() {
    let mut scene = Scene::new();
    scene.find();
    let join = scene.expect_join();
    let subscription = Subscription::decode(join.protocols[0].1.clone()).expect("our own bytes");
    let member = |member_id: &str| GroupMember {
        member_id: member_id.into(),
        group_instance_id: None,
        subscription: subscription.clone(),
    };
    let answer = Joined {
        members: vec![member("me"), member("you")],
        ..joined(1, "me")
    };
    scene.member.handle_join(scene.now, join.attempt, Ok(answer));
    let topics = vec![Arc::from("t")];
    assert_eq!(
        scene.action(),
        Some(GroupAction::CountPartitions {
            generation_id: 1,
            topics
        })
    );
    let counts = PartitionCounts::from([(Arc::from("t"), 3)]);
    scene.member.handle_partition_counts(1, Ok(counts), scene.now);
    let Some(GroupAction::Sync(sync)) = scene.action() else {
        panic!("expected a sync")
    };
    let mine = ("me".to_owned(), assignment(&[0, 1]));
    let yours = ("you".to_owned(), assignment(&[2]));
    assert_eq!(sync.assignments, [mine, yours]);
}

#[test]
fn the_leader_rebalances_when_a_topic_grows_but_not_when_it_is_missing_for_a_moment() {
    let mut scene = Scene::new();
    scene.find();
    let join = scene.expect_join();
    let answer = Joined {
        members: vec![GroupMember {
            member_id: "me".into(),
            group_instance_id: None,
            subscription: Subscription {
                topics: vec!["t".into()],
                ..Subscription::default()
            },
        }],
        ..joined(1, "me")
    };
    scene.member.handle_join(scene.now, join.attempt, Ok(answer));
    scene.action();
    let counts = PartitionCounts::from([(Arc::from("t"), 2)]);
    scene.member.handle_partition_counts(1, Ok(counts.clone()), scene.now);
    scene.action();
    scene.member.handle_sync(scene.now, 1, Ok(assignment(&[0, 1])));
    scene.event();

    scene.member.handle_cluster(scene.now, &PartitionCounts::new());
    scene.member.handle_cluster(scene.now, &counts);
    assert_eq!(scene.event(), None);
    scene
        .member
        .handle_cluster(scene.now, &PartitionCounts::from([(Arc::from("t"), 4)]));
    assert_eq!(scene.event(), revoked(&[0, 1]));
}

#[test]
fn a_rebalance_waits_for_the_application_before_it_joins() {
    let mut scene = Scene::stable();
    scene.heartbeat(1, Err(GroupError::RebalanceInProgress));
    assert_eq!(scene.event(), revoked(&[0, 1]));
    assert_eq!(scene.action(), None);
    assert_eq!(
        scene.member.commit_generation(),
        Some(1),
        "the application may still commit"
    );
    scene.member.handle_revoked(scene.now);
    assert_eq!(scene.expect_join().member_id, "me");
}

#[test]
fn heartbeats_go_on_while_the_application_revokes() {
    let mut scene = Scene::stable();
    scene.heartbeat(1, Err(GroupError::RebalanceInProgress));
    scene.event();
    for _ in 0..20 {
        scene.heartbeat(1, Err(GroupError::RebalanceInProgress));
    }
    assert!(matches!(scene.member.state(), MemberState::Revoking { .. }));
}

#[test]
fn heartbeats_go_on_while_records_are_processed() {
    let mut scene = Scene::stable();
    scene.member.handle_poll_left(scene.now);
    for _ in 0..50 {
        scene.heartbeat(1, Ok(()));
    }
    assert_eq!(scene.member.state(), MemberState::Stable { generation_id: 1 });
}

#[test]
fn heartbeats_go_on_between_join_and_sync() {
    let mut scene = Scene::new();
    scene.find();
    let join = scene.expect_join();
    scene
        .member
        .handle_join(scene.now, join.attempt, Ok(joined(1, "someone else")));
    scene.action();
    scene.heartbeat(1, Err(GroupError::RebalanceInProgress));
    assert_eq!(scene.member.state(), MemberState::Syncing { generation_id: 1 });
}

#[test]
fn a_revocation_that_takes_longer_than_the_rebalance_timeout_is_lost() {
    let mut scene = Scene::stable();
    scene.heartbeat(1, Err(GroupError::RebalanceInProgress));
    assert_eq!(scene.event(), revoked(&[0, 1]));
    for _ in 0..99 {
        scene.heartbeat(1, Ok(()));
    }
    scene.advance(HEARTBEAT);
    assert!(matches!(scene.action(), Some(GroupAction::Join(_))));
    assert_eq!(scene.event(), lost(&[0, 1]));
    scene.member.handle_revoked(scene.now); // Late: changes nothing.
    assert!(matches!(scene.member.state(), MemberState::Joining { .. }));
}

#[test]
fn an_unknown_member_loses_all_and_joins_as_a_new_one() {
    let mut scene = Scene::stable();
    scene.heartbeat(1, Err(GroupError::UnknownMemberId));
    assert_eq!(scene.event(), lost(&[0, 1]));
    assert_eq!(scene.member.commit_generation(), None);
    assert_eq!(scene.expect_join().member_id, "");
}

#[test]
fn an_illegal_generation_loses_all_and_joins_under_the_same_id() {
    let mut scene = Scene::stable();
    scene.heartbeat(1, Err(GroupError::IllegalGeneration));
    assert_eq!(scene.event(), lost(&[0, 1]));
    assert_eq!(scene.expect_join().member_id, "me");
}

#[test]
fn a_fenced_static_member_stops_for_good() {
    let mut scene = Scene::stable();
    scene.heartbeat(1, Err(GroupError::FencedInstanceId));
    assert_eq!(scene.event(), lost(&[0, 1]));
    assert_eq!(scene.member.poll_failure(), Some(GroupError::FencedInstanceId));
    scene.advance(SESSION);
    assert_eq!(scene.action(), None);
}

#[test]
fn the_answer_to_a_heartbeat_of_an_older_generation_is_ignored() {
    let mut scene = Scene::stable();
    scene.advance(HEARTBEAT);
    assert!(matches!(scene.action(), Some(GroupAction::Heartbeat(_))));
    scene
        .member
        .handle_commit_refused(scene.now, 1, GroupError::IllegalGeneration);
    scene.join(2, &[0]);
    scene
        .member
        .handle_heartbeat(scene.now, 1, Err(GroupError::UnknownMemberId));
    assert_eq!(scene.member.state(), MemberState::Stable { generation_id: 2 });
}

#[test]
fn the_answer_to_a_join_that_was_given_up_is_ignored() {
    let mut scene = Scene::new();
    scene.find();
    let first = scene.expect_join();
    let unavailable = GroupError::CoordinatorUnavailable;
    scene.member.handle_join(scene.now, first.attempt, Err(unavailable));
    scene.advance(Duration::from_secs(2));
    scene.find();
    let second = scene.expect_join();
    scene.member.handle_join(scene.now, first.attempt, Ok(joined(1, "x")));
    assert_eq!(
        scene.member.state(),
        MemberState::Joining {
            attempt: second.attempt
        }
    );
}

#[test]
fn the_answer_to_a_sync_of_an_older_generation_is_ignored() {
    let mut scene = Scene::stable();
    scene.member.handle_sync(scene.now, 0, Ok(assignment(&[7])));
    assert_eq!(scene.event(), None);
}

#[test]
fn a_rebalance_during_sync_joins_again() {
    let mut scene = Scene::new();
    scene.find();
    let join = scene.expect_join();
    scene.member.handle_join(scene.now, join.attempt, Ok(joined(1, "x")));
    scene.action();
    scene
        .member
        .handle_sync(scene.now, 1, Err(GroupError::RebalanceInProgress));
    assert_eq!(scene.expect_join().member_id, "me");
}

#[test]
fn a_refused_commit_rejoins_at_once() {
    for (error, member_id) in [(GroupError::UnknownMemberId, ""), (GroupError::IllegalGeneration, "me")] {
        let mut scene = Scene::stable();
        scene.member.handle_commit_refused(scene.now, 1, error);
        assert_eq!(scene.event(), lost(&[0, 1]));
        assert_eq!(scene.expect_join().member_id, member_id);
    }
}

#[test]
fn a_commit_refused_under_an_older_generation_changes_nothing() {
    let mut scene = Scene::stable();
    scene
        .member
        .handle_commit_refused(scene.now, 0, GroupError::IllegalGeneration);
    assert_eq!(scene.member.state(), MemberState::Stable { generation_id: 1 });
}

#[test]
fn a_silent_coordinator_costs_the_partitions_after_the_session_timeout() {
    let mut scene = Scene::stable();
    scene.advance(HEARTBEAT);
    assert!(matches!(scene.action(), Some(GroupAction::Heartbeat(_))));
    scene.advance(SESSION - HEARTBEAT - Duration::from_millis(1));
    assert_eq!(scene.action(), None);
    assert_eq!(scene.event(), None);
    scene.advance(Duration::from_millis(1));
    assert_eq!(scene.action(), Some(GroupAction::FindCoordinator));
    assert_eq!(scene.event(), lost(&[0, 1]));
}

#[test]
fn the_session_counts_from_when_the_heartbeat_was_sent() {
    let mut scene = Scene::stable();
    scene.advance(HEARTBEAT);
    scene.action();
    scene.advance(Duration::from_secs(20));
    scene.member.handle_heartbeat(scene.now, 1, Ok(()));
    scene.advance(SESSION - Duration::from_secs(20));
    scene.action();
    assert_eq!(scene.event(), lost(&[0, 1]));
}

#[test]
fn a_coordinator_that_moves_keeps_the_generation() {
    let mut scene = Scene::stable();
    scene.heartbeat(1, Err(GroupError::CoordinatorUnavailable));
    assert_eq!(scene.action(), Some(GroupAction::FindCoordinator));
    scene.member.handle_coordinator(scene.now, Ok(4));
    let Some(GroupAction::Heartbeat(identity)) = scene.action() else {
        panic!("no heartbeat")
    };
    assert_eq!((identity.coordinator, identity.generation_id), (4, 1));
    scene.member.handle_heartbeat(scene.now, 1, Ok(()));
    assert_eq!(scene.event(), None);
}

#[test]
fn finding_the_coordinator_backs_off_and_asks_once_at_a_time() {
    let mut scene = Scene::new();
    assert_eq!(scene.action(), Some(GroupAction::FindCoordinator));
    assert_eq!(scene.action(), None);
    scene
        .member
        .handle_coordinator(scene.now, Err(GroupError::CoordinatorUnavailable));
    assert_eq!(scene.action(), None);
    let retry_at = scene.member.poll_timeout().expect("a backoff runs");
    assert!(retry_at > scene.now);
    scene.now = retry_at;
    assert_eq!(scene.action(), Some(GroupAction::FindCoordinator));
}

#[test]
fn a_loading_coordinator_is_asked_again_after_a_backoff() {
    let mut scene = Scene::new();
    scene.find();
    let join = scene.expect_join();
    scene
        .member
        .handle_join(scene.now, join.attempt, Err(GroupError::CoordinatorLoading));
    assert_eq!(scene.action(), None);
    scene.now = scene.member.poll_timeout().expect("a backoff runs");
    scene.expect_join();
}

#[test]
fn an_application_that_stops_polling_leaves_and_comes_back_with_its_next_poll() {
    let mut scene = Scene::stable();
    scene.member.handle_poll_left(scene.now);
    for _ in 0..99 {
        scene.heartbeat(1, Ok(()));
    }
    scene.advance(HEARTBEAT);
    assert!(matches!(scene.action(), Some(GroupAction::Leave(_))));
    assert_eq!(scene.action(), None, "it does not rejoin behind the application's back");
    scene.member.handle_poll_entered(scene.now);
    assert_eq!(scene.event(), lost(&[0, 1]));
    assert_eq!(scene.expect_join().member_id, "");
}

#[test]
fn an_application_that_waits_in_poll_is_alive_however_long_nothing_comes() {
    let mut scene = Scene::stable();
    for _ in 0..500 {
        scene.heartbeat(1, Ok(()));
    }
    assert_eq!(scene.event(), None);
}

#[test]
fn a_revocation_nobody_has_seen_is_not_finished_by_an_earlier_answer() {
    let mut scene = Scene::stable();
    scene.heartbeat(1, Err(GroupError::RebalanceInProgress));
    scene.member.handle_revoked(scene.now); // Says done before it was told.
    assert!(matches!(scene.member.state(), MemberState::Revoking { .. }));
    assert_eq!(scene.event(), revoked(&[0, 1]));
}

#[test]
fn membership_lost_while_revoking_is_told_as_lost() {
    let mut scene = Scene::stable();
    scene.heartbeat(1, Err(GroupError::RebalanceInProgress));
    assert_eq!(scene.event(), revoked(&[0, 1]));
    scene.heartbeat(1, Err(GroupError::UnknownMemberId));
    assert_eq!(scene.event(), lost(&[0, 1]));
    scene.member.handle_revoked(scene.now);
    scene.expect_join();
}

#[test]
fn a_dynamic_member_leaves_on_close_and_a_static_one_goes_silent() {
    let mut scene = Scene::stable();
    scene.member.handle_close();
    assert!(matches!(scene.action(), Some(GroupAction::Leave(_))));
    assert_eq!(scene.action(), None);

    let group_instance_id = Some("instance-1".to_owned());
    let mut scene = Scene::stable_with(MembershipConfig {
        group_instance_id,
        ..config()
    });
    scene.member.handle_close();
    assert_eq!(scene.action(), None);
}

#[test]
fn a_changed_subscription_rejoins() {
    let mut scene = Scene::stable();
    scene
        .member
        .handle_subscribe(scene.now, [Arc::from("t"), Arc::from("u")]);
    assert_eq!(scene.event(), revoked(&[0, 1]));
    scene.member.handle_revoked(scene.now);
    let join = scene.expect_join();
    let subscription = Subscription::decode(join.protocols[0].1.clone()).expect("our own bytes");
    assert_eq!(subscription.topics, ["t", "u"]);
}

#[test]
fn a_cooperative_member_keeps_what_stays_and_revokes_only_what_moves() {
    let assignors: Vec<Arc<dyn Assignor>> = vec![Arc::new(CooperativeRange)];
    let mut scene = Scene::stable_with(MembershipConfig { assignors, ..config() });
    scene.heartbeat(1, Err(GroupError::RebalanceInProgress));
    assert_eq!(scene.event(), None);
    let join = scene.expect_join();
    let subscription = Subscription::decode(join.protocols[0].1.clone()).expect("our own bytes");
    assert_eq!(subscription.owned_partitions, partitions(&[0, 1]));
    assert_eq!(subscription.generation_id, Some(1));
    scene.member.handle_join(scene.now, join.attempt, Ok(joined(2, "x")));
    scene.action();
    scene.member.handle_sync(scene.now, 2, Ok(assignment(&[0, 5])));
    let (generation_id, added) = (2, partitions(&[5]));
    assert_eq!(
        scene.event(),
        Some(GroupEvent::Assigned {
            generation_id,
            partitions: added
        })
    );
    let moved = partitions(&[1]);
    assert_eq!(
        scene.event(),
        Some(GroupEvent::Revoked {
            generation_id,
            partitions: moved
        })
    );
    scene.member.handle_revoked(scene.now);
    scene.expect_join();
}

#[test]
fn a_hostile_assignment_is_an_error() {
    let mut scene = Scene::new();
    scene.find();
    let join = scene.expect_join();
    scene.member.handle_join(scene.now, join.attempt, Ok(joined(1, "x")));
    scene.action();
    let hostile = Bytes::from_static(b"\0\x01\x7f\xff\xff\xff");
    scene.member.handle_sync(scene.now, 1, Ok(hostile));
    assert!(matches!(scene.member.poll_failure(), Some(GroupError::Fatal { .. })));
}

/// A coordinator as simple as a model can be: members, a generation, who must still join.
#[derive(Default)]
struct Coordinator {
    generation_id: i32,
    next_member: u32,
    members: BTreeSet<String>,
    is_rebalancing: bool,
    waiting: Vec<(usize, u64, String, Bytes)>,
    syncing: Vec<(usize, i32)>,
    assignments: std::collections::BTreeMap<String, Bytes>,
}

/// One simulated application: what it holds, and whether it is giving it up.
struct Player {
    member: Membership,
    held: BTreeSet<TopicPartition>,
    revoking: bool,
}

/// Three members, a coordinator that kicks members out, and a network that breaks. Whenever all
/// have settled, each partition is held once; and nobody who keeps its membership loses anything
/// without being asked.
#[test]
fn simulated_groups_settle_with_each_partition_held_once() {
    for seed in 0..200 {
        simulate(seed);
    }
}

fn simulate(seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut now = start_of_time();
    let mut coordinator = Coordinator::default();
    let mut players: Vec<Player> = (0..3)
        .map(|n| {
            let mut member = Membership::new(now, config(), seed + n);
            member.handle_subscribe(now, [Arc::from("t")]);
            member.handle_poll_entered(now);
            Player {
                member,
                held: BTreeSet::new(),
                revoking: false,
            }
        })
        .collect();
    for step in 0..600 {
        now += Duration::from_millis(rng.u64(0..1500));
        let is_calm = step > 400;
        for index in 0..players.len() {
            while let Some(action) = players[index].member.poll_action(now) {
                let is_broken = !is_calm && rng.u32(0..12) == 0;
                coordinator.take(index, &mut players, now, action, is_broken);
            }
            let player = &mut players[index];
            if player.revoking && rng.u32(0..3) == 0 {
                player.revoking = false;
                player.held.clear();
                player.member.handle_revoked(now);
            }
            match player.member.poll_event() {
                Some(GroupEvent::Assigned { partitions, .. }) => player.held.extend(partitions),
                Some(GroupEvent::Revoked { .. }) => player.revoking = true,
                Some(GroupEvent::Lost { partitions }) => {
                    player.revoking = false;
                    player.held.retain(|tp| !partitions.contains(tp));
                    assert!(!is_calm || step < 420, "seed {seed}: lost in calm");
                }
                None => {}
            }
            assert_eq!(player.member.poll_failure(), None, "seed {seed}, step {step}");
        }
        if !is_calm
            && rng.u32(0..25) == 0
            && let Some(kicked) = coordinator.members.iter().nth(rng.usize(0..3)).cloned()
        {
            coordinator.members.remove(&kicked);
            coordinator.is_rebalancing = true;
        }
        coordinator.finish_join(&mut players, now);
    }
    let held: Vec<&TopicPartition> = players.iter().flat_map(|player| &player.held).collect();
    let distinct: BTreeSet<&&TopicPartition> = held.iter().collect();
    assert_eq!((held.len(), distinct.len()), (6, 6), "seed {seed}: {held:?}");
    let generation = coordinator.generation_id;
    for player in &players {
        assert_eq!(player.member.commit_generation(), Some(generation), "seed {seed}");
    }
}

impl Coordinator {
    fn take(&mut self, index: usize, players: &mut [Player], now: Instant, action: GroupAction, is_broken: bool) {
        let member = &mut players[index].member;
        let unavailable = GroupError::CoordinatorUnavailable;
        match action {
            GroupAction::FindCoordinator if is_broken => member.handle_coordinator(now, Err(unavailable)),
            GroupAction::FindCoordinator => member.handle_coordinator(now, Ok(1)),
            GroupAction::Join(join) if is_broken => member.handle_join(now, join.attempt, Err(unavailable)),
            GroupAction::Join(join) if join.member_id.is_empty() => {
                self.next_member += 1;
                let member_id = format!("m{}", self.next_member);
                self.members.insert(member_id.clone());
                member.handle_join(now, join.attempt, Err(GroupError::MemberIdRequired { member_id }));
            }
            GroupAction::Join(join) if !self.members.contains(&join.member_id) => {
                member.handle_join(now, join.attempt, Err(GroupError::UnknownMemberId));
            }
            GroupAction::Join(join) => {
                self.is_rebalancing = true;
                self.waiting.retain(|(waiting, ..)| *waiting != index);
                self.waiting
                    .push((index, join.attempt, join.member_id, join.protocols[0].1.clone()));
            }
            GroupAction::CountPartitions { generation_id, .. } => {
                let counts = PartitionCounts::from([(Arc::from("t"), 6)]);
                member.handle_partition_counts(generation_id, Ok(counts), now);
            }
            GroupAction::Sync(sync) => {
                let generation_id = sync.identity.generation_id;
                if is_broken {
                    return member.handle_sync(now, generation_id, Err(unavailable));
                }
                if self.is_rebalancing || generation_id != self.generation_id {
                    let error = match self.members.contains(&sync.identity.member_id) {
                        true => GroupError::RebalanceInProgress,
                        false => GroupError::UnknownMemberId,
                    };
                    return member.handle_sync(now, generation_id, Err(error));
                }
                self.assignments.extend(sync.assignments);
                self.syncing.push((index, generation_id));
                self.finish_sync(players, now);
            }
            GroupAction::Heartbeat(identity) => {
                let answer = if is_broken {
                    Err(unavailable)
                } else if !self.members.contains(&identity.member_id) {
                    Err(GroupError::UnknownMemberId)
                } else if identity.generation_id != self.generation_id {
                    Err(GroupError::IllegalGeneration)
                } else if self.is_rebalancing {
                    Err(GroupError::RebalanceInProgress)
                } else {
                    Ok(())
                };
                member.handle_heartbeat(now, identity.generation_id, answer);
            }
            GroupAction::Leave(identity) => {
                self.members.remove(&identity.member_id);
                self.is_rebalancing = true;
            }
        }
    }

    /// Answers the joins once every member has come. A member id that nobody will use again (its answer
    /// was lost) is timed out here.
    fn finish_join(&mut self, players: &mut [Player], now: Instant) {
        let alive: BTreeSet<String> = players.iter().map(|p| p.member.member_id().to_owned()).collect();
        self.members.retain(|member_id| alive.contains(member_id));
        if self.is_rebalancing {
            for (index, generation_id) in std::mem::take(&mut self.syncing) {
                let rebalancing = Err(GroupError::RebalanceInProgress);
                players[index].member.handle_sync(now, generation_id, rebalancing);
            }
        }
        let (parked, kicked) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(_, _, member_id, _)| self.members.contains(member_id));
        self.waiting = parked;
        for (index, attempt, ..) in kicked {
            players[index]
                .member
                .handle_join(now, attempt, Err(GroupError::UnknownMemberId));
        }
        let came: BTreeSet<String> = self.waiting.iter().map(|(_, _, id, _)| id.clone()).collect();
        if !self.is_rebalancing || self.members.is_empty() || !self.members.is_subset(&came) {
            return;
        }
        self.generation_id += 1;
        self.is_rebalancing = false;
        self.assignments.clear();
        self.syncing.clear();
        let waiting = std::mem::take(&mut self.waiting);
        let members: Vec<GroupMember> = waiting
            .iter()
            .map(|(_, _, member_id, metadata)| GroupMember {
                member_id: member_id.clone(),
                group_instance_id: None,
                subscription: Subscription::decode(metadata.clone()).expect("our own bytes"),
            })
            .collect();
        let leader = members[0].member_id.clone();
        for (index, attempt, member_id, _) in waiting {
            let answer = Joined {
                members: if member_id == leader {
                    members.clone()
                } else {
                    Vec::new()
                },
                member_id,
                ..joined(self.generation_id, &leader)
            };
            players[index].member.handle_join(now, attempt, Ok(answer));
        }
    }

    /// Followers wait until the leader's assignment is there.
    fn finish_sync(&mut self, players: &mut [Player], now: Instant) {
        if self.assignments.is_empty() {
            return;
        }
        for (index, generation_id) in std::mem::take(&mut self.syncing) {
            let member = &mut players[index].member;
            let mine = self.assignments.get(member.member_id()).cloned().unwrap_or_default();
            member.handle_sync(now, generation_id, Ok(mine));
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "an origin for the virtual clock; only differences matter"
)]
fn start_of_time() -> Instant {
    Instant::now()
}

//! Partitions revoked and partitions lost.

use std::sync::Arc;

use super::scene::{HEARTBEAT, SESSION, Scene, assignment, config, joined, lost, partitions, revoked};
use crate::group::action::{GroupAction, GroupError};
use crate::group::assignor::range::RangeAssignor;
use crate::group::assignor::{Assignor, GroupAssignment, GroupMember, PartitionCounts, RebalanceProtocol};
use crate::group::consumer_protocol::Subscription;
use crate::group::member_state::{MemberState, MembershipConfig};
use crate::group::ownership::GroupEvent;

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
fn a_member_that_also_offers_an_eager_assignor_gives_everything_back() {
    let assignors: Vec<Arc<dyn Assignor>> = vec![Arc::new(CooperativeRange), Arc::new(RangeAssignor)];
    let mut scene = Scene::stable_with(MembershipConfig { assignors, ..config() });
    scene.heartbeat(1, Err(GroupError::RebalanceInProgress));
    assert_eq!(scene.event(), revoked(&[0, 1]));
}

#[test]
fn a_cooperative_member_that_cannot_rejoin_for_a_whole_session_loses_its_partitions() {
    let assignors: Vec<Arc<dyn Assignor>> = vec![Arc::new(CooperativeRange)];
    let mut scene = Scene::stable_with(MembershipConfig { assignors, ..config() });
    scene.heartbeat(1, Err(GroupError::RebalanceInProgress));
    let session_ends = scene.now + SESSION;
    while scene.member.keeps_partitions() {
        match scene.action() {
            Some(GroupAction::FindCoordinator) => scene.member.handle_coordinator(scene.now, Ok(9)),
            Some(GroupAction::Join(join)) => {
                let unavailable = Err(GroupError::CoordinatorUnavailable);
                scene.member.handle_join(scene.now, join.attempt, unavailable);
            }
            Some(other) => panic!("{other:?}"),
            None => scene.now = scene.member.poll_timeout().expect("a timer runs"),
        }
        assert!(scene.now <= session_ends, "it would never stop");
    }
    assert_eq!(scene.now, session_ends);
    assert_eq!(scene.event(), lost(&[0, 1]));
}

#[test]
fn a_member_tells_what_it_was_given_last_also_after_it_lost_it() {
    use crate::group::assignor::LastAssignment;
    use crate::group::assignor::sticky::StickyAssignor;
    let assignors: Vec<Arc<dyn Assignor>> = vec![Arc::new(StickyAssignor)];
    let mut scene = Scene::with(MembershipConfig { assignors, ..config() });
    scene.find();
    scene.join(1, &[0, 1]);
    scene.heartbeat(1, Err(GroupError::UnknownMemberId));
    let join = scene.expect_join();
    let subscription = Subscription::decode(join.protocols[0].1.clone()).expect("our own bytes");
    let last = LastAssignment {
        generation_id: 1,
        partitions: partitions(&[0, 1]),
    };
    assert_eq!(subscription.user_data, StickyAssignor.user_data(Some(&last)));
    assert_eq!(subscription.owned_partitions, [], "it gave everything back");
}

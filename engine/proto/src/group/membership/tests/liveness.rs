//! Heartbeats, the session, and the application that must poll.

use std::time::Duration;

use super::scene::{HEARTBEAT, SESSION, Scene, config, joined, lost};
use crate::group::action::{GroupAction, GroupError};
use crate::group::member_state::{MemberState, MembershipConfig};

/// Pitfall 16: so does the last commit before a rebalance.
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

/// Pitfall 16: processing takes longer than a session.
#[test]
fn heartbeats_go_on_while_records_are_processed() {
    let mut scene = Scene::stable();
    scene.member.handle_poll_left(scene.now);
    for _ in 0..50 {
        scene.heartbeat(1, Ok(()));
    }
    assert_eq!(scene.member.state(), MemberState::Stable { generation_id: 1 });
}

/// Pitfall 16: the group rebalances, and its leader takes its time.
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
    scene.now = scene.member.poll_timeout().expect("a backoff runs");
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
fn a_dead_coordinator_that_the_cluster_still_names_is_not_asked_in_a_tight_loop() {
    let mut scene = Scene::stable();
    scene.heartbeat(1, Err(GroupError::CoordinatorUnavailable));
    let (start, mut rounds) = (scene.now, 0);
    while scene.now < start + Duration::from_secs(10) {
        match scene.action() {
            Some(GroupAction::FindCoordinator) => scene.member.handle_coordinator(scene.now, Ok(9)),
            Some(GroupAction::Heartbeat(_)) => {
                let error = Err(GroupError::CoordinatorUnavailable);
                scene.member.handle_heartbeat(scene.now, 1, error);
                rounds += 1;
            }
            Some(other) => panic!("{other:?}"),
            None => scene.now = scene.member.poll_timeout().expect("a timer runs").max(scene.now),
        }
    }
    assert!((5..30).contains(&rounds), "{rounds} rounds in ten seconds");
    assert_eq!(scene.event(), None, "the session is still good");
}

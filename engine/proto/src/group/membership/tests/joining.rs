//! Finding the coordinator, joining, leading, syncing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::scene::{Scene, assignment, joined, revoked};
use crate::group::action::{GroupAction, GroupError, Joined};
use crate::group::assignor::{GroupMember, PartitionCounts};
use crate::group::consumer_protocol::Subscription;
use crate::group::member_state::MemberState;

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

#[test]
fn the_leader_rebalances_when_a_topic_that_did_not_exist_appears() {
    let mut scene = Scene::new();
    scene.find();
    let join = scene.expect_join();
    let subscription = Subscription::decode(join.protocols[0].1.clone()).expect("our own bytes");
    let answer = Joined {
        members: vec![GroupMember {
            member_id: "me".into(),
            group_instance_id: None,
            subscription,
        }],
        ..joined(1, "me")
    };
    scene.member.handle_join(scene.now, join.attempt, Ok(answer));
    scene.action();
    scene
        .member
        .handle_partition_counts(1, Ok(PartitionCounts::new()), scene.now);
    scene.action();
    scene.member.handle_sync(scene.now, 1, Ok(assignment(&[])));
    assert!(scene.member.led_topics().any(|topic| &**topic == "t"), "kept fresh");
    // It is looked for, and not in a tight loop.
    let (start, mut looks) = (scene.now, 0);
    while scene.now < start + Duration::from_secs(30) {
        scene.now = scene.member.poll_timeout().expect("a timer runs").max(scene.now);
        looks += u32::from(scene.member.poll_metadata_wanted(scene.now));
        scene.member.handle_cluster(scene.now, &PartitionCounts::new());
        if let Some(GroupAction::Heartbeat(_)) = scene.action() {
            scene.member.handle_heartbeat(scene.now, 1, Ok(()));
        }
    }
    assert!((20..60).contains(&looks), "{looks} looks in half a minute");
    assert_eq!(scene.member.state(), MemberState::Stable { generation_id: 1 });
    let appeared = PartitionCounts::from([(Arc::from("t"), 3)]);
    scene.member.handle_cluster(scene.now, &appeared);
    assert_eq!(scene.expect_join().member_id, "me");
    assert!(
        !scene.member.poll_metadata_wanted(scene.now + Duration::from_secs(60)),
        "it is there"
    );
}

#[test]
fn a_coordinator_that_never_lets_a_member_in_is_not_asked_in_a_tight_loop() {
    for error in [GroupError::UnknownMemberId, GroupError::RebalanceInProgress] {
        let mut scene = Scene::new();
        scene.find();
        let (start, mut joins) = (scene.now, 0);
        while scene.now < start + Duration::from_secs(10) {
            match scene.action() {
                Some(GroupAction::Join(join)) => {
                    joins += 1;
                    scene.member.handle_join(scene.now, join.attempt, Err(error.clone()));
                }
                Some(other) => panic!("{other:?}"),
                None => scene.now = scene.member.poll_timeout().expect("a backoff runs"),
            }
        }
        assert!((5..40).contains(&joins), "{error}: {joins} joins in ten seconds");
    }
}

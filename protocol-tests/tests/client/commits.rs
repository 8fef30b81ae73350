//! Committed offsets: what is kept, who may commit, and who is refused.

use std::time::{Duration, Instant};

use engine_broker::FaultAction;
use engine_client::{CommitError, CommittedOffset};
use engine_wire::error_code::ErrorCode;

use crate::scene::{HEARTBEAT, OFFSET_COMMIT, OFFSET_FETCH, PATIENCE, Scene, run};

#[tokio::test]
async fn commits_keep_metadata_and_leader_epoch() {
    let scene = Scene::new(1).await;
    scene.produce(1, 0, 10).await;
    let mut member = scene.member().await;
    run(&mut [&mut member], "10 records", |m| m[0].seen.len() >= 10).await;
    member.commit().await.expect("commits");
    let committed = member
        .consumer
        .committed(&[scene.tp(0), scene.tp(9)])
        .await
        .expect("reads");
    assert_eq!(committed[0].1, Some(member.positions[&scene.tp(0)].clone()));
    assert_eq!(
        committed[0].1.as_ref().map(|c| c.metadata.as_str()),
        Some("checkpoint 7")
    );
    assert_eq!(committed[1].1, None);
    member.consumer.close().await;
}

#[tokio::test]
async fn a_group_that_the_coordinator_does_not_know_has_committed_nothing() {
    let scene = Scene::embedded(1).await;
    let consumer = scene.reader(scene.config()).await.consumer;
    scene.inject(OFFSET_FETCH, FaultAction::Error(ErrorCode::GROUP_ID_NOT_FOUND));
    let committed = consumer.committed(&[scene.tp(0)]).await.expect("answers");
    assert_eq!(committed, [(scene.tp(0), None)]);
}

#[tokio::test]
async fn a_partition_that_is_not_ours_cannot_be_committed() {
    let scene = Scene::new(1).await;
    let mut member = scene.member().await;
    run(&mut [&mut member], "assigned", |m| m[0].owned.len() == 1).await;
    let foreign = [(scene.tp(7), CommittedOffset::default())];
    let outcome = member.consumer.commit(&foreign).await;
    assert!(matches!(outcome, Err(CommitError::NotAssigned { .. })), "{outcome:?}");
    member.consumer.close().await;
}

/// Pitfall 17: the owner has not heard yet, and must not overwrite what the next one commits.
/// Pitfall 17 of the stream engine: the coordinator refuses what the former owner commits.
#[tokio::test]
async fn a_lost_membership_is_told_and_the_stale_owner_cannot_commit() {
    let scene = Scene::embedded(1).await;
    scene.produce(1, 0, 10).await;
    let mut member = scene.member().await;
    run(&mut [&mut member], "10 records", |m| m[0].seen.len() >= 10).await;
    scene.inject(HEARTBEAT, FaultAction::Error(ErrorCode::UNKNOWN_MEMBER_ID));
    let deadline = Instant::now() + PATIENCE;
    // The application works on and has not heard yet.
    while member.consumer.stats().membership.losses == 0 {
        assert!(Instant::now() < deadline, "the heartbeat is refused");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await; // Long enough to have rejoined.
    let outcome = member.commit().await;
    assert!(
        matches!(outcome, Err(CommitError::MembershipLost { .. })),
        "{outcome:?}"
    );
    run(&mut [&mut member], "lost, and back", |m| {
        m[0].lost == 1 && m[0].owned.len() == 1
    })
    .await;
    run(&mut [&mut member], "all again, nothing was committed", |m| {
        m[0].seen.len() >= 20
    })
    .await;
    member.commit().await.expect("commits under the new generation");
    member.consumer.close().await;
}

/// Pitfall 17: the refusal is news of the membership, before the next heartbeat is.
#[tokio::test]
async fn a_commit_refused_for_the_generation_rejoins_at_once() {
    for code in [ErrorCode::ILLEGAL_GENERATION, ErrorCode::UNKNOWN_MEMBER_ID] {
        let scene = Scene::embedded(1).await;
        scene.produce(1, 0, 10).await;
        let mut member = scene.member().await;
        run(&mut [&mut member], "10 records", |m| m[0].seen.len() >= 10).await;
        scene.inject(OFFSET_COMMIT, FaultAction::Error(code));
        let outcome = member.commit().await;
        assert!(
            matches!(outcome, Err(CommitError::MembershipLost { code: told }) if told == code),
            "{outcome:?}"
        );
        run(&mut [&mut member], "lost, and back", |m| {
            m[0].lost == 1 && m[0].owned.len() == 1
        })
        .await;
        member.consumer.close().await;
    }
}

#[tokio::test]
async fn a_commit_is_repeated_while_the_coordinator_loads_or_breaks() {
    let scene = Scene::embedded(1).await;
    scene.produce(1, 0, 10).await;
    let mut member = scene.member().await;
    run(&mut [&mut member], "10 records", |m| m[0].seen.len() >= 10).await;
    for action in [
        FaultAction::Error(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS),
        FaultAction::Error(ErrorCode::NOT_COORDINATOR),
        FaultAction::Disconnect,
        FaultAction::ApplyThenDisconnect,
    ] {
        scene.inject(OFFSET_COMMIT, action);
        member
            .commit()
            .await
            .unwrap_or_else(|error| panic!("{action:?}: {error}"));
    }
    member.consumer.close().await;
}

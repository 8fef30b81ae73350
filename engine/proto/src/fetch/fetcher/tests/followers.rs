//! Reading from a follower that is nearer (KIP-392), and going back to the leader.

use std::time::Duration;

use engine_wire::error_code::ErrorCode;

use super::scene::{Scene, config, data, leader};
use super::stored::batch;
use crate::fetch::fetcher::FetchConfig;
use crate::fetch::plan::FetchPlan;

const SECOND: Duration = Duration::from_secs(1);

fn in_rack(rack_id: Option<&str>) -> Scene {
    Scene::with(FetchConfig {
        rack_id: rack_id.map(str::to_owned),
        ..config()
    })
}

/// The leader, broker 1, says that broker 2 is nearer.
fn prefer_follower(scene: &mut Scene) {
    let plan = scene.plan();
    assert_eq!((plan.node_id, plan.rack_id.as_str()), (1, "rack2"));
    scene.answer(&plan, data(0, &[]).with_preferred_read_replica(2.into()));
}

fn scene() -> Scene {
    let mut scene = in_rack(Some("rack2"));
    prefer_follower(&mut scene);
    scene
}

/// The leader is asked, without a word about our rack.
fn assert_leader_only(plan: &FetchPlan) {
    assert_eq!((plan.node_id, plan.rack_id.as_str()), (1, ""));
    assert_eq!(plan.partitions[0].offset, 10);
}

#[test]
fn a_follower_is_read_when_the_leader_says_so() {
    let mut scene = scene();
    let plan = scene.plan();
    assert_eq!(plan.node_id, 2);
    scene.answer(&plan, data(0, &[batch(10, 5)]));
    assert_eq!(scene.fetched().next_offset, 15);
    assert_eq!(scene.fetcher.stats().from_followers, 1);
    assert_eq!(scene.plan().node_id, 2);
}

#[test]
fn a_consumer_without_a_rack_stays_with_the_leader() {
    let mut scene = in_rack(None);
    let plan = scene.plan();
    scene.answer(&plan, data(0, &[]).with_preferred_read_replica(2.into()));
    assert_eq!(scene.plan().node_id, 1);
}

#[test]
fn a_follower_that_is_behind_is_left_for_the_leader_at_once() {
    let mut scene = scene();
    scene.refuse(ErrorCode::OFFSET_OUT_OF_RANGE);
    assert_leader_only(&scene.plan());
    assert!(!scene.fetcher.is_ready(), "out of range is the leader's to say");
}

/// Or its word would be taken for the leader's, and a position that is fine would be reset.
#[test]
fn a_follower_whose_time_runs_out_while_it_is_asked_still_answers_as_a_follower() {
    let mut scene = scene();
    let plan = scene.plan();
    assert_eq!(plan.node_id, 2);
    scene.now += 300 * SECOND;
    assert_eq!(scene.fetcher.poll_fetch(scene.now), None, "one question at a time");
    scene.answer(
        &plan,
        data(0, &[]).with_error_code(ErrorCode::OFFSET_OUT_OF_RANGE.code()),
    );
    assert_leader_only(&scene.plan());
    assert!(!scene.fetcher.is_ready(), "out of range is the leader's to say");
}

#[test]
fn a_follower_that_refuses_is_left_for_the_leader() {
    for code in [
        ErrorCode::NOT_LEADER_OR_FOLLOWER,
        ErrorCode::REPLICA_NOT_AVAILABLE,
        ErrorCode::OFFSET_NOT_AVAILABLE,
    ] {
        let mut scene = scene();
        scene.refuse(code);
        scene.now += 2 * SECOND;
        assert_leader_only(&scene.plan());
    }
}

#[test]
fn a_follower_that_only_we_cannot_reach_does_not_get_us_sent_back_for_a_while() {
    let mut scene = scene();
    let plan = scene.plan();
    scene.fetcher.handle_fetch_failed(scene.now, &plan);
    scene.now += 2 * SECOND;
    let plan = scene.plan();
    assert_leader_only(&plan);
    scene.answer(&plan, data(0, &[]));
    scene.now += 10 * SECOND;
    prefer_follower(&mut scene);
    assert_eq!(scene.plan().node_id, 2);
}

#[test]
fn the_leader_is_asked_again_after_the_age_of_metadata() {
    let mut scene = scene();
    scene.now += 300 * SECOND;
    let plan = scene.plan();
    assert_eq!((plan.node_id, plan.rack_id.as_str()), (1, "rack2"));
    scene.answer(
        &plan,
        data(0, &[]).with_error_code(ErrorCode::OFFSET_OUT_OF_RANGE.code()),
    );
    scene.error();
}

#[test]
fn a_new_leader_decides_anew_who_is_nearer() {
    let mut scene = scene();
    scene.fetcher.handle_leaders(|_| Some(leader(3, 4)));
    assert_eq!(scene.plan().node_id, 3);
}

//! What brokers refuse, leave out or send twice.

use std::time::Duration;

use engine_wire::error_code::ErrorCode;

use super::scene::{Scene, VERSION, data, response};
use super::stored::batch;
use crate::fetch::position::FetchError;

#[test]
fn a_moved_leader_asks_for_metadata_and_tries_again() {
    for code in [
        ErrorCode::NOT_LEADER_OR_FOLLOWER,
        ErrorCode::FENCED_LEADER_EPOCH,
        ErrorCode::UNKNOWN_LEADER_EPOCH,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode::UNKNOWN_TOPIC_ID,
        ErrorCode::INCONSISTENT_TOPIC_ID,
        ErrorCode::OFFSET_NOT_AVAILABLE,
        ErrorCode::KAFKA_STORAGE_ERROR,
    ] {
        let mut scene = Scene::new();
        scene.refuse(code);
        assert!(scene.fetcher.poll_metadata_wanted(), "{code:?}");
        assert_eq!(scene.fetcher.poll_fetch(scene.now), None, "{code:?} backs off");
        scene.now = scene.fetcher.poll_timeout().expect("a backoff runs");
        assert_eq!(scene.plan().partitions[0].offset, 10, "{code:?}");
    }
}

#[test]
fn a_refusal_for_good_stops_the_partition() {
    let mut scene = Scene::new();
    scene.refuse(ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    assert!(matches!(scene.error(), FetchError::Refused { .. }));
    assert_eq!(scene.fetcher.poll_fetch(scene.now), None);
}

#[test]
fn a_broken_fetch_is_tried_again_from_the_same_offset() {
    let mut scene = Scene::new();
    let plan = scene.plan();
    scene.fetcher.handle_fetch_failed(scene.now, &plan);
    assert!(scene.fetcher.poll_metadata_wanted());
    scene.now += Duration::from_secs(2);
    assert_eq!(scene.plan().partitions[0].offset, 10);
}

/// Pitfall 19: partitions that nobody asked for, and some twice.
#[test]
fn hostile_answers_are_counted_and_ignored() {
    let mut scene = Scene::new();
    let plan = scene.plan();
    let twice = vec![
        data(9, &[batch(10, 2)]),
        data(0, &[batch(10, 2)]),
        data(0, &[batch(10, 2)]),
    ];
    scene.fetcher.handle_fetch(scene.now, &plan, VERSION, response(twice));
    assert_eq!(scene.fetched().next_offset, 12);
    assert!(!scene.fetcher.is_ready(), "the second one is no news");
    assert_eq!(scene.fetcher.stats().late_answers, 2);
}

#[test]
fn an_omitted_partition_is_asked_again() {
    let mut scene = Scene::new();
    let plan = scene.plan();
    scene
        .fetcher
        .handle_fetch(scene.now, &plan, VERSION, response(Vec::new()));
    scene.now += Duration::from_secs(2);
    assert_eq!(scene.plan().partitions[0].offset, 10);
}

#[test]
fn a_brokers_own_mishap_is_tried_again_after_a_pause() {
    let mut scene = Scene::new();
    scene.refuse(ErrorCode::UNKNOWN_SERVER_ERROR);
    assert!(!scene.fetcher.is_ready(), "no reason to stop the application");
    assert_eq!(scene.fetcher.poll_fetch(scene.now), None);
    scene.now = scene.fetcher.poll_timeout().expect("a backoff runs");
    assert_eq!(scene.plan().partitions[0].offset, 10);
}

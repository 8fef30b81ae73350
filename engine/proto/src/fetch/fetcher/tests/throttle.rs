//! Brokers that ask for less load, and timers that must not spin.

use std::time::Duration;

use super::scene::{Scene, data, leader, response, tp};
use super::stored::batch;

const SECOND: Duration = Duration::from_secs(1);

fn throttle(scene: &mut Scene, version: i16, throttle_time_ms: i32) {
    let plan = scene.plan();
    let answer = response(vec![data(0, &[batch(10, 5)])]).with_throttle_time_ms(throttle_time_ms);
    scene.fetcher.handle_fetch(scene.now, &plan, version, answer);
}

#[test]
fn a_throttled_broker_is_left_alone_for_as_long_as_it_says() {
    let mut scene = Scene::new();
    throttle(&mut scene, 8, 3_000);
    assert_eq!(scene.fetched().next_offset, 15, "what it gave is not held back");
    assert_eq!(scene.fetcher.poll_fetch(scene.now), None);
    assert_eq!(scene.fetcher.poll_timeout(), Some(scene.now + 3 * SECOND));
    scene.now += 3 * SECOND;
    assert_eq!(scene.plan().partitions[0].offset, 15);
    assert_eq!(scene.fetcher.poll_timeout(), None, "the pause is over");
    assert_eq!(scene.fetcher.stats().throttled, 1);
}

#[test]
fn a_throttled_broker_does_not_hold_up_the_others() {
    let mut scene = Scene::new();
    throttle(&mut scene, 12, 3_000);
    scene.fetcher.handle_leaders(|_| Some(leader(2, 3)));
    assert_eq!(scene.plan().node_id, 2);
}

#[test]
fn brokers_that_throttle_by_themselves_are_asked_again_at_once() {
    let mut scene = Scene::new();
    throttle(&mut scene, 7, 3_000);
    assert_eq!(scene.plan().partitions[0].offset, 15);
}

#[test]
fn a_throttle_beyond_all_reason_is_bounded() {
    let mut scene = Scene::new();
    throttle(&mut scene, 12, i32::MAX);
    assert_eq!(scene.fetcher.poll_fetch(scene.now), None);
    assert_eq!(scene.fetcher.poll_timeout(), Some(scene.now + 60 * SECOND));
    let mut scene = Scene::new();
    throttle(&mut scene, 12, -5);
    assert_eq!(scene.plan().partitions[0].offset, 15);
}

#[test]
fn a_backoff_that_ended_under_a_pause_leaves_no_timer_behind() {
    let mut scene = Scene::new();
    let plan = scene.plan();
    scene.fetcher.handle_fetch_failed(scene.now, &plan);
    scene.fetcher.pause(&tp(0));
    scene.now += 2 * SECOND;
    assert_eq!(scene.fetcher.poll_fetch(scene.now), None);
    assert_eq!(scene.fetcher.poll_timeout(), None, "the caller would spin");
    scene.fetcher.resume(&tp(0));
    assert_eq!(scene.plan().partitions[0].offset, 10);
}

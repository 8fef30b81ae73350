//! What is asked next: one fetch per broker, within the budget, nobody starved.

use std::time::Duration;

use super::scene::{Scene, config, data, leader, tp};
use super::stored::batch;
use crate::fetch::fetcher::FetchConfig;
use crate::fetch::position::StartAt;

#[test]
fn one_fetch_per_broker_is_in_flight_while_the_last_one_is_ready() {
    let mut scene = Scene::new();
    scene.fetch(&[batch(10, 2)]);
    let second = scene.plan();
    assert_eq!(second.partitions[0].offset, 12);
    assert_eq!(scene.fetcher.poll_fetch(scene.now), None);
    assert_eq!(scene.fetched().next_offset, 12);
}

#[test]
fn the_budget_bounds_what_is_asked_for_and_handing_out_frees_it() {
    let mut scene = Scene::with(FetchConfig {
        prefetch_bytes_max: 1000,
        ..config()
    });
    let plan = scene.plan();
    assert_eq!(plan.bytes_max, 500, "half of the budget may be in flight");
    scene.answer(&plan, data(0, &[batch(10, 50)]));
    assert!(scene.fetcher.queued_bytes() > 500);
    assert_eq!(scene.fetcher.poll_fetch(scene.now), None);
    scene.fetched();
    assert_eq!(scene.fetcher.queued_bytes(), 0);
    scene.plan();
}

#[test]
fn a_paused_partition_is_neither_fetched_nor_handed_out_and_keeps_what_it_has() {
    let mut scene = Scene::new();
    scene.fetch(&[batch(10, 2)]);
    scene.fetcher.pause(&tp(0));
    assert!(!scene.fetcher.is_ready());
    assert_eq!(scene.fetcher.poll_fetch(scene.now), None);
    scene.fetcher.resume(&tp(0));
    assert_eq!(scene.fetched().first_offset, 10);
    assert_eq!(scene.plan().partitions[0].offset, 12);
}

#[test]
fn paused_partitions_cannot_starve_the_others() {
    let mut scene = Scene::with(FetchConfig {
        prefetch_bytes_max: 1000,
        ..config()
    });
    scene.fetch(&[batch(10, 50)]);
    scene.fetcher.pause(&tp(0));
    assert_eq!(
        scene.fetcher.queued_bytes(),
        0,
        "more than half of the budget was dropped"
    );
    scene.fetcher.assign([tp(1)]);
    scene.fetcher.handle_leaders(|_| Some(leader(1, 3)));
    scene.fetcher.start(
        &tp(1),
        StartAt::Offset {
            offset: 0,
            leader_epoch: None,
        },
    );
    assert_eq!(scene.plan().partitions[0].tp, tp(1));
    scene.fetcher.resume(&tp(0));
    assert_eq!(scene.offset(), 10, "and is fetched again");
}

/// Partition 1 beside partition 0, led by `node_id`.
fn with_a_second_partition(config: FetchConfig, node_id: i32) -> Scene {
    let mut scene = Scene::with(config);
    scene.fetcher.assign([tp(1)]);
    scene
        .fetcher
        .handle_leaders(|of| Some(leader(if *of == tp(1) { node_id } else { 1 }, 3)));
    let start = StartAt::Offset {
        offset: 10,
        leader_epoch: None,
    };
    scene.fetcher.start(&tp(1), start);
    scene
}

#[test]
fn a_broker_with_much_to_say_does_not_starve_the_others() {
    let config = FetchConfig {
        prefetch_bytes_max: 1600,
        ..config()
    };
    let mut scene = with_a_second_partition(config, 2);
    let (first, second) = (scene.plan(), scene.plan());
    assert_eq!((first.node_id, second.node_id), (1, 2));
    scene.answer(&first, data(0, &[batch(10, 12)]));
    scene.answer(&second, data(1, &[batch(10, 12)]));
    let again = scene.plan();
    assert_eq!(again.node_id, 1);
    scene.answer(&again, data(0, &[batch(22, 12)]));
    assert_eq!(scene.fetcher.poll_fetch(scene.now), None, "the budget is used up");
    scene.fetched();
    assert_eq!(scene.plan().node_id, 2, "although the first is idle, too");
}

#[test]
fn partitions_of_one_broker_take_turns() {
    let mut scene = with_a_second_partition(config(), 1);
    for expected in [tp(0), tp(1), tp(0), tp(1)] {
        let plan = scene.plan();
        let first = &plan.partitions[0];
        assert_eq!(first.tp, expected);
        // The answer is full after the first one.
        scene.answer(&plan, data(first.tp.partition, &[batch(first.offset, 10)]));
        scene.fetched();
        scene.now += Duration::from_secs(2);
    }
}

#[test]
fn a_batch_larger_than_the_share_is_asked_for_in_full_and_not_in_a_tight_loop() {
    let mut scene = Scene::new();
    let cut = batch(10, 10).slice(..100);
    let plan = scene.plan();
    scene.answer(&plan, data(0, std::slice::from_ref(&cut)));
    let needed = batch(10, 10).len() as i32;
    let plan = scene.plan();
    assert!(plan.partitions[0].bytes_max >= needed);
    scene.answer(&plan, data(0, &[cut]));
    assert_eq!(
        scene.fetcher.poll_fetch(scene.now),
        None,
        "asking again at once would not help"
    );
    scene.now = scene.fetcher.poll_timeout().expect("a backoff runs");
    let plan = scene.plan();
    scene.answer(&plan, data(0, &[batch(10, 10)]));
    assert_eq!(scene.fetched().next_offset, 20);
}

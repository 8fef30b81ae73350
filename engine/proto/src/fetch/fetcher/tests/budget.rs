//! What is asked next: one fetch per broker, within the budget, nobody starved.

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

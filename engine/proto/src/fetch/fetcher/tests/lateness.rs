//! Answers that come after a seek, a revocation or a new leader.

use super::scene::{Scene, data, leader, offsets, tp};
use super::stored::batch;
use crate::fetch::lookup::{Found, Question};
use crate::fetch::position::{Position, StartAt};

#[test]
fn an_answer_after_a_seek_is_late() {
    let mut scene = Scene::new();
    let plan = scene.plan();
    scene.start(500);
    scene.answer(&plan, data(0, &[batch(10, 2)]));
    assert!(!scene.fetcher.is_ready());
    assert_eq!(scene.offset(), 500);
    assert_eq!(scene.fetcher.stats().late_answers, 1);
    assert_eq!(scene.plan().partitions[0].offset, 500);
}

#[test]
fn a_seek_to_the_same_offset_still_makes_the_answer_late() {
    let mut scene = Scene::new();
    let plan = scene.plan();
    scene.start(10);
    scene.answer(&plan, data(0, &[batch(10, 2)]));
    assert!(!scene.fetcher.is_ready());
}

#[test]
fn a_seek_drops_what_was_prefetched() {
    let mut scene = Scene::new();
    scene.fetch(&[batch(10, 2)]);
    scene.start(500);
    assert!(!scene.fetcher.is_ready());
    assert_eq!(scene.fetcher.queued_bytes(), 0);
}

#[test]
fn an_answer_after_a_revocation_is_late() {
    let mut scene = Scene::new();
    let plan = scene.plan();
    scene.fetcher.remove(&[tp(0)]);
    scene.answer(&plan, data(0, &[batch(10, 2)]));
    assert!(!scene.fetcher.is_ready());
    // Also when it came back meanwhile and starts elsewhere.
    scene.fetcher.assign([tp(0)]);
    scene.answer(&plan, data(0, &[batch(10, 2)]));
    assert!(!scene.fetcher.is_ready());
}

/// Pitfall 15: the fetch was under way when the leader changed.
#[test]
fn an_answer_during_validation_neither_duplicates_nor_skips() {
    let mut scene = Scene::new();
    scene.fetch(&[batch(10, 2)]);
    let plan = scene.plan();
    scene.fetcher.handle_leaders(|_| Some(leader(1, 4)));
    let lookups = scene.fetcher.poll_lookups(scene.now);
    let question = Question::EndOfEpoch {
        leader_epoch: 3,
        current_leader_epoch: 4,
    };
    assert_eq!(lookups[0].question, question);
    scene.answer(&plan, data(0, &[batch(12, 2)]));
    let end = Position {
        offset: 12,
        leader_epoch: Some(3),
    };
    scene.fetcher.handle_found(scene.now, &lookups[0], Found::EpochEnd(end));
    scene.fetch(&[batch(12, 2)]);
    assert_eq!(offsets(&scene.fetched()), [(10, 11)]);
    assert_eq!(offsets(&scene.fetched()), [(12, 13)]);
    assert!(!scene.fetcher.is_ready());
}

/// Pitfall 14: a broker that is behind still names the old leader.
#[test]
fn a_stale_leader_epoch_does_not_move_a_partition_back() {
    let mut scene = Scene::new();
    scene.fetcher.handle_leaders(|_| Some(leader(2, 2)));
    assert_eq!(scene.plan().node_id, 1);
}

#[test]
fn a_new_leader_makes_the_old_ones_answer_late() {
    let mut scene = Scene::new();
    let plan = scene.plan();
    scene.fetcher.handle_leaders(|_| Some(leader(2, 4)));
    let moved = scene.plan();
    assert_eq!((moved.node_id, moved.partitions[0].leader_epoch), (2, 4));
    scene.answer(&plan, data(0, &[batch(10, 2)]));
    assert!(!scene.fetcher.is_ready());
    scene.answer(&moved, data(0, &[batch(10, 2)]));
    assert_eq!(scene.fetched().next_offset, 12);
}

#[test]
fn a_lookup_answered_after_a_seek_is_late() {
    let mut scene = Scene::new();
    scene.fetcher.start(&tp(0), StartAt::Committed);
    let lookup = scene.fetcher.poll_lookups(scene.now).remove(0);
    scene.start(33);
    let position = Position {
        offset: 5,
        leader_epoch: None,
    };
    scene.fetcher.handle_found(scene.now, &lookup, Found::At(position));
    assert_eq!(scene.offset(), 33);
}

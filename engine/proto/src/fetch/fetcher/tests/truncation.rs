//! Logs that were cut below a position (KIP-320), as an answer to a fetch tells it.

use engine_wire::messages::fetch_response::{EpochEndOffset, PartitionData};

use super::scene::{Scene, config, data, leader, tp};
use super::stored::batch;
use crate::fetch::fetcher::FetchConfig;
use crate::fetch::lookup::Found;
use crate::fetch::position::{FetchError, OffsetReset, Position};

/// "My log has epoch `epoch` last, and that one ends at `end_offset`."
fn diverging(epoch: i32, end_offset: i64) -> PartitionData {
    let end = EpochEndOffset::default().with_epoch(epoch).with_end_offset(end_offset);
    data(0, &[]).with_diverging_epoch(end)
}

/// At offset 15, where the record before is of epoch 3.
fn scene(offset_reset: OffsetReset) -> Scene {
    let mut scene = Scene::with(FetchConfig {
        offset_reset,
        rack_id: Some("rack2".into()),
        ..config()
    });
    scene.fetch(&[batch(10, 5)]);
    scene.fetched();
    scene
}

#[test]
fn a_fetch_says_of_which_epoch_the_last_record_was() {
    let mut scene = Scene::new();
    assert_eq!(
        scene.plan().partitions[0].last_fetched_epoch,
        -1,
        "nothing was read yet"
    );
    let mut scene = self::scene(OffsetReset::None);
    let plan = scene.plan();
    assert_eq!(plan.partitions[0].last_fetched_epoch, 3);
    for (version, epoch) in [(11, -1), (12, 3), (17, 3)] {
        let request = plan.request(version);
        assert_eq!(request.topics[0].partitions[0].last_fetched_epoch, epoch);
    }
}

#[test]
fn a_diverging_epoch_is_an_error_without_a_reset_policy() {
    let mut scene = scene(OffsetReset::None);
    let plan = scene.plan();
    scene.answer(&plan, diverging(2, 12));
    let expected = FetchError::LogTruncated {
        tp: tp(0),
        offset: 15,
        end_offset: Some(12),
    };
    assert_eq!(scene.error(), expected);
    assert_eq!(scene.fetcher.poll_fetch(scene.now), None, "it stands still");
    assert_eq!(scene.fetcher.stats().truncations, 1);
}

#[test]
fn a_diverging_epoch_with_a_reset_policy_goes_on_where_the_logs_agree() {
    for policy in [OffsetReset::Earliest, OffsetReset::Latest] {
        let mut scene = scene(policy);
        let plan = scene.plan();
        scene.answer(&plan, diverging(2, 12));
        let plan = scene.plan();
        assert_eq!(
            (plan.partitions[0].offset, plan.partitions[0].last_fetched_epoch),
            (12, 2)
        );
        assert!(!scene.fetcher.is_ready());
    }
}

#[test]
fn what_was_prefetched_from_a_log_that_was_cut_is_dropped() {
    let mut scene = scene(OffsetReset::Earliest);
    scene.fetch(&[batch(15, 5)]); // Ready, and not handed out.
    let plan = scene.plan();
    scene.answer(&plan, diverging(3, 17));
    assert_eq!(scene.fetcher.queued_bytes(), 0);
    assert_eq!(scene.offset(), 15, "the application had nothing from there on");
}

#[test]
fn a_follower_that_diverges_is_left_for_the_leader() {
    let mut scene = scene(OffsetReset::None);
    let plan = scene.plan();
    scene.answer(&plan, data(0, &[]).with_preferred_read_replica(2.into()));
    let plan = scene.plan();
    assert_eq!(plan.node_id, 2);
    scene.answer(&plan, diverging(3, 12));
    let plan = scene.plan();
    assert_eq!((plan.node_id, plan.partitions[0].offset), (1, 15));
    assert!(!scene.fetcher.is_ready(), "a follower may only be behind");
}

#[test]
fn an_epoch_that_was_compacted_away_does_not_stop_the_partition() {
    let mut scene = scene(OffsetReset::None);
    let plan = scene.plan();
    scene.answer(&plan, diverging(2, 40));
    let plan = scene.plan();
    let next = &plan.partitions[0];
    assert_eq!(
        (next.offset, next.last_fetched_epoch),
        (15, 2),
        "the broker is not asked in circles"
    );
}

#[test]
fn an_answer_that_contradicts_itself_is_not_asked_for_in_a_tight_loop() {
    let mut scene = scene(OffsetReset::None);
    let plan = scene.plan();
    scene.answer(&plan, diverging(3, 40));
    assert_eq!(scene.fetcher.poll_fetch(scene.now), None);
    assert!(scene.fetcher.poll_timeout().is_some());
}

#[test]
fn an_epoch_that_the_leader_never_heard_of_is_decided_by_the_policy() {
    let unknown = Position {
        offset: -1,
        leader_epoch: None,
    };
    let mut scene = scene(OffsetReset::None);
    scene.fetcher.handle_leaders(|_| Some(leader(2, 4)));
    let lookup = scene.fetcher.poll_lookups(scene.now).remove(0);
    scene.fetcher.handle_found(scene.now, &lookup, Found::EpochEnd(unknown));
    let expected = FetchError::LogTruncated {
        tp: tp(0),
        offset: 15,
        end_offset: None,
    };
    assert_eq!(scene.error(), expected);
}

//! Positions that are lost: truncated, out of range, never committed, of a topic that is gone.

use std::time::Duration;

use engine_wire::error_code::ErrorCode;
use uuid::Uuid;

use super::scene::{Scene, config, leader, tp};
use super::stored::batch;
use crate::fetch::fetcher::FetchConfig;
use crate::fetch::lookup::{EARLIEST, Found, LATEST, Question};
use crate::fetch::partition::PartitionLeader;
use crate::fetch::position::{FetchError, OffsetReset, Position, StartAt};

#[test]
fn truncation_below_the_position_is_an_error_without_a_reset_policy() {
    let mut scene = Scene::new();
    scene.fetch(&[batch(10, 5)]);
    scene.fetched();
    scene.fetcher.handle_leaders(|_| Some(leader(2, 4)));
    let lookup = scene.fetcher.poll_lookups(scene.now).remove(0);
    let end = Position {
        offset: 12,
        leader_epoch: Some(3),
    };
    scene.fetcher.handle_found(scene.now, &lookup, Found::EpochEnd(end));
    let expected = FetchError::LogTruncated {
        tp: tp(0),
        offset: 15,
        end_offset: Some(12),
    };
    assert_eq!(scene.error(), expected);
    assert_eq!(scene.fetcher.poll_fetch(scene.now), None, "it stands still");
}

#[test]
fn truncation_goes_on_where_the_application_is_if_that_is_earlier() {
    let mut scene = Scene::with(FetchConfig {
        offset_reset: OffsetReset::Latest,
        ..config()
    });
    scene.fetch(&[batch(10, 5)]); // Prefetched, not yet handed out.
    scene.fetcher.handle_leaders(|_| Some(leader(2, 4)));
    let lookup = scene.fetcher.poll_lookups(scene.now).remove(0);
    let end = Position {
        offset: 12,
        leader_epoch: Some(3),
    };
    scene.fetcher.handle_found(scene.now, &lookup, Found::EpochEnd(end));
    assert_eq!(scene.offset(), 10, "records 10 and 11 were never handed out");
}

/// Pitfall 21: retention passed the position, and the application decides what that means.
#[test]
fn out_of_range_is_an_error_by_default_and_never_a_silent_reset() {
    let mut scene = Scene::new();
    scene.refuse(ErrorCode::OFFSET_OUT_OF_RANGE);
    assert_eq!(scene.error(), FetchError::OffsetOutOfRange { tp: tp(0), offset: 10 });
    assert!(scene.fetcher.poll_lookups(scene.now).is_empty());
    assert_eq!(scene.fetcher.poll_fetch(scene.now), None);
    scene.start(20);
    assert_eq!(scene.plan().partitions[0].offset, 20);
}

#[test]
fn out_of_range_follows_the_reset_policy() {
    for (policy, timestamp) in [(OffsetReset::Earliest, EARLIEST), (OffsetReset::Latest, LATEST)] {
        let mut scene = Scene::with(FetchConfig {
            offset_reset: policy,
            ..config()
        });
        scene.refuse(ErrorCode::OFFSET_OUT_OF_RANGE);
        let lookup = scene.fetcher.poll_lookups(scene.now).remove(0);
        assert_eq!(lookup.question, Question::Timestamp(timestamp));
        let position = Position {
            offset: 70,
            leader_epoch: Some(3),
        };
        scene.fetcher.handle_found(scene.now, &lookup, Found::At(position));
        assert_eq!(scene.plan().partitions[0].offset, 70);
    }
}

#[test]
fn a_duration_leads_to_its_first_record_and_to_the_end_without_one() {
    let hour = Duration::from_secs(3_600);
    let mut scene = Scene::with(FetchConfig {
        offset_reset: OffsetReset::ByDuration(hour),
        ..config()
    });
    scene.refuse(ErrorCode::OFFSET_OUT_OF_RANGE);
    let lookup = scene.fetcher.poll_lookups(scene.now).remove(0);
    assert_eq!(lookup.question, Question::Ago(hour));
    scene.fetcher.handle_found(scene.now, &lookup, Found::Nothing);
    let lookup = scene.fetcher.poll_lookups(scene.now).remove(0);
    assert_eq!(lookup.question, Question::Timestamp(LATEST), "nothing is so young");
}

#[test]
fn an_error_comes_after_what_was_read_before_it() {
    let mut scene = Scene::new();
    scene.fetch(&[batch(10, 5)]);
    scene.refuse(ErrorCode::OFFSET_OUT_OF_RANGE);
    assert_eq!(scene.fetched().next_offset, 15);
    assert_eq!(scene.error(), FetchError::OffsetOutOfRange { tp: tp(0), offset: 15 });
}

#[test]
fn no_committed_offset_is_an_error_by_default() {
    let mut scene = Scene::new();
    scene.fetcher.start(&tp(0), StartAt::Committed);
    let lookup = scene.fetcher.poll_lookups(scene.now).remove(0);
    scene.fetcher.handle_found(scene.now, &lookup, Found::Nothing);
    assert_eq!(scene.error(), FetchError::NoCommittedOffset { tp: tp(0) });
}

#[test]
fn a_recreated_topic_is_an_error_by_default_although_its_epoch_is_older() {
    let recreated = PartitionLeader {
        topic_id: Some(Uuid::from_u128(8)),
        ..leader(2, 0)
    };
    let mut scene = Scene::new();
    scene.fetch(&[batch(10, 5)]);
    scene.fetched();
    scene.fetcher.handle_leaders(|_| Some(recreated));
    assert_eq!(scene.error(), FetchError::TopicRecreated { tp: tp(0), offset: 15 });
    let (position, lag) = (scene.fetcher.position(&tp(0)), scene.fetcher.lag(&tp(0)));
    assert_eq!((position, lag), (None, None), "those were the old topic's");

    let mut scene = Scene::with(FetchConfig {
        offset_reset: OffsetReset::Latest,
        ..config()
    });
    scene.fetcher.handle_leaders(|_| Some(recreated));
    let lookup = scene.fetcher.poll_lookups(scene.now).remove(0);
    assert_eq!(lookup.question, Question::Timestamp(EARLIEST), "all of it is new");
    let position = Position {
        offset: 0,
        leader_epoch: None,
    };
    scene.fetcher.handle_found(scene.now, &lookup, Found::At(position));
    let plan = scene.plan();
    assert_eq!((plan.node_id, plan.partitions[0].topic_id), (2, recreated.topic_id));
}

#[test]
fn a_log_without_a_beginning_is_asked_again_instead_of_read_from_its_end() {
    let mut scene = Scene::new();
    scene.fetcher.start(&tp(0), StartAt::Earliest);
    let lookup = scene.fetcher.poll_lookups(scene.now).remove(0);
    scene.fetcher.handle_found(scene.now, &lookup, Found::Nothing);
    assert!(scene.fetcher.poll_lookups(scene.now).is_empty(), "not in a tight loop");
    scene.now += Duration::from_secs(1);
    let again = scene.fetcher.poll_lookups(scene.now).remove(0);
    assert_eq!(again.question, Question::Timestamp(EARLIEST));
}

//! Which batches of an answer are handed out, and how far the position moves.

use bytes::Bytes;
use engine_wire::compression::Codec;
use engine_wire::messages::fetch_response::AbortedTransaction;

use super::scene::{Scene, data, offsets, tp};
use super::stored::{ABORT, COMMIT, batch, emptied, marker, transactional};
use crate::fetch::position::{FetchError, Position};

#[test]
fn batches_are_handed_out_whole_and_the_position_moves() {
    let mut scene = Scene::new();
    scene.fetch(&[batch(8, 4), batch(12, 3)]);
    let fetched = scene.fetched();
    assert_eq!(offsets(&fetched), [(8, 11), (12, 14)]);
    assert_eq!((fetched.first_offset, fetched.next_offset), (10, 15));
    assert_eq!(fetched.leader_epoch, Some(3));
    assert_eq!(scene.fetcher.lag(&tp(0)), Some(985));
}

/// Pitfall 1: compaction may take the last records of a batch, or all of them.
#[test]
fn a_tail_emptied_by_compaction_advances_the_position() {
    let mut scene = Scene::new();
    scene.fetch(&[batch(10, 2), emptied(12, 30)]);
    let fetched = scene.fetched();
    assert_eq!(offsets(&fetched), [(10, 11)]);
    assert_eq!(fetched.next_offset, 42);
    scene.fetch(&[emptied(42, 5)]);
    let fetched = scene.fetched();
    assert!(fetched.batches.is_empty());
    assert_eq!((fetched.next_offset, scene.offset()), (47, 47));
}

/// Pitfall 5: a log that ends with a marker is read to its end.
#[test]
fn control_batches_advance_the_position_and_the_leader_epoch() {
    let mut scene = Scene::new();
    scene.fetch(&[marker(10, 5, COMMIT)]);
    let fetched = scene.fetched();
    assert!(fetched.batches.is_empty());
    assert_eq!(
        fetched.next_position(),
        Position {
            offset: 11,
            leader_epoch: Some(3)
        }
    );
}

/// Pitfall 20: brokers say "nothing" in two ways.
#[test]
fn empty_and_null_records_change_nothing() {
    for records in [None, Some(Bytes::new())] {
        let mut scene = Scene::new();
        let plan = scene.plan();
        scene.answer(&plan, data(0, &[]).with_records(records));
        assert!(!scene.fetcher.is_ready());
        assert_eq!(scene.plan().partitions[0].offset, 10);
    }
}

/// Pitfall 4: compression does not hide whose batch it is.
#[test]
fn aborted_batches_are_left_out_also_compressed_ones() {
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4] {
        let mut scene = Scene::reading_committed();
        let plan = scene.plan();
        let batches = [
            transactional(10, 2, 5, codec),
            transactional(12, 2, 6, codec),
            marker(14, 5, ABORT),
            marker(15, 6, COMMIT),
            transactional(16, 2, 5, codec),
            marker(18, 5, COMMIT),
        ];
        let aborted = AbortedTransaction::default()
            .with_producer_id(5.into())
            .with_first_offset(10);
        scene.answer(&plan, data(0, &batches).with_aborted_transactions(Some(vec![aborted])));
        let fetched = scene.fetched();
        assert_eq!(offsets(&fetched), [(12, 13), (16, 17)], "{codec:?}");
        assert_eq!(fetched.next_offset, 19);
    }
}

/// Pitfall 4: the list of aborted transactions comes in no promised order.
#[test]
fn an_unsorted_list_of_aborted_transactions_is_as_good() {
    let mut scene = Scene::reading_committed();
    let plan = scene.plan();
    let batches = [
        transactional(10, 2, 5, Codec::None),
        marker(12, 5, ABORT),
        transactional(13, 2, 5, Codec::None),
        marker(15, 5, COMMIT),
        transactional(16, 2, 5, Codec::None),
        marker(18, 5, ABORT),
    ];
    let aborted = |first| {
        AbortedTransaction::default()
            .with_producer_id(5.into())
            .with_first_offset(first)
    };
    let list = Some(vec![aborted(16), aborted(10)]);
    scene.answer(&plan, data(0, &batches).with_aborted_transactions(list));
    assert_eq!(offsets(&scene.fetched()), [(13, 14)]);
}

/// Pitfall 4: the transaction wrote to other partitions only.
#[test]
fn an_abort_marker_of_a_transaction_without_records_here_swallows_nothing() {
    let mut scene = Scene::reading_committed();
    let plan = scene.plan();
    let batches = [
        marker(10, 5, ABORT), // Wrote to other partitions only.
        transactional(11, 2, 5, Codec::None),
        marker(13, 5, COMMIT),
        transactional(14, 2, 5, Codec::None),
        marker(16, 5, ABORT),
    ];
    let aborted = AbortedTransaction::default()
        .with_producer_id(5.into())
        .with_first_offset(14);
    scene.answer(&plan, data(0, &batches).with_aborted_transactions(Some(vec![aborted])));
    assert_eq!(offsets(&scene.fetched()), [(11, 12)]);
}

#[test]
fn read_uncommitted_sees_aborted_batches_but_no_markers() {
    let mut scene = Scene::new();
    scene.fetch(&[transactional(10, 2, 5, Codec::None), marker(12, 5, ABORT)]);
    let fetched = scene.fetched();
    assert_eq!((offsets(&fetched), fetched.next_offset), (vec![(10, 11)], 13));
}

#[test]
fn malformed_bytes_stop_the_partition_after_the_good_batches() {
    let mut scene = Scene::new();
    let mut bad = batch(12, 2).to_vec();
    bad[16] = 9; // The magic byte.
    scene.fetch(&[batch(10, 2), bad.into()]);
    assert_eq!(scene.fetched().next_offset, 12);
    assert!(matches!(scene.error(), FetchError::Malformed { offset: 12, .. }));
}

#[test]
fn an_aborted_transaction_that_is_only_its_marker_swallows_nothing_committed_later() {
    // Brokers before 2.5 list a transaction without records here: it begins with its own marker.
    let mut scene = Scene::reading_committed();
    let plan = scene.plan();
    let batches = [
        marker(10, 5, ABORT),
        transactional(11, 2, 5, Codec::None),
        marker(13, 5, COMMIT),
    ];
    let aborted = AbortedTransaction::default()
        .with_producer_id(5.into())
        .with_first_offset(10);
    scene.answer(&plan, data(0, &batches).with_aborted_transactions(Some(vec![aborted])));
    assert_eq!(offsets(&scene.fetched()), [(11, 12)]);
}

#[test]
fn a_batch_that_a_broken_bit_would_have_left_out_is_an_error() {
    for (at, bit, what) in [(22, 0x20, "control"), (60, 0x02, "empty")] {
        let mut scene = Scene::new();
        let mut broken = batch(10, 2).to_vec();
        broken[at] ^= bit;
        scene.fetch(&[broken.into()]);
        let error = scene.error();
        assert!(
            matches!(error, FetchError::Malformed { offset: 10, .. }),
            "{what}: {error}"
        );
    }
}

//! What answers, errors, seeks, leaders and pauses do to one another, and a seeded simulation.

use bytes::Bytes;
use engine_wire::{
    compression::{Codec, Compression, Compressor},
    error_code::ErrorCode,
    messages::{
        FetchResponse, TopicName,
        fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData},
    },
    record_batch::{BatchBuilder, ControlRecord, ProducerStamp, RawBatch, place_batch},
};
use uuid::Uuid;

use super::*;
use crate::fetch::lookup::{EARLIEST, Found, LATEST, Lookup, Question};

const TOPIC_ID: Uuid = Uuid::from_u128(7);
const VERSION: i16 = 12;

fn config() -> FetchConfig {
    FetchConfig {
        read_committed: false,
        offset_reset: OffsetReset::None,
        fetch_bytes_min: 1,
        fetch_bytes_max: 1 << 20,
        partition_bytes_max: 1 << 16,
        fetch_wait_max: Duration::from_millis(500),
        prefetch_bytes_max: 1 << 20,
        rack_id: None,
        read_replica_age_max: Duration::from_secs(300),
        backoff: BackoffPolicy {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(1),
        },
    }
}

fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

fn leader(node_id: i32, leader_epoch: i32) -> PartitionLeader {
    PartitionLeader {
        node_id: Some(node_id),
        leader_epoch,
        topic_id: Some(TOPIC_ID),
    }
}

/// `count` records from `base_offset` on.
fn batch(base_offset: i64, count: i32) -> Bytes {
    stamped(base_offset, count, ProducerStamp::NONE, Compression::NONE)
}

fn transactional(base_offset: i64, count: i32, producer_id: i64, codec: Codec) -> Bytes {
    let stamp = ProducerStamp {
        producer_id,
        producer_epoch: 0,
        base_sequence: 0,
        is_transactional: true,
    };
    stamped(base_offset, count, stamp, Compression { codec, level: None })
}

fn stamped(base_offset: i64, count: i32, stamp: ProducerStamp, compression: Compression) -> Bytes {
    let mut builder = BatchBuilder::with_capacity(1000);
    for _ in 0..count {
        builder.append(0, None, Some(b"some value"), []).expect("small");
    }
    let sealed = builder.seal(compression, &mut Compressor::new(), Vec::new());
    let bytes = sealed.expect("compresses").stamp(stamp);
    placed(bytes, base_offset)
}

fn marker(offset: i64, producer_id: i64, marker: ControlRecord) -> Bytes {
    placed(marker.encode_batch(0, producer_id, 0), offset)
}

fn placed(bytes: Bytes, base_offset: i64) -> Bytes {
    place_batch(RawBatch::parse(bytes).expect("our own batch"), base_offset, 3, None).bytes
}

/// What compaction leaves of a batch: the header, with its last offset.
fn emptied(base_offset: i64, count: i32) -> Bytes {
    let mut bytes = batch(base_offset, count)[..61].to_vec();
    bytes[8..12].copy_from_slice(&49i32.to_be_bytes());
    bytes[57..61].copy_from_slice(&0i32.to_be_bytes());
    bytes.into()
}

const COMMIT: ControlRecord = ControlRecord::Commit { coordinator_epoch: 0 };
const ABORT: ControlRecord = ControlRecord::Abort { coordinator_epoch: 0 };

fn data(partition: i32, batches: &[Bytes]) -> PartitionData {
    PartitionData::default()
        .with_partition_index(partition)
        .with_high_watermark(1000)
        .with_last_stable_offset(1000)
        .with_records(Some(batches.concat().into()))
}

fn response(partitions: Vec<PartitionData>) -> FetchResponse {
    let topic = FetchableTopicResponse::default()
        .with_topic(TopicName("t".into()))
        .with_topic_id(TOPIC_ID)
        .with_partitions(partitions);
    FetchResponse::default().with_responses(vec![topic])
}

struct Scene {
    fetcher: Fetcher,
    now: Instant,
}

impl Scene {
    /// Partition 0 at offset 10, led by broker 1 in epoch 3.
    fn with(config: FetchConfig) -> Scene {
        let mut fetcher = Fetcher::new(config, 1);
        fetcher.assign([tp(0)]);
        fetcher.handle_leaders(|_| Some(leader(1, 3)));
        let mut scene = Scene {
            fetcher,
            now: start_of_time(),
        };
        scene.start(10);
        scene
    }

    fn new() -> Scene {
        Scene::with(config())
    }

    fn reading_committed() -> Scene {
        Scene::with(FetchConfig {
            read_committed: true,
            ..config()
        })
    }

    fn start(&mut self, offset: i64) {
        assert!(self.fetcher.start(
            &tp(0),
            StartAt::Offset {
                offset,
                leader_epoch: None
            }
        ));
    }

    fn plan(&mut self) -> FetchPlan {
        self.fetcher.poll_fetch(self.now).expect("a fetch to send")
    }

    fn answer(&mut self, plan: &FetchPlan, data: PartitionData) {
        self.fetcher.handle_fetch(self.now, plan, VERSION, response(vec![data]));
    }

    fn fetch(&mut self, batches: &[Bytes]) {
        let plan = self.plan();
        self.answer(&plan, data(0, batches));
    }

    fn fetched(&mut self) -> Fetched {
        self.fetcher
            .poll_fetched()
            .expect("something is ready")
            .expect("and no error")
    }

    fn error(&mut self) -> FetchError {
        self.fetcher
            .poll_fetched()
            .expect("something is ready")
            .expect_err("an error")
    }

    fn offset(&self) -> i64 {
        match self.fetcher.partitions[&tp(0)].phase {
            Phase::Fetching { position } => position.offset,
            phase => panic!("not fetching but {phase:?}"),
        }
    }

    fn refuse(&mut self, code: ErrorCode) {
        let plan = self.plan();
        self.answer(&plan, data(0, &[]).with_error_code(code.code()));
    }
}

fn offsets(fetched: &Fetched) -> Vec<(i64, i64)> {
    fetched
        .batches
        .iter()
        .map(|b| (b.header.base_offset, b.header.last_offset()))
        .collect()
}

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
fn a_broken_fetch_is_tried_again_from_the_same_offset() {
    let mut scene = Scene::new();
    let plan = scene.plan();
    scene.fetcher.handle_fetch_failed(scene.now, &plan);
    assert!(scene.fetcher.poll_metadata_wanted());
    scene.now += Duration::from_secs(2);
    assert_eq!(scene.plan().partitions[0].offset, 10);
}

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
fn malformed_bytes_stop_the_partition_after_the_good_batches() {
    let mut scene = Scene::new();
    let mut bad = batch(12, 2).to_vec();
    bad[16] = 9; // The magic byte.
    scene.fetch(&[batch(10, 2), bad.into()]);
    assert_eq!(scene.fetched().next_offset, 12);
    assert!(matches!(scene.error(), FetchError::Malformed { offset: 12, .. }));
}

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

#[test]
fn a_follower_is_read_when_the_leader_says_so_and_left_on_errors() {
    let mut scene = Scene::with(FetchConfig {
        rack_id: Some("rack2".into()),
        ..config()
    });
    let plan = scene.plan();
    scene.answer(&plan, data(0, &[]).with_preferred_read_replica(2.into()));
    assert_eq!(scene.fetcher.poll_fetch(scene.now).map(|plan| plan.node_id), Some(2));
    let mut scene = Scene::with(FetchConfig {
        rack_id: Some("rack2".into()),
        ..config()
    });
    let plan = scene.plan();
    scene.answer(&plan, data(0, &[]).with_preferred_read_replica(2.into()));
    scene.refuse(ErrorCode::OFFSET_OUT_OF_RANGE);
    assert_eq!(scene.plan().node_id, 1, "a follower may be behind: the leader decides");
}

/// A log per partition and a network that delays, drops and reorders answers; leaders move, the
/// application seeks, pauses and polls as it likes. What it gets between two seeks is contiguous.
#[test]
fn simulated_fetching_neither_skips_nor_repeats() {
    for seed in 0..300 {
        simulate(seed);
    }
}

fn simulate(seed: u64) {
    const PARTITIONS: i32 = 4;
    let mut rng = Rng::with_seed(seed);
    let mut fetcher = Fetcher::new(
        FetchConfig {
            prefetch_bytes_max: 4000,
            ..config()
        },
        seed,
    );
    let mut now = start_of_time();
    let mut leaders: Vec<PartitionLeader> = (0..PARTITIONS).map(|p| leader(p % 2, 3)).collect();
    let mut expected = vec![0i64; PARTITIONS as usize];
    let mut network: Vec<FetchPlan> = Vec::new();
    let mut lookups: Vec<Lookup> = Vec::new();
    let mut handed_out = 0;
    fetcher.assign((0..PARTITIONS).map(tp));
    for partition in 0..PARTITIONS {
        fetcher.start(
            &tp(partition),
            StartAt::Offset {
                offset: 0,
                leader_epoch: None,
            },
        );
    }
    fetcher.handle_leaders(|tp| Some(leaders[tp.partition as usize]));
    for step in 0..400 {
        now += Duration::from_millis(rng.u64(0..300));
        let partition = rng.i32(0..PARTITIONS);
        let index = partition as usize;
        match rng.u32(0..20) {
            0 => {
                leaders[index] = leader(rng.i32(0..3), leaders[index].leader_epoch + 1);
                fetcher.handle_leaders(|tp| Some(leaders[tp.partition as usize]));
            }
            1 => {
                let offset = rng.i64(0..200);
                let leader_epoch = rng.bool().then_some(3);
                fetcher.start(&tp(partition), StartAt::Offset { offset, leader_epoch });
                expected[index] = offset;
            }
            2 => drop(fetcher.pause(&tp(partition))),
            3 | 4 => drop(fetcher.resume(&tp(partition))),
            5 if !network.is_empty() => {
                let plan = network.swap_remove(rng.usize(0..network.len()));
                fetcher.handle_fetch_failed(now, &plan);
            }
            6..=10 if !network.is_empty() => {
                let plan = network.swap_remove(rng.usize(0..network.len()));
                let answers = plan.partitions.iter().map(|planned| {
                    if rng.u32(0..10) == 0 {
                        let code = ErrorCode::NOT_LEADER_OR_FOLLOWER.code();
                        return data(planned.tp.partition, &[]).with_error_code(code);
                    }
                    // Batches of ten; the one that holds the offset comes whole.
                    let base = planned.offset - planned.offset % 10;
                    let batches: Vec<Bytes> = (0..rng.i64(0..3)).map(|n| batch(base + 10 * n, 10)).collect();
                    data(planned.tp.partition, &batches)
                });
                let answers = response(answers.collect());
                fetcher.handle_fetch(now, &plan, VERSION, answers);
            }
            11 | 12 if !lookups.is_empty() => {
                let lookup = lookups.swap_remove(rng.usize(0..lookups.len()));
                let agreed = Position {
                    offset: i64::MAX,
                    leader_epoch: Some(3),
                };
                let found = if rng.bool() {
                    Found::EpochEnd(agreed)
                } else {
                    Found::Retry
                };
                fetcher.handle_found(now, &lookup, found);
            }
            _ => {
                if let Some(fetched) = fetcher.poll_fetched() {
                    let fetched = fetched.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
                    let index = fetched.tp.partition as usize;
                    assert_eq!(fetched.first_offset, expected[index], "seed {seed}, step {step}");
                    assert!(fetched.next_offset > fetched.first_offset, "seed {seed}, step {step}");
                    expected[index] = fetched.next_offset;
                    handed_out += 1;
                }
            }
        }
        lookups.extend(fetcher.poll_lookups(now));
        while let Some(plan) = fetcher.poll_fetch(now) {
            network.push(plan);
        }
        let queued: usize = fetcher.partitions.values().map(|state| state.queued_bytes).sum();
        assert_eq!(fetcher.queued_bytes(), queued, "seed {seed}, step {step}");
    }
    assert!(
        handed_out > 5,
        "seed {seed}: only {handed_out} answers reached the application"
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "an origin for the virtual clock; only differences matter"
)]
fn start_of_time() -> Instant {
    Instant::now()
}

//! Answers to fetches and look-ups, as odd as can be, into the fetch machine.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use engine_proto::TopicPartition;
use engine_proto::backoff::BackoffPolicy;
use engine_proto::fetch::fetcher::{FetchConfig, Fetcher};
use engine_proto::fetch::lookup::{Found, Question};
use engine_proto::fetch::partition::{Fetched, PartitionLeader};
use engine_proto::fetch::plan::FetchPlan;
use engine_proto::fetch::position::{OffsetReset, Position, StartAt};
use engine_wire::error_code::ErrorCode;
use engine_wire::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, PartitionData,
};
use engine_wire::messages::{BrokerId, FetchResponse, ProducerId, StrBytes, TopicName};
use engine_wire::record_batch::BATCH_HEADER_BYTES;
use protocol_tests::fuzzing::{Source, fuzz};
use protocol_tests::golden;
use uuid::Uuid;

use super::alone;

const PARTITIONS: i32 = 3;
const PREFETCH_BYTES_MAX: usize = 16 << 10;
const TOPIC_ID: Uuid = Uuid::from_u128(7);

fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

fn config(source: &mut Source<'_>) -> FetchConfig {
    FetchConfig {
        read_committed: source.once_in(2),
        offset_reset: source.pick(&[OffsetReset::None, OffsetReset::Earliest, OffsetReset::Latest]),
        fetch_bytes_min: 1,
        fetch_bytes_max: 1 << 20,
        partition_bytes_max: 1 << 12,
        fetch_wait_max: Duration::from_millis(500),
        prefetch_bytes_max: PREFETCH_BYTES_MAX,
        rack_id: source.once_in(2).then(|| "a".into()),
        read_replica_age_max: Duration::from_secs(300),
        backoff: BackoffPolicy {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(1),
        },
    }
}

/// Batches from an offset on, with header fields of the source's choice.
fn records(source: &mut Source<'_>, goldens: &[(String, Vec<u8>)], offset: i64) -> Bytes {
    let mut all = Vec::new();
    let mut offset = offset;
    for _ in 0..source.below(4) {
        let (_, golden) = &goldens[source.below(goldens.len())];
        let mut batch = golden.clone();
        if source.once_in(3) {
            batch[..8].copy_from_slice(&source.int64().to_be_bytes());
        } else {
            batch[..8].copy_from_slice(&offset.to_be_bytes());
        }
        batch[12..16].copy_from_slice(&source.int32().to_be_bytes()); // Leader epoch.
        match source.below(12) {
            0 => batch[8..12].copy_from_slice(&source.int32().to_be_bytes()), // Length.
            1 => batch[23..27].copy_from_slice(&source.int32().to_be_bytes()), // Last offset delta.
            2 => batch[43..51].copy_from_slice(&source.int64().to_be_bytes()), // Producer id.
            3 => batch[57..61].copy_from_slice(&source.int32().to_be_bytes()), // Record count.
            4 => batch[22] = source.byte(),                                   // Attributes.
            5 => batch.truncate(usize::from(source.byte())),
            6 => batch[16] = source.byte(), // Magic.
            _ => {}
        }
        offset = offset.saturating_add(i64::from(source.byte()));
        all.extend_from_slice(&batch);
    }
    all.into()
}

fn answer(source: &mut Source<'_>, plan: &FetchPlan, goldens: &[(String, Vec<u8>)]) -> FetchResponse {
    let mut partitions = Vec::new();
    let mut offsets: Vec<(i32, i64)> = plan.partitions.iter().map(|p| (p.tp.partition, p.offset)).collect();
    match source.below(8) {
        0 => offsets.clear(),
        1 => offsets.push((source.int32(), source.int64())),
        2 => offsets.extend(offsets.clone()),
        _ => {}
    }
    for (partition, offset) in offsets {
        let mut data = PartitionData::default()
            .with_partition_index(partition)
            .with_error_code(source.error_code())
            .with_high_watermark(source.int64())
            .with_last_stable_offset(source.int64())
            .with_records((!source.once_in(8)).then(|| records(source, goldens, offset)));
        if source.once_in(8) {
            let aborted = (0..source.below(4)).map(|_| {
                let producer_id = ProducerId(source.int64());
                AbortedTransaction::default()
                    .with_producer_id(producer_id)
                    .with_first_offset(source.int64())
            });
            data = data.with_aborted_transactions(Some(aborted.collect()));
        }
        if source.once_in(8) {
            let (epoch, end_offset) = (source.int32(), source.int64());
            data = data.with_diverging_epoch(EpochEndOffset::default().with_epoch(epoch).with_end_offset(end_offset));
        }
        if source.once_in(8) {
            let leader = LeaderIdAndEpoch::default().with_leader_id(BrokerId(source.int32()));
            data = data.with_current_leader(leader.with_leader_epoch(source.int32()));
        }
        if source.once_in(8) {
            data = data.with_preferred_read_replica(BrokerId(source.int32()));
        }
        partitions.push(data);
    }
    let name = if source.once_in(20) { "nobody's" } else { "t" };
    let id = if source.once_in(20) { Uuid::nil() } else { TOPIC_ID };
    let topic = FetchableTopicResponse::default()
        .with_topic(TopicName(StrBytes::from_static_str(name)))
        .with_topic_id(id)
        .with_partitions(partitions);
    let topics = if source.once_in(20) {
        vec![topic.clone(), topic]
    } else {
        vec![topic]
    };
    let session_id = if source.once_in(2) { source.int32() } else { 0 };
    let code = if source.once_in(8) { source.error_code() } else { 0 };
    FetchResponse::default()
        .with_throttle_time_ms(source.int32())
        .with_error_code(code)
        .with_session_id(session_id)
        .with_responses(topics)
}

fn position(source: &mut Source<'_>) -> Position {
    let leader_epoch = source.int32();
    Position {
        offset: source.int64().max(0),
        leader_epoch: (leader_epoch >= 0).then_some(leader_epoch),
    }
}

/// What was handed out must follow what was handed out before, unless somebody moved the partition.
fn check(fetched: &Fetched, expected: Option<i64>) {
    let Fetched {
        tp,
        first_offset,
        next_offset,
        batches,
        ..
    } = fetched;
    assert!(first_offset < next_offset, "{tp}: {first_offset} to {next_offset}");
    if let Some(expected) = expected {
        assert_eq!(*first_offset, expected, "{tp} moved by itself");
    }
    let mut before = *first_offset;
    for batch in batches {
        let header = &batch.header;
        assert!(header.next_offset() > before, "{tp}: batches are in order");
        assert!(header.next_offset() <= *next_offset, "{tp}: beyond the next offset");
        assert!(!header.is_control() && batch.bytes.len() >= BATCH_HEADER_BYTES);
        before = header.next_offset();
    }
}

fn run(input: &[u8], goldens: &[(String, Vec<u8>)]) -> String {
    let mut source = Source::new(input);
    let mut fetcher = Fetcher::new(config(&mut source), 1);
    let mut now = Instant::now();
    let mut outcome = String::new();
    let mut lookups = Vec::new();
    let mut plans: Vec<FetchPlan> = Vec::new();
    // Where each partition goes on; nothing is known after it was moved.
    let mut expected: HashMap<TopicPartition, i64> = HashMap::new();
    fetcher.assign((0..PARTITIONS).map(tp));
    let lead = |source: &mut Source<'_>, fetcher: &mut Fetcher| {
        let (node_id, leader_epoch) = (source.below(4) as i32, source.int32());
        let topic_id = (!source.once_in(8)).then_some(if source.once_in(8) {
            Uuid::from_u128(9)
        } else {
            TOPIC_ID
        });
        fetcher.handle_leaders(|_| {
            Some(PartitionLeader {
                node_id: (node_id > 0).then_some(node_id),
                leader_epoch,
                topic_id,
            })
        });
    };
    lead(&mut source, &mut fetcher);
    for partition in 0..PARTITIONS {
        fetcher.start(
            &tp(partition),
            StartAt::Offset {
                offset: 0,
                leader_epoch: None,
            },
        );
    }
    let mut truncations = 0;
    while !source.is_used_up() {
        match source.below(12) {
            0..=3 => {
                plans.extend(fetcher.poll_fetch(now));
                if let Some(plan) = (!plans.is_empty()).then(|| plans.remove(0)) {
                    if source.once_in(10) {
                        fetcher.handle_fetch_failed(now, &plan);
                    } else {
                        let version = plan.version_within(source.pick(&[4, 7, 11, 12, 13, 17]));
                        let answer = answer(&mut source, &plan, goldens);
                        fetcher.handle_fetch(now, &plan, version, answer.clone());
                        if source.once_in(10) {
                            fetcher.handle_fetch(now, &plan, version, answer); // Told twice.
                        }
                    }
                }
            }
            4 => {
                plans.extend(fetcher.poll_fetch(now)); // Answered later, or never.
                plans.truncate(8);
            }
            5 => {
                lookups.extend(fetcher.poll_lookups(now));
                if let Some(lookup) = lookups.pop() {
                    let is_epoch = matches!(lookup.question, Question::EndOfEpoch { .. });
                    let found = match (source.below(6), is_epoch) {
                        (0, _) => Found::Retry,
                        (1, _) => Found::Refused(ErrorCode::from(source.error_code())),
                        (2, true) => Found::Unsupported,
                        (_, true) => Found::EpochEnd(position(&mut source)),
                        (2, false) => Found::Nothing,
                        (_, false) => Found::At(position(&mut source)),
                    };
                    expected.remove(&lookup.tp);
                    fetcher.handle_found(now, &lookup, found);
                }
            }
            6 => now += Duration::from_millis(u64::from(source.byte()) * 50),
            7 | 8 => match fetcher.poll_fetched() {
                Some(Ok(fetched)) => {
                    check(&fetched, expected.get(&fetched.tp).copied());
                    expected.insert(fetched.tp.clone(), fetched.next_offset);
                    assert_eq!(
                        fetcher.position(&fetched.tp).map(|at| at.offset),
                        Some(fetched.next_offset)
                    );
                    outcome.push('f');
                }
                Some(Err(error)) => outcome += &error.to_string(),
                None => {}
            },
            9 => lead(&mut source, &mut fetcher),
            10 => {
                let tp = tp(source.below(PARTITIONS as usize) as i32);
                if source.once_in(2) {
                    fetcher.pause(&tp);
                } else {
                    fetcher.resume(&tp);
                }
            }
            _ => {
                let tp = tp(source.below(PARTITIONS as usize) as i32);
                expected.remove(&tp);
                let at = position(&mut source);
                let start = match source.below(5) {
                    0 => StartAt::Committed,
                    1 => StartAt::Earliest,
                    2 => StartAt::Latest,
                    3 => StartAt::Timestamp(source.int64()),
                    _ => StartAt::Offset {
                        offset: at.offset,
                        leader_epoch: at.leader_epoch,
                    },
                };
                fetcher.start(&tp, start);
            }
        }
        // A log that was cut below a position moves it back.
        if fetcher.stats().truncations > truncations {
            truncations = fetcher.stats().truncations;
            expected.clear();
        }
        let _ = (
            fetcher.lag(&tp(0)),
            fetcher.poll_timeout(),
            fetcher.poll_metadata_wanted(),
        );
    }
    let all: Vec<_> = (0..PARTITIONS).map(tp).collect();
    fetcher.remove(&all);
    assert_eq!(fetcher.queued_bytes(), 0, "what is charged is given back");
    assert!(!fetcher.is_ready());
    outcome
}

#[test]
fn fetches() {
    let _alone = alone();
    let goldens = golden::files("batches");
    let examples = vec![vec![0; 300], (0..=255).collect(), [0, 0, 7, 5, 6].repeat(60)];
    fuzz("fetches", examples, 4_000, |input| run(input, &goldens));
}

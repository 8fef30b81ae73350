//! Lies to consumers: Fetch and ListOffsets.

use std::sync::OnceLock;

use bytes::Bytes;
use engine_wire::compression::{Codec, Compressor};
use engine_wire::messages::fetch_response::{AbortedTransaction, EpochEndOffset, LeaderIdAndEpoch, PartitionData};
use engine_wire::messages::*;
use engine_wire::record_batch::{BatchBuilder, ProducerStamp};
use protocol_tests::tampering_proxy::{Exchange, Reply};

use super::{UNKNOWN_CODE, case};
use crate::cases::{Expected, Lie, run};
use crate::operations::Operation::*;

fn fetched(exchange: &mut Exchange<'_>, change: fn(&mut PartitionData)) -> Reply {
    exchange.changed(|answer: &mut FetchResponse| {
        for topic in &mut answer.responses {
            topic.partitions.iter_mut().for_each(change);
        }
    })
}

/// The batches of an answer with other bytes in them.
fn patched(data: &mut PartitionData, at: usize, bytes: &[u8]) {
    if let Some(records) = &data.records
        && records.len() >= at + bytes.len()
    {
        let mut patched = records.to_vec();
        patched[at..at + bytes.len()].copy_from_slice(bytes);
        data.records = Some(patched.into());
    }
}

/// A batch of a few KB that would become 32 MiB.
fn bomb() -> Bytes {
    static BOMB: OnceLock<Bytes> = OnceLock::new();
    let made = BOMB.get_or_init(|| {
        let mut builder = BatchBuilder::default();
        builder
            .append(0, None, Some(&vec![0; 32 << 20]), [])
            .expect("it fits a batch");
        let sealed = builder.seal(Codec::Lz4.into(), &mut Compressor::new(), Vec::new());
        sealed.expect("it can be compressed").stamp(ProducerStamp::NONE)
    });
    made.clone()
}

const FETCHED: &[(&str, Lie)] = &[
    ("an unknown error", |x| fetched(x, |p| p.error_code = UNKNOWN_CODE)),
    ("out of range, forever", |x| fetched(x, |p| p.error_code = 1)),
    ("partitions that nobody asked for", |x| {
        fetched(x, |p| p.partition_index = 77)
    }),
    ("negative partitions", |x| fetched(x, |p| p.partition_index = -1)),
    ("no partitions", |x| {
        x.changed(|answer: &mut FetchResponse| answer.responses.clear())
    }),
    ("every partition twice", |x| {
        x.changed(|answer: &mut FetchResponse| {
            for topic in &mut answer.responses {
                topic.partitions.extend(topic.partitions.clone());
            }
        })
    }),
    ("every topic twice", |x| {
        x.changed(|answer: &mut FetchResponse| answer.responses.extend(answer.responses.clone()))
    }),
    ("another topic", |x| {
        x.changed(|answer: &mut FetchResponse| {
            for topic in &mut answer.responses {
                topic.topic = TopicName(StrBytes::from_static_str("nobody's"));
                topic.topic_id = uuid::Uuid::from_u128(99);
            }
        })
    }),
    ("ends of the log before its beginning", |x| {
        fetched(x, |p| {
            (p.high_watermark, p.last_stable_offset) = (i64::MIN, i64::MIN);
        })
    }),
    ("ends of the log beyond all logs", |x| {
        fetched(x, |p| {
            (p.high_watermark, p.last_stable_offset) = (i64::MAX, i64::MAX);
        })
    }),
    ("a negative base offset", |x| {
        fetched(x, |p| patched(p, 0, &i64::MIN.to_be_bytes()))
    }),
    ("the last base offset", |x| {
        fetched(x, |p| patched(p, 0, &i64::MAX.to_be_bytes()))
    }),
    ("a batch that ends before it begins", |x| {
        fetched(x, |p| patched(p, 23, &i32::MIN.to_be_bytes()))
    }),
    ("a batch of 2^31 offsets", |x| {
        fetched(x, |p| patched(p, 23, &i32::MAX.to_be_bytes()))
    }),
    ("a batch of a negative length", |x| {
        fetched(x, |p| patched(p, 8, &i32::MIN.to_be_bytes()))
    }),
    ("a batch of 2 GiB", |x| {
        fetched(x, |p| patched(p, 8, &i32::MAX.to_be_bytes()))
    }),
    ("an unknown codec", |x| fetched(x, |p| patched(p, 22, &[7]))),
    ("a codec that was not used", |x| fetched(x, |p| patched(p, 22, &[2]))),
    ("a control batch that is none", |x| {
        fetched(x, |p| patched(p, 22, &[0x20]))
    }),
    ("records beyond all reason", |x| {
        fetched(x, |p| patched(p, 57, &i32::MAX.to_be_bytes()))
    }),
    ("a leader epoch of the far future", |x| {
        fetched(x, |p| patched(p, 12, &i32::MAX.to_be_bytes()))
    }),
    ("noise for records", |x| {
        fetched(x, |p| p.records = Some(Bytes::from_static(&[0x5a; 200])))
    }),
    ("a bomb", |x| fetched(x, |p| p.records = Some(bomb()))),
    ("aborted transactions of nobody", |x| {
        fetched(x, |p| {
            let aborted = AbortedTransaction::default()
                .with_producer_id(ProducerId(-1))
                .with_first_offset(i64::MIN);
            p.aborted_transactions = Some(vec![aborted; 1_000]);
        })
    }),
    ("a log that diverges before its beginning", |x| {
        fetched(x, |p| {
            p.diverging_epoch = EpochEndOffset::default().with_epoch(i32::MAX).with_end_offset(0);
        })
    }),
    ("a leader that does not exist", |x| {
        fetched(x, |p| {
            p.error_code = 6;
            p.current_leader = LeaderIdAndEpoch::default()
                .with_leader_id(BrokerId(99))
                .with_leader_epoch(9);
        })
    }),
    ("a follower that does not exist", |x| {
        fetched(x, |p| p.preferred_read_replica = BrokerId(99))
    }),
    ("a session of nobody", |x| {
        x.changed(|answer: &mut FetchResponse| answer.session_id = i32::MIN)
    }),
    ("a session that is never known", |x| {
        x.changed(|answer: &mut FetchResponse| {
            answer.responses.clear();
            answer.error_code = 70;
        })
    }),
    ("an unknown error as a whole", |x| {
        x.changed(|answer: &mut FetchResponse| {
            answer.responses.clear();
            answer.error_code = UNKNOWN_CODE;
        })
    }),
    ("a negative throttle", |x| {
        x.changed(|answer: &mut FetchResponse| answer.throttle_time_ms = i32::MIN)
    }),
];

fn listed(exchange: &mut Exchange<'_>, change: fn(&mut list_offsets_response::ListOffsetsPartitionResponse)) -> Reply {
    exchange.changed(|answer: &mut ListOffsetsResponse| {
        for topic in &mut answer.topics {
            topic.partitions.iter_mut().for_each(change);
        }
    })
}

const LISTED: &[(&str, Lie)] = &[
    ("an unknown error", |x| listed(x, |p| p.error_code = UNKNOWN_CODE)),
    ("a negative offset", |x| listed(x, |p| p.offset = -7)),
    ("an offset beyond all logs", |x| listed(x, |p| p.offset = i64::MAX)),
    ("a partition that nobody asked for", |x| {
        listed(x, |p| p.partition_index = 77)
    }),
    ("a negative epoch", |x| listed(x, |p| p.leader_epoch = i32::MIN)),
    ("an epoch of the far future", |x| {
        listed(x, |p| p.leader_epoch = i32::MAX)
    }),
    ("nothing", |x| {
        x.changed(|answer: &mut ListOffsetsResponse| answer.topics.clear())
    }),
    ("everything twice", |x| {
        x.changed(|answer: &mut ListOffsetsResponse| answer.topics.extend(answer.topics.clone()))
    }),
];

#[test]
fn consumers_survive_odd_answers() {
    let mut cases = Vec::new();
    for operation in [Consume, ConsumeCommitted] {
        for (what, lie) in FETCHED {
            cases.push(case(operation, ApiKey::Fetch, what, *lie, Expected::AnEnd));
        }
        for (what, lie) in LISTED {
            cases.push(case(operation, ApiKey::ListOffsets, what, *lie, Expected::AnEnd));
        }
    }
    run(cases);
}

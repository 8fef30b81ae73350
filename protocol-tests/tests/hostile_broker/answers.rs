//! Lies in answers that can be read: numbers that cannot be, things that do not exist, too much and too little.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use engine_wire::compression::{Codec, Compressor};
use engine_wire::messages::fetch_response::{AbortedTransaction, EpochEndOffset, LeaderIdAndEpoch, PartitionData};
use engine_wire::messages::metadata_response::MetadataResponsePartition;
use engine_wire::messages::*;
use engine_wire::record_batch::{BatchBuilder, ProducerStamp};
use protocol_tests::tampering_proxy::{Exchange, Reply};

use super::cases::{A_WHILE, Case, Expected, Lie, run};
use super::operations::Operation::{self, *};

/// An error code that no Kafka has.
const UNKNOWN_CODE: i16 = 9_999;

fn case(operation: Operation, api: ApiKey, what: &'static str, lie: Lie, expected: Expected) -> Case {
    Case {
        what,
        operation,
        api,
        lie,
        lasts: A_WHILE,
        expected,
    }
}

/// A lie about metadata, told in the middle of things: everybody asks for metadata, and asks again.
macro_rules! metadata {
    ($($what:literal: |$answer:ident| $change:expr;)*) => {
        const METADATA: &[(&str, Lie)] = &[$(($what, |exchange| {
            exchange.changed(|$answer: &mut MetadataResponse| { $change; })
        })),*];
    };
}

metadata! {
    "no brokers": |answer| answer.brokers.clear();
    "every broker twice": |answer| answer.brokers.extend(answer.brokers.clone());
    "a second address for the same broker": |answer| {
        let mut other = answer.brokers.clone();
        other.iter_mut().for_each(|broker| broker.port = 1);
        answer.brokers.extend(other);
    };
    "port 0": |answer| answer.brokers.iter_mut().for_each(|broker| broker.port = 0);
    "port 70000": |answer| answer.brokers.iter_mut().for_each(|broker| broker.port = 70_000);
    "port -1": |answer| answer.brokers.iter_mut().for_each(|broker| broker.port = -1);
    "no host": |answer| answer.brokers.iter_mut().for_each(|broker| broker.host = StrBytes::default());
    "a host that cannot be": |answer| answer.brokers.iter_mut().for_each(|broker| {
        broker.host = StrBytes::from_static_str("no such host\0");
    });
    "a host of 30 KB": |answer| answer.brokers.iter_mut().for_each(|broker| {
        broker.host = StrBytes::from_string("h".repeat(30_000));
    });
    "negative node ids": |answer| answer.brokers.iter_mut().for_each(|broker| broker.node_id = BrokerId(-7));
    "a controller that does not exist": |answer| answer.controller_id = BrokerId(99);
    "no topics": |answer| answer.topics.clear();
    "topics that nobody asked for": |answer| for topic in answer.topics.clone() {
        let name = TopicName(StrBytes::from_static_str("nobody's"));
        answer.topics.push(topic.with_name(Some(name)));
    };
    "every topic twice": |answer| answer.topics.extend(answer.topics.clone());
    "topics without partitions": |answer| answer.topics.iter_mut().for_each(|topic| topic.partitions.clear());
    "an unknown error": |answer| answer.topics.iter_mut().for_each(|topic| topic.error_code = UNKNOWN_CODE);
    "leaders that do not exist": |answer| every_partition(answer, |partition| partition.leader_id = BrokerId(99));
    "no leaders": |answer| every_partition(answer, |partition| partition.leader_id = BrokerId(-1));
    "leader epochs of the far future": |answer| every_partition(answer, |partition| partition.leader_epoch = i32::MAX);
    "partition indexes that are no indexes": |answer| every_partition(answer, |partition| partition.partition_index = i32::MAX);
    "negative partition indexes": |answer| every_partition(answer, |partition| partition.partition_index = -1);
    "every partition twice": |answer| for topic in &mut answer.topics {
        topic.partitions.extend(topic.partitions.clone());
    };
    "a throttle of 25 days": |answer| answer.throttle_time_ms = i32::MAX;
}

fn every_partition(answer: &mut MetadataResponse, change: impl Fn(&mut MetadataResponsePartition)) {
    for topic in &mut answer.topics {
        topic.partitions.iter_mut().for_each(&change);
    }
}

#[test]
fn every_client_survives_odd_metadata() {
    let cases = |operation| {
        let cases = METADATA.iter();
        cases.map(move |(what, lie)| case(operation, ApiKey::Metadata, what, *lie, Expected::AnEnd))
    };
    run([Produce, Consume, Join, Administrate, Transact]
        .into_iter()
        .flat_map(cases)
        .collect());
}

fn coordinators(exchange: &mut Exchange<'_>, change: fn(&mut find_coordinator_response::Coordinator)) -> Reply {
    exchange.changed(|answer: &mut FindCoordinatorResponse| answer.coordinators.iter_mut().for_each(change))
}

const COORDINATORS: &[(&str, Lie)] = &[
    ("an unknown node", |x| coordinators(x, |c| c.node_id = BrokerId(99))),
    ("a negative node", |x| coordinators(x, |c| c.node_id = BrokerId(-1))),
    ("port 0", |x| coordinators(x, |c| c.port = 0)),
    ("port 70000", |x| {
        coordinators(x, |c| (c.node_id, c.port) = (BrokerId(98), 70_000))
    }),
    ("no host", |x| {
        coordinators(x, |c| (c.node_id, c.host) = (BrokerId(97), StrBytes::default()))
    }),
    ("an unknown error", |x| coordinators(x, |c| c.error_code = UNKNOWN_CODE)),
    ("another's coordinator", |x| {
        coordinators(x, |c| c.key = StrBytes::from_static_str("nobody's"))
    }),
    ("nobody", |x| {
        x.changed(|answer: &mut FindCoordinatorResponse| answer.coordinators.clear())
    }),
    ("everybody twice", |x| {
        x.changed(|answer: &mut FindCoordinatorResponse| answer.coordinators.extend(answer.coordinators.clone()))
    }),
];

#[test]
fn coordinators_that_do_not_exist_are_looked_for_again() {
    let cases = |operation| {
        let cases = COORDINATORS.iter();
        cases.map(move |(what, lie)| case(operation, ApiKey::FindCoordinator, what, *lie, Expected::AnEnd))
    };
    run([Join, Transact].into_iter().flat_map(cases).collect());
}

fn produced(exchange: &mut Exchange<'_>, change: fn(&mut produce_response::PartitionProduceResponse)) -> Reply {
    exchange.changed(|answer: &mut ProduceResponse| {
        for topic in &mut answer.responses {
            topic.partition_responses.iter_mut().for_each(change);
        }
    })
}

const PRODUCED: &[(&str, Lie, Expected)] = &[
    (
        "an unknown error",
        |x| produced(x, |p| p.error_code = UNKNOWN_CODE),
        Expected::Error("9999"),
    ),
    (
        "a negative offset",
        |x| produced(x, |p| p.base_offset = -7),
        Expected::Success,
    ),
    (
        "an offset beyond all logs",
        |x| produced(x, |p| p.base_offset = i64::MAX),
        Expected::Success,
    ),
    (
        "an append time long before time",
        |x| produced(x, |p| p.log_append_time_ms = i64::MIN),
        Expected::Success,
    ),
    (
        "a partition that nobody asked for",
        |x| produced(x, |p| p.index = 77),
        Expected::AnEnd,
    ),
    (
        "a negative partition",
        |x| produced(x, |p| p.index = -1),
        Expected::AnEnd,
    ),
    (
        "a record that is too large, forever",
        |x| produced(x, |p| p.error_code = 10),
        Expected::Error("MESSAGE_TOO_LARGE"),
    ),
    (
        "a leader that does not exist",
        |x| {
            produced(x, |p| {
                p.error_code = 6;
                p.current_leader.leader_id = BrokerId(99);
                p.current_leader.leader_epoch = 5;
            })
        },
        Expected::AnEnd,
    ),
    (
        "no partitions",
        |x| x.changed(|answer: &mut ProduceResponse| answer.responses.clear()),
        Expected::Success,
    ),
    (
        "every partition twice, once refused",
        |x| {
            x.changed(|answer: &mut ProduceResponse| {
                for topic in &mut answer.responses {
                    let mut again = topic.partition_responses.clone();
                    again.iter_mut().for_each(|partition| partition.error_code = 17);
                    topic.partition_responses.extend(again);
                }
            })
        },
        Expected::Success,
    ),
    (
        "another topic",
        |x| {
            x.changed(|answer: &mut ProduceResponse| {
                for topic in &mut answer.responses {
                    topic.name = TopicName(StrBytes::from_static_str("nobody's"));
                    topic.topic_id = uuid::Uuid::from_u128(99);
                }
            })
        },
        Expected::AnEnd,
    ),
    (
        "a throttle of 25 days",
        |x| x.changed(|answer: &mut ProduceResponse| answer.throttle_time_ms = i32::MAX),
        Expected::AnEnd,
    ),
    (
        "a negative throttle",
        |x| x.changed(|answer: &mut ProduceResponse| answer.throttle_time_ms = i32::MIN),
        Expected::Success,
    ),
];

#[test]
fn producers_survive_odd_answers() {
    let mut cases: Vec<Case> = PRODUCED
        .iter()
        .map(|(what, lie, expected)| case(Produce, ApiKey::Produce, what, *lie, *expected))
        .collect();
    for (what, lie, _) in PRODUCED {
        cases.push(case(Transact, ApiKey::Produce, what, *lie, Expected::AnEnd));
    }
    let identity: &[(&str, Lie)] = &[
        ("nobody's id", |x| {
            x.changed(|answer: &mut InitProducerIdResponse| {
                (answer.producer_id, answer.producer_epoch) = (ProducerId(-1), -1);
            })
        }),
        ("the last epoch", |x| {
            x.changed(|answer: &mut InitProducerIdResponse| answer.producer_epoch = i16::MAX)
        }),
        ("an unknown error", |x| {
            x.changed(|answer: &mut InitProducerIdResponse| answer.error_code = UNKNOWN_CODE)
        }),
    ];
    for (what, lie) in identity {
        for operation in [Produce, Transact, TransactExplicitly] {
            cases.push(case(operation, ApiKey::InitProducerId, what, *lie, Expected::AnEnd));
        }
    }
    run(cases);
}

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

fn given(exchange: &mut Exchange<'_>, assignment: &'static [u8]) -> Reply {
    exchange.changed(|answer: &mut SyncGroupResponse| answer.assignment = Bytes::from_static(assignment))
}

const GROUPS: &[(&str, ApiKey, Lie)] = &[
    ("generation -1", ApiKey::JoinGroup, |x| {
        x.changed(|answer: &mut JoinGroupResponse| answer.generation_id = -1)
    }),
    ("generation 2^31 - 1", ApiKey::JoinGroup, |x| {
        x.changed(|answer: &mut JoinGroupResponse| answer.generation_id = i32::MAX)
    }),
    ("no member id", ApiKey::JoinGroup, |x| {
        x.changed(|answer: &mut JoinGroupResponse| answer.member_id = StrBytes::default())
    }),
    ("nobody leads", ApiKey::JoinGroup, |x| {
        x.changed(|answer: &mut JoinGroupResponse| answer.leader = StrBytes::from_static_str("nobody"))
    }),
    ("a protocol that nobody offered", ApiKey::JoinGroup, |x| {
        x.changed(|answer: &mut JoinGroupResponse| {
            answer.protocol_name = Some(StrBytes::from_static_str("nobody's"));
        })
    }),
    ("every member twice", ApiKey::JoinGroup, |x| {
        x.changed(|answer: &mut JoinGroupResponse| answer.members.extend(answer.members.clone()))
    }),
    ("no members", ApiKey::JoinGroup, |x| {
        x.changed(|answer: &mut JoinGroupResponse| answer.members.clear())
    }),
    ("a member that says noise", ApiKey::JoinGroup, |x| {
        x.changed(|answer: &mut JoinGroupResponse| {
            answer
                .members
                .iter_mut()
                .for_each(|member| member.metadata = Bytes::from_static(&[0x7f; 40]));
        })
    }),
    ("an unknown error", ApiKey::JoinGroup, |x| {
        x.changed(|answer: &mut JoinGroupResponse| answer.error_code = UNKNOWN_CODE)
    }),
    ("a topic that nobody knows", ApiKey::SyncGroup, |x| {
        given(x, b"\0\0\0\0\0\x01\0\x04none\0\0\0\x01\0\0\0\0\xff\xff\xff\xff")
    }),
    ("partitions that cannot be", ApiKey::SyncGroup, |x| {
        given(
            x,
            b"\0\0\0\0\0\x01\0\x06orders\0\0\0\x03\x7f\xff\xff\xff\x80\0\0\0\0\0\0\x63\xff\xff\xff\xff",
        )
    }),
    ("a partition twice", ApiKey::SyncGroup, |x| {
        given(
            x,
            b"\0\0\0\0\0\x01\0\x06orders\0\0\0\x02\0\0\0\0\0\0\0\0\xff\xff\xff\xff",
        )
    }),
    ("noise for an assignment", ApiKey::SyncGroup, |x| given(x, &[0x7f; 60])),
    ("no assignment", ApiKey::SyncGroup, |x| given(x, b"")),
    ("an unknown error", ApiKey::SyncGroup, |x| {
        x.changed(|answer: &mut SyncGroupResponse| answer.error_code = UNKNOWN_CODE)
    }),
    ("a rebalance without end", ApiKey::SyncGroup, |x| {
        x.changed(|answer: &mut SyncGroupResponse| answer.error_code = 27)
    }),
    ("an unknown error", ApiKey::Heartbeat, |x| {
        x.changed(|answer: &mut HeartbeatResponse| answer.error_code = UNKNOWN_CODE)
    }),
    ("a rebalance without end", ApiKey::Heartbeat, |x| {
        x.changed(|answer: &mut HeartbeatResponse| answer.error_code = 27)
    }),
    ("nothing", ApiKey::OffsetFetch, |x| {
        x.changed(|answer: &mut OffsetFetchResponse| {
            answer.topics.clear();
            answer.groups.clear();
        })
    }),
    ("another group", ApiKey::OffsetFetch, |x| {
        x.changed(|answer: &mut OffsetFetchResponse| {
            answer
                .groups
                .iter_mut()
                .for_each(|group| group.group_id = GroupId(StrBytes::from_static_str("nobody's")));
        })
    }),
    ("a negative offset", ApiKey::OffsetFetch, |x| committed(x, -7, -1)),
    ("an offset beyond all logs", ApiKey::OffsetFetch, |x| {
        committed(x, i64::MAX, 0)
    }),
    ("an epoch of the far future", ApiKey::OffsetFetch, |x| {
        committed(x, 0, i32::MAX)
    }),
    ("a negative epoch", ApiKey::OffsetFetch, |x| committed(x, 0, i32::MIN)),
    ("nothing", ApiKey::OffsetCommit, |x| {
        x.changed(|answer: &mut OffsetCommitResponse| answer.topics.clear())
    }),
    ("an unknown error", ApiKey::OffsetCommit, |x| {
        x.changed(|answer: &mut OffsetCommitResponse| {
            for topic in &mut answer.topics {
                topic
                    .partitions
                    .iter_mut()
                    .for_each(|partition| partition.error_code = UNKNOWN_CODE);
            }
        })
    }),
    ("another partition", ApiKey::OffsetCommit, |x| {
        x.changed(|answer: &mut OffsetCommitResponse| {
            for topic in &mut answer.topics {
                topic
                    .partitions
                    .iter_mut()
                    .for_each(|partition| partition.partition_index = 77);
            }
        })
    }),
];

fn committed(exchange: &mut Exchange<'_>, offset: i64, leader_epoch: i32) -> Reply {
    exchange.changed(|answer: &mut OffsetFetchResponse| {
        for topic in answer.groups.iter_mut().flat_map(|group| &mut group.topics) {
            for partition in &mut topic.partitions {
                (partition.committed_offset, partition.committed_leader_epoch) = (offset, leader_epoch);
            }
        }
    })
}

#[test]
fn group_members_survive_odd_answers() {
    let cases = GROUPS.iter();
    run(cases
        .map(|(what, api, lie)| case(Join, *api, what, *lie, Expected::AnEnd))
        .collect());
}

const TRANSACTIONS: &[(&str, Operation, ApiKey, Lie)] = &[
    ("an unknown error", Transact, ApiKey::EndTxn, |x| {
        x.changed(|answer: &mut EndTxnResponse| answer.error_code = UNKNOWN_CODE)
    }),
    ("nobody's id", Transact, ApiKey::EndTxn, |x| {
        x.changed(|answer: &mut EndTxnResponse| {
            (answer.producer_id, answer.producer_epoch) = (ProducerId(i64::MIN), i16::MIN);
        })
    }),
    ("another's id", Transact, ApiKey::EndTxn, |x| {
        x.changed(|answer: &mut EndTxnResponse| {
            (answer.producer_id, answer.producer_epoch) = (ProducerId(i64::MAX), 7);
        })
    }),
    ("nothing", Transact, ApiKey::TxnOffsetCommit, |x| {
        x.changed(|answer: &mut TxnOffsetCommitResponse| answer.topics.clear())
    }),
    ("an unknown error", Transact, ApiKey::TxnOffsetCommit, |x| {
        x.changed(|answer: &mut TxnOffsetCommitResponse| {
            for topic in &mut answer.topics {
                topic
                    .partitions
                    .iter_mut()
                    .for_each(|partition| partition.error_code = UNKNOWN_CODE);
            }
        })
    }),
    ("nothing", TransactExplicitly, ApiKey::AddPartitionsToTxn, |x| {
        x.changed(|answer: &mut AddPartitionsToTxnResponse| answer.results_by_topic_v3_and_below.clear())
    }),
    (
        "an unknown error",
        TransactExplicitly,
        ApiKey::AddPartitionsToTxn,
        |x| {
            x.changed(|answer: &mut AddPartitionsToTxnResponse| {
                for topic in &mut answer.results_by_topic_v3_and_below {
                    topic
                        .results_by_partition
                        .iter_mut()
                        .for_each(|result| result.partition_error_code = UNKNOWN_CODE);
                }
            })
        },
    ),
    (
        "other partitions",
        TransactExplicitly,
        ApiKey::AddPartitionsToTxn,
        |x| {
            x.changed(|answer: &mut AddPartitionsToTxnResponse| {
                for topic in &mut answer.results_by_topic_v3_and_below {
                    topic
                        .results_by_partition
                        .iter_mut()
                        .for_each(|result| result.partition_index = -7);
                }
            })
        },
    ),
    ("an unknown error", TransactExplicitly, ApiKey::AddOffsetsToTxn, |x| {
        x.changed(|answer: &mut AddOffsetsToTxnResponse| answer.error_code = UNKNOWN_CODE)
    }),
];

#[test]
fn transactional_producers_survive_odd_answers() {
    let cases = TRANSACTIONS.iter();
    run(cases
        .map(|(what, operation, api, lie)| case(*operation, *api, what, *lie, Expected::AnEnd))
        .collect());
}

const GREETINGS: &[(&str, Lie)] = &[
    ("no APIs", |x| {
        x.changed(|answer: &mut ApiVersionsResponse| answer.api_keys.clear())
    }),
    ("versions that end before they begin", |x| {
        x.changed(|answer: &mut ApiVersionsResponse| {
            answer
                .api_keys
                .iter_mut()
                .for_each(|api| (api.min_version, api.max_version) = (9, 3));
        })
    }),
    ("versions of the far future", |x| {
        x.changed(|answer: &mut ApiVersionsResponse| {
            answer
                .api_keys
                .iter_mut()
                .for_each(|api| (api.min_version, api.max_version) = (30_000, i16::MAX));
        })
    }),
    ("negative versions", |x| {
        x.changed(|answer: &mut ApiVersionsResponse| {
            answer
                .api_keys
                .iter_mut()
                .for_each(|api| (api.min_version, api.max_version) = (i16::MIN, -1));
        })
    }),
    ("every API twice", |x| {
        x.changed(|answer: &mut ApiVersionsResponse| answer.api_keys.extend(answer.api_keys.clone()))
    }),
    ("an unknown error", |x| {
        x.changed(|answer: &mut ApiVersionsResponse| answer.error_code = UNKNOWN_CODE)
    }),
    ("a throttle of 25 days", |x| {
        x.changed(|answer: &mut ApiVersionsResponse| answer.throttle_time_ms = i32::MAX)
    }),
];

#[test]
fn odd_greetings_are_refused_clearly() {
    let cases = |operation| {
        let cases = GREETINGS.iter();
        cases.map(move |(what, lie)| Case {
            lasts: Duration::from_millis(300),
            ..case(operation, ApiKey::ApiVersions, what, *lie, Expected::AnEnd)
        })
    };
    run([Produce, Consume, Administrate].into_iter().flat_map(cases).collect());
}

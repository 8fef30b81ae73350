//! Lies to producers: Produce and InitProducerId.

use engine_wire::messages::*;
use protocol_tests::tampering_proxy::{Exchange, Reply};

use super::{UNKNOWN_CODE, case};
use crate::cases::{Case, Expected, Lie, run};
use crate::operations::Operation::*;

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

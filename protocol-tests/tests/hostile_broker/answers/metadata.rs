//! Lies about the cluster: metadata and coordinators.

use engine_wire::messages::metadata_response::MetadataResponsePartition;
use engine_wire::messages::*;
use protocol_tests::tampering_proxy::{Exchange, Reply};

use super::{UNKNOWN_CODE, case};
use crate::cases::{Expected, Lie, run};
use crate::operations::Operation::*;

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

//! Lies about frames: whatever was asked, the answer is not even an answer.

use std::time::Duration;

use engine_wire::messages::ApiKey;
use protocol_tests::tampering_proxy::{Exchange, Reply};

use super::cases::{A_WHILE, Case, Expected, Lie, run};
use super::operations::Operation;

const LIES: &[(&str, Lie)] = &[
    ("a frame that ends in the middle", |exchange| {
        let frame = honest(exchange);
        Reply::Close(prefixed(frame.len(), &frame[..frame.len() / 2]))
    }),
    ("a body that ends in the middle", |exchange| {
        let frame = honest(exchange);
        Reply::Wire(prefixed(frame.len() / 2, &frame[..frame.len() / 2]))
    }),
    ("a body with something behind it", |exchange| {
        let frame = [honest(exchange), vec![7; 9]].concat();
        Reply::Wire(prefixed(frame.len(), &frame))
    }),
    ("a frame of less than nothing", |_| Reply::Wire(vec![0xff; 40])),
    ("a frame of 2 GiB", |_| {
        Reply::Wire([&[0x7f, 0xff, 0xff, 0xff][..], &[0; 40]].concat())
    }),
    ("a frame of nothing", |_| Reply::Wire(vec![0; 4])),
    ("a frame of a few MiB that never comes", |_| {
        Reply::Wire(vec![0, 0x60, 0, 0, 1, 2, 3])
    }),
    ("the answer to another request", |exchange| {
        let mut frame = honest(exchange);
        frame[3] ^= 0x55;
        Reply::Wire(prefixed(frame.len(), &frame))
    }),
    ("an answer that nobody asked for", |exchange| {
        let frame = honest(exchange);
        let mut other = frame.clone();
        other[0] ^= 0x7f;
        Reply::Wire([prefixed(other.len(), &other), prefixed(frame.len(), &frame)].concat())
    }),
    ("every answer twice", |exchange| {
        let frame = honest(exchange);
        Reply::Wire(prefixed(frame.len(), &frame).repeat(2))
    }),
    ("counts beyond all reason", |exchange| {
        let body = [&exchange.correlation_id.to_be_bytes()[..], &[0x7f; 200]].concat();
        Reply::Wire(prefixed(body.len(), &body))
    }),
    ("negative counts", |exchange| {
        let body = [&exchange.correlation_id.to_be_bytes()[..], &[0xfe; 200]].concat();
        Reply::Wire(prefixed(body.len(), &body))
    }),
    ("zeros", |exchange| {
        let body = [&exchange.correlation_id.to_be_bytes()[..], &[0; 200]].concat();
        Reply::Wire(prefixed(body.len(), &body))
    }),
    ("another protocol", |_| {
        Reply::Wire(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())
    }),
    ("silence", |_| Reply::Silence),
    ("a byte now and then", |exchange| {
        let frame = honest(exchange);
        Reply::Drip(prefixed(frame.len(), &frame), Duration::from_secs(1))
    }),
    ("the end of the connection", |_| Reply::Close(Vec::new())),
];

fn honest(exchange: &mut Exchange<'_>) -> Vec<u8> {
    // A broker that is gone answers nothing: the case is over then.
    exchange
        .honest_frame()
        .map_or_else(|_| vec![0; 8], |frame| frame.to_vec())
}

fn prefixed(size: usize, bytes: &[u8]) -> Vec<u8> {
    [&(size as u32).to_be_bytes()[..], bytes].concat()
}

fn cases(operation: Operation, apis: &[ApiKey]) -> Vec<Case> {
    let with = |api: &ApiKey| {
        let api = *api;
        LIES.iter().map(move |(what, lie)| Case {
            what,
            operation,
            api,
            lie: *lie,
            lasts: A_WHILE,
            expected: Expected::AnEnd,
        })
    };
    apis.iter().flat_map(with).collect()
}

#[test]
fn a_producer_survives_what_is_no_answer() {
    use ApiKey::*;
    run(cases(
        Operation::Produce,
        &[ApiVersions, Metadata, InitProducerId, Produce],
    ));
}

#[test]
fn a_consumer_survives_what_is_no_answer() {
    use ApiKey::*;
    run(cases(Operation::Consume, &[Metadata, ListOffsets, Fetch]));
}

#[test]
fn a_group_member_survives_what_is_no_answer() {
    use ApiKey::*;
    let apis = [
        FindCoordinator,
        JoinGroup,
        SyncGroup,
        Heartbeat,
        OffsetFetch,
        OffsetCommit,
    ];
    run(cases(Operation::Join, &apis));
}

#[test]
fn an_administrator_survives_what_is_no_answer() {
    use ApiKey::*;
    let apis = [
        DescribeCluster,
        ListGroups,
        DescribeConfigs,
        DescribeGroups,
        CreateTopics,
    ];
    run(cases(Operation::Administrate, &apis));
}

#[test]
fn a_transactional_producer_survives_what_is_no_answer() {
    use ApiKey::*;
    run(cases(
        Operation::Transact,
        &[InitProducerId, Produce, TxnOffsetCommit, EndTxn],
    ));
    run(cases(
        Operation::TransactExplicitly,
        &[AddPartitionsToTxn, AddOffsetsToTxn],
    ));
}

//! Every message, header and frame decoder of `wire` against bytes that mean harm.
//!
//! Three kinds: noise, counts and lengths overwritten in good messages, and random mutations of
//! golden bytes. A decoder may refuse or, where the bytes happen to mean something, succeed; it may
//! not panic, and it may not allocate more than its input or its limit pays for. The allocator of
//! this binary counts, and its limit turns a runaway reservation into a failure.
//!
//! Seeds are printed; one that failed becomes a named test. More rounds: `HOSTILE_ROUNDS=1000`.

use std::alloc::System;
use std::sync::{Mutex, MutexGuard};

use bytes::{Bytes, BytesMut};
use cap::Cap;
use engine_wire::frame::FrameDecoder;
use engine_wire::messages::*;
use engine_wire::request::{decode_request, decode_request_body};
use engine_wire::response::{decode_api_versions, decode_body, decode_response_header};
use protocol_tests::golden;
use protocol_tests::hostility::{Random, allocating_at_most, rounds};

/// Far above what any input here pays for, far below what a lying count asks for.
const ALLOCATED_BYTES_MAX: usize = 1 << 30;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, ALLOCATED_BYTES_MAX);

/// One test at a time: the counters are the process's.
static COUNTERS: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    COUNTERS.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Bytes that a message of `size` may cost. The worst honest ratio is a vector of empty structs
/// of a few hundred bytes each; reservations of nested arrays come on top.
fn message_budget(size: usize) -> usize {
    128 * 1024 + 2000 * size
}

macro_rules! for_each_message {
    ($call:ident: $($request:ident $response:ident),* $(,)?) => {
        $(
            $call!($request, decode_request_body);
            $call!($response, decode_body);
        )*
    };
}

macro_rules! for_each_message_we_use {
    ($call:ident) => {
        for_each_message!($call:
            ProduceRequest ProduceResponse, FetchRequest FetchResponse, ListOffsetsRequest ListOffsetsResponse,
            MetadataRequest MetadataResponse, OffsetCommitRequest OffsetCommitResponse,
            OffsetFetchRequest OffsetFetchResponse, FindCoordinatorRequest FindCoordinatorResponse,
            JoinGroupRequest JoinGroupResponse, HeartbeatRequest HeartbeatResponse,
            LeaveGroupRequest LeaveGroupResponse, SyncGroupRequest SyncGroupResponse,
            DescribeGroupsRequest DescribeGroupsResponse, ListGroupsRequest ListGroupsResponse,
            SaslHandshakeRequest SaslHandshakeResponse, ApiVersionsRequest ApiVersionsResponse,
            CreateTopicsRequest CreateTopicsResponse, DeleteTopicsRequest DeleteTopicsResponse,
            DeleteRecordsRequest DeleteRecordsResponse, InitProducerIdRequest InitProducerIdResponse,
            OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse,
            AddPartitionsToTxnRequest AddPartitionsToTxnResponse, AddOffsetsToTxnRequest AddOffsetsToTxnResponse,
            EndTxnRequest EndTxnResponse, WriteTxnMarkersRequest WriteTxnMarkersResponse,
            TxnOffsetCommitRequest TxnOffsetCommitResponse, DescribeAclsRequest DescribeAclsResponse,
            CreateAclsRequest CreateAclsResponse, DeleteAclsRequest DeleteAclsResponse,
            DescribeConfigsRequest DescribeConfigsResponse, AlterConfigsRequest AlterConfigsResponse,
            SaslAuthenticateRequest SaslAuthenticateResponse, CreatePartitionsRequest CreatePartitionsResponse,
            DeleteGroupsRequest DeleteGroupsResponse, ElectLeadersRequest ElectLeadersResponse,
            IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse,
            AlterPartitionReassignmentsRequest AlterPartitionReassignmentsResponse,
            ListPartitionReassignmentsRequest ListPartitionReassignmentsResponse,
            OffsetDeleteRequest OffsetDeleteResponse, DescribeClientQuotasRequest DescribeClientQuotasResponse,
            DescribeUserScramCredentialsRequest DescribeUserScramCredentialsResponse,
            AlterUserScramCredentialsRequest AlterUserScramCredentialsResponse,
            DescribeClusterRequest DescribeClusterResponse, DescribeProducersRequest DescribeProducersResponse,
            DescribeTransactionsRequest DescribeTransactionsResponse,
            ListTransactionsRequest ListTransactionsResponse,
            ConsumerGroupHeartbeatRequest ConsumerGroupHeartbeatResponse,
            ConsumerGroupDescribeRequest ConsumerGroupDescribeResponse,
            DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse,
        )
    };
}

/// Pitfall 19: negative and huge counts in every array of every message.
#[test]
fn a_count_of_any_size_anywhere_in_any_message_costs_no_more_than_the_message() {
    let _alone = alone();
    let huge: [&[u8]; 6] = [
        &[0x7f, 0xff, 0xff, 0xff],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0x00, 0x00, 0x00, 0xc8],
        &[0xc8, 0x01],
        &[0x80, 0x80, 0x80, 0x80, 0x08],
        &[0x00, 0x10, 0x00, 0x00],
    ];
    let mut decoded = 0u32;
    macro_rules! with_huge_counts {
        ($message:ident, $decode:ident) => {
            for version in $message::VERSIONS.min..=$message::VERSIONS.max {
                for position in 0..48 {
                    for count in huge {
                        // Zeros are empty strings and arrays; then the count; then room behind it.
                        let mut body = vec![0u8; position];
                        body.extend_from_slice(count);
                        body.resize(position + 300, (position % 3) as u8);
                        let size = body.len();
                        let body = Bytes::from(body);
                        let what = concat!(stringify!($message), " with a huge count");
                        allocating_at_most(&ALLOCATOR, message_budget(size), what, || {
                            decoded += u32::from($decode::<$message>(version, body).is_ok());
                        });
                    }
                }
            }
        };
    }
    for_each_message_we_use!(with_huge_counts);
    println!("{decoded} messages decoded by chance");
}

/// Pitfall 19: bytes that mean nothing.
#[test]
fn noise_decodes_to_an_error_or_a_message_within_budget() {
    let _alone = alone();
    for seed in 0..rounds(30) {
        let mut random = Random::new(seed);
        macro_rules! with_noise {
            ($message:ident, $decode:ident) => {
                for version in $message::VERSIONS.min..=$message::VERSIONS.max {
                    let size = random.below(400);
                    let body = Bytes::from(random.noise(size));
                    let what = format!("{} v{version}, seed {seed}", stringify!($message));
                    allocating_at_most(&ALLOCATOR, message_budget(size), &what, || {
                        let _ = $decode::<$message>(version, body);
                    });
                }
            };
        }
        for_each_message_we_use!(with_noise);
    }
}

#[test]
fn every_message_survives_the_guard_unchanged() {
    // Defaults have empty arrays; golden frames and the crate's own tests have full ones.
    let _alone = alone();
    macro_rules! round_trip {
        ($message:ident, $decode:ident) => {
            for version in $message::VERSIONS.min..=$message::VERSIONS.max {
                let message = $message::default();
                let mut body = BytesMut::new();
                // Some defaults cannot be written in some versions.
                if message.encode(&mut body, version).is_ok() {
                    let decoded: $message = $decode(version, body.freeze())
                        .unwrap_or_else(|error| panic!("{}: {error}", stringify!($message)));
                    assert_eq!(decoded, message, "v{version}");
                }
            }
        };
    }
    for_each_message_we_use!(round_trip);
}

#[test]
fn a_large_honest_message_passes_the_guard() {
    let _alone = alone();
    for version in [1, 9, 12, 13] {
        let partitions: Vec<_> = (0..500)
            .map(|index| {
                metadata_response::MetadataResponsePartition::default()
                    .with_partition_index(index)
                    .with_leader_id(BrokerId(index * 1000))
                    .with_replica_nodes((0..3).map(BrokerId).collect())
                    .with_isr_nodes((0..3).map(BrokerId).collect())
            })
            .collect();
        let topics: Vec<_> = (0..40)
            .map(|index| {
                metadata_response::MetadataResponseTopic::default()
                    .with_name(Some(TopicName(StrBytes::from_string(format!("topic-{index}")))))
                    .with_partitions(partitions.clone())
            })
            .collect();
        let message = MetadataResponse::default().with_topics(topics);
        let mut body = BytesMut::new();
        message.encode(&mut body, version).unwrap();
        let body = body.freeze();
        let size = body.len();
        allocating_at_most(&ALLOCATOR, 20 * size, "metadata", || {
            let decoded: MetadataResponse = decode_body(version, body).unwrap();
            assert_eq!(decoded.topics.len(), 40);
            assert_eq!(decoded.topics[39].partitions[499].leader_id, BrokerId(499_000));
        });
    }
}

#[test]
fn mutated_frames_are_refused_or_read() {
    let _alone = alone();
    for (name, frame) in golden::files("frames") {
        let (api, version) = name.trim_end_matches("_cut").rsplit_once("_v").unwrap();
        let version: i16 = version.parse().unwrap();
        for seed in 0..rounds(400) {
            let mut random = Random::new(seed);
            let mut bytes = frame.clone();
            random.mutate(&mut bytes);
            let budget = message_budget(bytes.len());
            let what = format!("{name}, seed {seed}");
            allocating_at_most(&ALLOCATOR, budget, &what, || match api {
                "api_versions" => {
                    if let Ok((_, body)) = decode_response_header(ApiKey::ApiVersions, version, bytes.into()) {
                        let _ = decode_api_versions(version, body);
                    }
                }
                "metadata" => {
                    if let Ok((_, body)) = decode_response_header(ApiKey::Metadata, version, bytes.into()) {
                        let _ = decode_body::<MetadataResponse>(version, body);
                    }
                }
                "list_offsets" => {
                    if let Ok((_, body)) = decode_response_header(ApiKey::ListOffsets, version, bytes.into()) {
                        let _ = decode_body::<ListOffsetsResponse>(version, body);
                    }
                }
                "fetch" => {
                    if let Ok((_, body)) = decode_response_header(ApiKey::Fetch, version, bytes.into()) {
                        let _ = decode_body::<FetchResponse>(version, body);
                    }
                }
                other => panic!("{other}: name the API here"),
            });
        }
    }
}

#[test]
fn request_headers_and_frames_take_noise() {
    let _alone = alone();
    for seed in 0..rounds(20_000) {
        let mut random = Random::new(seed);
        let size = random.below(60);
        let mut noise = random.noise(size);
        if noise.len() > 3 && seed % 2 == 0 {
            (noise[0], noise[1]) = (0, random.below(90) as u8);
        }
        allocating_at_most(&ALLOCATOR, 64 * 1024, &format!("seed {seed}"), || {
            let _ = decode_request(Bytes::from(noise.clone()));
        });
        // A prefix is believed up to 8 MiB.
        allocating_at_most(&ALLOCATOR, 9 << 20, &format!("frame of seed {seed}"), || {
            let _ = FrameDecoder::new(1 << 30).decode(&mut BytesMut::from(&noise[..]));
        });
    }
}

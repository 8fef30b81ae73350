//! Every decoder of `wire` against bytes that mean harm.
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
use engine_wire::compression::{Codec, Compressor, DecodeLimits, Decompressor};
use engine_wire::frame::FrameDecoder;
use engine_wire::messages::*;
use engine_wire::record_batch::{
    BatchBuilder, ControlRecord, ProducerStamp, RecordCheck, check_produced_batch, split_batches,
};
use engine_wire::request::{decode_request, decode_request_body};
use engine_wire::response::{decode_api_versions, decode_body, decode_response_header};

/// Far above what any input here pays for, far below what a lying count asks for.
const ALLOCATED_BYTES_MAX: usize = 1 << 30;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, ALLOCATED_BYTES_MAX);

/// One test at a time: the counters are the process's.
static COUNTERS: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    COUNTERS.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn rounds(default: u64) -> u64 {
    std::env::var("HOSTILE_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// xorshift64*, so that a seed means the same everywhere.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 16) as usize % bound.max(1)
    }

    fn noise(&mut self, size: usize) -> Vec<u8> {
        // Small numbers are likelier to be taken for counts that make sense.
        (0..size)
            .map(|_| match self.below(4) {
                0 => 0,
                1 => self.below(8) as u8,
                2 => 0xff,
                _ => self.next() as u8,
            })
            .collect()
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            if bytes.is_empty() {
                return;
            }
            let at = self.below(bytes.len());
            match self.below(6) {
                0 => bytes[at] = self.next() as u8,
                1 => bytes[at] ^= 1 << self.below(8),
                2 => bytes.truncate(at),
                3 => {
                    let end = (at + 5).min(bytes.len());
                    bytes[at..end].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x0f][..end - at]);
                }
                4 => {
                    let end = (at + 4).min(bytes.len());
                    let value = (self.next() as u32 >> self.below(32)).to_be_bytes();
                    bytes[at..end].copy_from_slice(&value[..end - at]);
                }
                _ => {
                    let noise = self.noise(3);
                    bytes.splice(at..at, noise);
                }
            }
        }
    }
}

/// Runs `decode` and checks what it allocated at its highest.
fn allocating_at_most(budget: usize, what: &str, decode: impl FnOnce()) {
    let before = ALLOCATOR.total_allocated();
    decode();
    // The total counts everything ever allocated: an upper bound of the highest point.
    let allocated = ALLOCATOR.total_allocated() - before;
    assert!(
        allocated <= budget,
        "{what}: {allocated} bytes allocated, {budget} paid for"
    );
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
                        allocating_at_most(message_budget(size), what, || {
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
                    allocating_at_most(message_budget(size), &what, || {
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
        allocating_at_most(20 * size, "metadata", || {
            let decoded: MetadataResponse = decode_body(version, body).unwrap();
            assert_eq!(decoded.topics.len(), 40);
            assert_eq!(decoded.topics[39].partitions[499].leader_id, BrokerId(499_000));
        });
    }
}

fn golden(folder: &str) -> Vec<(String, Vec<u8>)> {
    let path = format!("{}/golden/{folder}", env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (
                path.file_stem().unwrap().to_string_lossy().into_owned(),
                std::fs::read(&path).unwrap(),
            )
        })
        .collect();
    files.sort();
    files
}

#[test]
fn mutated_frames_are_refused_or_read() {
    let _alone = alone();
    for (name, frame) in golden("frames") {
        let (api, version) = name.trim_end_matches("_cut").rsplit_once("_v").unwrap();
        let version: i16 = version.parse().unwrap();
        for seed in 0..rounds(400) {
            let mut random = Random::new(seed);
            let mut bytes = frame.clone();
            random.mutate(&mut bytes);
            let budget = message_budget(bytes.len());
            let what = format!("{name}, seed {seed}");
            allocating_at_most(budget, &what, || match api {
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

const DECOMPRESSED_BYTES_MAX: usize = 1 << 20;

fn walk(bytes: Bytes, decompressor: &mut Decompressor) -> usize {
    let mut records = 0;
    for batch in split_batches(bytes) {
        let Ok(batch) = batch else { break };
        let _ = batch.verify_crc();
        let Ok(iterator) = batch.records(decompressor) else {
            continue;
        };
        for record in iterator {
            let Ok(record) = record else { break };
            let _ = ControlRecord::parse(&record);
            records += 1 + record.headers.count();
            assert!(record.offset >= batch.header.base_offset && record.offset <= batch.header.last_offset());
        }
    }
    records
}

#[test]
fn mutated_batches_are_refused_or_read() {
    let _alone = alone();
    for (name, original) in golden("batches") {
        for seed in 0..rounds(100) {
            let mut random = Random::new(seed);
            let mut bytes = original.clone();
            random.mutate(&mut bytes);
            let what = format!("{name}, seed {seed}");
            let budget = 8 * DECOMPRESSED_BYTES_MAX + 2 * bytes.len();
            allocating_at_most(budget, &what, || {
                let mut decompressor = Decompressor::new(DecodeLimits {
                    decompressed_bytes_max: DECOMPRESSED_BYTES_MAX,
                });
                let bytes = Bytes::from(bytes);
                walk(bytes.clone(), &mut decompressor);
                let _ = check_produced_batch(bytes, RecordCheck::EveryRecord, &mut decompressor);
            });
        }
    }
}

#[test]
fn mutated_compressed_data_stays_within_the_limit() {
    let _alone = alone();
    let mut decompressor = Decompressor::new(DecodeLimits {
        decompressed_bytes_max: DECOMPRESSED_BYTES_MAX,
    });
    for (name, original) in golden("batches") {
        let payload = &original[61..];
        for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            for seed in 0..rounds(100) {
                let mut random = Random::new(seed);
                let mut bytes = payload.to_vec();
                random.mutate(&mut bytes);
                let what = format!("{name} as {codec}, seed {seed}");
                allocating_at_most(8 * DECOMPRESSED_BYTES_MAX, &what, || {
                    if let Ok(content) = decompressor.decompress(codec, &bytes) {
                        assert!(content.len() <= DECOMPRESSED_BYTES_MAX, "{what}");
                    }
                });
            }
        }
    }
}

#[test]
fn a_decompression_bomb_stops_at_the_limit() {
    let _alone = alone();
    let bomb = vec![0u8; 8 << 20];
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4] {
        let mut compressed = Vec::new();
        Compressor::new()
            .compress(codec.into(), &bomb, &mut compressed)
            .unwrap();
        let mut decompressor = Decompressor::new(DecodeLimits {
            decompressed_bytes_max: DECOMPRESSED_BYTES_MAX,
        });
        allocating_at_most(4 * DECOMPRESSED_BYTES_MAX, codec.name(), || {
            let error = decompressor.decompress(codec, &compressed).unwrap_err();
            assert!(error.to_string().contains("more than 1048576 bytes"), "{error}");
        });
    }
    // Zstandard: one frame, a window of 128 MiB, and RLE blocks of 128 KiB from four bytes each.
    let mut compressed = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x88];
    for _ in 0..1000 {
        compressed.extend_from_slice(&[0x02, 0x00, 0x10, 0x00]);
    }
    let mut decompressor = Decompressor::new(DecodeLimits {
        decompressed_bytes_max: DECOMPRESSED_BYTES_MAX,
    });
    allocating_at_most(8 * DECOMPRESSED_BYTES_MAX, "zstd", || {
        let error = decompressor.decompress(Codec::Zstd, &compressed).unwrap_err();
        assert!(error.to_string().contains("more than 1048576 bytes"), "{error}");
    });
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
        allocating_at_most(64 * 1024, &format!("seed {seed}"), || {
            let _ = decode_request(Bytes::from(noise.clone()));
            let _ = FrameDecoder::new(1 << 30).decode(&mut BytesMut::from(&noise[..]));
        });
    }
}

#[test]
fn a_steady_state_allocates_nothing_per_batch_but_its_handles() {
    let _alone = alone();
    let value = vec![b'x'; 200];
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4] {
        let (mut builder, mut compressor) = (BatchBuilder::with_capacity(64 * 1024), Compressor::new());
        let (mut decompressor, mut spare) = (Decompressor::default(), Vec::new());
        let mut round = || {
            for timestamp in 0..200 {
                builder.append(timestamp, Some(b"key"), Some(&value), []).unwrap();
            }
            let mut sealed = builder
                .seal(codec.into(), &mut compressor, std::mem::take(&mut spare))
                .unwrap();
            let bytes = sealed.stamp(ProducerStamp::NONE);
            assert_eq!(walk(bytes, &mut decompressor), 200);
            spare = sealed.into_buffer().expect("nothing else holds the batch");
        };
        (0..3).for_each(|_| round());
        let before = ALLOCATOR.total_allocated();
        (0..10).for_each(|_| round());
        let per_batch = (ALLOCATOR.total_allocated() - before) / 10;
        assert!(per_batch <= 200, "{codec}: {per_batch} bytes allocated per batch");
    }
}

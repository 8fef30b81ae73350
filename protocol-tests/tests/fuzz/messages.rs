//! Every answer that the client decodes, and the headers before them.

use bytes::{Bytes, BytesMut};
use engine_wire::messages::*;
use engine_wire::request::decode_request;
use engine_wire::response::{decode_api_versions, decode_body, decode_response_header};
use protocol_tests::fuzzing::fuzz;
use protocol_tests::golden;

use super::{allocating_at_most, alone};

/// Bytes that a message of `size` may cost, also when it is decoded twice and written once: see `hostile_messages`.
fn message_budget(size: usize) -> usize {
    4 * (128 * 1024 + 2000 * size)
}

/// Decodes the body; what could be decoded is written and decoded again, and must be the same.
fn decoded<T>(version: i16, body: Bytes) -> String
where
    T: Decodable + Encodable + HeaderVersion + Message + PartialEq + std::fmt::Debug,
{
    let range = T::VERSIONS;
    let version = range.min + version.rem_euclid(range.max - range.min + 1);
    let message: T = match decode_body(version, body) {
        Ok(message) => message,
        Err(error) => return error.to_string(),
    };
    let mut written = BytesMut::new();
    if message.encode(&mut written, version).is_err() {
        return "not writable".into();
    }
    let again: T = decode_body(version, written.freeze()).expect("it was written by the same schema");
    assert_eq!(again, message, "v{version}");
    "same".into()
}

macro_rules! answers {
    ($($response:ident),* $(,)?) => {
        /// The decoders, the API's name with each.
        const ANSWERS: &[(&str, fn(i16, Bytes) -> String)] = &[$((stringify!($response), decoded::<$response>)),*];
    };
}

answers!(
    ApiVersionsResponse,
    MetadataResponse,
    ProduceResponse,
    FetchResponse,
    ListOffsetsResponse,
    OffsetForLeaderEpochResponse,
    FindCoordinatorResponse,
    JoinGroupResponse,
    SyncGroupResponse,
    HeartbeatResponse,
    LeaveGroupResponse,
    OffsetCommitResponse,
    OffsetFetchResponse,
    InitProducerIdResponse,
    AddPartitionsToTxnResponse,
    AddOffsetsToTxnResponse,
    TxnOffsetCommitResponse,
    EndTxnResponse,
    SaslHandshakeResponse,
    SaslAuthenticateResponse,
    CreateTopicsResponse,
    DeleteTopicsResponse,
    CreatePartitionsResponse,
    DeleteRecordsResponse,
    DescribeConfigsResponse,
    IncrementalAlterConfigsResponse,
    DescribeClusterResponse,
    ListGroupsResponse,
    DescribeGroupsResponse,
    DeleteGroupsResponse,
    OffsetDeleteResponse,
    DescribeProducersResponse,
    DescribeTransactionsResponse,
    ListTransactionsResponse,
    ConsumerGroupHeartbeatResponse,
    ConsumerGroupDescribeResponse,
    DescribeAclsResponse,
    CreateAclsResponse,
    DeleteAclsResponse,
);

/// The golden frames' bodies behind the number of their answer and the version.
fn examples() -> Vec<Vec<u8>> {
    let mut examples = Vec::new();
    for (name, frame) in golden::files("frames") {
        let (api, version) = name.trim_end_matches("_cut").rsplit_once("_v").expect("it is named so");
        let version: i16 = version.parse().expect("it is named so");
        let (key, answer) = match api {
            "api_versions" => (ApiKey::ApiVersions, "ApiVersionsResponse"),
            "metadata" => (ApiKey::Metadata, "MetadataResponse"),
            "list_offsets" => (ApiKey::ListOffsets, "ListOffsetsResponse"),
            "fetch" => (ApiKey::Fetch, "FetchResponse"),
            other => panic!("{other}: name the API here"),
        };
        let index = ANSWERS
            .iter()
            .position(|(name, _)| *name == answer)
            .expect("it is in the table");
        let Ok((_, body)) = decode_response_header(key, version, frame.into()) else {
            continue;
        };
        let first_version = match key {
            ApiKey::Fetch => FetchResponse::VERSIONS.min,
            ApiKey::ListOffsets => ListOffsetsResponse::VERSIONS.min,
            _ => 0,
        };
        examples.push([&[index as u8, (version - first_version) as u8][..], &body].concat());
    }
    for index in 0..ANSWERS.len() as u8 {
        for version in 0..6 {
            // Zeros are empty strings and arrays: often a whole message.
            examples.push([vec![index, version], vec![0; 24]].concat());
        }
    }
    examples
}

#[test]
fn answers() {
    let _alone = alone();
    fuzz("answers", examples(), 20_000, |input| {
        let [index, version, body @ ..] = input else {
            return "too short".into();
        };
        let (name, decode) = ANSWERS[usize::from(*index) % ANSWERS.len()];
        let body = Bytes::copy_from_slice(body);
        let budget = message_budget(body.len());
        let outcome = allocating_at_most(budget, || decode(i16::from(*version), body));
        format!("{name}: {outcome}")
    });
}

#[test]
fn headers() {
    let _alone = alone();
    let examples = golden::files("frames").into_iter().map(|(_, frame)| frame).collect();
    fuzz("headers", examples, 20_000, |input| {
        let [key, version, frame @ ..] = input else {
            return "too short".into();
        };
        let frame = Bytes::copy_from_slice(frame);
        let size = frame.len();
        allocating_at_most(64 * 1024 + 16 * size, || {
            let request = decode_request(frame.clone()).map(|(header, body)| {
                assert!(body.len() <= size);
                header.api()
            });
            let Ok(api) = ApiKey::try_from(i16::from(*key)) else {
                return format!("{request:?}");
            };
            let versions = api.valid_versions();
            let version = versions.min + i16::from(*version) % (versions.max - versions.min + 1).max(1);
            let response = decode_response_header(api, version, frame.clone()).map(|(_, body)| {
                assert!(frame.ends_with(&body), "the body is the end of the frame");
                body.is_empty()
            });
            if api == ApiKey::ApiVersions {
                let _ = decode_api_versions(version, frame);
            }
            format!("{request:?} {response:?}")
        })
    });
}

//! Requests and responses as whole frames: ours against `kafka-protocol`'s encoder.

use bytes::{Bytes, BytesMut};
use engine_wire::error_code::ErrorCode;
use engine_wire::frame::FrameDecoder;
use engine_wire::messages::{self, *};
use engine_wire::produce::{PRODUCE_VERSIONS, ProducePartition, ProduceRequest, ProduceTopic, encode_produce_request};
use engine_wire::request::{EncodeError, RequestHeaderError, decode_request, decode_request_body, encode_request};
use engine_wire::response::{decode_api_versions, decode_body, decode_response_header, encode_response};

fn frame_of(bytes: Bytes) -> Bytes {
    let mut buffer = BytesMut::from(&bytes[..]);
    let frame = FrameDecoder::new(1 << 20)
        .decode(&mut buffer)
        .unwrap()
        .expect("one whole frame");
    assert!(buffer.is_empty(), "nothing but the frame");
    frame
}

const TOPIC_IDS: [[u8; 16]; 2] = [[1; 16], [2; 16]];

fn produce_request<'a>(batches: &[Bytes; 3], transactional_id: Option<&'a str>) -> ProduceRequest<'a> {
    let partition = |index, records: &Bytes| ProducePartition {
        index,
        records: records.clone(),
    };
    ProduceRequest {
        transactional_id,
        acks: -1,
        timeout_ms: 30_000,
        topics: vec![
            ProduceTopic {
                name: "first",
                topic_id: TOPIC_IDS[0],
                partitions: vec![partition(0, &batches[0]), partition(7, &batches[1])],
            },
            ProduceTopic {
                name: "second",
                topic_id: TOPIC_IDS[1],
                partitions: vec![partition(300, &batches[2])],
            },
        ],
    }
}

#[test]
fn our_produce_request_is_the_generated_one_byte_for_byte_and_copies_no_batch() {
    let batches = [
        Bytes::from(vec![1; 10]),
        Bytes::from(vec![2; 200]),
        Bytes::from(vec![3; 20_000]),
    ];
    for version in PRODUCE_VERSIONS {
        for (client_id, transactional_id) in [(Some("client"), None), (None, Some("transaction"))] {
            let ours = produce_request(&batches, transactional_id);
            let topics = ours.topics.iter().map(|topic| {
                let partitions = topic.partitions.iter().map(|partition| {
                    produce_request::PartitionProduceData::default()
                        .with_index(partition.index)
                        .with_records(Some(partition.records.clone()))
                });
                let data = produce_request::TopicProduceData::default().with_partition_data(partitions.collect());
                if version >= 13 {
                    data.with_topic_id(uuid::Uuid::from_bytes(topic.topic_id))
                } else {
                    data.with_name(TopicName(StrBytes::from_static_str(if topic.name == "first" {
                        "first"
                    } else {
                        "second"
                    })))
                }
            });
            let theirs = messages::ProduceRequest::default()
                .with_transactional_id(transactional_id.map(|id| TransactionalId(StrBytes::from_string(id.to_owned()))))
                .with_acks(-1)
                .with_timeout_ms(30_000)
                .with_topic_data(topics.collect());
            let theirs = encode_request(version, 42, client_id, &theirs).unwrap();
            let segments = encode_produce_request(version, 42, client_id, &ours).unwrap();
            assert!(segments.concat() == theirs, "v{version}");
            for batch in &batches {
                assert!(
                    segments.iter().any(|segment| segment.as_ptr() == batch.as_ptr()),
                    "v{version}: copied"
                );
            }
        }
    }
}

#[test]
fn produce_refuses_versions_and_topics_it_cannot_write() {
    let batches = [Bytes::new(), Bytes::new(), Bytes::new()];
    let mut request = produce_request(&batches, None);
    for version in [-1, 2, 14] {
        let error = encode_produce_request(version, 1, None, &request).unwrap_err();
        assert!(matches!(error, EncodeError::Version { min: 3, max: 13, .. }), "{error}");
    }
    request.topics[1].topic_id = [0; 16];
    assert!(encode_produce_request(12, 1, None, &request).is_ok());
    let error = encode_produce_request(13, 1, None, &request).unwrap_err();
    assert!(error.to_string().contains("topic second has no id"), "{error}");
}

#[test]
fn a_request_is_split_into_the_header_and_body_it_was_made_of() {
    for version in MetadataRequest::VERSIONS.min..=MetadataRequest::VERSIONS.max {
        for client_id in [None, Some(""), Some("a client")] {
            let message = MetadataRequest::default().with_topics(Some(Vec::new()));
            let bytes = encode_request(version, -7, client_id, &message).unwrap();
            let (header, body) = decode_request(frame_of(bytes)).unwrap();
            assert_eq!((header.api(), header.api_version), (Some(ApiKey::Metadata), version));
            assert_eq!((header.correlation_id, header.client_id.as_deref()), (-7, client_id));
            assert_eq!(decode_request_body::<MetadataRequest>(version, body).unwrap(), message);
        }
    }
}

#[test]
fn a_version_a_message_does_not_have_is_refused_before_anything_is_written() {
    let error = encode_request(99, 1, None, &MetadataRequest::default()).unwrap_err();
    assert!(
        matches!(
            error,
            EncodeError::Version {
                api_key: 3,
                api_version: 99,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn an_unknown_api_is_an_error_that_can_be_answered() {
    let frame = Bytes::from_static(&[0x27, 0x0f, 0, 0, 0, 0, 0, 5, 0xff, 0xff]);
    let error = decode_request(frame).unwrap_err();
    assert_eq!(
        error,
        RequestHeaderError::UnknownApi {
            api_key: 9999,
            api_version: 0,
            correlation_id: 5
        }
    );
}

#[test]
fn an_api_versions_request_of_the_future_has_a_readable_header() {
    let mut bytes = encode_request(3, 9, Some("new"), &ApiVersionsRequest::default())
        .unwrap()
        .to_vec();
    bytes[7] = 99;
    let (header, _) = decode_request(frame_of(bytes.into())).unwrap();
    assert_eq!(
        (header.api(), header.api_version, header.correlation_id),
        (Some(ApiKey::ApiVersions), 99, 9)
    );
}

#[test]
fn a_response_is_split_into_the_header_and_body_it_was_made_of() {
    for version in HeartbeatResponse::VERSIONS.min..=HeartbeatResponse::VERSIONS.max {
        let message = HeartbeatResponse::default().with_error_code(27);
        let bytes = encode_response(ApiKey::Heartbeat, version, 11, &message).unwrap();
        let (correlation_id, body) = decode_response_header(ApiKey::Heartbeat, version, frame_of(bytes)).unwrap();
        assert_eq!(correlation_id, 11);
        assert_eq!(decode_body::<HeartbeatResponse>(version, body).unwrap(), message);
    }
}

#[test]
fn tagged_fields_in_headers_are_stepped_over() {
    // Correlation id, one tag (5) of two bytes, then a v4 Heartbeat body.
    let frame = Bytes::from_static(&[0, 0, 0, 1, 1, 5, 2, 0xaa, 0xbb, 0, 0, 0, 0, 0, 0, 0]);
    let (_, body) = decode_response_header(ApiKey::Heartbeat, 4, frame.clone()).unwrap();
    assert_eq!(decode_body::<HeartbeatResponse>(4, body).unwrap().error_code, 0);
    for end in 0..9 {
        assert!(
            decode_response_header(ApiKey::Heartbeat, 4, frame.slice(..end)).is_err(),
            "{end}"
        );
    }
}

#[test]
fn the_fallback_of_api_versions_may_list_nothing() {
    let response = ApiVersionsResponse::default().with_error_code(ErrorCode::UNSUPPORTED_VERSION.code());
    let bytes = encode_response(ApiKey::ApiVersions, 0, 1, &response).unwrap();
    let (_, body) = decode_response_header(ApiKey::ApiVersions, 4, frame_of(bytes)).unwrap();
    let decoded = decode_api_versions(4, body).unwrap();
    assert!(decoded.api_keys.is_empty() && decoded.error_code == 35);
}

#[test]
fn null_and_empty_fetch_records_are_both_nothing() {
    for records in [None, Some(Bytes::new())] {
        for version in [4, 11, 12] {
            let partition = fetch_response::PartitionData::default().with_records(records.clone());
            let topic = fetch_response::FetchableTopicResponse::default().with_partitions(vec![partition]);
            let response = FetchResponse::default().with_responses(vec![topic]);
            let bytes = encode_response(ApiKey::Fetch, version, 1, &response).unwrap();
            let (_, body) = decode_response_header(ApiKey::Fetch, version, frame_of(bytes)).unwrap();
            let decoded: FetchResponse = decode_body(version, body).unwrap();
            assert_eq!(decoded.responses[0].partitions[0].records, records, "v{version}");
        }
    }
}

//! Our response decoding against frames that a real broker sent.

use bytes::Bytes;
use engine_wire::error_code::ErrorCode;
use engine_wire::messages::{ApiKey, FetchResponse, ListOffsetsResponse, MetadataResponse};
use engine_wire::record_batch::{RawBatch, split_batches};
use engine_wire::response::{decode_api_versions, decode_body, decode_response_header};

const CORRELATION_ID: i32 = 0x0102_0304;

fn golden_body(name: &str, api_key: ApiKey, version: i16) -> Bytes {
    let path = format!("{}/golden/frames/{name}.bin", env!("CARGO_MANIFEST_DIR"));
    let frame = Bytes::from(std::fs::read(&path).expect(&path));
    let (correlation_id, body) = decode_response_header(api_key, version, frame).unwrap();
    assert_eq!(correlation_id, CORRELATION_ID);
    body
}

#[test]
fn api_versions_is_read_in_every_form_with_header_version_0() {
    for version in [0, 3] {
        let body = golden_body(&format!("api_versions_v{version}"), ApiKey::ApiVersions, version);
        let response = decode_api_versions(version, body).unwrap();
        assert_eq!(response.error_code, 0);
        let produce = response.api_keys.iter().find(|api| api.api_key == 0).unwrap();
        assert!(produce.max_version >= 12);
        assert!(response.api_keys.len() > 40);
    }
}

#[test]
fn unsupported_api_versions_is_answered_in_v0_and_may_list_only_itself() {
    let body = golden_body("api_versions_v99", ApiKey::ApiVersions, 99);
    let response = decode_api_versions(99, body).unwrap();
    assert_eq!(ErrorCode::from(response.error_code), ErrorCode::UNSUPPORTED_VERSION);
    let keys: Vec<i16> = response.api_keys.iter().map(|api| api.api_key).collect();
    assert_eq!(keys, [18]);
}

#[test]
fn metadata_is_read_classic_and_flexible() {
    for version in [1, 12] {
        let body = golden_body(&format!("metadata_v{version}"), ApiKey::Metadata, version);
        let response: MetadataResponse = decode_body(version, body).unwrap();
        assert_eq!((response.brokers.len(), response.topics.len()), (1, 1));
        // A port is an i32 larger than what is left of the frame: it must not be taken for a count.
        assert_eq!(
            (response.brokers[0].host.as_str(), response.brokers[0].port),
            ("127.0.0.1", 21000)
        );
        assert_eq!(response.topics[0].partitions.len(), 1);
        assert_eq!(response.topics[0].topic_id.is_nil(), version < 10);
    }
}

#[test]
fn list_offsets_is_read() {
    let body = golden_body("list_offsets_v1", ApiKey::ListOffsets, 1);
    let response: ListOffsetsResponse = decode_body(1, body).unwrap();
    assert_eq!(response.topics[0].partitions[0].offset, 40);
}

fn fetched(name: &str, version: i16) -> (FetchResponse, Bytes) {
    let body = golden_body(name, ApiKey::Fetch, version);
    (decode_body(version, body.clone()).unwrap(), body)
}

#[test]
fn fetched_records_are_slices_of_the_frame() {
    for (name, version, batches) in [("fetch_v4", 4, 2), ("fetch_v12", 12, 6)] {
        let (response, body) = fetched(name, version);
        let partition = &response.responses[0].partitions[0];
        let records = partition.records.clone().unwrap();
        let frame = body.as_ptr() as usize..body.as_ptr() as usize + body.len();
        assert!(
            frame.contains(&(records.as_ptr() as usize)),
            "{name}: records were copied"
        );
        let split: Vec<RawBatch> = split_batches(records).map(Result::unwrap).collect();
        assert!(split.len() >= batches, "{name}: {}", split.len());
        for batch in &split {
            batch.verify_crc().unwrap();
            assert!(
                frame.contains(&(batch.bytes.as_ptr() as usize)),
                "{name}: a batch was copied"
            );
        }
    }
}

#[test]
fn aborted_transactions_come_with_read_committed() {
    let (response, _) = fetched("fetch_v12", 12);
    let partition = &response.responses[0].partitions[0];
    let aborted = partition.aborted_transactions.as_ref().unwrap();
    assert_eq!(aborted.len(), 1);
    assert_eq!(aborted[0].first_offset, 4);
}

#[test]
fn a_truncated_tail_loses_nothing_before_it() {
    let (response, _) = fetched("fetch_v11_cut", 11);
    let records = response.responses[0].partitions[0].records.clone().unwrap();
    let mut batches = split_batches(records.clone());
    let whole: Vec<RawBatch> = batches.by_ref().map(Result::unwrap).collect();
    assert_eq!(whole.len(), 3);
    assert!(batches.truncated_tail().is_some());
    assert!(whole.iter().map(|batch| batch.bytes.len()).sum::<usize>() < records.len());
}

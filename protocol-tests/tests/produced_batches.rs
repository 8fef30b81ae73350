//! What a broker does to a producer's batch: refuse what may not be sent, and give it its place.

use bytes::Bytes;
use engine_wire::compression::{Codec, Decompressor};
use engine_wire::record_batch::{RawBatch, RecordCheck, TimestampType, check_produced_batch, place_batch};
use protocol_tests::owned_record::{one, records_of, sealed_batch};

#[test]
fn log_append_time_replaces_every_timestamp_and_renews_the_crc() {
    let batch = RawBatch::parse(sealed_batch(&[one(b"a"), one(b"b")], Codec::Gzip)).unwrap();
    let placed = place_batch(batch, 100, 2, Some(1_234_567));
    placed.verify_crc().unwrap();
    assert_eq!(placed.header.timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!(placed.header, RawBatch::parse(placed.bytes.clone()).unwrap().header);
    let read = records_of(&placed, &mut Decompressor::default());
    assert_eq!(
        read.iter().map(|r| (r.offset, r.timestamp)).collect::<Vec<_>>(),
        [(100, 1_234_567), (101, 1_234_567)]
    );
}

#[test]
fn placing_a_batch_that_nobody_else_holds_copies_nothing() {
    let bytes = sealed_batch(&[one(b"a")], Codec::None);
    let address = bytes.as_ptr();
    let placed = place_batch(RawBatch::parse(bytes).unwrap(), 5, 1, None);
    assert_eq!(placed.bytes.as_ptr(), address);
}

#[test]
fn a_broker_refuses_what_a_producer_may_not_send() {
    let good = sealed_batch(&[one(b"a"), one(b"b")], Codec::None).to_vec();
    for (change, message) in [
        (
            &(|b: &mut Vec<u8>| b.clear()) as &dyn Fn(&mut Vec<u8>),
            "no record batch",
        ),
        (&|b| b.push(0), "1 bytes after the record batch"),
        (&|b| b.truncate(70), "70 there"),
        (&|b| b[7] = 1, "base_offset 1"),
        (&|b| b[16] = 1, "magic 1 is not supported"),
        (&|b| b[22] |= 0x20, "control attribute"),
        (&|b| b[22] |= 0x07, "unknown codec id 7"),
        (&|b| b[60] = 3, "record_count 3"),
        (&|b| b[60] = 1, "record_count 1"),
        (&|b| b[26] = 2, "record_count 2"),
        (&|b| (b[26], b[60]) = (0, 1), "bytes after the last record"),
        (&|b| (b[26], b[60]) = (2, 3), "3 records"),
        (&|b| b[53] = 0xff, "base_sequence"),
        (&|b| b[61] = 100, "record 0 is malformed: length"),
        (&|b| b[64] = 2, "offset_delta 1"),
    ] {
        let refused = refusal_of(&good, change);
        assert!(refused.contains(message), "{message}: {refused}");
    }
}

fn refusal_of(good: &[u8], change: &dyn Fn(&mut Vec<u8>)) -> String {
    let mut bytes = good.to_vec();
    change(&mut bytes);
    if bytes.len() > 21 {
        let crc = crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    let check = check_produced_batch(
        Bytes::from(bytes),
        RecordCheck::EveryRecord,
        &mut Decompressor::default(),
    );
    check.expect_err("refused").to_string()
}

/// Written here again, bit by bit, so that a mistake in the library would show.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[test]
fn a_corrupt_crc_is_named_with_both_values() {
    let mut bytes = sealed_batch(&[one(b"a")], Codec::None).to_vec();
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    let error = check_produced_batch(
        Bytes::from(bytes),
        RecordCheck::HeaderOnly,
        &mut Decompressor::default(),
    );
    assert!(error.unwrap_err().to_string().contains("header says"));
}

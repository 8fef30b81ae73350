//! What the record batch writer makes, the reader reads back, whatever the records are.

use bytes::Bytes;
use engine_wire::compression::{Codec, Compression, Compressor, DecodeLimits, DecompressError, Decompressor};
use engine_wire::record_batch::{
    BatchBuilder, ProducerStamp, RawBatch, RecordCheck, RecordError, check_produced_batch, place_batch, sequence_after,
    split_batches,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use protocol_tests::owned_record::{OwnedRecord, append, one, records_of, sealed_batch, stamp};

fn bytes(size_max: usize) -> impl Strategy<Value = Vec<u8>> {
    // Runs as well as noise, so that the codecs have both to do.
    prop_oneof![
        vec(any::<u8>(), 0..size_max),
        (any::<u8>(), 0..size_max * 8).prop_map(|(byte, n)| vec![byte; n])
    ]
}

fn record() -> impl Strategy<Value = OwnedRecord> {
    let header = (bytes(8), option::of(bytes(20)));
    (
        any::<i64>(),
        option::of(bytes(30)),
        option::of(bytes(300)),
        vec(header, 0..4),
    )
        .prop_map(|(timestamp, key, value, headers)| OwnedRecord {
            offset: 0,
            timestamp,
            key,
            value,
            headers,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_batch_reads_back_as_it_was_written(
        batches in vec(vec(record(), 1..40), 1..4),
        codec in proptest::sample::select(&Codec::ALL[..]),
        base_offset in 0..i64::MAX / 2,
    ) {
        // One builder, compressor and decompressor for all: reuse must not leak anything.
        let (mut builder, mut compressor) = (BatchBuilder::default(), Compressor::new());
        let (mut decompressor, mut spare) = (Decompressor::default(), Vec::new());
        for records in batches {
            records.iter().for_each(|record| append(&mut builder, record));
            let mut sealed = builder.seal(codec.into(), &mut compressor, std::mem::take(&mut spare)).unwrap();
            let produced = sealed.stamp(stamp(5));
            let checked = check_produced_batch(produced, RecordCheck::EveryRecord, &mut decompressor).unwrap();
            let placed = place_batch(checked, base_offset, 9, None);
            placed.verify_crc().unwrap();
            let header = RawBatch::parse(placed.bytes.clone()).unwrap().header;
            prop_assert_eq!(header, placed.header);
            prop_assert_eq!(header.base_timestamp, records[0].timestamp);
            prop_assert_eq!(header.max_timestamp, records.iter().map(|r| r.timestamp).max().unwrap());
            prop_assert_eq!(header.next_offset(), base_offset + records.len() as i64);
            prop_assert!(header.is_transactional() && !header.is_control());
            prop_assert_eq!(header.codec(), Ok(codec));
            let read = records_of(&placed, &mut decompressor);
            let expected: Vec<_> =
                (base_offset..).zip(records).map(|(offset, record)| OwnedRecord { offset, ..record }).collect();
            prop_assert_eq!(read, expected);
            drop(placed);
            spare = sealed.into_buffer().unwrap_or_default();
        }
    }

    #[test]
    fn batches_are_cut_apart_wherever_the_response_ends(
        batches in vec(vec(record(), 1..5), 1..5),
        cut in any::<proptest::sample::Index>(),
    ) {
        let encoded: Vec<Bytes> = batches.iter().map(|records| sealed_batch(records, Codec::None)).collect();
        let all = encoded.concat();
        let cut = cut.index(all.len() + 1);
        let whole = encoded.iter().scan(0, |end, b| { *end += b.len(); Some(*end) }).filter(|&end| end <= cut).count();
        let mut split = split_batches(Bytes::from(all[..cut].to_vec()));
        let found: Vec<Bytes> = split.by_ref().map(|batch| batch.unwrap().bytes).collect();
        prop_assert_eq!(&found[..], &encoded[..whole]);
        let left = cut - found.iter().map(Bytes::len).sum::<usize>();
        prop_assert_eq!(split.truncated_tail().is_some(), left > 0);
        if left >= 12 {
            prop_assert_eq!(split.truncated_tail(), Some(encoded[whole].len()));
        }
    }

    #[test]
    fn a_changed_byte_is_noticed(records in vec(record(), 1..5), at in any::<proptest::sample::Index>(), flip in 1u8..) {
        let mut bytes = sealed_batch(&records, Codec::Lz4).to_vec();
        // The base offset and the leader epoch are outside the CRC, because brokers set them.
        let at = 16 + at.index(bytes.len() - 16);
        bytes[at] ^= flip;
        let noticed = RawBatch::parse(Bytes::from(bytes)).and_then(|batch| batch.verify_crc());
        prop_assert!(noticed.is_err());
    }

    #[test]
    fn every_codec_gives_back_what_it_got(input in bytes(40_000), codec in proptest::sample::select(&Codec::ALL[..])) {
        let mut compressed = b"kept".to_vec();
        Compressor::new().compress(codec.into(), &input, &mut compressed).unwrap();
        prop_assert_eq!(&compressed[..4], b"kept");
        let mut decompressor = Decompressor::new(DecodeLimits { decompressed_bytes_max: input.len() });
        prop_assert_eq!(decompressor.decompress(codec, &compressed[4..]).unwrap(), &input[..]);
        // One byte less is refused, and the decompressor is as good as before afterwards.
        if codec != Codec::None && !input.is_empty() {
            let mut tight = Decompressor::new(DecodeLimits { decompressed_bytes_max: input.len() - 1 });
            let refused = tight.decompress(codec, &compressed[4..]);
            let is_too_large = matches!(refused, Err(DecompressError::TooLarge { .. }));
            prop_assert!(is_too_large, "{:?}", refused);
        }
    }
}

#[test]
fn a_batch_is_stamped_anew_for_a_retry_while_the_first_try_is_still_alive() {
    let mut builder = BatchBuilder::default();
    append(&mut builder, &one(b"value"));
    let mut sealed = builder
        .seal(Codec::Lz4.into(), &mut Compressor::new(), Vec::new())
        .unwrap();
    let first = sealed.stamp(stamp(10));
    let kept = first.clone();
    let second = sealed.stamp(ProducerStamp {
        producer_epoch: 4,
        ..stamp(0)
    });
    assert_eq!(first, kept, "what is in flight does not change under the writer");
    let (first, second) = (RawBatch::parse(first).unwrap(), RawBatch::parse(second).unwrap());
    first.verify_crc().unwrap();
    second.verify_crc().unwrap();
    assert_eq!((first.header.base_sequence, first.header.producer_epoch), (10, 3));
    assert_eq!((second.header.base_sequence, second.header.producer_epoch), (0, 4));
    assert_eq!(first.bytes.slice(61..), second.bytes.slice(61..));
    let third = sealed.stamp(ProducerStamp::NONE);
    let third = RawBatch::parse(third).unwrap();
    third.verify_crc().unwrap();
    assert!(!third.header.is_idempotent() && !third.header.is_transactional());
}

#[test]
fn sequences_wrap_to_zero() {
    for (sequence, count, after) in [
        (0, 0, 0),
        (0, 1, 1),
        (i32::MAX, 0, i32::MAX),
        (i32::MAX, 1, 0),
        (i32::MAX - 1, 5, 3),
        (i32::MAX, i32::MAX, i32::MAX - 1),
    ] {
        assert_eq!(sequence_after(sequence, count), after, "{sequence} + {count}");
    }
    let records = [one(b"a"), one(b"b"), one(b"c")];
    let mut builder = BatchBuilder::default();
    records.iter().for_each(|record| append(&mut builder, record));
    let mut sealed = builder
        .seal(Compression::NONE, &mut Compressor::new(), Vec::new())
        .unwrap();
    let batch = RawBatch::parse(sealed.stamp(stamp(i32::MAX - 1))).unwrap();
    assert_eq!(batch.header.last_sequence(), 0);
}

#[test]
fn old_message_sets_are_refused_by_name() {
    for magic in [0u8, 1] {
        // Offset, size, crc, magic, attributes, key and value: shorter than a v2 header.
        let mut message_set = vec![0; 30];
        message_set[16] = magic;
        let error = split_batches(Bytes::from(message_set)).next().unwrap().unwrap_err();
        assert!(error.to_string().contains("message formats v0 and v1"), "{error}");
    }
}

#[test]
fn null_and_empty_records_are_no_batches() {
    assert!(split_batches(Bytes::new()).next().is_none());
}

#[test]
fn a_control_record_with_a_short_key_or_value_is_an_error() {
    use engine_wire::record_batch::{ControlRecord, Headers, Record};
    let record = |key, value| Record {
        offset: 7,
        timestamp: 0,
        key,
        value,
        headers: Headers::default(),
    };
    for (key, value, expected) in [
        (
            Some(&[0, 0, 0, 1][..]),
            Some(&[0, 0, 0, 0, 0, 9][..]),
            Ok(ControlRecord::Commit { coordinator_epoch: 9 }),
        ),
        (
            Some(&[0, 0, 0, 0]),
            Some(&[0, 0, 0, 0, 0, 9]),
            Ok(ControlRecord::Abort { coordinator_epoch: 9 }),
        ),
        // A newer version appends fields.
        (
            Some(&[0, 1, 0, 1, 5, 5]),
            Some(&[0, 1, 0, 0, 0, 9, 5]),
            Ok(ControlRecord::Commit { coordinator_epoch: 9 }),
        ),
        (Some(&[0, 0, 0, 2]), None, Ok(ControlRecord::Other { kind: 2 })),
        (Some(&[0, 0, 0]), None, Err("key")),
        (None, None, Err("key")),
        (Some(&[0xff, 0xff, 0, 0]), None, Err("key")),
        (Some(&[0, 0, 0, 0]), Some(&[0, 0, 0]), Err("value")),
        (Some(&[0, 0, 0, 0]), None, Err("value")),
    ] {
        assert_eq!(
            ControlRecord::parse(&record(key, value)).map_err(|error| error.part),
            expected
        );
    }
}

#[test]
fn the_smallest_limit_that_holds_a_batch_is_its_size() {
    let batch = RawBatch::parse(sealed_batch(&[one(&[7; 10_000])], Codec::Lz4)).unwrap();
    let size = 10_000 + 12;
    let read_with = |decompressed_bytes_max| {
        let mut decompressor = Decompressor::new(DecodeLimits { decompressed_bytes_max });
        batch.records(&mut decompressor).map(|records| records.count())
    };
    assert_eq!(read_with(size).unwrap(), 1);
    assert!(matches!(read_with(size / 2), Err(RecordError::Decompress { .. })));
}

//! What the record codec of `kafka-protocol` 0.18 gets wrong, ours gets right. One test per defect.

use std::io::Write;

use bytes::Bytes;
use engine_wire::compression::{Codec, Compression, Compressor, Decompressor};
use engine_wire::record_batch::{BatchBuilder, Header, ProducerStamp, RawBatch, RecordError, split_batches};

fn batch(records: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::default();
    for i in 0..records {
        builder.append(1_000 + i as i64, None, Some(b"value"), []).unwrap();
    }
    let mut sealed = builder
        .seal(Compression::NONE, &mut Compressor::new(), Vec::new())
        .unwrap();
    sealed.stamp(ProducerStamp::NONE).to_vec()
}

#[test]
fn last_offset_delta_is_kept_so_that_an_empty_batch_can_be_stepped_over() {
    let mut bytes = batch(1)[..61].to_vec();
    bytes[8..12].copy_from_slice(&49i32.to_be_bytes());
    bytes[23..27].copy_from_slice(&41i32.to_be_bytes());
    bytes[57..61].copy_from_slice(&0i32.to_be_bytes());
    let batch = RawBatch::parse(Bytes::from(bytes)).unwrap();
    assert_eq!(batch.header.next_offset(), 42);
    assert_eq!(batch.records(&mut Decompressor::default()).unwrap().count(), 0);
}

#[test]
fn an_emptied_batch_keeps_its_codec_bits_and_is_still_empty() {
    for codec in Codec::ALL {
        let mut bytes = batch(1)[..61].to_vec();
        bytes[8..12].copy_from_slice(&49i32.to_be_bytes());
        bytes[22] = codec.id() as u8;
        bytes[57..61].copy_from_slice(&0i32.to_be_bytes());
        let batch = RawBatch::parse(Bytes::from(bytes)).unwrap();
        assert_eq!(
            batch.records(&mut Decompressor::default()).unwrap().count(),
            0,
            "{codec}"
        );
    }
}

#[test]
fn max_timestamp_is_kept_for_log_append_time() {
    let mut bytes = batch(3);
    bytes[22] |= 0x08;
    bytes[35..43].copy_from_slice(&99_999i64.to_be_bytes());
    let batch = RawBatch::parse(Bytes::from(bytes)).unwrap();
    let mut decompressor = Decompressor::default();
    assert!(
        batch
            .records(&mut decompressor)
            .unwrap()
            .all(|record| record.unwrap().timestamp == 99_999)
    );
}

#[test]
fn duplicate_header_keys_stay_apart_and_non_utf8_ones_are_read() {
    let headers = [
        Header {
            key: b"a",
            value: Some(b"1"),
        },
        Header { key: b"a", value: None },
        Header {
            key: b"\xff\xfe",
            value: Some(b""),
        },
        Header {
            key: b"a",
            value: Some(b"1"),
        },
    ];
    let mut builder = BatchBuilder::default();
    builder.append(0, None, None, headers).unwrap();
    let mut sealed = builder
        .seal(Compression::NONE, &mut Compressor::new(), Vec::new())
        .unwrap();
    let batch = RawBatch::parse(sealed.stamp(ProducerStamp::NONE)).unwrap();
    let mut decompressor = Decompressor::default();
    let record = batch.records(&mut decompressor).unwrap().next().unwrap().unwrap();
    assert_eq!(record.headers.collect::<Vec<_>>(), headers);
}

#[test]
fn a_record_count_of_i32_max_is_an_error() {
    for count in [i32::MAX, 1_000_000, 4, -1, i32::MIN] {
        let mut bytes = batch(3);
        bytes[57..61].copy_from_slice(&count.to_be_bytes());
        let Ok(batch) = RawBatch::parse(Bytes::from(bytes)) else {
            assert!(count < 0);
            continue;
        };
        let mut decompressor = Decompressor::default();
        let error = match batch.records(&mut decompressor) {
            Err(error) => error,
            Ok(records) => records.last().unwrap().unwrap_err(),
        };
        assert!(
            matches!(error, RecordError::Count { .. } | RecordError::Malformed { .. }),
            "{error}"
        );
    }
}

#[test]
fn a_header_count_of_i32_max_is_an_error() {
    let mut bytes = batch(1);
    let end = bytes.len() - 1;
    bytes.splice(end.., [0xfe, 0xff, 0xff, 0xff, 0x0f]);
    bytes[61] += 8;
    bytes[8..12].copy_from_slice(&((end + 5 - 12) as i32).to_be_bytes());
    let batch = RawBatch::parse(Bytes::from(bytes)).unwrap();
    let mut decompressor = Decompressor::default();
    let error = batch.records(&mut decompressor).unwrap().next().unwrap().unwrap_err();
    assert!(error.to_string().contains("headers"), "{error}");
}

#[test]
fn xerial_snappy_is_read_in_both_byte_orders_with_several_blocks_and_streams() {
    let blocks = [&b"the first block, "[..], b"the second, ", b"the third"];
    let expected = blocks.concat();
    let write = |order: fn(u32) -> [u8; 4], version_order: fn(u32) -> [u8; 4], streams: usize| {
        let mut framed = Vec::new();
        for (index, block) in blocks.iter().enumerate() {
            if index < streams {
                framed.extend_from_slice(b"\x82SNAPPY\0");
                framed.extend_from_slice(&version_order(1));
                framed.extend_from_slice(&version_order(1));
            }
            let compressed = snap::raw::Encoder::new().compress_vec(block).unwrap();
            framed.extend_from_slice(&order(compressed.len() as u32));
            framed.extend_from_slice(&compressed);
        }
        framed
    };
    let mut decompressor = Decompressor::default();
    for streams in 1..=3 {
        for order in [u32::to_be_bytes, u32::to_le_bytes] {
            for version_order in [u32::to_be_bytes, u32::to_le_bytes] {
                let framed = write(order, version_order, streams);
                assert_eq!(decompressor.decompress(Codec::Snappy, &framed).unwrap(), expected);
            }
        }
    }
    let raw = snap::raw::Encoder::new().compress_vec(&expected).unwrap();
    assert_eq!(decompressor.decompress(Codec::Snappy, &raw).unwrap(), expected);
}

#[test]
fn gzip_of_several_members_is_read() {
    let member = |content: &[u8], name: Option<&str>| {
        let mut builder = flate2::GzBuilder::new().extra(vec![1, 2, 3]).comment("a comment");
        if let Some(name) = name {
            builder = builder.filename(name);
        }
        let mut encoder = builder.write(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    };
    let members = [
        member(b"first", Some("name")),
        member(b"", None),
        member(&[9; 100_000], None),
    ]
    .concat();
    let expected = [&b"first"[..], &[9; 100_000]].concat();
    let mut decompressor = Decompressor::default();
    assert_eq!(decompressor.decompress(Codec::Gzip, &members).unwrap(), expected);
    // A truncated last member is an error, not the members before it.
    assert!(
        decompressor
            .decompress(Codec::Gzip, &members[..members.len() - 9])
            .is_err()
    );
    assert_eq!(decompressor.decompress(Codec::Gzip, &members).unwrap(), expected);
}

#[test]
fn lz4_is_read_with_every_frame_option_kafka_clients_use() {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    let content: Vec<u8> = (0..300_000u32).flat_map(|i| (i / 7).to_le_bytes()).collect();
    let mut decompressor = Decompressor::default();
    for block_size in [
        BlockSize::Max64KB,
        BlockSize::Max256KB,
        BlockSize::Max1MB,
        BlockSize::Max4MB,
    ] {
        for block_mode in [BlockMode::Independent, BlockMode::Linked] {
            for (block_checksums, content_checksum) in [(false, false), (false, true), (true, false), (true, true)] {
                let info = FrameInfo::new()
                    .block_size(block_size)
                    .block_mode(block_mode)
                    .block_checksums(block_checksums)
                    .content_checksum(content_checksum)
                    .content_size(content_checksum.then_some(content.len() as u64));
                let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
                encoder.write_all(&content).unwrap();
                let framed = encoder.finish().unwrap();
                assert!(decompressor.decompress(Codec::Lz4, &framed).unwrap() == content);
            }
        }
    }
}

#[test]
fn our_lz4_frame_is_a_frame_to_the_library_too() {
    let content: Vec<u8> = (0..100_000u32)
        .flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    let mut framed = Vec::new();
    Compressor::new()
        .compress(Codec::Lz4.into(), &content, &mut framed)
        .unwrap();
    let mut decoded = Vec::new();
    std::io::copy(&mut lz4_flex::frame::FrameDecoder::new(&framed[..]), &mut decoded).unwrap();
    assert!(decoded == content);
}

#[test]
fn a_truncated_tail_keeps_the_earlier_batches() {
    let bytes = [batch(2), batch(3), batch(4)].concat();
    let mut split = split_batches(Bytes::from(bytes[..bytes.len() - 1].to_vec()));
    let counts: Vec<i32> = split.by_ref().map(|batch| batch.unwrap().header.record_count).collect();
    assert_eq!(counts, [2, 3]);
    assert_eq!(split.truncated_tail(), Some(batch(4).len()));
}

#[test]
fn records_without_a_sequence_stay_one_batch() {
    let batch = RawBatch::parse(Bytes::from(batch(100))).unwrap();
    assert_eq!((batch.header.base_sequence, batch.header.record_count), (-1, 100));
}

#[test]
fn a_sequence_wraps_to_zero_not_below() {
    let mut builder = BatchBuilder::default();
    for _ in 0..3 {
        builder.append(0, None, None, []).unwrap();
    }
    let mut sealed = builder
        .seal(Compression::NONE, &mut Compressor::new(), Vec::new())
        .unwrap();
    let stamp = ProducerStamp {
        producer_id: 1,
        producer_epoch: 0,
        base_sequence: i32::MAX,
        is_transactional: false,
    };
    let batch = RawBatch::parse(sealed.stamp(stamp)).unwrap();
    assert_eq!(
        (batch.header.base_sequence, batch.header.last_sequence()),
        (i32::MAX, 1)
    );
}

#[test]
fn kafka_protocol_reads_what_we_write() {
    let mut builder = BatchBuilder::default();
    for i in 0..10i64 {
        builder
            .append(
                1_000 * i,
                Some(b"key"),
                Some(&[i as u8; 30]),
                [Header {
                    key: b"h",
                    value: Some(b"v"),
                }],
            )
            .unwrap();
    }
    let mut sealed = builder
        .seal(Compression::NONE, &mut Compressor::new(), Vec::new())
        .unwrap();
    let stamp = ProducerStamp {
        producer_id: 5,
        producer_epoch: 1,
        base_sequence: 7,
        is_transactional: true,
    };
    let mut bytes = sealed.stamp(stamp);
    let theirs = kafka_protocol::records::RecordBatchDecoder::decode(&mut bytes)
        .unwrap()
        .records;
    assert_eq!(theirs.len(), 10);
    for (i, record) in theirs.iter().enumerate() {
        assert_eq!(
            (record.offset, record.timestamp, record.sequence),
            (i as i64, 1_000 * i as i64, 7 + i as i32)
        );
        assert_eq!(
            (record.producer_id, record.producer_epoch, record.transactional),
            (5, 1, true)
        );
        assert_eq!(record.value.as_deref(), Some(&[i as u8; 30][..]));
    }
}

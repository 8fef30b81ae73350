//! Our record batch reader against bytes that real clients wrote and a real broker stored.

use bytes::Bytes;
use engine_wire::compression::{Codec, DecodeLimits, Decompressor};
use engine_wire::record_batch::{ControlRecord, RawBatch, TimestampType, split_batches};
use protocol_tests::owned_record::{OwnedRecord, records_of};

const BASE_TIMESTAMP: i64 = 1_700_000_000_000;

fn golden(name: &str) -> Vec<RawBatch> {
    let path = format!("{}/golden/batches/{name}.bin", env!("CARGO_MANIFEST_DIR"));
    let bytes = Bytes::from(std::fs::read(&path).expect(&path));
    let size = bytes.len();
    let batches: Vec<RawBatch> = split_batches(bytes).collect::<Result<_, _>>().expect(name);
    assert_eq!(
        batches.iter().map(|b| b.bytes.len()).sum::<usize>(),
        size,
        "{name}: all of the file is batches"
    );
    for batch in &batches {
        batch.verify_crc().expect(name);
    }
    batches
}

fn records(batches: &[RawBatch]) -> Vec<OwnedRecord> {
    let mut decompressor = Decompressor::new(DecodeLimits::default());
    batches
        .iter()
        .flat_map(|batch| records_of(batch, &mut decompressor))
        .collect()
}

/// The content that `golden/README.md` calls `fill`.
fn fill(count: i64, base_offset: i64) -> Vec<OwnedRecord> {
    let text = |text: String| Some(text.into_bytes());
    (0..count)
        .map(|i| OwnedRecord {
            offset: base_offset + i,
            timestamp: BASE_TIMESTAMP + 10 * i,
            key: match i % 4 {
                3 => None,
                2 => Some(Vec::new()),
                _ => text(format!("key-{i}")),
            },
            value: match i % 7 {
                6 => None,
                5 => Some(Vec::new()),
                _ => text(format!("value-{i}-{}", "abcdefghij".repeat((i % 12) as usize))),
            },
            headers: if i % 5 == 0 {
                vec![
                    (b"trace".to_vec(), text(format!("t{i}"))),
                    (b"trace".to_vec(), Some(b"again".to_vec())),
                    (b"empty".to_vec(), Some(Vec::new())),
                    (b"null".to_vec(), None),
                ]
            } else {
                Vec::new()
            },
        })
        .collect()
}

#[test]
fn every_codec_of_the_java_client_is_read() {
    for codec in Codec::ALL {
        let batches = golden(&format!("java-{codec}"));
        assert_eq!(batches.len(), 1, "{codec}");
        let header = batches[0].header;
        assert_eq!(header.codec(), Ok(codec));
        assert!(header.is_idempotent() && header.base_sequence == 0 && header.producer_epoch == 0);
        assert_eq!(
            (header.last_offset(), header.next_offset(), header.last_sequence()),
            (39, 40, 39)
        );
        assert_eq!(
            (header.base_timestamp, header.max_timestamp),
            (BASE_TIMESTAMP, BASE_TIMESTAMP + 390)
        );
        assert_eq!(records(&batches), fill(40, 0), "{codec}");
    }
}

#[test]
fn a_batch_of_several_compression_blocks_is_read() {
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let batches = golden(&format!("java-large-{codec}"));
        let read = records(&batches);
        assert_eq!(read.len(), 3, "{codec}");
        for (i, record) in read.iter().enumerate() {
            assert_eq!(record.key.as_deref(), Some(format!("k{i}").as_bytes()));
            assert_eq!(
                record.value.as_deref(),
                Some(format!("line {i} of a longer text; ").repeat(2500).as_bytes())
            );
        }
    }
}

#[test]
fn every_codec_of_librdkafka_is_read_with_duplicate_and_non_utf8_header_keys() {
    for codec in Codec::ALL {
        let batches = golden(&format!("kcat-{codec}"));
        assert_eq!(batches[0].header.codec(), Ok(codec));
        let read = records(&batches);
        assert_eq!(read.len(), 10, "{codec}");
        for (i, record) in read.iter().enumerate() {
            assert_eq!(record.offset, i as i64);
            assert_eq!(record.key.as_deref(), Some(format!("key-{i}").as_bytes()));
            assert_eq!(
                record.value.as_deref(),
                Some(format!("value-{i}-{}", "abcdefghij".repeat(3)).as_bytes())
            );
            let headers: Vec<_> = record.headers.iter().map(|(k, v)| (&k[..], v.as_deref())).collect();
            assert_eq!(
                headers,
                [
                    (&b"trace"[..], Some(&b"one"[..])),
                    (b"trace", Some(b"two")),
                    (b"raw\xff", Some(b"x")),
                    (b"nullvalue", None)
                ],
                "{codec}"
            );
        }
    }
}

#[test]
fn kcat_writes_raw_snappy_and_java_writes_xerial() {
    let payload = |name: &str| golden(name)[0].bytes.slice(61..);
    assert!(payload("java-snappy").starts_with(b"\x82SNAPPY\0"));
    assert!(!payload("kcat-snappy").starts_with(b"\x82SNAPPY\0"));
}

#[test]
fn a_producer_without_idempotence_has_no_sequence() {
    let batches = golden("java-plain");
    let header = batches[0].header;
    assert_eq!(
        (header.producer_id, header.producer_epoch, header.base_sequence),
        (-1, -1, -1)
    );
    assert_eq!(header.last_sequence(), -1);
    assert_eq!(records(&batches), fill(40, 0));
}

/// Pitfall 3: deltas are varlongs, beyond 2^31 ms.
#[test]
fn timestamps_more_than_24_days_apart_are_read() {
    let read = records(&golden("java-far-timestamps"));
    let deltas: Vec<i64> = read.iter().map(|record| record.timestamp - BASE_TIMESTAMP).collect();
    assert_eq!(deltas, [0, 1 << 31, -(1 << 32), 40 * 86_400_000, -BASE_TIMESTAMP]);
}

/// Pitfall 2: the records still carry what the producer wrote.
#[test]
fn log_append_time_gives_every_record_the_batches_max_timestamp() {
    let batches = golden("java-logappend");
    let header = batches[0].header;
    assert_eq!(header.timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!(header.base_timestamp, BASE_TIMESTAMP);
    assert!(header.max_timestamp > BASE_TIMESTAMP + 1_000_000);
    let mut expected = fill(10, 0);
    for record in &mut expected {
        record.timestamp = header.max_timestamp;
    }
    assert_eq!(records(&batches), expected);
}

#[test]
fn transactional_batches_and_their_markers_are_told_apart() {
    let batches = golden("java-txn");
    let mut decompressor = Decompressor::default();
    let mut seen = Vec::new();
    for batch in &batches {
        assert!(batch.header.is_transactional());
        for record in batch.records(&mut decompressor).unwrap() {
            let record = record.unwrap();
            let control = batch
                .header
                .is_control()
                .then(|| ControlRecord::parse(&record).unwrap());
            seen.push((record.offset, control));
        }
    }
    let commit = Some(ControlRecord::Commit { coordinator_epoch: 0 });
    let abort = Some(ControlRecord::Abort { coordinator_epoch: 0 });
    assert_eq!(
        seen,
        [
            (0, None),
            (1, None),
            (2, None),
            (3, commit),
            (4, None),
            (5, None),
            (6, abort),
            (7, None),
            (8, commit)
        ]
    );
}

#[test]
fn our_commit_marker_is_the_brokers_byte_for_byte() {
    let batches = golden("java-txn");
    for marker in batches.iter().filter(|batch| batch.header.is_control()) {
        let header = marker.header;
        let mut decompressor = Decompressor::default();
        let record = marker.records(&mut decompressor).unwrap().next().unwrap().unwrap();
        let control = ControlRecord::parse(&record).unwrap();
        let ours = control.encode_batch(header.base_timestamp, header.producer_id, header.producer_epoch);
        let ours = RawBatch::parse(ours).unwrap();
        let placed =
            engine_wire::record_batch::place_batch(ours, header.base_offset, header.partition_leader_epoch, None);
        assert_eq!(placed.bytes, marker.bytes);
    }
}

#[test]
fn a_batch_that_compaction_emptied_still_moves_the_position() {
    let batches = golden("java-compacted");
    let first = batches[0].header;
    assert_eq!((first.base_offset, first.record_count, first.next_offset()), (0, 0, 3));
    assert_eq!(records(&batches[..1]), []);
    let steps: Vec<_> = batches
        .iter()
        .map(|b| (b.header.base_offset, b.header.next_offset()))
        .collect();
    assert_eq!(steps, [(0, 3), (3, 5), (5, 7), (7, 8), (8, 9), (9, 10), (10, 11)]);
    let left: Vec<_> = records(&batches)
        .into_iter()
        .map(|r| (r.offset, r.key.unwrap(), r.value))
        .collect();
    let value = |text: &str| Some(text.as_bytes().to_vec());
    assert_eq!(
        left,
        [
            (3, b"b".to_vec(), value("v3")),
            (5, b"c".to_vec(), value("v5")),
            (7, b"d".to_vec(), value("v7")),
            (8, b"e".to_vec(), value("v8")),
            (9, b"a".to_vec(), None),
            (10, b"z".to_vec(), value("last")),
        ]
    );
}

#[test]
fn a_delete_horizon_does_not_shift_the_timestamps() {
    let batches = golden("java-compacted");
    let tombstone = &batches[5];
    assert!(tombstone.header.has_delete_horizon());
    assert_ne!(tombstone.header.base_timestamp, tombstone.header.max_timestamp);
    assert_eq!(
        records(std::slice::from_ref(tombstone))[0].timestamp,
        tombstone.header.max_timestamp
    );
}

#[test]
fn what_our_builder_makes_of_the_same_records_is_javas_batch_byte_for_byte() {
    use engine_wire::compression::{Compression, Compressor};
    use engine_wire::record_batch::{BatchBuilder, Header, ProducerStamp, place_batch};
    let java = golden("java-none").remove(0);
    let mut builder = BatchBuilder::default();
    for record in fill(40, 0) {
        let headers: Vec<Header> = record
            .headers
            .iter()
            .map(|(key, value)| Header {
                key,
                value: value.as_deref(),
            })
            .collect();
        builder
            .append(
                record.timestamp,
                record.key.as_deref(),
                record.value.as_deref(),
                headers.iter().copied(),
            )
            .unwrap();
    }
    let mut sealed = builder
        .seal(Compression::NONE, &mut Compressor::new(), Vec::new())
        .unwrap();
    let bytes = sealed.stamp(ProducerStamp {
        producer_id: java.header.producer_id,
        producer_epoch: java.header.producer_epoch,
        base_sequence: 0,
        is_transactional: false,
    });
    let placed = place_batch(
        RawBatch::parse(bytes).unwrap(),
        0,
        java.header.partition_leader_epoch,
        None,
    );
    assert_eq!(placed.bytes, java.bytes);
}

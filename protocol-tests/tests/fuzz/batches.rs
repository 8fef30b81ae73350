//! Record batches: cut apart, walked, checked as a broker does, and written again.

use bytes::Bytes;
use engine_wire::compression::{Codec, DecodeLimits, Decompressor};
use engine_wire::record_batch::{
    BATCH_HEADER_BYTES, ControlRecord, RawBatch, RecordCheck, check_produced_batch, place_batch, split_batches,
};
use protocol_tests::fuzzing::fuzz;
use protocol_tests::golden;
use protocol_tests::owned_record::{OwnedRecord, records_of, sealed_batch};

use super::{allocating_at_most, alone};

const DECOMPRESSED_BYTES_MAX: usize = 1 << 20;

fn decompressor() -> Decompressor {
    Decompressor::new(DecodeLimits {
        decompressed_bytes_max: DECOMPRESSED_BYTES_MAX,
    })
}

fn examples() -> Vec<Vec<u8>> {
    golden::files("batches").into_iter().map(|(_, bytes)| bytes).collect()
}

/// The bytes with right CRCs: most of what is behind them is not reached with wrong ones.
fn mended(input: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    let mut at = 0;
    while let Some(batch) = bytes.get_mut(at..)
        && batch.len() >= BATCH_HEADER_BYTES
    {
        let size = batch.first_chunk::<12>().map_or(0, |front| {
            i64::from(i32::from_be_bytes([front[8], front[9], front[10], front[11]])) + 12
        });
        let size = usize::try_from(size).unwrap_or(0);
        if size < BATCH_HEADER_BYTES || size > batch.len() {
            break;
        }
        let crc = crc32c(&batch[21..size]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        at += size;
    }
    bytes
}

/// CRC-32C bit by bit, so that the test does not take the product's word for it.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg())
        })
    })
}

fn walk(input: Bytes) -> String {
    let mut outcome = String::new();
    let mut decompressor = decompressor();
    let size = input.len();
    let mut consumed = 0;
    let mut batches = split_batches(input);
    for batch in &mut batches {
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => {
                outcome += &error.to_string();
                break;
            }
        };
        consumed += batch.bytes.len();
        let is_intact = batch.verify_crc().is_ok();
        outcome += &format!("{:?} {is_intact} {:x};", batch.header.codec(), batch.header.attributes);
        assert!(batch.header.next_offset() > batch.header.base_offset || batch.header.next_offset() == i64::MAX);
        match batch.records(&mut decompressor) {
            Err(error) => outcome += &error.to_string(),
            Ok(records) => {
                for record in records {
                    match record {
                        Ok(record) => {
                            let (first, last) = (batch.header.base_offset, batch.header.last_offset());
                            assert!(
                                (first..=last).contains(&record.offset),
                                "{} of {first}..={last}",
                                record.offset
                            );
                            let headers = record.headers.clone().count();
                            outcome.push(if headers > 0 { 'h' } else { 'r' });
                            if batch.header.is_control() {
                                outcome += &format!("{:?}", ControlRecord::parse(&record));
                            }
                        }
                        Err(error) => {
                            outcome += &error.to_string();
                            break;
                        }
                    }
                }
            }
        }
    }
    assert!(consumed <= size, "{consumed} bytes of batches in {size}");
    outcome + &format!("tail {:?}", batches.truncated_tail().map(|needed| needed > size))
}

#[test]
fn record_batches() {
    let _alone = alone();
    fuzz("record_batches", examples(), 6_000, |input| {
        let bytes = if input.len() % 2 == 0 {
            mended(input)
        } else {
            input.to_vec()
        };
        // The decompressor's limit, its codec's state, and each batch its copy in the outcome.
        let budget = 12 * DECOMPRESSED_BYTES_MAX + 400 * bytes.len();
        allocating_at_most(budget, || walk(Bytes::from(bytes)))
    });
}

#[test]
fn produced_batches() {
    let _alone = alone();
    fuzz("produced_batches", examples(), 2_000, |input| {
        let bytes = Bytes::from(mended(input));
        let mut decompressor = decompressor();
        match check_produced_batch(bytes, RecordCheck::EveryRecord, &mut decompressor) {
            Err(error) => error.to_string(),
            Ok(batch) => {
                let count = batch.header.record_count;
                let placed = place_batch(batch, 1 << 40, 9, Some(1_700_000_000_000));
                placed.verify_crc().expect("the CRC was computed anew");
                let records = records_of(&placed, &mut decompressor);
                assert_eq!(records.len(), count as usize, "every record was checked");
                assert!(records.iter().all(|record| record.timestamp == 1_700_000_000_000));
                format!("{count} placed")
            }
        }
    });
}

#[test]
fn records_that_can_be_read_are_written_and_read_again() {
    let _alone = alone();
    fuzz("rewritten_batches", examples(), 2_000, |input| {
        let Some(Ok(batch)) = split_batches(Bytes::from(mended(input))).next() else {
            return "no batch".into();
        };
        let mut decompressor = decompressor();
        let Ok(records) = batch.records(&mut decompressor) else {
            return "unreadable".into();
        };
        let read: Result<Vec<OwnedRecord>, _> = records.map(|record| record.map(OwnedRecord::from)).collect();
        let Ok(mut read) = read else {
            return "malformed".into();
        };
        if read.is_empty() {
            return "empty".into();
        }
        for (offset, record) in (0..).zip(&mut read) {
            record.offset = offset; // Holes close.
        }
        let codec = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd][input.len() % 5];
        let written = RawBatch::parse(sealed_batch(&read, codec)).expect("our own batch");
        written.verify_crc().expect("our own batch");
        let mut roomy = Decompressor::new(DecodeLimits::default());
        assert_eq!(records_of(&written, &mut roomy), read, "{codec}");
        format!("{codec}")
    });
}

//! Reading records allocates nothing per record, and once warm nothing at all.
//!
//! The allocator of this binary counts; one test, because the counters are the process's.

use std::alloc::System;

use bytes::Bytes;
use cap::Cap;
use engine_wire::compression::{Codec, Compressor, DecodeLimits, Decompressor};
use engine_wire::record_batch::{BatchBuilder, Header, ProducerStamp, split_batches};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

const RECORDS: i64 = 1_000;
const BATCHES: u64 = 100;

#[test]
fn a_hundred_thousand_records_are_read_without_an_allocation() {
    for codec in [Codec::None, Codec::Snappy, Codec::Lz4, Codec::Gzip] {
        let batch = batch(codec);
        let mut decompressor = Decompressor::new(DecodeLimits::default());
        // The first batch sizes the scratch buffer and builds the codec's state.
        let warm = read(&batch, &mut decompressor);
        let before = ALLOCATOR.total_allocated();
        let records: u64 = (0..BATCHES).map(|_| read(&batch, &mut decompressor)).sum();
        let allocated = ALLOCATOR.total_allocated() - before;
        assert_eq!((warm, records), (1_000, 100_000));
        // A byte per batch would be too much; the slack is for the test harness's own threads.
        assert!(allocated < 4_096, "{codec}: {allocated} bytes for {BATCHES} batches");
    }
}

fn read(batch: &Bytes, decompressor: &mut Decompressor) -> u64 {
    let mut records = 0;
    for batch in split_batches(batch.clone()) {
        let batch = batch.expect("our own batch");
        batch.verify_crc().expect("our own batch");
        for record in batch.records(decompressor).expect("our own batch") {
            let record = record.expect("our own batch");
            assert!(record.value.is_some_and(|value| !value.is_empty()));
            assert_eq!(record.headers.count(), 1);
            records += 1;
        }
    }
    records
}

fn batch(codec: Codec) -> Bytes {
    let mut builder = BatchBuilder::with_capacity(1 << 20);
    for number in 0..RECORDS {
        let value = format!("{{\"user_id\":\"{number:036}\",\"event_type\":\"view\",\"event_time\":{number}}}");
        let header = Header {
            key: b"source",
            value: Some(b"test"),
        };
        builder
            .append(
                1_700_000_000_000 + number,
                Some(b"key"),
                Some(value.as_bytes()),
                [header],
            )
            .expect("a batch of a few hundred KB");
    }
    let mut sealed = builder
        .seal(codec.into(), &mut Compressor::new(), Vec::new())
        .expect("a writable codec");
    sealed.stamp(ProducerStamp::NONE)
}

//! Record batches and their codecs against bytes that mean harm.
//!
//! Bombs, and random mutations of golden bytes. A decoder may refuse or, where the bytes happen to mean something, succeed; it may
//! not panic, and it may not allocate more than its input or its limit pays for. The allocator of
//! this binary counts, and its limit turns a runaway reservation into a failure.
//!
//! Seeds are printed; one that failed becomes a named test. More rounds: `HOSTILE_ROUNDS=1000`.

use std::alloc::System;
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use cap::Cap;
use engine_wire::compression::{Codec, Compressor, DecodeLimits, Decompressor};
use engine_wire::record_batch::{
    BatchBuilder, ControlRecord, ProducerStamp, RecordCheck, check_produced_batch, split_batches,
};
use protocol_tests::golden;
use protocol_tests::hostility::{Random, allocating_at_most, rounds};

/// Far above what any input here pays for, far below what a lying count asks for.
const ALLOCATED_BYTES_MAX: usize = 1 << 30;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, ALLOCATED_BYTES_MAX);

/// One test at a time: the counters are the process's.
static COUNTERS: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    COUNTERS.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
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

/// Pitfall 19: batches with one byte changed, anywhere.
#[test]
fn mutated_batches_are_refused_or_read() {
    let _alone = alone();
    for (name, original) in golden::files("batches") {
        for seed in 0..rounds(100) {
            let mut random = Random::new(seed);
            let mut bytes = original.clone();
            random.mutate(&mut bytes);
            let what = format!("{name}, seed {seed}");
            let budget = 8 * DECOMPRESSED_BYTES_MAX + 2 * bytes.len();
            allocating_at_most(&ALLOCATOR, budget, &what, || {
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
    for (name, original) in golden::files("batches") {
        let payload = &original[61..];
        for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            for seed in 0..rounds(100) {
                let mut random = Random::new(seed);
                let mut bytes = payload.to_vec();
                random.mutate(&mut bytes);
                let what = format!("{name} as {codec}, seed {seed}");
                allocating_at_most(&ALLOCATOR, 8 * DECOMPRESSED_BYTES_MAX, &what, || {
                    if let Ok(content) = decompressor.decompress(codec, &bytes) {
                        assert!(content.len() <= DECOMPRESSED_BYTES_MAX, "{what}");
                    }
                });
            }
        }
    }
}

/// Pitfall 19: a few bytes that unpack to gigabytes.
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
        allocating_at_most(&ALLOCATOR, 4 * DECOMPRESSED_BYTES_MAX, codec.name(), || {
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
    allocating_at_most(&ALLOCATOR, 8 * DECOMPRESSED_BYTES_MAX, "zstd", || {
        let error = decompressor.decompress(Codec::Zstd, &compressed).unwrap_err();
        assert!(error.to_string().contains("more than 1048576 bytes"), "{error}");
    });
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

/// Pitfall 19: counts and lengths beyond what came.
#[test]
fn a_few_bytes_that_announce_much_get_no_room() {
    let _alone = alone();
    // 100 MiB as snappy's length, within the default limit, and nearly nothing behind it.
    let block = [0x80, 0x80, 0x80, 0x32, 0x00, b'x'];
    let framed = [b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\0\0\0\x06", &block[..]].concat();
    for compressed in [&block[..], &framed] {
        allocating_at_most(&ALLOCATOR, 64 * 1024, "snappy", || {
            let error = Decompressor::default()
                .decompress(Codec::Snappy, compressed)
                .unwrap_err();
            assert!(error.to_string().contains("announces 104857600"), "{error}");
        });
    }
}

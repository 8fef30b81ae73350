//! Batches as brokers store them.

use bytes::Bytes;
use engine_wire::compression::{Codec, Compression, Compressor};
use engine_wire::record_batch::{BatchBuilder, ControlRecord, ProducerStamp, RawBatch, place_batch};

/// `count` records from `base_offset` on.
pub(super) fn batch(base_offset: i64, count: i32) -> Bytes {
    stamped(base_offset, count, ProducerStamp::NONE, Compression::NONE)
}

pub(super) fn transactional(base_offset: i64, count: i32, producer_id: i64, codec: Codec) -> Bytes {
    let stamp = ProducerStamp {
        producer_id,
        producer_epoch: 0,
        base_sequence: 0,
        is_transactional: true,
    };
    stamped(base_offset, count, stamp, Compression { codec, level: None })
}

pub(super) fn stamped(base_offset: i64, count: i32, stamp: ProducerStamp, compression: Compression) -> Bytes {
    let mut builder = BatchBuilder::with_capacity(1000);
    for _ in 0..count {
        builder.append(0, None, Some(b"some value"), []).expect("small");
    }
    let sealed = builder.seal(compression, &mut Compressor::new(), Vec::new());
    let bytes = sealed.expect("compresses").stamp(stamp);
    placed(bytes, base_offset)
}

pub(super) fn marker(offset: i64, producer_id: i64, marker: ControlRecord) -> Bytes {
    placed(marker.encode_batch(0, producer_id, 0), offset)
}

pub(super) fn placed(bytes: Bytes, base_offset: i64) -> Bytes {
    place_batch(RawBatch::parse(bytes).expect("our own batch"), base_offset, 3, None).bytes
}

/// What compaction leaves of a batch: the header, with its last offset.
pub(super) fn emptied(base_offset: i64, count: i32) -> Bytes {
    let mut bytes = batch(base_offset, count)[..61].to_vec();
    bytes[8..12].copy_from_slice(&49i32.to_be_bytes());
    bytes[57..61].copy_from_slice(&0i32.to_be_bytes());
    let batch = RawBatch::parse(bytes.into()).expect("a whole header");
    place_batch(batch, base_offset, 3, Some(0)).bytes // With a new CRC.
}

pub(super) const COMMIT: ControlRecord = ControlRecord::Commit { coordinator_epoch: 0 };

pub(super) const ABORT: ControlRecord = ControlRecord::Abort { coordinator_epoch: 0 };

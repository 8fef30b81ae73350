//! Records that own their bytes, to be written, read and compared.

use bytes::Bytes;
use engine_wire::compression::{Codec, Compressor, Decompressor};
use engine_wire::record_batch::{BatchBuilder, Header, ProducerStamp, RawBatch, Record};

/// All of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedRecord {
    /// Absolute offset.
    pub offset: i64,
    /// In ms.
    pub timestamp: i64,
    /// `None` is null.
    pub key: Option<Vec<u8>>,
    /// `None` is null.
    pub value: Option<Vec<u8>>,
    /// In order, duplicates included.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl From<Record<'_>> for OwnedRecord {
    fn from(record: Record<'_>) -> Self {
        let headers = record.headers.map(|h| (h.key.to_vec(), h.value.map(<[u8]>::to_vec)));
        Self {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: headers.collect(),
        }
    }
}

/// The records of a batch.
///
/// # Panics
/// If it cannot be read.
#[must_use]
pub fn records_of(batch: &RawBatch, decompressor: &mut Decompressor) -> Vec<OwnedRecord> {
    let records = batch.records(decompressor).unwrap();
    records.map(|record| record.unwrap().into()).collect()
}

/// Appends a record and checks the announced bound of its size.
///
/// # Panics
/// If it does not fit, or is larger than announced.
pub fn append(builder: &mut BatchBuilder, record: &OwnedRecord) {
    let headers: Vec<Header<'_>> = record
        .headers
        .iter()
        .map(|(key, value)| Header {
            key,
            value: value.as_deref(),
        })
        .collect();
    let before = builder.size_bytes();
    let (key, value) = (record.key.as_deref(), record.value.as_deref());
    builder
        .append(record.timestamp, key, value, headers.iter().copied())
        .unwrap();
    let bound = BatchBuilder::record_bytes_max(key, value, headers.iter().copied());
    assert!(builder.size_bytes() - before <= bound, "the announced bound holds");
    if builder.record_count() == 1 {
        let alone = BatchBuilder::lone_batch_bytes(key, value, headers);
        assert_eq!(builder.size_bytes(), alone, "the announced size is right");
    }
}

/// A transactional producer's stamp.
#[must_use]
pub fn stamp(base_sequence: i32) -> ProducerStamp {
    ProducerStamp {
        producer_id: 77,
        producer_epoch: 3,
        base_sequence,
        is_transactional: true,
    }
}

/// The records as one stamped batch.
///
/// # Panics
/// If the codec cannot be written.
#[must_use]
pub fn sealed_batch(records: &[OwnedRecord], codec: Codec) -> Bytes {
    let mut builder = BatchBuilder::default();
    records.iter().for_each(|record| append(&mut builder, record));
    builder
        .seal(codec.into(), &mut Compressor::new(), Vec::new())
        .unwrap()
        .stamp(stamp(5))
}

/// A record with a value and nothing else.
#[must_use]
pub fn one(value: &[u8]) -> OwnedRecord {
    OwnedRecord {
        offset: 0,
        timestamp: 1,
        key: None,
        value: Some(value.to_vec()),
        headers: Vec::new(),
    }
}

//! One partition as its leader keeps it: the broker's rules for idempotent producers.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use engine_wire::compression::{DecodeLimits, Decompressor};
use engine_wire::error_code::ErrorCode;
use engine_wire::record_batch::{BatchHeader, RawBatch, sequence_after};

/// One partition as its leader keeps it: the broker's rules for idempotent producers.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) values: Vec<u64>,
    /// As brokers before KIP-360; later ones take any sequence of a producer they do not know.
    pub(super) refuses_unknown_producers: bool,
    producers: HashMap<i64, ProducerEntry>,
}

#[derive(Debug)]
pub(super) struct ProducerEntry {
    epoch: i16,
    last_sequence: i32,
    /// First sequence, last sequence and base offset of the last five batches.
    batches: VecDeque<(i32, i32, i64)>,
}

impl Log {
    /// The broker's check and append (`ProducerAppendInfo`, `ProducerStateManager`).
    pub(super) fn append(&mut self, records: &Bytes) -> (ErrorCode, i64) {
        let batch = RawBatch::parse(records.clone()).expect("the producer writes whole batches");
        batch.verify_crc().expect("the producer stamps batches");
        let header: BatchHeader = batch.header;
        let base_offset = self.values.len() as i64;
        if header.producer_id >= 0 {
            let (first, last) = (
                header.base_sequence,
                sequence_after(header.base_sequence, header.record_count - 1),
            );
            if let Some(entry) = self.producers.get(&header.producer_id) {
                if header.producer_epoch < entry.epoch {
                    return (ErrorCode::INVALID_PRODUCER_EPOCH, -1);
                }
                if header.producer_epoch > entry.epoch {
                    if first != 0 {
                        return (ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, -1);
                    }
                } else if let Some(known) = entry.batches.iter().find(|known| (known.0, known.1) == (first, last)) {
                    return (ErrorCode::NONE, known.2);
                } else if first != sequence_after(entry.last_sequence, 1) {
                    return (ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, -1);
                }
            } else if first != 0 && self.refuses_unknown_producers {
                return (ErrorCode::UNKNOWN_PRODUCER_ID, -1);
            }
            let entry = self.producers.entry(header.producer_id).or_insert(ProducerEntry {
                epoch: header.producer_epoch,
                last_sequence: -1,
                batches: VecDeque::new(),
            });
            if header.producer_epoch > entry.epoch {
                entry.epoch = header.producer_epoch;
                entry.batches.clear();
            }
            entry.last_sequence = last;
            entry.batches.push_back((first, last, base_offset));
            if entry.batches.len() > 5 {
                entry.batches.pop_front();
            }
        }
        let mut decompressor = Decompressor::new(DecodeLimits::default());
        for record in batch.records(&mut decompressor).expect("our own codec") {
            let value = record.expect("our own encoding").value.expect("every value is there");
            self.values
                .push(u64::from_be_bytes(value[..8].try_into().expect("eight bytes")));
        }
        (ErrorCode::NONE, base_offset)
    }

    /// Retention removed the producer's last batch, and with it its entry.
    pub(super) fn forget_producers(&mut self) {
        self.producers.clear();
    }
}

//! Writers of all kinds, straight into the logs: plain, transactional, aborted, and markers of transactions that wrote nothing.
//!
//! Never here: a producer's machine; these never fail.

use std::collections::HashMap;

use bytes::Bytes;
use engine_wire::compression::{Codec, Compression, Compressor};
use engine_wire::error_code::ErrorCode;
use engine_wire::record_batch::{BatchBuilder, ControlRecord, ProducerStamp, sequence_after};
use fastrand::Rng;

use crate::cluster::{Cluster, Happening};
use crate::network::MS;

#[derive(Debug, Default)]
pub(crate) struct LogWriter {
    next_value: u64,
    /// Epoch and next sequence, by producer and partition.
    sequences: HashMap<(i64, usize), (i16, i32)>,
}

const COMMIT: ControlRecord = ControlRecord::Commit { coordinator_epoch: 0 };

const ABORT: ControlRecord = ControlRecord::Abort { coordinator_epoch: 0 };

const PRODUCERS: std::ops::Range<i64> = 100..104;

impl LogWriter {
    /// Something more in one of the logs.
    pub(crate) fn write(&mut self, cluster: &mut Cluster, rng: &mut Rng) {
        let partition = rng.usize(0..cluster.partitions.len());
        if cluster.partitions[partition].leader.is_none() {
            return;
        }
        let producer_id = rng.i64(PRODUCERS);
        match rng.u32(0..6) {
            0 | 1 => self.append(cluster, rng, partition, None),
            2..=4 => self.append(cluster, rng, partition, Some(producer_id)),
            _ => self.end(cluster, partition, producer_id),
        }
        let after = MS * rng.u32(1..60);
        cluster.network.schedule(after, Happening::Replicate { partition });
    }

    /// Ends whatever is open.
    pub(crate) fn end_all(&mut self, cluster: &mut Cluster) {
        for partition in 0..cluster.partitions.len() {
            for producer_id in PRODUCERS {
                if cluster.partitions[partition]
                    .log()
                    .open_transaction(producer_id)
                    .is_some()
                {
                    self.end(cluster, partition, producer_id);
                }
            }
            cluster.network.schedule(MS, Happening::Replicate { partition });
        }
    }

    /// A transaction that has to end again, because an election cost its marker, ends as it did: readers have seen it.
    fn end(&mut self, cluster: &mut Cluster, partition: usize, producer_id: i64) {
        let open = cluster.partitions[partition].log().open_transaction(producer_id);
        let marker = if open.is_some_and(|value| value % 3 > 0) {
            COMMIT
        } else {
            ABORT
        };
        let (epoch, _) = self
            .sequences
            .get(&(producer_id, partition))
            .copied()
            .unwrap_or_default();
        cluster.partitions[partition].append_marker(marker, producer_id, epoch);
    }

    fn append(&mut self, cluster: &mut Cluster, rng: &mut Rng, partition: usize, producer_id: Option<i64>) {
        let mut builder = BatchBuilder::with_capacity(1000);
        let count = rng.i32(1..10);
        for _ in 0..count {
            let value = self.next_value.to_be_bytes();
            self.next_value += 1;
            builder.append(0, None, Some(&value), []).expect("small");
        }
        let codec = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4][rng.usize(0..4)];
        let sealed = builder.seal(Compression { codec, level: None }, &mut Compressor::new(), Vec::new());
        let mut sealed = sealed.expect("compresses");
        let Some(producer_id) = producer_id else {
            let records = sealed.stamp(ProducerStamp::NONE);
            cluster.partitions[partition].append(&records);
            return;
        };
        let mut append = |(producer_epoch, base_sequence): (i16, i32)| {
            let records: Bytes = sealed.stamp(ProducerStamp {
                producer_id,
                producer_epoch,
                base_sequence,
                is_transactional: true,
            });
            cluster.partitions[partition].append(&records).0
        };
        let place = self.sequences.entry((producer_id, partition)).or_default();
        if append(*place) != ErrorCode::NONE {
            // An election cost batches of this producer: it goes on under another epoch.
            *place = (place.0 + 1, 0);
            assert_eq!(append(*place), ErrorCode::NONE);
        }
        place.1 = sequence_after(place.1, count);
    }
}

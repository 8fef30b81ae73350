//! Sealing: the expensive part of a batch's life, done where the driver likes.
//!
//! The machine closes a batch and gives it away as a [`SealJob`]; what comes back goes to the batch
//! of the same id, if that one is still there.
//! Never here: which batches are closed (see `append` and `delivery`).

use std::sync::Arc;

use engine_wire::{
    compression::{CompressError, Compression, Compressor},
    record_batch::{BatchBuilder, ProducerStamp},
};

use super::{
    ProducerMachine,
    delivery::{BatchDelivered, DeliveryError},
};
use crate::accumulator::{BatchId, BatchState, Sealed};

/// A batch for the driver to seal, on whichever thread.
#[derive(Debug)]
pub struct SealJob {
    job: SealJobId,
    builder: BatchBuilder,
    spare: Vec<u8>,
}

/// A job that is done.
#[derive(Debug)]
pub struct SealDone {
    job: SealJobId,
    sealed: Result<Sealed, CompressError>,
    arena: Vec<u8>,
}

impl SealJob {
    /// Compresses and stamps the batch: the expensive part of a batch's life.
    pub fn run(mut self, compression: Compression, compressor: &mut Compressor) -> SealDone {
        let sealed = self.builder.seal(compression, compressor, self.spare);
        let sealed = sealed.map(|mut batch| {
            let records = batch.stamp(self.job.stamp);
            Sealed { batch, records }
        });
        SealDone {
            job: self.job,
            sealed,
            arena: self.builder.into_buffer(),
        }
    }
}

/// Names a seal job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SealJobId {
    partition: usize,
    batch: BatchId,
    stamp: ProducerStamp,
}

impl<T: Clone> ProducerMachine<T> {
    /// A batch to seal.
    pub fn poll_seal(&mut self) -> Option<SealJob> {
        while let Some((partition, batch_id)) = self.seal_queue.pop_front() {
            let queue = &mut self.partitions[partition];
            let Some(index) = queue.find_newest(batch_id) else {
                continue; // Expired meanwhile.
            };
            let batch = &mut queue.batches[index];
            let BatchState::Closed(builder) = std::mem::replace(&mut batch.state, BatchState::Sealing) else {
                unreachable!("batches in the seal queue are closed");
            };
            let stamp = batch.stamp();
            let job = SealJobId {
                partition,
                batch: batch_id,
                stamp,
            };
            let spare = self.memory.take_spare(builder.size_bytes(), builder.capacity_bytes());
            return Some(SealJob { job, builder, spare });
        }
        None
    }

    /// Takes a sealed batch back. An error fails the batch.
    pub fn handle_sealed(&mut self, done: SealDone) {
        let SealDone { job, sealed, arena } = done;
        let queue = &mut self.partitions[job.partition];
        let Some(index) = queue.find_newest(job.batch) else {
            self.memory.keep_spare(arena);
            return; // Aborted meanwhile.
        };
        if let Ok(sealed) = &sealed {
            let charged_bytes = sealed.batch.capacity_bytes();
            let before = std::mem::replace(&mut queue.batches[index].charged_bytes, charged_bytes);
            self.memory.release(before);
            self.memory.charge(charged_bytes);
        }
        self.memory.keep_spare(arena);
        match sealed {
            Ok(_) if queue.batches[index].is_reported => {
                self.resolve(job.partition, index, Ok(BatchDelivered::UNKNOWN));
            }
            Ok(sealed) => {
                queue.batches[index].state = BatchState::Ready {
                    sealed,
                    stamp: job.stamp,
                }
            }
            Err(reason) => {
                let error = DeliveryError::NotWritable {
                    topic: Arc::clone(&queue.topic),
                    partition: queue.partition,
                    source: reason,
                };
                self.resolve(job.partition, index, Err(error));
            }
        }
    }
}

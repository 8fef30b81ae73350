//! A partition: its log behind its lock, and the fetches that wait for it.
//!
//! The lock is held for appends and index look-ups, never across an await. Bytes are read from disk after it is
//! released.

use std::io;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine_wire::error_code::ErrorCode;
use tokio::sync::Notify;

use crate::batch::{InTransaction, IncomingBatch};
use crate::log::Log;
use crate::log::producer_state::{SequenceCheck, SequenceError};

/// One partition of a topic.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) index: i32,
    /// The term of its leader, which is always this broker. Changed under the log's lock, so that batches have terms
    /// that never go back.
    leader_epoch: AtomicI32,
    log: Mutex<Log>,
    waiting: Mutex<Vec<Arc<Notify>>>,
    /// The log's bytes, to be read without its lock.
    bytes: AtomicU64,
    /// The bytes of all partitions.
    total_bytes: Arc<AtomicU64>,
}

/// What became of an append.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Appended {
    pub(crate) base_offset: i64,
    pub(crate) log_start_offset: i64,
}

/// Why a checked batch was not appended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppendError {
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    #[error("producer {producer_id} has an open transaction here, which this batch is not part of")]
    OutsideTransaction { producer_id: i64 },
    #[error("the log could not be written")]
    Io(#[from] io::Error),
}

impl Partition {
    /// A partition whose bytes count in `total_bytes` as long as it lives.
    pub(crate) fn new(index: i32, leader_epoch: i32, log: Log, total_bytes: Arc<AtomicU64>) -> Self {
        total_bytes.fetch_add(log.bytes(), Ordering::Relaxed);
        let bytes = AtomicU64::new(log.bytes());
        Self {
            index,
            leader_epoch: AtomicI32::new(leader_epoch),
            log: Mutex::new(log),
            waiting: Mutex::default(),
            bytes,
            total_bytes,
        }
    }

    /// Appends a batch unless it was appended before, and wakes the fetches that wait.
    pub(crate) fn append(&self, batch: &IncomingBatch, sync: bool) -> Result<Appended, AppendError> {
        let appended = self.change(|log| {
            let log_start_offset = log.log_start_offset();
            let sequenced = batch.sequenced();
            if let Some(sequenced) = sequenced
                && let SequenceCheck::Repeated { base_offset } = log.producers.check(sequenced)?
            {
                return Ok(Appended {
                    base_offset,
                    log_start_offset,
                });
            }
            let producer_id = batch.producer_id();
            match batch.in_transaction() {
                InTransaction::No if log.transactions.open_since(producer_id).is_some() => {
                    return Err(AppendError::OutsideTransaction { producer_id });
                }
                // Written before the marker was repeated, by a producer that has gone on: nothing is left to end.
                InTransaction::Marker { .. } if log.producers.is_fenced(producer_id, batch.producer_epoch()) => {
                    let base_offset = log.next_offset();
                    return Ok(Appended {
                        base_offset,
                        log_start_offset,
                    });
                }
                _ => {}
            }
            let base_offset = log.append(batch, self.leader_epoch(), sync)?;
            Ok(Appended {
                base_offset,
                log_start_offset,
            })
        });
        if appended.is_ok() {
            self.wake_waiting();
        }
        appended
    }

    /// Compares what a client knows about the leader with what is; -1 asks for no comparison (KIP-320).
    pub(crate) fn check_leader_epoch(&self, known: i32) -> Result<(), ErrorCode> {
        let present = self.leader_epoch();
        match known {
            -1 => Ok(()),
            known if known < present => Err(ErrorCode::FENCED_LEADER_EPOCH),
            known if known > present => Err(ErrorCode::UNKNOWN_LEADER_EPOCH),
            _ => Ok(()),
        }
    }

    pub(crate) fn leader_epoch(&self) -> i32 {
        self.leader_epoch.load(Ordering::Relaxed)
    }

    /// The next term begins; fetches that wait in the old one are answered.
    pub(crate) fn move_leader(&self) -> i32 {
        let next = self.change(|_| self.leader_epoch.fetch_add(1, Ordering::Relaxed) + 1);
        self.wake_waiting();
        next
    }

    /// Looks into the log.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Log) -> T) -> T {
        look(&self.lock())
    }

    /// Changes the log.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Log) -> T) -> T {
        let mut log = self.lock();
        let before = log.bytes();
        let result = change(&mut log);
        self.bytes.store(log.bytes(), Ordering::Relaxed);
        // Wrapping, so that a shrinking log is an addition too.
        self.total_bytes
            .fetch_add(log.bytes().wrapping_sub(before), Ordering::Relaxed);
        result
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Notifies `waiter` at the next append, until [`stop_waiting`](Self::stop_waiting).
    pub(crate) fn wait(&self, waiter: &Arc<Notify>) {
        self.waiting().push(Arc::clone(waiter));
    }

    pub(crate) fn stop_waiting(&self, waiter: &Arc<Notify>) {
        self.waiting().retain(|other| !Arc::ptr_eq(other, waiter));
    }

    /// Wakes every fetch that waits: something was appended, or the partition is gone.
    pub(crate) fn wake_waiting(&self) {
        for waiter in self.waiting().iter() {
            waiter.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Arc<Notify>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Partition {
    fn drop(&mut self) {
        self.total_bytes.fetch_sub(self.bytes(), Ordering::Relaxed);
    }
}

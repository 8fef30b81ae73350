//! Fuzz targets for all that reads a broker's bytes, and for the machines that act on what was read.
//!
//! As tests they run over the corpus (`fuzz/`) and a bounded number of inputs, always the same ones;
//! `scripts/fuzz [TARGET] [--seconds N]` runs them longer, from a new seed. A decoder may refuse or, where the bytes
//! happen to mean something, succeed; it may not panic, and not allocate more than its input or its limit pays for. A
//! machine may give up on a broker; it may not panic, lose a record or tell its fate twice, or move back.

mod batches;
mod compression;
mod connection;
mod fetcher;
mod group;
mod membership;
mod messages;
mod metadata;
mod producer;
mod transaction;

use std::alloc::System;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cap::Cap;

/// Far above what any input here pays for, far below what a lying count asks for.
const ALLOCATED_BYTES_MAX: usize = 1 << 30;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, ALLOCATED_BYTES_MAX);

/// One target at a time: the counters are the process's.
static COUNTERS: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    COUNTERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `decode`, and demands that it allocates no more than `budget` in all.
fn allocating_at_most<T>(budget: usize, decode: impl FnOnce() -> T) -> T {
    let before = ALLOCATOR.total_allocated();
    let decoded = decode();
    let allocated = ALLOCATOR.total_allocated() - before;
    assert!(allocated <= budget, "{allocated} bytes allocated, {budget} paid for");
    decoded
}

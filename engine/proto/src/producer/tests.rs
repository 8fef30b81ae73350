//! The machine step by step, one situation per test. `tests/simulation` has the seeds.

mod batching;
mod bench;
mod endings;
mod partition_log;
mod recreated;
mod sequences;
mod transactions;

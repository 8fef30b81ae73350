//! The machine step by step, one situation per test, and a seeded simulation.

mod batching;
mod bench;
mod coordinator;
mod endings;
mod partition_log;
mod recreated;
mod sequences;
mod simulation;
mod transaction_simulation;
mod transactions;

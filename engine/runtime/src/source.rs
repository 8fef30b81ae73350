//! From record batches to micro-batches: CRC, decompression, records, payloads into Arrow builders.
//!
//! All of it runs on worker threads and works on bytes that were fetched already.
//! Never here: the consumer, watermarks (the coordinator compares all partitions), threads.

pub(crate) mod counts;
pub(crate) mod latest_timestamps;
pub(crate) mod reject;
pub(crate) mod task;
pub(crate) mod task_error;
pub(crate) mod window_span;

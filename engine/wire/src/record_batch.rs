//! Our own v2 record batch (KIP-98): the one place of the hot path where bytes become records.
//!
//! Reading: [`split_batches`] cuts a Fetch response into [`RawBatch`]es without copying,
//! [`RawBatch::records`] walks one. Writing: [`BatchBuilder`] → [`SealedBatch`] → stamp. A broker
//! checks and patches with [`check_produced_batch`] and [`place_batch`].
//! Never here: sockets, time, partitions.

mod append;
mod builder;
mod control;
mod header;
mod records;
mod sealed;
mod short_varint;
mod split;

pub use append::{ProducedBatchError, RecordCheck, check_produced_batch, place_batch};
pub use builder::{AppendError, BatchBuilder, HEADER_OVERHEAD_BYTES_MAX, RECORD_OVERHEAD_BYTES_MAX};
pub use control::{ControlRecord, ControlRecordError};
pub use header::{BATCH_HEADER_BYTES, BATCH_PREFIX_BYTES, BatchError, BatchHeader, TimestampType, sequence_after};
pub use records::{Header, Headers, Record, RecordError, RecordIter};
pub use sealed::{ProducerStamp, SealedBatch};
pub use split::{Batches, RawBatch, split_batches};

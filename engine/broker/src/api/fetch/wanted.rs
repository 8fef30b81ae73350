//! What a Fetch asks for, resolved, and what was found.

use std::sync::Arc;

use engine_wire::error_code::ErrorCode;
use uuid::Uuid;

use crate::log::read::LogSlice;
use crate::log::transactions::AbortedTransaction;
use crate::partition::Partition;

/// First version with topic ids instead of names.
pub(super) const TOPIC_IDS: i16 = 13;

/// One topic of the request.
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) topic_id: Uuid,
    pub(super) partitions: Vec<WantedPartition>,
}

pub(super) struct WantedPartition {
    pub(super) index: i32,
    pub(super) offset: i64,
    pub(super) bytes_max: usize,
    /// What the client knows about the leader, or -1.
    pub(super) leader_epoch: i32,
    pub(super) partition: Result<Arc<Partition>, ErrorCode>,
}

/// What one partition answers.
pub(super) struct Fetched {
    pub(super) error: ErrorCode,
    pub(super) high_watermark: i64,
    pub(super) last_stable_offset: i64,
    pub(super) log_start_offset: i64,
    /// Whose records in `batches` are not to be read; `None` for who reads what is uncommitted too.
    pub(super) aborted: Option<Vec<AbortedTransaction>>,
    pub(super) batches: LogSlice,
}

//! Why a partition cannot be processed.

use std::sync::Arc;

use engine_stream::graph::ProcessError;
use engine_stream::snapshot::SnapshotError;
use engine_wire::record_batch::{BatchError, RecordError};

use crate::sink_error::SinkError;

/// Why a partition cannot be processed. The pipeline stops.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TaskError {
    /// The batch is not what the producer wrote.
    #[error("{topic}-{partition}")]
    Batch {
        topic: Arc<str>,
        partition: i32,
        #[source]
        cause: BatchError,
    },
    /// The batch's records cannot be read.
    #[error("{topic}-{partition}")]
    Records {
        topic: Arc<str>,
        partition: i32,
        #[source]
        cause: RecordError,
    },
    /// `on_error = "fail"` and a malformed record.
    #[error(
        "source \"{source_name}\": {topic}-{partition} offset {offset}: {what} \
         (on_error = \"fail\"; \"drop\" or \"dead_letter\" would go on)"
    )]
    Malformed {
        source_name: String,
        topic: Arc<str>,
        partition: i32,
        offset: i64,
        what: String,
    },
    /// The dead letter could not be kept.
    #[error("dead letter of {topic}-{partition} offset {offset}")]
    DeadLetter {
        topic: Arc<str>,
        partition: i32,
        offset: i64,
        #[source]
        cause: SinkError,
    },
    /// An operator failed.
    #[error("{topic}-{partition}")]
    Process {
        topic: Arc<str>,
        partition: i32,
        #[source]
        cause: ProcessError,
    },
    /// The pipeline was changed, and its state is another one's now.
    #[error(
        "{topic}-{partition}: {what}; change the pipeline back, run it under another `name`, or, to start anew without what \
         it has kept, delete the group's offsets and the state topic"
    )]
    Restore {
        topic: Arc<str>,
        partition: i32,
        what: String,
    },
    /// The state cannot be written or read.
    #[error("state of {topic}-{partition}")]
    Snapshot {
        topic: Arc<str>,
        partition: i32,
        #[source]
        cause: SnapshotError,
    },
}

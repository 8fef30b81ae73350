//! Sinks: where the rows of operators leave the process.
//!
//! Rows arrive on worker threads (filters, selects) and on the coordinator's (closed windows); a sink that has no room
//! blocks them, which is the pipeline's backpressure. Nothing counts as written before a checkpoint has flushed it.

pub(crate) mod dead_letter;
pub(crate) mod kafka;
pub(crate) mod lake;
pub(crate) mod set;

/// Why a sink cannot take or keep rows. The pipeline stops; the next run starts at the last checkpoint.
#[derive(Debug, Clone, thiserror::Error)]
#[error("sink \"{sink}\": {what}")]
pub struct SinkError {
    /// The sink's name in the pipeline.
    pub sink: String,
    /// What happened.
    pub what: String,
}

impl SinkError {
    pub(crate) fn new(sink: &str, what: impl Into<String>) -> Self {
        SinkError {
            sink: sink.to_owned(),
            what: what.into(),
        }
    }

    /// From an error and all of its causes.
    pub(crate) fn from_error(sink: &str, error: &dyn std::error::Error) -> Self {
        SinkError {
            sink: sink.to_owned(),
            what: crate::error_chain::describe(error),
        }
    }
}

//! Sinks: where the rows of operators leave the process.
//!
//! Rows arrive on worker threads (filters, selects) and on the coordinator's (closed windows); a sink that has no room
//! blocks them, which is the pipeline's backpressure. Nothing counts as written before a checkpoint has flushed it.

pub(crate) mod dead_letter;
pub(crate) mod kafka;
pub(crate) mod lake;
pub(crate) mod record_key;
pub(crate) mod set;

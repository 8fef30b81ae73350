//! Why a run failed. Each is told to a user in one line, with its causes.

use std::error::Error;
use std::time::Duration;

use crate::checkpoint::recovery::RecoveryError;
use crate::checkpoint::state_topic::StateTopicError;
use crate::error_chain::describe;
use crate::refusal::Refusal;
use crate::sink_error::SinkError;
use crate::source::task_error::TaskError;
use crate::worker::WorkerError;

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The pipeline's graph has mistakes that its file was not refused for.
    #[error("the pipeline cannot run: {0}")]
    Plan(String),
    /// A client option is not usable.
    #[error("{0}")]
    Options(String),
    /// The cluster cannot be reached.
    #[error("cannot connect: {0}")]
    Connect(Refusal),
    /// A topic is missing or cannot be created.
    #[error("{0}")]
    Topic(String),
    /// The group refuses us.
    #[error("consumer group: {0}")]
    Group(String),
    /// The group's coordinator does not say whether we belong to it.
    #[error("consumer group: {0}")]
    Membership(Refusal),
    /// Records cannot be fetched.
    #[error("cannot read: {0}")]
    Fetch(String),
    /// The brokers do not tell where partitions begin and end.
    #[error("cannot look offsets up: {0}")]
    Offsets(Refusal),
    /// Offsets cannot be read or committed.
    #[error("committed offsets: {0}")]
    Commit(Refusal),
    /// A transaction was not committed, or nobody knows.
    #[error("transaction: {0}")]
    Transaction(String),
    /// The cluster does not let this pipeline use transactions.
    #[error("transaction: {0}; `guarantee = \"at_least_once\"` in [checkpoint] works without")]
    Refused(String),
    /// There is no safe start.
    #[error("cannot restore: {0}")]
    Recovery(#[from] RecoveryError),
    /// The state topic cannot be read or written.
    #[error(transparent)]
    State(#[from] StateTopicError),
    /// Decoding, an operator, or rows on their way to a sink.
    #[error("{0}")]
    Worker(String),
    /// An operator failed while windows were merged.
    #[error("{0}")]
    Process(String),
    /// A sink failed.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// Somebody asked to stop, and the last checkpoint did not come to its end.
    #[error(
        "stopped, but the last checkpoint did not succeed within {} s; the next run goes on from the one before it",
        patience.as_secs()
    )]
    StoppedInCheckpoint {
        /// How long it was waited for.
        patience: Duration,
    },
    /// Checkpoint after checkpoint was refused, and no other process has taken over.
    #[error(
        "the partitions or the transaction were lost before a checkpoint succeeded, every time for {} minutes; if no other \
         process runs this pipeline, its checkpoints take longer than `transaction.timeout.ms`",
        after.as_secs() / 60
    )]
    AlwaysLost {
        /// How long it was tried.
        after: Duration,
    },
    /// A generator failed.
    #[error("generator {0}")]
    Generator(String),
    /// The HTTP server cannot start.
    #[error("{0}")]
    Server(String),
    /// Threads cannot be started.
    #[error("cannot start a thread: {0}; fewer workers need fewer threads")]
    Threads(std::io::Error),
    /// The coordinator's thread ended without an answer.
    #[error("the coordinator's thread ended without an answer")]
    CoordinatorGone,
}

impl RunError {
    pub(crate) fn connect(error: impl Error + 'static) -> Self {
        RunError::Connect(Refusal::of(&error))
    }

    pub(crate) fn group(error: impl Error) -> Self {
        RunError::Group(describe(&error))
    }

    pub(crate) fn fetch(error: impl Error) -> Self {
        RunError::Fetch(describe(&error))
    }

    pub(crate) fn offsets(error: impl Error + 'static) -> Self {
        RunError::Offsets(Refusal::of(&error))
    }

    pub(crate) fn commit(error: impl Error + 'static) -> Self {
        RunError::Commit(Refusal::of(&error))
    }

    pub(crate) fn process(error: impl Error) -> Self {
        RunError::Process(describe(&error))
    }

    /// Whether it may go well from the last checkpoint: brokers or a bucket did not answer, or did not do what was asked of
    /// them this time. Everything else would only happen again.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            RunError::Connect(_)
            | RunError::Offsets(_)
            | RunError::Commit(_)
            | RunError::Membership(_)
            | RunError::Transaction(_) => true,
            RunError::State(error) => error.is_transient,
            RunError::Sink(error) => error.is_transient,
            _ => false,
        }
    }

    /// Whether a process that never had the partitions, nor stood by for them, should try again: its brokers or its bucket may
    /// still be on their way up. What may be a mistake in the settings is told at once instead.
    pub(crate) fn may_pass_at_the_start(&self) -> bool {
        match self {
            RunError::Connect(refusal)
            | RunError::Offsets(refusal)
            | RunError::Commit(refusal)
            | RunError::Membership(refusal) => !refusal.is_final,
            RunError::State(error) => error.is_transient && !error.is_refused,
            // Waited for several times already; a small cluster may never be able to.
            RunError::Transaction(_) => false,
            error => error.is_transient(),
        }
    }
}

impl From<WorkerError> for RunError {
    fn from(error: WorkerError) -> Self {
        match error {
            WorkerError::Sink(error) => RunError::Sink(error),
            WorkerError::Task(TaskError::DeadLetter { cause, .. }) if cause.is_transient => RunError::Sink(cause),
            error => RunError::Worker(describe(&error)),
        }
    }
}

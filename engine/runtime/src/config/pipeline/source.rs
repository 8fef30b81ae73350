//! Sources: where records come from and how their bytes become columns.

use std::time::Duration;

use engine_stream::schema::SourceSchema;

use super::KafkaOptions;

/// A Kafka source.
#[derive(Debug, Clone)]
pub struct Source {
    /// Name in the file, unique over sources, transforms and sinks.
    pub name: String,
    /// The topics it reads.
    pub topics: TopicSelection,
    /// How a record's value is read.
    pub format: Format,
    /// What happens to a record that cannot be read as the schema.
    pub on_error: OnError,
    /// The columns of the payload, in the order of the file.
    pub schema: SourceSchema,
    /// Event time; always present when a window reads this source.
    pub watermark: Option<Watermark>,
    /// Consumer options, `[kafka]` merged in. `group.id` and what else the engine manages is not among them.
    pub kafka: KafkaOptions,
}

/// The topics a source reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicSelection {
    /// These topics; at least one, each once.
    Names(Vec<String>),
    /// Every topic whose whole name matches this regular expression (checked to be valid).
    Pattern(String),
}

/// How a record's value is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per record.
    Json,
}

/// What happens to a malformed record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// The pipeline stops with an error.
    Fail,
    /// The record is counted and left out.
    Drop,
    /// The record is counted and sent to the pipeline's dead-letter topic.
    DeadLetter,
}

impl OnError {
    /// The word that the file uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            OnError::Fail => "fail",
            OnError::Drop => "drop",
            OnError::DeadLetter => "dead_letter",
        }
    }
}

/// Event time of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watermark {
    /// The event-time column: a timestamp column of the schema, or `_timestamp`.
    pub column: String,
    /// How far the watermark stays behind the largest event time seen in a partition.
    pub delay: Duration,
    /// A partition without records for this long no longer holds the watermark back; positive.
    pub idle_timeout: Duration,
    /// Event times further than this ahead of the wall clock do not advance the watermark; positive.
    pub max_future_skew: Duration,
}

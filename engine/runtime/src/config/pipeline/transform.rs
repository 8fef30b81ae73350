//! Transforms: what happens between sources and sinks.

use std::time::Duration;

pub use engine_stream::window::{OutputMode, WindowKind};

/// A stream of rows that a transform or a sink can read: an index into the pipeline's sources or transforms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StreamId {
    /// `pipeline.sources[index]`.
    Source(usize),
    /// `pipeline.transforms[index]`.
    Transform(usize),
}

/// A transform.
#[derive(Debug, Clone)]
pub struct Transform {
    /// Name in the file, unique over sources, transforms and sinks.
    pub name: String,
    /// What it reads. A transform's input always has a smaller index than itself.
    pub input: StreamId,
    /// What it does.
    pub operator: Operator,
}

/// What a transform does. SQL texts are type-checked against the input's columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operator {
    /// Keeps the rows for which the SQL condition is true.
    Filter {
        /// A boolean SQL expression.
        condition: String,
    },
    /// Computes new columns; the result has exactly these.
    Select {
        /// The columns in the order of the file; at least one, names unique.
        columns: Vec<SelectColumn>,
    },
    /// Lets the first row of a key through and drops its repeats. Never below a window.
    Dedup(Dedup),
    /// Groups rows into windows of event time. Never below another window.
    Window(Window),
}

/// A column that a select computes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectColumn {
    /// Name of the column.
    pub name: String,
    /// Its SQL expression.
    pub expression: String,
}

/// What a dedup drops. Its rows have the columns of its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dedup {
    /// Columns of the input that tell rows apart; at least one, each once.
    pub keys: Vec<String>,
    /// The event-time column of the input: the watermark's column, which is still there.
    pub time_column: String,
    /// Rows of one key that are less than this apart in event time are repeats; positive.
    pub horizon: Duration,
    /// Most keys within the horizon, of one source partition: more stop the pipeline.
    pub keys_max: usize,
}

/// A window over event time. Its rows have the columns `window_start`, `window_end`, the group columns, the aggregates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Which windows a row belongs to.
    pub kind: WindowKind,
    /// The event-time column of the input: the watermark's column, which is still there.
    pub time_column: String,
    /// Columns of the input; may be empty (one group), each once.
    pub group_by: Vec<String>,
    /// The aggregates in the order of the file; at least one, names unique.
    pub aggregates: Vec<AggregateColumn>,
    /// How long after its end a window stays open for late rows.
    pub allowed_lateness: Duration,
    /// Index of the sink that gets the rows whose window had closed; without it they are only counted.
    pub late_output: Option<usize>,
    /// Most groups over all open windows of one source partition: more stop the pipeline.
    pub groups_max: usize,
    /// When it gives its rows.
    pub mode: OutputMode,
}

/// A column that a window computes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AggregateColumn {
    /// Name of the column.
    pub name: String,
    /// Its SQL aggregate, such as `count(*)`.
    pub expression: String,
}

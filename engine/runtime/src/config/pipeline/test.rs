//! The pipeline's own tests: rows in, rows expected.

use std::path::PathBuf;

use super::StreamId;

/// One `[[tests]]` table.
#[derive(Debug, Clone)]
pub struct PipelineTest {
    /// Its name, which no other test of the file has.
    pub name: String,
    /// Where it stands: `pipeline.toml:51:1`.
    pub place: String,
    /// What the sources read, each source at most once.
    pub inputs: Vec<TestInput>,
    /// What has to come out; at least one.
    pub expectations: Vec<Expectation>,
    /// Whether windows that are open at the end are closed and emitted.
    pub is_drained: bool,
    /// Whether rows must come in the order in which they are expected.
    pub is_ordered: bool,
}

/// What a source reads.
#[derive(Debug, Clone)]
pub struct TestInput {
    /// The source.
    pub source: usize,
    /// Its records, in the order in which they arrive.
    pub rows: TestRows<InputRow>,
}

/// What has to come out somewhere.
#[derive(Debug, Clone)]
pub struct Expectation {
    /// The name that the file uses: a stream's, a sink's or `dead_letter`.
    pub name: String,
    /// What that is.
    pub of: Expected,
    /// All rows that come out there, and no others.
    pub rows: TestRows<ExpectedRow>,
}

/// Whose rows are expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// A source's or a transform's.
    Stream(StreamId),
    /// What a sink is given, as it writes it.
    Sink(usize),
    /// Malformed records.
    DeadLetter,
}

/// Rows, or where they are.
#[derive(Debug, Clone)]
pub enum TestRows<T> {
    /// A file with a row on each line, relative to the pipeline file.
    File(PathBuf),
    /// Written in the pipeline file itself.
    Inline(Vec<T>),
}

/// A record that a source reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputRow {
    /// Its partition, `_partition`; 0 unless told.
    pub partition: i32,
    /// Its timestamp, `_timestamp`, which is what the clock shows when it arrives. Without it, the timestamp is 0, and no event
    /// time is too far in the future.
    pub timestamp_ms: Option<i64>,
    /// Its key, `_key`.
    pub key: Option<String>,
    /// Its value; `None` is a tombstone.
    pub value: Option<String>,
    /// Where it stands, for messages.
    pub place: String,
}

/// A row that has to come out.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpectedRow {
    /// The columns to compare, with their values.
    pub columns: serde_json::Map<String, serde_json::Value>,
    /// As written.
    pub text: String,
    /// Where it stands, for messages.
    pub place: String,
}

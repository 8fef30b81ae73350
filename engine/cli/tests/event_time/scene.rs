//! A pipeline from one topic, its runs, and what it has written.

use std::path::{Path, PathBuf};

use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use crate::pipeline_text::PipelineText;
use crate::process::{EmbeddedBroker, engine};

/// A whole multiple of every size and slide here.
pub(crate) const BASE_MS: i64 = 1_700_000_000_000;

/// What every pipeline here begins with.
pub(crate) fn head(broker: &EmbeddedBroker) -> PipelineText {
    PipelineText::new("event-time", &broker.address)
        .every("20ms", "100ms")
        .reading_views()
}

/// A pipeline file in a folder of its own.
pub(crate) struct Pipeline(PathBuf);

impl Pipeline {
    /// What it begins with, and the tables that a test is about; FOLDER in them is the folder.
    pub(crate) fn write(folder: &Path, head: &PipelineText, tables: &str) -> Self {
        let path = folder.join("pipeline.toml");
        let tables = tables.replace("FOLDER", folder.to_str().unwrap());
        std::fs::write(&path, format!("{head}{tables}")).unwrap();
        Pipeline(path)
    }

    #[track_caller]
    pub(crate) fn until_end(&self, flags: &[&str]) {
        let run = ["run", self.0.to_str().unwrap(), "--until-end"];
        engine(&[&run, flags].concat()).success();
    }
}

/// A broker with an empty topic `events`.
pub(crate) fn broker(partitions: u32) -> EmbeddedBroker {
    let broker = EmbeddedBroker::start(&[]);
    broker
        .engine(&["topics", "create", "events", "--partitions", &partitions.to_string()])
        .success();
    broker
}

/// (campaign, milliseconds after [`BASE_MS`])
pub(crate) fn produce(broker: &EmbeddedBroker, events: &[(i64, i64)]) {
    let line = |(campaign, after): &(i64, i64)| format!("{}\n", json!({"campaign": campaign, "time": BASE_MS + after}));
    let lines: String = events.iter().map(line).collect();
    broker
        .engine_with_input(&["produce", "events"], lines.as_bytes())
        .success();
}

pub(crate) fn integer(row: &Value, column: &str) -> i64 {
    row[column].as_i64().unwrap_or_else(|| panic!("{column}: {row}"))
}

/// Rows in the order of their times: a topic has several partitions.
pub(crate) fn by_time(mut rows: Vec<Value>) -> Vec<Value> {
    rows.sort_by_key(|row| integer(row, "time"));
    rows
}

/// The values of a topic, as JSON.
pub(crate) fn values(broker: &EmbeddedBroker, topic: &str) -> Vec<Value> {
    keyed(broker, topic).into_iter().map(|(_, value)| value).collect()
}

/// The keys of a topic, and its values as JSON; null is a tombstone's.
pub(crate) fn keyed(broker: &EmbeddedBroker, topic: &str) -> Vec<(Value, Value)> {
    let read = broker
        .engine(&["consume", topic, "--from", "beginning", "--until-end", "--json"])
        .success();
    let record = |line: &str| {
        let record: Value = serde_json::from_str(line).unwrap();
        let value = record["value"]
            .as_str()
            .map_or(Value::Null, |value| serde_json::from_str(value).unwrap());
        (record["key"].clone(), value)
    };
    read.lines().map(record).collect()
}

/// The rows of a lake table that a reader may see, in the order of their files: integers and times (in milliseconds) as
/// numbers, null as null, all else as text.
pub(crate) fn lake(folder: &Path) -> Vec<Value> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "parquet"))
        .collect();
    files.sort_by_key(|path| std::fs::metadata(path).unwrap().modified().unwrap());
    let mut rows = Vec::new();
    for path in files {
        let file = std::fs::File::open(&path).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
        for batch in reader.map(Result::unwrap) {
            let options = FormatOptions::new();
            for row in 0..batch.num_rows() {
                let cell = |(field, column): (&arrow::datatypes::FieldRef, &arrow::array::ArrayRef)| {
                    let text = ArrayFormatter::try_new(column, &options)
                        .unwrap()
                        .value(row)
                        .to_string();
                    let value = match (column.is_null(row), field.data_type()) {
                        (true, _) => Value::Null,
                        (_, kind) if kind.is_integer() => json!(text.parse::<i64>().unwrap()),
                        (_, arrow::datatypes::DataType::Timestamp(..)) => {
                            let milliseconds = chrono::DateTime::parse_from_rfc3339(&text).unwrap();
                            json!(milliseconds.timestamp_millis())
                        }
                        _ => json!(text),
                    };
                    (field.name().clone(), value)
                };
                rows.push(
                    batch
                        .schema_ref()
                        .fields()
                        .iter()
                        .zip(batch.columns())
                        .map(cell)
                        .collect(),
                );
            }
        }
    }
    rows
}

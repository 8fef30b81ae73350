//! The text of a pipeline's file: what most of them say alike is said here, so that a test says what it is about.
//!
//! Included by the tests with `#[path]`, because a folder under `tests/` is no crate of its own.
#![allow(dead_code)] // Not every test file needs every part.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// Tables in the order in which they were first named, each with its keys and their values.
#[derive(Debug, Clone)]
pub(crate) struct PipelineText {
    tables: Vec<(String, Vec<(String, String)>)>,
}

impl PipelineText {
    /// A pipeline that has a name and brokers, and does nothing yet.
    pub(crate) fn new(name: &str, bootstrap_servers: &str) -> Self {
        let nothing = PipelineText { tables: Vec::new() };
        nothing
            .with("", &format!("name = \"{name}\""))
            .with("kafka", &format!("bootstrap.servers = \"{bootstrap_servers}\""))
    }

    /// These lines in that table, in place of what they said before. One line a key.
    pub(crate) fn with(mut self, table: &str, lines: &str) -> Self {
        let found = self.tables.iter().position(|(name, _)| name == table);
        let at = found.unwrap_or_else(|| {
            self.tables.push((table.to_owned(), Vec::new()));
            self.tables.len() - 1
        });
        let keys = &mut self.tables[at].1;
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (key, value) = line.split_once(" = ").expect("a key and its value");
            keys.retain(|(before, _)| before != key);
            keys.push((key.to_owned(), value.to_owned()));
        }
        self
    }

    /// Micro-batches and checkpoints as often as this.
    pub(crate) fn every(self, trigger: &str, checkpoint: &str) -> Self {
        self.with("trigger", &format!("interval = \"{trigger}\""))
            .with("checkpoint", &format!("interval = \"{checkpoint}\""))
    }

    /// A source that reads the JSON of a topic from its beginning.
    pub(crate) fn reading(self, source: &str, topic: &str) -> Self {
        let table = format!("sources.{source}");
        self.with(&table, "type = \"kafka\"\nformat = \"json\"")
            .with(&table, &format!("topics = [\"{topic}\"]"))
            .with(&format!("{table}.kafka"), "auto.offset.reset = \"earliest\"")
    }

    /// The columns of views, and their event time, in the topic `events`.
    pub(crate) fn reading_views(self) -> Self {
        self.reading("events", "events")
            .with(
                "sources.events.schema",
                "campaign = \"int64\"\ntime = \"timestamp(ms)\"",
            )
            .with("sources.events.watermark", "column = \"time\"")
    }

    /// Views per campaign in windows of 10 s.
    pub(crate) fn counting_views(self) -> Self {
        self.reading_views()
            .with(
                "transforms.per_campaign",
                "type = \"window\"\ninput = \"events\"\nkind = \"tumbling\"\nsize = \"10s\"\ngroup_by = [\"campaign\"]",
            )
            .with("transforms.per_campaign.aggregates", "views = \"count(*)\"")
    }

    /// The watermark follows the lines of the source itself.
    pub(crate) fn without_delay(self) -> Self {
        self.with("sources.events.watermark", "delay = \"0s\"")
    }

    /// A sink to the topic of its name; one of late rows has no input.
    pub(crate) fn into_topic(self, sink: &str, input: Option<&str>) -> Self {
        let table = format!("sinks.{sink}");
        let input = input.map(|input| format!("input = \"{input}\"")).unwrap_or_default();
        self.with(&table, &format!("type = \"kafka\"\ntopic = \"{sink}\"\n{input}"))
    }

    /// A sink to files in this folder.
    pub(crate) fn into_lake(self, sink: &str, input: &str, folder: &Path) -> Self {
        let path = folder.display();
        self.with(
            &format!("sinks.{sink}"),
            &format!("type = \"parquet\"\ninput = \"{input}\"\npath = \"{path}\""),
        )
    }

    /// Its file, in this folder.
    pub(crate) fn write(&self, folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, self.to_string()).expect("the folder is ours");
        path
    }
}

impl fmt::Display for PipelineText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (table, keys) in &self.tables {
            if !table.is_empty() {
                writeln!(f, "[{table}]")?;
            }
            for (key, value) in keys {
                writeln!(f, "{key} = {value}")?;
            }
        }
        Ok(())
    }
}

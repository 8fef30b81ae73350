//! All sinks of a pipeline, addressed as the operators address them: source, then output of that source's plan.

use std::ops::Add;
use std::sync::atomic::{AtomicU64, Ordering};

use engine_lake::StagedFiles;
use engine_stream::graph::Output;

use super::kafka::KafkaSink;
use super::lake::merging::MergeCounts;
use super::lake::{LakePublishing, LakeSink, LakeStaging};
use crate::sink_error::SinkError;

/// All sinks.
#[derive(Debug)]
pub(crate) struct SinkSet {
    sinks: Vec<NamedSink>,
    /// `routes[source][output]` is an index into `sinks`.
    routes: Vec<Vec<usize>>,
}

/// A table whose files are being closed.
pub(crate) type Staging<'a> = (&'a NamedSink, LakeStaging<'a>);

/// A sink with what it counted.
#[derive(Debug)]
pub(crate) struct NamedSink {
    /// Its name in the pipeline.
    pub(crate) name: String,
    /// Where its rows go.
    pub(crate) writer: SinkWriter,
    rows: AtomicU64,
    bytes: AtomicU64,
}

/// What a sink was given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SinkCounts {
    /// Rows.
    pub(crate) rows: u64,
    /// Bytes as encoded, before compression by a producer; of a lake table, bytes of closed files.
    pub(crate) bytes: u64,
    /// What a lake table has merged.
    pub(crate) merges: MergeCounts,
}

impl Add for SinkCounts {
    type Output = SinkCounts;

    fn add(self, other: SinkCounts) -> SinkCounts {
        SinkCounts {
            rows: self.rows + other.rows,
            bytes: self.bytes + other.bytes,
            merges: self.merges + other.merges,
        }
    }
}

/// Where rows go.
#[derive(Debug)]
pub(crate) enum SinkWriter {
    /// A Kafka topic.
    Kafka(KafkaSink),
    /// A lake table.
    Lake(LakeSink),
}

impl NamedSink {
    /// A sink that has written nothing yet.
    pub(crate) fn new(name: &str, writer: SinkWriter) -> Self {
        NamedSink {
            name: name.to_owned(),
            writer,
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    fn count_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn count_rows(&self, output: &Output) {
        self.rows.fetch_add(output.batch.num_rows() as u64, Ordering::Relaxed);
    }

    /// What it was given so far.
    pub(crate) fn counts(&self) -> SinkCounts {
        SinkCounts {
            rows: self.rows.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            merges: match &self.writer {
                SinkWriter::Lake(lake) => lake.merges(),
                SinkWriter::Kafka(_) => MergeCounts::default(),
            },
        }
    }
}

impl SinkSet {
    /// `routes[source][output]` is an index into `sinks`.
    pub(crate) fn new(sinks: Vec<NamedSink>, routes: Vec<Vec<usize>>) -> Self {
        assert!(
            routes.iter().flatten().all(|sink| *sink < sinks.len()),
            "every route leads to one of {} sinks: {routes:?}",
            sinks.len()
        );
        SinkSet { sinks, routes }
    }

    /// Every sink, in the order of the pipeline.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &NamedSink> {
        self.sinks.iter()
    }

    /// The sink that an output of a source's plan goes to.
    pub(crate) fn of_output(&self, source: usize, output: usize) -> &NamedSink {
        &self.sinks[self.routes[source][output]]
    }

    /// Waits until the brokers have everything that was written to Kafka.
    pub(crate) async fn flush(&self) -> Result<(), SinkError> {
        for sink in &self.sinks {
            if let SinkWriter::Kafka(kafka) = &sink.writer {
                kafka.flush().await?;
            }
        }
        Ok(())
    }

    /// Begins to close the lake files of everything written so far, on the threads of the tables.
    pub(crate) async fn begin_stage(&self, checkpoint: u64) -> Result<Vec<Staging<'_>>, SinkError> {
        let mut staging = Vec::new();
        for sink in &self.sinks {
            if let SinkWriter::Lake(lake) = &sink.writer {
                staging.push((sink, lake.begin_stage(checkpoint).await?));
            }
        }
        Ok(staging)
    }

    /// Waits until these files are durable: (sink, files).
    pub(crate) async fn finish_stage(
        &self,
        staging: Vec<Staging<'_>>,
    ) -> Result<Vec<(String, StagedFiles)>, SinkError> {
        let mut staged = Vec::with_capacity(staging.len());
        for (sink, staging) in staging {
            let files = staging.finish().await?;
            sink.count_bytes(files.bytes());
            staged.push((sink.name.clone(), files));
        }
        Ok(staged)
    }

    /// Begins to make visible what [`finish_stage`](Self::finish_stage) gave, on the threads of the tables.
    pub(crate) async fn begin_publish(
        &self,
        staged: Vec<(String, StagedFiles)>,
    ) -> Result<Vec<LakePublishing>, SinkError> {
        let mut publishing = Vec::new();
        for (name, files) in staged {
            let sink = self.sinks.iter().find(|sink| sink.name == name);
            if let Some(NamedSink {
                writer: SinkWriter::Lake(lake),
                ..
            }) = sink
            {
                publishing.push(lake.begin_publish(files).await?);
            }
        }
        Ok(publishing)
    }

    /// Writes rows of one source's operators. Waits while the sink has no room.
    pub(crate) async fn write(&self, source: usize, output: &Output) -> Result<(), SinkError> {
        let sink = self.of_output(source, output.sink);
        match &sink.writer {
            SinkWriter::Kafka(kafka) => sink.count_bytes(kafka.write(&output.batch).await?),
            SinkWriter::Lake(lake) => lake.write(&output.batch).await?,
        }
        sink.count_rows(output);
        Ok(())
    }

    /// The same for threads that may block: the workers, who are to be slowed down by a sink that pushes back.
    pub(crate) fn write_blocking(&self, source: usize, output: &Output) -> Result<(), SinkError> {
        let sink = self.of_output(source, output.sink);
        match &sink.writer {
            SinkWriter::Kafka(kafka) => sink.count_bytes(kafka.write_blocking(&output.batch)?),
            SinkWriter::Lake(lake) => lake.write_blocking(&output.batch)?,
        }
        sink.count_rows(output);
        Ok(())
    }
}

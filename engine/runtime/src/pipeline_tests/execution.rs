//! The rows of a test through the operators of a run.
//!
//! What is expected of a stream is taken from it as a sink would take it: the graph is planned anew with one more sink
//! there. The rest of the graph is the pipeline's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::{Bytes, BytesMut};
use engine_stream::event_time::EventTimes;
use engine_stream::graph::{ClosedWindows, GraphPlan, GraphSpec, Output, SinkSpec, WindowOutput, keep_open, plan};
use engine_stream::json::{JsonEncoder, TimestampFormat};
use engine_stream::watermark::PartitionWatermarks;
use engine_wire::compression::{Compression, Compressor, DecodeLimits, Decompressor};
use engine_wire::record_batch::{BatchBuilder, ProducerStamp, RawBatch};

use super::{ReadExpectation, ReadTest};
use crate::config::pipeline::{Expected, InputRow, Pipeline, SinkKind, Timestamps, TopicSelection};
use crate::context::task_source::task_source;
use crate::error_chain::describe;
use crate::pipeline_tests::comparison::FoundRow;
use crate::sink::record_key::RecordKeys;
use crate::sink_error::SinkError;
use crate::source::reject::{DeadLetters, Reject};
use crate::source::task::{PartitionTask, TaskSource};

/// Gives what came out, for each expectation of the test; or why the pipeline would have stopped.
pub(super) fn execute(pipeline: &Pipeline, test: &ReadTest) -> Result<Vec<Vec<FoundRow>>, String> {
    let (spec, names) = with_expectations(pipeline, &test.expectations);
    let planned =
        plan(&spec).map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    let dead_letters = Arc::new(Collected::default());
    let mut found = Found::new(pipeline, &test.expectations, &names, &planned)?;
    for (index, rows) in &test.inputs {
        let plan = &planned.sources[*index];
        let kept = Arc::clone(&dead_letters) as Arc<dyn DeadLetters>;
        let topic = match &pipeline.sources[*index].topics {
            TopicSelection::Names(names) => names.first().map_or("", String::as_str),
            TopicSelection::Pattern(pattern) => pattern.as_str(),
        };
        let mut source = TestSource {
            topic: topic.into(),
            windows: WindowOutput::new(plan),
            watermarks: plan
                .watermark
                .as_ref()
                .map(|watermark| PartitionWatermarks::new(&watermark.config)),
            task_source: Arc::new(task_source(pipeline, *index, plan, Some(kept))),
            tasks: BTreeMap::new(),
            closed_up_to: None,
            decompressor: Decompressor::new(DecodeLimits::default()),
            clock: Clock::new(),
        };
        let mut take = |outputs: Vec<Output>| outputs.iter().try_for_each(|output| found.take(*index, output));
        for row in rows {
            let outputs = source.read(row).map_err(|reason| format!("{}: {reason}", row.place))?;
            take(outputs)?;
        }
        take(source.end(test.is_drained)?)?;
    }
    for (expectation, rows) in test.expectations.iter().zip(&mut found.rows) {
        if expectation.of == Expected::DeadLetter {
            rows.append(&mut dead_letters.rows());
        }
    }
    Ok(found.rows)
}

/// The graph with a sink for each stream of which something is expected; and the sink of each expectation.
fn with_expectations(pipeline: &Pipeline, expectations: &[ReadExpectation]) -> (GraphSpec, Vec<Option<String>>) {
    let mut spec = pipeline.graph.clone();
    let mut names = Vec::new();
    for expectation in expectations {
        names.push(match expectation.of {
            Expected::DeadLetter => None,
            Expected::Sink(index) => Some(pipeline.sinks[index].name.clone()),
            Expected::Stream(stream) => {
                let input = pipeline.stream_name(stream).to_owned();
                let mut name = format!("{input}, as expected");
                while spec.sinks.iter().any(|sink| sink.name == name) {
                    name.push('\'');
                }
                spec.sinks.push(SinkSpec {
                    name: name.clone(),
                    input: Some(input),
                    uses: Vec::new(),
                    keeps_all: false,
                });
                Some(name)
            }
        });
    }
    (spec, names)
}

/// A source under test.
struct TestSource {
    topic: Arc<str>,
    task_source: Arc<TaskSource>,
    windows: WindowOutput,
    watermarks: Option<PartitionWatermarks<i32>>,
    /// By partition, with the next offset.
    tasks: BTreeMap<i32, (PartitionTask, i64)>,
    closed_up_to: Option<i64>,
    decompressor: Decompressor,
    clock: Clock,
}

/// Time as the records tell it: it stands still between them, and never goes back.
struct Clock {
    /// The first timestamp, in milliseconds, and the moment that stands for it.
    begun: Option<(i64, Instant)>,
    now: Instant,
}

impl Clock {
    fn new() -> Self {
        Clock {
            begun: None,
            now: Instant::now(),
        }
    }

    /// A record with this timestamp arrives.
    fn handle_timestamp(&mut self, timestamp_ms: i64) {
        let (first_ms, began) = *self.begun.get_or_insert((timestamp_ms, self.now));
        let passed = u64::try_from(timestamp_ms.saturating_sub(first_ms)).unwrap_or(0);
        // Beyond what a moment can be, it stands still.
        let now = began.checked_add(Duration::from_millis(passed));
        self.now = self.now.max(now.unwrap_or(self.now));
    }
}

impl TestSource {
    /// One record, as a micro-batch of its own.
    fn read(&mut self, row: &InputRow) -> Result<Vec<Output>, String> {
        let partition = row.partition;
        let mut outputs = Vec::new();
        if let Some(timestamp_ms) = row.timestamp_ms {
            self.clock.handle_timestamp(timestamp_ms);
            self.hear_silence();
            self.close(&mut outputs)?;
        }
        let closed_before = self.watermarks.as_ref().and_then(PartitionWatermarks::source_watermark);
        let (task, next_offset) = self.tasks.entry(partition).or_insert_with(|| {
            if let Some(watermarks) = &mut self.watermarks {
                watermarks.add(partition, None);
            }
            let task = PartitionTask::new(Arc::clone(&self.task_source), Arc::clone(&self.topic), partition, 0);
            (task, 0)
        });
        let batch = record(row, *next_offset)?;
        *next_offset += 1;
        let outcome = task.process(&[batch], *next_offset, closed_before, &mut self.decompressor);
        let outcome = outcome.map_err(|error| describe(&error))?;
        outputs.extend(outcome.outputs);
        if let Some(watermarks) = &mut self.watermarks {
            let clock_ns = row.timestamp_ms.map_or(i64::MAX, |ms| ms.saturating_mul(1_000_000));
            for times in &outcome.event_times {
                let times = EventTimes::new(times).expect("the plan checked that event time is a timestamp");
                watermarks.handle_rows(&partition, times, clock_ns, self.clock.now);
            }
            // A malformed record is no reason to wait for its partition.
            if watermarks.partition_watermark(&partition).is_none() {
                watermarks.handle_caught_up(&partition);
            }
        }
        // From here on it is silent until its next record.
        self.hear_silence();
        self.close(&mut outputs)?;
        Ok(outputs)
    }

    /// No partition has a record at this moment: those that have had none for `idle_timeout` hold nothing back.
    fn hear_silence(&mut self) {
        let Some(watermarks) = &mut self.watermarks else { return };
        for partition in self.tasks.keys() {
            if watermarks.partition_watermark(partition).is_some() {
                watermarks.handle_silence(partition, self.clock.now);
            }
        }
    }

    /// All partitions are read to their end.
    fn end(&mut self, is_drained: bool) -> Result<Vec<Output>, String> {
        let mut outputs = Vec::new();
        if let Some(watermarks) = &mut self.watermarks {
            for partition in self.tasks.keys() {
                watermarks.handle_caught_up(partition);
            }
        }
        self.close(&mut outputs)?;
        if is_drained {
            self.emit(None, &mut outputs)?;
        }
        Ok(outputs)
    }

    /// Emits the windows that the watermark closes.
    fn close(&mut self, outputs: &mut Vec<Output>) -> Result<(), String> {
        let Some(watermark) = self.watermarks.as_mut().and_then(PartitionWatermarks::advance) else {
            return Ok(());
        };
        let mut spans = self.task_source.window_spans.iter();
        if !spans.any(|span| span.closes_between(self.closed_up_to, watermark)) {
            return Ok(());
        }
        self.closed_up_to = Some(watermark);
        self.emit(Some(watermark), outputs)
    }

    fn emit(&mut self, watermark: Option<i64>, outputs: &mut Vec<Output>) -> Result<(), String> {
        let mut closed = Vec::new();
        for (task, _) in self.tasks.values_mut() {
            let windows = task.take_windows(watermark).map_err(|error| describe(&error))?;
            closed.extend(windows.closed);
        }
        if watermark.is_some() {
            closed = self.keep_sessions_open(closed)?;
        }
        let merged = self.windows.merge(closed, outputs);
        merged.map_err(|error| describe(&error))
    }

    /// Sessions that one partition closes while another holds rows of them go back to that one, as in a run.
    fn keep_sessions_open(&mut self, closed: Vec<ClosedWindows>) -> Result<Vec<ClosedWindows>, String> {
        if self.tasks.len() < 2 || !self.task_source.window_spans.iter().any(|span| span.is_session) {
            return Ok(closed);
        }
        let spans = self.windows.session_spans(&closed).map_err(|error| describe(&error))?;
        let mut holders: Vec<Vec<Option<i32>>> = spans.iter().map(|spans| vec![None; spans.len()]).collect();
        for (partition, (task, _)) in &mut self.tasks {
            for (holders, spans) in holders.iter_mut().zip(&spans) {
                for session in task.open_sessions(spans) {
                    holders[session].get_or_insert(*partition);
                }
            }
        }
        let (closed, open) = keep_open(closed, &spans, &holders);
        for (partition, parts) in open {
            let (task, _) = self
                .tasks
                .get_mut(&partition)
                .expect("only partitions under test hold sessions");
            task.absorb_sessions(&parts).map_err(|error| describe(&error))?;
        }
        Ok(closed)
    }
}

/// A batch with this record alone, as a broker keeps it.
fn record(row: &InputRow, offset: i64) -> Result<RawBatch, String> {
    let mut builder = BatchBuilder::default();
    let key = row.key.as_deref().map(str::as_bytes);
    let value = row.value.as_deref().map(str::as_bytes);
    let appended = builder.append(row.timestamp_ms.unwrap_or(0), key, value, []);
    appended.map_err(|error| describe(&error))?;
    let sealed = builder.seal(Compression::NONE, &mut Compressor::new(), Vec::new());
    let bytes = sealed.map_err(|error| describe(&error))?.stamp(ProducerStamp::NONE);
    let mut bytes = BytesMut::from(bytes);
    // The broker gives offsets; no checksum covers them.
    bytes[..size_of::<i64>()].copy_from_slice(&offset.to_be_bytes());
    RawBatch::parse(bytes.freeze()).map_err(|error| describe(&error))
}

/// What came out, by expectation.
struct Found {
    rows: Vec<Vec<FoundRow>>,
    /// By source and output of its plan: whose it is, and how its rows are written.
    routes: Vec<Vec<Option<(usize, Encoders)>>>,
}

struct Encoders {
    /// As a sink writes, or with timestamps as milliseconds.
    text: JsonEncoder,
    /// With timestamps as text, where either may be expected.
    rfc3339: Option<JsonEncoder>,
    /// The column that a Kafka sink makes the records' keys of.
    key_column: Option<usize>,
}

impl Found {
    fn new(
        pipeline: &Pipeline,
        expectations: &[ReadExpectation],
        names: &[Option<String>],
        planned: &GraphPlan,
    ) -> Result<Found, String> {
        let route = |(name, schema): &(String, SchemaRef)| {
            let Some(index) = names.iter().position(|known| known.as_ref() == Some(name)) else {
                return Ok(None);
            };
            let of = expectations[index].of;
            let encoders = Encoders::new(pipeline, of, schema).map_err(|error| format!("{name}: {error}"))?;
            Ok(Some((index, encoders)))
        };
        let routes = planned
            .sources
            .iter()
            .map(|plan| plan.sinks.iter().map(route).collect());
        Ok(Found {
            rows: expectations.iter().map(|_| Vec::new()).collect(),
            routes: routes.collect::<Result<_, String>>()?,
        })
    }

    fn take(&mut self, source: usize, output: &Output) -> Result<(), String> {
        if let Some((index, encoders)) = &self.routes[source][output.sink] {
            for row in 0..output.batch.num_rows() {
                self.rows[*index].push(encoders.row(&output.batch, row)?);
            }
        }
        Ok(())
    }
}

impl Encoders {
    fn new(pipeline: &Pipeline, of: Expected, schema: &SchemaRef) -> Result<Encoders, String> {
        let sink = match of {
            Expected::Sink(index) => match &pipeline.sinks[index].kind {
                SinkKind::Kafka(kafka) => Some(kafka),
                SinkKind::Parquet(_) => None,
            },
            _ => None,
        };
        let key = sink.and_then(|sink| sink.key.as_ref()).map(|key| schema.index_of(key));
        let key_column = key.transpose().map_err(|error| describe(&error))?;
        let encoder = |format| JsonEncoder::new(schema, format).map_err(|error| describe(&error));
        Ok(match sink.map(|sink| sink.timestamps) {
            Some(Timestamps::Milliseconds) => Encoders {
                text: encoder(TimestampFormat::Milliseconds)?,
                rfc3339: None,
                key_column,
            },
            Some(Timestamps::Rfc3339) => Encoders {
                text: encoder(TimestampFormat::Rfc3339)?,
                rfc3339: None,
                key_column,
            },
            None => Encoders {
                text: encoder(TimestampFormat::Milliseconds)?,
                rfc3339: Some(encoder(TimestampFormat::Rfc3339)?),
                key_column,
            },
        })
    }

    fn row(&self, batch: &RecordBatch, row: usize) -> Result<FoundRow, String> {
        let written = |encoder: &JsonEncoder| {
            let mut text = Vec::new();
            encoder.rows(batch).write(row, &mut text);
            Bytes::from(text)
        };
        let mut found = FoundRow::new(&written(&self.text), self.rfc3339.as_ref().map(written).as_deref());
        if let Some(column) = self.key_column {
            let mut key = Vec::new();
            if RecordKeys::new(batch, column)?.write(row, &mut key)? {
                found.set_key(&key);
            }
        }
        Ok(found)
    }
}

/// Dead letters of a test.
#[derive(Debug, Default)]
struct Collected {
    rows: Mutex<Vec<FoundRow>>,
}

impl Collected {
    fn rows(&self) -> Vec<FoundRow> {
        std::mem::take(&mut self.rows.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl DeadLetters for Collected {
    fn write(&self, reject: &Reject<'_>) -> Result<(), SinkError> {
        let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let row = serde_json::json!({
            "source": reject.source,
            "topic": reject.topic,
            "partition": reject.partition,
            "offset": reject.record.offset,
            "key": text(reject.record.key),
            "value": text(reject.record.value),
            "error": reject.error.to_string(),
        });
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.push(FoundRow::new(row.to_string().as_bytes(), None));
        Ok(())
    }
}

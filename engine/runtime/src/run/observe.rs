//! What the HTTP server shows of a run: readiness, metrics, status.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use engine_client::{ConsumerStats, ProducerStats};
use engine_wire::error_code::{ErrorClass, ErrorCode};

use super::RunContext;
use crate::metrics::{
    CheckpointMetrics, ProcessMetrics, RequestMetrics, SinkMetrics, Snapshot, SourceMetrics, StateMetrics,
};
use crate::progress::{RunPhase, RunStatus};
use crate::server::Observed;
use crate::session::Session;

/// What the coordinator last told of the running session; the server reads it whenever somebody asks.
#[derive(Debug, Default)]
pub(crate) struct View {
    status: RunStatus,
    sources: Vec<SourceMetrics>,
    sinks: Vec<SinkMetrics>,
    fetches: Vec<ConsumerStats>,
}

/// The server's window on a run.
#[derive(Debug)]
pub(crate) struct RunObserver {
    /// The run.
    pub(crate) context: Arc<RunContext>,
    /// What its coordinator last told.
    pub(crate) view: Arc<SharedView>,
}

/// A [`View`] that the coordinator replaces.
#[derive(Debug, Default)]
pub(crate) struct SharedView(Mutex<View>);

impl SharedView {
    /// Replaces what is shown.
    pub(crate) fn show(&self, context: &RunContext, status: RunStatus, session: Option<&Session>) {
        let mut view = self.lock();
        view.status = status;
        let Some(session) = session else { return };
        let totals = context.totals();
        view.sources = session
            .sources()
            .iter()
            .zip(&totals.ended_counts)
            .map(|(source, ended)| {
                let counts = *ended + source.counts;
                let behind_ns = source
                    .watermark_ns()
                    .map(|watermark| context.wall_clock_ns().saturating_sub(watermark));
                SourceMetrics {
                    source: source.source.name.clone(),
                    records: counts.records,
                    bytes: counts.bytes,
                    malformed: counts.malformed,
                    late: counts.late_rows,
                    future: counts.skewed_rows,
                    watermark_delay_seconds: behind_ns.map(|behind| behind as f64 / 1e9),
                    lag: source
                        .partitions
                        .values()
                        .filter_map(|partition| {
                            let lag = u64::try_from(partition.lag()?).unwrap_or(0);
                            Some((partition.topic.to_string(), partition.partition, lag))
                        })
                        .collect(),
                }
            })
            .collect();
        view.sinks = session
            .sinks()
            .iter()
            .zip(&totals.ended_sinks)
            .map(|(sink, ended)| SinkMetrics {
                sink: sink.name.clone(),
                records: ended.rows + sink.counts().rows,
                bytes: ended.bytes + sink.counts().bytes,
            })
            .collect();
        view.fetches = session.sources().iter().map(|source| source.fetcher.stats()).collect();
    }

    fn lock(&self) -> MutexGuard<'_, View> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observed for RunObserver {
    fn readiness(&self) -> Result<(), String> {
        match self.view.lock().status.phase {
            RunPhase::Running | RunPhase::Draining => Ok(()),
            RunPhase::Starting => Err("the pipeline is starting or standing by".to_owned()),
            RunPhase::Stopping => Err("the pipeline is stopping".to_owned()),
        }
    }

    fn snapshot(&self) -> Snapshot {
        let producers = self.context.producer_stats();
        let view = self.view.lock();
        let (sources, sinks) = (view.sources.clone(), view.sinks.clone());
        let (requests, errors) = (requests(&producers, &view.fetches), errors(&producers, &view.fetches));
        drop(view);
        let totals = self.context.totals();
        Snapshot {
            sources,
            sinks,
            checkpoint: CheckpointMetrics {
                completed: totals.checkpoints,
                failed: 0,
                age_seconds: totals
                    .checkpoint
                    .map(|(_, at, _)| Instant::now().duration_since(at).as_secs_f64()),
                duration_seconds: totals.checkpoint.map(|(_, _, took)| took.as_secs_f64()),
            },
            requests,
            errors,
            state: totals
                .state
                .iter()
                .map(|(transform, state)| StateMetrics {
                    transform: transform.clone(),
                    rows: state.groups as u64,
                    bytes: state.bytes as u64,
                })
                .collect(),
            process: ProcessMetrics::of_this_process(),
        }
    }

    fn status_json(&self) -> String {
        serde_json::to_string(&self.view.lock().status).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
    }
}

fn requests(producers: &[ProducerStats], fetches: &[ConsumerStats]) -> Vec<RequestMetrics> {
    let mut produce = RequestMetrics {
        api: "Produce".to_owned(),
        ..RequestMetrics::default()
    };
    for stats in producers {
        produce.requests += stats.latency.count;
        produce.latency_seconds += stats.latency.sum.as_secs_f64();
    }
    let mut fetch = RequestMetrics {
        api: "Fetch".to_owned(),
        ..RequestMetrics::default()
    };
    for stats in fetches {
        fetch.requests += stats.fetch.fetches;
        fetch.latency_seconds += stats.fetch.latency.sum.as_secs_f64();
    }
    vec![produce, fetch]
}

/// Failed requests by the class of Kafka's error; what is no Kafka error is a lost connection, and those are retried.
fn errors(producers: &[ProducerStats], fetches: &[ConsumerStats]) -> Vec<(String, u64)> {
    let mut by_class: BTreeMap<&str, u64> = BTreeMap::new();
    let by_name = producers
        .iter()
        .map(|stats| &stats.errors)
        .chain(fetches.iter().map(|stats| &stats.errors));
    for (name, count) in by_name.flatten() {
        let code = ErrorCode::all().find(|code| code.name() == *name);
        let class = code.map_or(ErrorClass::Retriable, |code| code.class()).name();
        *by_class.entry(class).or_default() += count;
    }
    by_class
        .into_iter()
        .map(|(class, count)| (class.to_owned(), count))
        .collect()
}

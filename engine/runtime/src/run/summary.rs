//! What is said at the end of a run.

use std::time::Duration;

use crate::config::pipeline::SinkKind;
use crate::context::RunContext;
use crate::latency::summary::LatencySummary;
use crate::progress::{RunOutcome, RunPhase, RunSummary, SinkSummary, StageSummary};
use crate::stage_times::Stage;

/// Sums the sessions of a run up.
pub(super) fn summary(context: &RunContext, outcome: RunOutcome, elapsed: Duration) -> RunSummary {
    let status = context.status(RunPhase::Stopping, None);
    let totals = context.totals();
    let sinks = context.pipeline.sinks.iter().zip(&totals.ended_sinks);
    let sinks = sinks.map(|(sink, counts)| SinkSummary {
        name: sink.name.clone(),
        target: match &sink.kind {
            SinkKind::Kafka(kafka) => kafka.topic.clone(),
            SinkKind::Parquet(parquet) => parquet.path.display().to_string(),
        },
        rows: counts.rows,
    });
    let stages = Stage::ALL.into_iter().filter_map(|stage| {
        let latency = LatencySummary::of_microseconds(totals.stages.histogram(stage))?;
        Some(StageSummary {
            name: stage.name().to_owned(),
            latency,
        })
    });
    let mut windows = totals.latencies.windows();
    windows.retain(|window| window.latency.count > 0);
    RunSummary {
        pipeline: context.pipeline.name.clone(),
        outcome,
        elapsed,
        status,
        sinks: sinks.collect(),
        stages: stages.collect(),
        windows,
    }
}

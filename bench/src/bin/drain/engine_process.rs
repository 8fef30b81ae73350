//! One run of the pipeline in a process of its own, which measures itself from `/proc` when it is done.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use engine_bench::machine::{cpu_seconds, peak_resident_bytes};
use engine_runtime::RunOptions;
use engine_runtime::config::{Surroundings, parse};
use engine_runtime::progress::progress;
use serde::{Deserialize, Serialize};

use crate::BenchArguments;

/// What the engine's process is told.
#[derive(Args)]
pub(crate) struct EngineArguments {
    #[arg(long)]
    bootstrap_servers: String,
    #[arg(long)]
    topic: String,
    #[arg(long)]
    name: String,
    #[arg(long)]
    results: String,
    #[arg(long)]
    guarantee: String,
    #[arg(long)]
    lake: Option<PathBuf>,
    #[arg(long)]
    workers: Option<NonZeroUsize>,
    #[arg(long = "set")]
    sets: Vec<String>,
}

/// What a run cost.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Measured {
    events: u64,
    /// From the process's first instruction to the last result, the last checkpoint and the group left.
    seconds: f64,
    /// Of that, until the partitions were owned and the state restored.
    start_up_seconds: f64,
    cpu_seconds: f64,
    peak_resident_bytes: u64,
    events_per_second_after_start_up: f64,
    events_per_second_whole: f64,
    cpu_seconds_per_million_events: f64,
}

impl Measured {
    /// The median of each figure by itself.
    pub(crate) fn median(runs: &[Measured]) -> Measured {
        let of = |figure: fn(&Measured) -> f64| {
            let mut figures: Vec<f64> = runs.iter().map(figure).collect();
            figures.sort_by(f64::total_cmp);
            (figures[(figures.len() - 1) / 2] + figures[figures.len() / 2]) / 2.0
        };
        Measured {
            events: runs[0].events,
            seconds: of(|run| run.seconds),
            start_up_seconds: of(|run| run.start_up_seconds),
            cpu_seconds: of(|run| run.cpu_seconds),
            peak_resident_bytes: of(|run| run.peak_resident_bytes as f64) as u64,
            events_per_second_after_start_up: of(|run| run.events_per_second_after_start_up),
            events_per_second_whole: of(|run| run.events_per_second_whole),
            cpu_seconds_per_million_events: of(|run| run.cpu_seconds_per_million_events),
        }
    }

    /// How much less was drained per second, and how much more CPU an event took, than in the other.
    pub(crate) fn cost_against(&self, other: &Measured) -> String {
        let percent = |ours: f64, theirs: f64| 100.0 * (ours / theirs - 1.0);
        format!(
            "{:+.1} % events/s after start-up, {:+.1} % CPU per event",
            percent(
                self.events_per_second_after_start_up,
                other.events_per_second_after_start_up
            ),
            percent(
                self.cpu_seconds_per_million_events,
                other.cpu_seconds_per_million_events
            )
        )
    }

    /// The rest of a table's row.
    pub(crate) fn row(&self) -> String {
        format!(
            "| {:.0} | {:.0} | {:.3} | {:.3} | {:.2} | {:.0} |",
            self.events_per_second_after_start_up,
            self.events_per_second_whole,
            self.start_up_seconds,
            self.cpu_seconds_per_million_events,
            1.0 / self.cpu_seconds_per_million_events,
            self.peak_resident_bytes as f64 / 1e6
        )
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} events in {:.2} s, {:.2} CPU-s, {:.3} CPU-s per M events, {:.0} MB",
            self.events,
            self.seconds,
            self.cpu_seconds,
            self.cpu_seconds_per_million_events,
            self.peak_resident_bytes as f64 / 1e6
        )
    }
}

/// Starts the engine's process, waits for its end, and takes its measurements.
pub(crate) fn start(
    bootstrap: &str,
    topic: &str,
    name: &str,
    results: &str,
    guarantee: &str,
    arguments: &BenchArguments,
) -> Result<Measured> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["engine", "--bootstrap-servers", bootstrap, "--topic", topic]);
    command.args(["--name", name, "--results", results, "--guarantee", guarantee]);
    if let Some(lake) = &arguments.lake {
        command.arg("--lake").arg(lake.join(name));
    }
    if let Some(workers) = arguments.workers {
        command.args(["--workers", &workers.to_string()]);
    }
    for set in &arguments.sets {
        command.args(["--set", set]);
    }
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("the engine's process ended with {}", output.status);
    }
    let measured: Measured = serde_json::from_slice(&output.stdout).context("measurements of the engine's process")?;
    if measured.events != arguments.events {
        bail!("the engine read {} of {} events", measured.events, arguments.events);
    }
    Ok(measured)
}

/// Runs the pipeline and prints the measurements: what the engine's process does.
#[tokio::main]
pub(crate) async fn run(arguments: &EngineArguments) -> Result<()> {
    let started = Instant::now();
    let text = pipeline(arguments);
    let surroundings = Surroundings {
        overrides: &arguments.sets,
        variable: &|_| None,
    };
    let loaded = parse("drain.toml", text.as_bytes(), &surroundings).map_err(|mistakes| anyhow!("{mistakes}"))?;
    let (reporter, mut observer) = progress();
    let (_stop, stop) = tokio::sync::watch::channel(false);
    let options = RunOptions {
        until_end: true,
        drain: true,
        workers: arguments.workers,
    };
    let run = engine_runtime::run(loaded.pipeline, options, stop, reporter);
    let start_up = tokio::spawn(async move {
        observer.started().await;
        started.elapsed()
    });
    let summary = run.await?;
    let (elapsed, start_up) = (started.elapsed(), start_up.await?);
    if std::env::var_os("DRAIN_STAGES").is_some() {
        for stage in &summary.stages {
            eprintln!("{:<24} {:?}", stage.name, stage.latency);
        }
    }
    let (events, cpu_seconds) = (summary.status.records_in, cpu_seconds()?);
    let rate = |time: Duration| events as f64 / time.as_secs_f64();
    let measured = Measured {
        events,
        seconds: elapsed.as_secs_f64(),
        start_up_seconds: start_up.as_secs_f64(),
        cpu_seconds,
        peak_resident_bytes: peak_resident_bytes()?,
        events_per_second_after_start_up: rate(elapsed.saturating_sub(start_up)),
        events_per_second_whole: rate(elapsed),
        cpu_seconds_per_million_events: cpu_seconds / (events as f64 / 1e6),
    };
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

fn pipeline(arguments: &EngineArguments) -> String {
    let EngineArguments {
        bootstrap_servers,
        topic,
        name,
        results,
        guarantee,
        ..
    } = arguments;
    let lake = arguments.lake.as_ref().map_or_else(String::new, |lake| {
        format!(
            "[sinks.lake]\ntype = \"parquet\"\ninput = \"per_campaign\"\npath = {:?}\npartition_by = [\"dt\"]\n",
            lake.display().to_string()
        )
    });
    format!(
        r#"
name = "{name}"
[kafka]
bootstrap.servers = "{bootstrap_servers}"
[checkpoint]
interval = "1s"
guarantee = "{guarantee}"
[sources.events]
type = "kafka"
topics = ["{topic}"]
format = "json"
kafka = {{ auto.offset.reset = "earliest" }}
[sources.events.schema]
campaign_id = "int64"
event_type = "string"
produce_time = "timestamp(ms)"
event_time = {{ type = "timestamp(ns)", from = "event_time_ns" }}
[sources.events.watermark]
column = "event_time"
delay = "2s"
[transforms.views]
type = "filter"
input = "events"
where = "event_type = 'view'"
[transforms.per_campaign]
type = "window"
input = "views"
kind = "tumbling"
size = "10s"
group_by = ["campaign_id"]
[transforms.per_campaign.aggregates]
events = "count(*)"
max_produce_time = "max(produce_time)"
[sinks.results]
type = "kafka"
input = "per_campaign"
topic = "{results}"
key = "campaign_id"
kafka = {{ compression.type = "lz4", linger.ms = 5 }}
{lake}"#
    )
}

//! How long after the last event of a window its result can be read, with each guarantee: what exactly once adds.
//!
//! ```text
//! cargo run --release -p engine-bench --bin visibility -- --bootstrap-servers 127.0.0.1:9092
//! ```
//! A generator in the process sends events at a steady rate; windows of one second without delay close all the time. A
//! result can be read when the broker has it (at least once), or when its transaction is committed (exactly once): then it
//! waits for the next checkpoint, up to one interval, and for the commit itself. What is left of the difference of the
//! 99th percentiles without the interval is what the commit costs.

use std::io::Write;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use clap::Parser;
use engine_bench::machine::Fingerprint;
use engine_runtime::RunOptions;
use engine_runtime::config::{Surroundings, parse};
use engine_runtime::progress::progress;

#[derive(Parser)]
struct Arguments {
    /// A cluster; without it an embedded broker in this process.
    #[arg(long)]
    bootstrap_servers: Option<String>,
    /// Events per second.
    #[arg(long, default_value_t = 20_000)]
    rate: u32,
    /// Seconds of load in each run.
    #[arg(long, default_value_t = 30)]
    seconds: u32,
    /// Checkpoint intervals, in milliseconds; none that divides a second, or windows always wait the same part of it.
    #[arg(long, value_delimiter = ',', default_values_t = [97, 970])]
    intervals_ms: Vec<u64>,
    /// Runs of each case; their medians are told.
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

/// Milliseconds from the last event of a window to its result.
#[derive(Debug, Clone, Copy)]
struct Measured {
    p50: f64,
    p99: f64,
    max: f64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.runs == 0 || arguments.seconds < 5 {
        bail!("--runs must be at least 1 and --seconds at least 5");
    }
    let embedded = match &arguments.bootstrap_servers {
        Some(_) => None,
        None => Some(engine_broker::Broker::start(engine_broker::BrokerConfig::default()).await?),
    };
    let servers = match (&arguments.bootstrap_servers, &embedded) {
        (Some(servers), _) => servers.clone(),
        (None, Some(broker)) => broker.address().to_string(),
        (None, None) => unreachable!("one of them is there"),
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", Fingerprint::read()?)?;
    writeln!(out, "command: {}", std::env::args().collect::<Vec<_>>().join(" "))?;
    writeln!(
        out,
        "\n| checkpoint interval ms | guarantee | p50 ms | p99 ms | max ms | p99 added beyond the interval ms |\n|---|---|---|---|---|---|"
    )?;
    for interval_ms in &arguments.intervals_ms {
        let mut runs: [Vec<Measured>; 2] = Default::default();
        for number in 0..arguments.runs {
            for (guarantee, runs) in GUARANTEES.iter().zip(&mut runs) {
                let measured = run(&arguments, &servers, guarantee, *interval_ms, number).await?;
                eprintln!("{interval_ms} ms, {guarantee}, run {number}: {measured:?}");
                runs.push(measured);
            }
        }
        let [at_least_once, exactly_once] = runs.map(|runs| median(&runs));
        for (guarantee, of) in GUARANTEES.iter().zip([at_least_once, exactly_once]) {
            let added = match *guarantee {
                "exactly_once" => format!("{:.1}", of.p99 - at_least_once.p99 - *interval_ms as f64),
                _ => String::new(),
            };
            writeln!(
                out,
                "| {interval_ms} | {guarantee} | {:.1} | {:.1} | {:.1} | {added} |",
                of.p50, of.p99, of.max
            )?;
        }
    }
    if let Some(broker) = embedded {
        broker.shutdown().await;
    }
    Ok(())
}

const GUARANTEES: [&str; 2] = ["at_least_once", "exactly_once"];

fn median(runs: &[Measured]) -> Measured {
    let of = |figure: fn(&Measured) -> f64| {
        let mut figures: Vec<f64> = runs.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        (figures[(figures.len() - 1) / 2] + figures[figures.len() / 2]) / 2.0
    };
    Measured {
        p50: of(|run| run.p50),
        p99: of(|run| run.p99),
        max: of(|run| run.max),
    }
}

async fn run(
    arguments: &Arguments,
    servers: &str,
    guarantee: &str,
    interval_ms: u64,
    number: usize,
) -> Result<Measured> {
    // Names nobody has used: a cluster may hold the topics of an earlier benchmark.
    let unique = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)?
        .as_millis();
    let name = format!("visibility-{unique}-{number}");
    let text = pipeline(arguments, servers, &name, guarantee, interval_ms);
    let surroundings = Surroundings {
        overrides: &[],
        variable: &|_| None,
    };
    let loaded = parse("visibility.toml", text.as_bytes(), &surroundings).map_err(|mistakes| anyhow!("{mistakes}"))?;
    let (reporter, _observer) = progress();
    let (_stop, stop) = tokio::sync::watch::channel(false);
    let options = RunOptions {
        until_end: true,
        ..RunOptions::default()
    };
    let summary = engine_runtime::run(loaded.pipeline, options, stop, reporter).await?;
    let latency = summary.status.latency.ok_or_else(|| anyhow!("no window closed"))?;
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    Ok(Measured {
        p50: milliseconds(latency.p50),
        p99: milliseconds(latency.p99),
        max: milliseconds(latency.max),
    })
}

fn pipeline(arguments: &Arguments, servers: &str, name: &str, guarantee: &str, interval_ms: u64) -> String {
    let (rate, seconds) = (arguments.rate, arguments.seconds);
    format!(
        r#"
name = "{name}"
[kafka]
bootstrap.servers = "{servers}"
create_topics = true
partitions = 4
replication_factor = 1
[trigger]
interval = "5ms"
[checkpoint]
interval = "{interval_ms}ms"
guarantee = "{guarantee}"
[sources.events]
type = "kafka"
topics = ["{name}"]
format = "json"
kafka = {{ auto.offset.reset = "earliest" }}
[sources.events.schema]
campaign_id = "int64"
event_time = {{ type = "timestamp(ns)", from = "event_time_ns" }}
[sources.events.watermark]
column = "event_time"
[transforms.per_campaign]
type = "window"
input = "events"
kind = "tumbling"
size = "1s"
group_by = ["campaign_id"]
[transforms.per_campaign.aggregates]
events = "count(*)"
[sinks.results]
type = "kafka"
input = "per_campaign"
topic = "{name}-results"
key = "campaign_id"
[generators.ads]
kind = "ads"
topic = "{name}"
arrivals = "uniform"
rate = {rate}
producers = 2
duration = "{seconds}s"
"#
    )
}

//! How fast, and for how much CPU and memory, the standard pipeline reads a full topic to its end.
//!
//! ```text
//! cargo run --release -p engine-bench --bin drain
//! cargo run --release -p engine-bench --bin drain -- --bootstrap-servers 127.0.0.1:9092
//! ```
//! Fills a topic with LZ4 JSON ad events, counts them independently (serde_json and a map), then runs the pipeline
//! (filter views, 10 s windows per campaign, count and max, results to a topic, 1 s checkpoints) several times, each
//! in a fresh process, once with each guarantee in turn. The broker is a process of its own too: its CPU is not the engine's. A run whose results differ
//! from the independent count is void, and so is the report.

mod engine_process;
mod events;

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use engine_bench::machine::Fingerprint;
use serde::Serialize;

use engine_process::{EngineArguments, Measured};

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    bench: BenchArguments,
}

/// What this process is; the benchmark starts itself again as the other two.
#[derive(Subcommand)]
enum Role {
    /// The embedded broker: prints its address and serves until standard input ends.
    Serve,
    /// One run of the pipeline: prints its measurements as JSON.
    Engine(EngineArguments),
}

#[derive(Args)]
struct BenchArguments {
    /// A cluster to use; without it an embedded broker in a process of its own.
    #[arg(long)]
    bootstrap_servers: Option<String>,
    /// Events in the topic.
    #[arg(long, default_value_t = 5_000_000)]
    events: u64,
    /// Partitions of the topic.
    #[arg(long, default_value_t = 4)]
    partitions: i32,
    /// Events per second of event time.
    #[arg(long, default_value_t = 20_000.0)]
    rate: f64,
    /// Compression of the events.
    #[arg(long, default_value = "lz4")]
    compression: String,
    /// Runs with each guarantee; the report shows all of them and their medians.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// The guarantees to compare; runs take turns.
    #[arg(long, value_delimiter = ',', default_values = ["at_least_once", "exactly_once"])]
    guarantees: Vec<String>,
    /// Worker threads; by default one per core.
    #[arg(long)]
    workers: Option<usize>,
    /// Write the results to Parquet files in this folder too.
    #[arg(long)]
    lake: Option<PathBuf>,
    /// Change the pipeline, as `engine run --set` does: `trigger.max_records=50000`.
    #[arg(long = "set")]
    sets: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    machine: Fingerprint,
    command: String,
    broker: String,
    events: u64,
    event_bytes: f64,
    partitions: i32,
    compression: String,
    results: usize,
    guarantees: Vec<OfGuarantee>,
}

/// The runs with one guarantee.
#[derive(Serialize)]
struct OfGuarantee {
    guarantee: String,
    runs: Vec<Measured>,
    median: Measured,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.role {
        Some(Role::Serve) => serve(),
        Some(Role::Engine(engine)) => engine_process::run(&engine),
        None => bench(&arguments.bench),
    }
}

#[tokio::main]
async fn serve() -> Result<()> {
    let broker = engine_broker::Broker::start(engine_broker::BrokerConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        retention_bytes_total: Some(u64::MAX),
        ..engine_broker::BrokerConfig::default()
    })
    .await?;
    println!("{}", broker.address());
    tokio::task::spawn_blocking(|| std::io::stdin().lines().count()).await?;
    broker.shutdown().await;
    Ok(())
}

/// The embedded broker's process; it ends when its standard input does.
struct Broker {
    process: Child,
    address: String,
}

impl Broker {
    fn start() -> Result<Broker> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = process.stdout.take().context("the broker's standard output")?;
        let mut address = String::new();
        BufReader::new(output).read_line(&mut address)?;
        let address = address.trim().to_owned();
        Ok(Broker { process, address })
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

fn bench(arguments: &BenchArguments) -> Result<()> {
    if arguments.runs == 0 || arguments.guarantees.is_empty() {
        bail!("--runs and --guarantees must be at least one");
    }
    let embedded = match &arguments.bootstrap_servers {
        Some(_) => None,
        None => Some(Broker::start()?),
    };
    let bootstrap = match (&embedded, &arguments.bootstrap_servers) {
        (Some(broker), _) => broker.address.clone(),
        (None, servers) => servers.clone().unwrap_or_default(),
    };
    // Names nobody has used: a cluster may hold the topics of an earlier benchmark.
    let unique = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)?
        .as_millis();
    let topic = format!("drain-{unique}");
    let network = tokio::runtime::Runtime::new()?;
    let event_bytes = network.block_on(events::fill(&bootstrap, &topic, arguments))?;
    let expected = network.block_on(events::count(&bootstrap, &topic))?;
    let machine = Fingerprint::read()?;
    let mut runs = vec![Vec::new(); arguments.guarantees.len()];
    for number in 0..arguments.runs {
        for (guarantee, runs) in arguments.guarantees.iter().zip(&mut runs) {
            let name = format!("{topic}-{guarantee}-run{number}");
            let results = format!("{name}-results");
            network.block_on(events::create_topic(&bootstrap, &results, 1))?;
            let measured = engine_process::start(&bootstrap, &topic, &name, &results, guarantee, arguments)?;
            let found = network.block_on(events::results(&bootstrap, &results))?;
            events::compare(&expected, &found)
                .with_context(|| format!("run {number} {guarantee} is VOID, and so is this report"))?;
            if !arguments.json {
                eprintln!("run {number} {guarantee}: {measured}");
            }
            runs.push(measured);
        }
    }
    let guarantees = arguments.guarantees.iter().zip(runs);
    let guarantees = guarantees.map(|(guarantee, runs)| OfGuarantee {
        guarantee: guarantee.clone(),
        median: Measured::median(&runs),
        runs,
    });
    let report = Report {
        machine,
        command: std::env::args().collect::<Vec<_>>().join(" "),
        broker: match embedded {
            Some(_) => "embedded, in memory, in a process of its own".to_owned(),
            None => bootstrap,
        },
        events: arguments.events,
        event_bytes,
        partitions: arguments.partitions,
        compression: arguments.compression.clone(),
        results: expected.len(),
        guarantees: guarantees.collect(),
    };
    let mut out = std::io::stdout().lock();
    if arguments.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        report.print(&mut out)?;
    }
    Ok(())
}

impl Report {
    fn print(&self, out: &mut impl Write) -> Result<()> {
        writeln!(out, "{}", self.machine)?;
        writeln!(out, "command: {}", self.command)?;
        writeln!(
            out,
            "{} {} JSON ad events of {:.0} B in {} partitions, broker: {}; all {} results equal the independent count\n",
            self.events, self.compression, self.event_bytes, self.partitions, self.broker, self.results
        )?;
        writeln!(
            out,
            "| run | events/s after start-up | events/s whole | start-up s | CPU-s per M events | M events per CPU-s | \
             peak RSS MB |\n|---|---|---|---|---|---|---|"
        )?;
        for of_guarantee in &self.guarantees {
            let OfGuarantee {
                guarantee,
                runs,
                median,
            } = of_guarantee;
            for (number, run) in runs.iter().enumerate() {
                writeln!(out, "| {guarantee} {number} {}", run.row())?;
            }
            writeln!(out, "| **{guarantee}, median** {}", median.row())?;
        }
        if let [first, others @ ..] = self.guarantees.as_slice() {
            for other in others {
                let cost = other.median.cost_against(&first.median);
                writeln!(out, "\n{} against {}: {cost}", other.guarantee, first.guarantee)?;
            }
        }
        Ok(())
    }
}

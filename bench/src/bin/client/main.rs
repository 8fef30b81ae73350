//! Our client beside others, in turns, against one real broker: what a million records cost each.
//!
//! ```text
//! scripts/bench-client
//! ```
//! builds the programs, starts Apache Kafka and runs this. In every round and for every size and codec each client
//! fills a topic of its own, then each client reads each of the topics. What was written and read is compared, in
//! number and by a checksum over every byte, with what was asked for: one difference, and there is no report.

mod client;
mod plan;
mod report;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use engine_bench::{
    client_run::{Checksum, RunResult, ad_events, value_sum},
    machine::Fingerprint,
};
use engine_client::{Admin, ClientConfig, admin::NewTopic};

use client::Client;
use plan::{Load, Operation, Sample};
use report::Report;

#[derive(Parser)]
struct Arguments {
    /// Brokers to start from.
    #[arg(long)]
    bootstrap: String,
    /// What the brokers are, for the report.
    #[arg(long, default_value = "unknown")]
    broker: String,
    /// The command that all this was started with, for the report.
    #[arg(long, default_value = "client")]
    command: String,
    /// The folder with our `produce` and `consume`.
    #[arg(long, default_value = "target/release")]
    ours: PathBuf,
    /// The folder that `bench/peers/build` puts the peers' programs into.
    #[arg(long, default_value = "target/bench-peers")]
    peers: PathBuf,
    /// Rounds; medians are of as many runs.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Bytes of values; several give several rows.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 290, 1024])]
    value_bytes: Vec<usize>,
    /// Megabytes of values in each run; runs of small records are shorter, they cost more.
    #[arg(long, default_value_t = 300)]
    megabytes: u64,
    /// Where the report goes: this, and the same with `.json`.
    #[arg(long, default_value = "bench/reports/client.md")]
    report: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let (clients, missing) = Client::found(&arguments.ours, &arguments.peers)?;
    for name in &missing {
        eprintln!("{name} is missing: see bench/peers/build");
    }
    let loads = Load::all(&arguments.value_bytes, arguments.megabytes);
    let mut report = Report::new(&arguments, missing)?;
    let bench = Bench {
        admin: Admin::connect(ClientConfig::new(&*arguments.bootstrap)).await?,
        bootstrap: arguments.bootstrap.clone(),
        clients,
    };
    // Compiles the broker's hot paths, creates its internal topics and hands out the first producer ids.
    for load in &loads {
        bench.run(&load.shortened(), 0).await?;
    }
    for round in 1..=arguments.rounds {
        for load in &loads {
            let samples = bench.run(load, round).await?;
            for sample in &samples {
                eprintln!("round {round}: {sample}");
            }
            report.add(samples);
        }
    }
    report.finish(&bench.clients, Fingerprint::read()?);
    report.write(&arguments.report)
}

struct Bench {
    admin: Admin,
    bootstrap: String,
    clients: Vec<Client>,
}

impl Bench {
    /// One load through every client in turn: each writes, then each reads what each has written.
    async fn run(&self, load: &Load, round: usize) -> Result<Vec<Sample>> {
        let expected = expected(load);
        let mut samples = Vec::new();
        let mut topics = Vec::new();
        for client in &self.clients {
            let topic = format!("bench-{}-{load}-{round}", client.name);
            self.create(&topic).await?;
            let result = client.produce(&self.bootstrap, &topic, load).await?;
            verify(&result, expected, &topic)?;
            samples.push(Sample::new(client.name, Operation::Produce, load, round, result));
            topics.push(topic);
        }
        for topic in &topics {
            for client in &self.clients {
                let result = client.consume(&self.bootstrap, topic).await?;
                verify(&result, expected, topic)?;
                samples.push(Sample::new(client.name, Operation::Consume, load, round, result));
            }
        }
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        for (name, deleted) in self.admin.delete_topics(&names).await? {
            deleted.with_context(|| format!("cannot delete {name}"))?;
        }
        Ok(samples)
    }

    async fn create(&self, name: &str) -> Result<()> {
        let topic = NewTopic {
            name: name.to_owned(),
            partitions: Some(PARTITIONS),
            configs: [("file.delete.delay.ms".to_owned(), "1000".to_owned())].into(),
            ..NewTopic::default()
        };
        for (name, created) in self.admin.create_topics(&[topic]).await? {
            created.with_context(|| format!("cannot create {name}"))?;
        }
        // Its leaders are known to the broker a moment after the controller has answered.
        tokio::time::sleep(Duration::from_millis(300)).await;
        Ok(())
    }
}

/// What every run of the load must have moved.
fn expected(load: &Load) -> Checksum {
    let mut expected = Checksum::default();
    let events = ad_events(load.value_bytes);
    let sums: Vec<(usize, u64)> = events.iter().map(|event| (event.len(), value_sum(event))).collect();
    for (length, sum) in sums.iter().cycle().take(load.records as usize) {
        expected.add_sum(*length, *sum);
    }
    expected
}

fn verify(result: &RunResult, expected: Checksum, topic: &str) -> Result<()> {
    let moved = Checksum {
        records: result.records,
        value_bytes: result.value_bytes,
        total: result.checksum,
    };
    ensure!(
        moved == expected,
        "{} moved {moved:x?} through {topic} instead of {expected:x?}: the run is void",
        result.client
    );
    Ok(())
}

const PARTITIONS: i32 = 4;

//! What is written down: medians and ranges, and everything that is needed to doubt them.

use std::{fmt::Write, fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use engine_bench::{
    client_run::RunResult,
    machine::{Fingerprint, busy_share},
};
use serde::Serialize;

use crate::{
    Arguments,
    client::Client,
    plan::{Load, Operation, Sample},
};

#[derive(Serialize)]
pub(crate) struct Report {
    broker: String,
    command: String,
    rounds: usize,
    missing: Vec<&'static str>,
    machine: Fingerprint,
    /// The share of the cores that others used before the first run.
    busy_before: f64,
    load_average_after: String,
    settings: Vec<Settings>,
    samples: Vec<Sample>,
}

/// What a client was started with.
#[derive(Serialize)]
struct Settings {
    client: &'static str,
    version: String,
    produce: String,
    consume: String,
}

impl Report {
    pub(crate) fn new(arguments: &Arguments, missing: Vec<&'static str>) -> Result<Report> {
        Ok(Report {
            broker: arguments.broker.clone(),
            command: arguments.command.clone(),
            rounds: arguments.rounds,
            missing,
            machine: Fingerprint::read()?,
            busy_before: busy_share(Duration::from_secs(2))?,
            load_average_after: String::new(),
            settings: Vec::new(),
            samples: Vec::new(),
        })
    }

    pub(crate) fn add(&mut self, samples: Vec<Sample>) {
        self.samples.extend(samples);
    }

    pub(crate) fn finish(&mut self, clients: &[Client], machine: Fingerprint) {
        self.load_average_after = machine.load_average().to_owned();
        for client in clients {
            let version = self.samples.iter().find(|sample| sample.client == client.name);
            let [produce, consume] = client.command_lines();
            self.settings.push(Settings {
                client: client.name,
                version: version.map_or_else(String::new, |sample| sample.result.client.clone()),
                produce,
                consume,
            });
        }
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let markdown = self.markdown();
        print!("{markdown}");
        let json = serde_json::to_string(self)? + "\n";
        for (path, text) in [(path.to_owned(), markdown), (path.with_extension("json"), json)] {
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    fn markdown(&self) -> String {
        let mut out = String::from(HEAD);
        if self.busy_before > BUSY_SHARE {
            out.push_str(BUSY);
        }
        for operation in [Operation::Produce, Operation::Consume] {
            let _ = write!(out, "\n## {operation}\n{TABLE_HEAD}");
            for load in self.loads() {
                self.rows(&mut out, operation, &load);
            }
        }
        let _ = write!(out, "\n## Measured on\n{}\n", self.machine);
        let _ = writeln!(
            out,
            "load average after the last run {}; others used {:.0} % of the cores before the first; broker: {}; rounds: {}",
            self.load_average_after,
            100.0 * self.busy_before,
            self.broker,
            self.rounds
        );
        for name in &self.missing {
            let _ = writeln!(out, "\n**{name} is missing**: nothing is said about it here.");
        }
        let _ = write!(out, "\n## Commands\n```\n{}\n", self.command);
        for settings in &self.settings {
            let _ = writeln!(
                out,
                "\n# {}\n{}\n{}",
                settings.version, settings.produce, settings.consume
            );
        }
        out.push_str("```\nEach with `--json --bootstrap … --topic …`, producers with `--records … --value-bytes …` and `-X compression.type=…`.\n");
        out
    }

    fn loads(&self) -> Vec<Load> {
        let mut loads: Vec<Load> = Vec::new();
        for sample in &self.samples {
            if !loads.contains(&sample.load) {
                loads.push(sample.load.clone());
            }
        }
        loads
    }

    fn rows(&self, out: &mut String, operation: Operation, load: &Load) {
        let ours = self.spread("engine", operation, load, RunResult::cpu_per_million);
        for settings in &self.settings {
            let spread = |figure: fn(&RunResult) -> f64| self.spread(settings.client, operation, load, figure);
            let cpu = spread(RunResult::cpu_per_million);
            let verdict = match (settings.client, load.target(operation)) {
                ("engine", Some(target)) if cpu.median <= target => format!("≤ {target:.2}: met"),
                ("engine", Some(target)) => format!("≤ {target:.2}: **missed**"),
                ("engine", None) => String::new(),
                _ => format!("ours is {:.0} % of it", 100.0 * ours.median / cpu.median),
            };
            let whole = spread(|run| run.process_cpu_seconds / (run.records as f64 / 1e6));
            let rate = spread(|run| run.records_per_second() / 1e6);
            let peak = spread(|run| run.peak_resident_bytes as f64 / 1e6);
            let _ = writeln!(
                out,
                "| {} B, {} | {} | {:.3} ({:.3}–{:.3}) | {:.3} | {:.2} ({:.2}–{:.2}) | {:.0} | {verdict} |",
                load.value_bytes,
                load.compression,
                settings.client,
                cpu.median,
                cpu.least,
                cpu.most,
                whole.median,
                rate.median,
                rate.least,
                rate.most,
                peak.most,
            );
        }
    }

    fn spread(&self, client: &str, operation: Operation, load: &Load, figure: fn(&RunResult) -> f64) -> Spread {
        let of_these =
            |sample: &&Sample| sample.client == client && sample.operation == operation && sample.load == *load;
        Spread::of(
            self.samples
                .iter()
                .filter(of_these)
                .map(|sample| figure(&sample.result)),
        )
    }
}

#[derive(Debug, Clone, Copy)]
struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(figures: impl Iterator<Item = f64>) -> Spread {
        let mut figures: Vec<f64> = figures.collect();
        figures.sort_by(f64::total_cmp);
        let middle = figures.len() / 2;
        Spread {
            least: figures[0],
            median: if figures.len().is_multiple_of(2) {
                f64::midpoint(figures[middle - 1], figures[middle])
            } else {
                figures[middle]
            },
            most: figures[figures.len() - 1],
        }
    }
}

const HEAD: &str = "\
# Clients beside each other

CPU seconds are user and system time of the whole client process per million records: from the first record to the last one
acknowledged or read, and in brackets the least and the most of all runs; *with start-up* is the process from its first
instruction. Memory is the most of all runs. Ad events in JSON, 4 partitions, acks=all, idempotent, linger 5 ms, batches up to
1 MB, 5 requests in flight; readers check each CRC and read every byte. Clients take turns within every round; each reads what
each has written, so there are more reads than writes. Numbers, sizes and checksums of all runs were as asked for.
";
/// More than this is a busy machine.
const BUSY_SHARE: f64 = 0.2;
const BUSY: &str = "
**The machine was busy with other work**, see below how busy. CPU seconds count more than a quiet machine would need,
and rates are those of whoever got the cores: only the ratios within one load mean something, and no verdict on a target.
";
const TABLE_HEAD: &str = "
| records | client | CPU-s per M | with start-up | M records/s | peak MB | |
|---|---|---|---|---|---|---|
";

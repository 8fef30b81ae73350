//! The clients: where their programs are, and how equal settings are spelled for each.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use engine_bench::client_run::RunResult;
use tokio::{process::Command, time::timeout};

use crate::plan::Load;

/// A client's two programs and its settings.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) name: &'static str,
    produce: PathBuf,
    consume: PathBuf,
    produce_properties: Vec<&'static str>,
    consume_properties: Vec<&'static str>,
}

impl Client {
    /// The clients whose programs are there, ours first, and the names of the peers that are missing.
    pub(crate) fn found(ours: &Path, peers: &Path) -> Result<(Vec<Client>, Vec<&'static str>)> {
        let clients = [
            Client {
                name: "engine",
                produce: ours.join("produce"),
                consume: ours.join("consume"),
                produce_properties: vec!["buffer.memory=67108864"],
                consume_properties: vec![],
            },
            Client {
                name: "librdkafka",
                produce: peers.join("rdkafka/produce"),
                consume: peers.join("rdkafka/consume"),
                // Its own limits on the number of messages would make it stop before the limits on bytes do.
                produce_properties: vec![
                    "queue.buffering.max.kbytes=65536",
                    "queue.buffering.max.messages=1000000",
                    "batch.num.messages=100000",
                    "delivery.report.only.error=true",
                ],
                consume_properties: vec!["check.crcs=true"],
            },
            Client {
                name: "franz-go",
                produce: peers.join("franz-go/produce"),
                consume: peers.join("franz-go/consume"),
                produce_properties: vec!["buffer.memory=67108864"],
                consume_properties: vec![],
            },
        ];
        let is_there = |client: &Client| client.produce.is_file() && client.consume.is_file();
        let (found, missing): (Vec<Client>, Vec<Client>) = clients.into_iter().partition(is_there);
        ensure!(
            found.first().is_some_and(|client| client.name == "engine"),
            "our own programs are not in {}",
            ours.display()
        );
        Ok((found, missing.iter().map(|client| client.name).collect()))
    }

    pub(crate) async fn produce(&self, bootstrap: &str, topic: &str, load: &Load) -> Result<RunResult> {
        let mut command = Command::new(&self.produce);
        command.args(["--records", &load.records.to_string()]);
        command.args(["--value-bytes", &load.value_bytes.to_string()]);
        let compression = format!("compression.type={}", load.compression);
        let properties = PRODUCE_PROPERTIES.iter().chain(&self.produce_properties).copied();
        run(command, bootstrap, topic, properties.chain([compression.as_str()])).await
    }

    pub(crate) async fn consume(&self, bootstrap: &str, topic: &str) -> Result<RunResult> {
        let properties = CONSUME_PROPERTIES.iter().chain(&self.consume_properties).copied();
        run(Command::new(&self.consume), bootstrap, topic, properties).await
    }

    /// Both command lines, without folders, brokers, topic and load.
    pub(crate) fn command_lines(&self) -> [String; 2] {
        let line = |program: &str, common: &[&str], own: &[&str]| {
            let properties = common.iter().chain(own).map(|property| format!(" -X {property}"));
            format!("{} {program}{}", self.name, properties.collect::<String>())
        };
        [
            line("produce", &PRODUCE_PROPERTIES, &self.produce_properties),
            line("consume", &CONSUME_PROPERTIES, &self.consume_properties),
        ]
    }
}

async fn run(
    mut command: Command,
    bootstrap: &str,
    topic: &str,
    properties: impl Iterator<Item = &str>,
) -> Result<RunResult> {
    command.args(["--json", "--bootstrap", bootstrap, "--topic", topic]);
    properties.for_each(|property| {
        command.args(["-X", property]);
    });
    command.stdin(Stdio::null()).kill_on_drop(true);
    let program = command.as_std().get_program().to_owned();
    let about = || format!("{} on {topic}", program.display());
    let Ok(output) = timeout(RUN_MAX, command.output()).await else {
        bail!("{} did not end in {} s", about(), RUN_MAX.as_secs());
    };
    let output = output.with_context(about)?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {}\n{errors}", about(), output.status);
    let last_line = output.stdout.trim_ascii().rsplit(|byte| *byte == b'\n').next();
    serde_json::from_slice(last_line.unwrap_or_default()).with_context(|| format!("{}: no result", about()))
}

const PRODUCE_PROPERTIES: [&str; 5] = [
    "acks=all",
    "enable.idempotence=true",
    "linger.ms=5",
    "batch.size=1000000",
    "max.in.flight.requests.per.connection=5",
];
/// How much is fetched ahead stays each client's own choice.
const CONSUME_PROPERTIES: [&str; 3] = [
    "fetch.min.bytes=1",
    "fetch.max.bytes=52428800",
    "max.partition.fetch.bytes=1048576",
];
/// A run that takes this long is killed, and the whole benchmark is void.
const RUN_MAX: Duration = Duration::from_secs(120);

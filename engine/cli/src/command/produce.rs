//! `engine produce`: standard input to a topic.

use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use engine_client::{Header, ProduceRecord, Producer};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use super::record_json::RecordToProduce;
use crate::{
    connection,
    failure::{Interrupted, UsageError},
    global_options::{GlobalOptions, key_value},
    logging::notice,
    quantity,
    signal::StopSignal,
};

/// How long what was read may take to arrive after the end of the input.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest line; a longer one is an error.
const LINE_BYTES_MAX: usize = 64 << 20;

/// What `engine produce` takes.
#[derive(Debug, Args)]
pub(crate) struct ProduceArguments {
    /// The topic
    topic: String,

    /// Key of every record; with --json of those without a key
    #[arg(long, value_name = "KEY")]
    key: Option<String>,

    /// Write to this partition instead of choosing by key
    #[arg(long, value_name = "N")]
    partition: Option<i32>,

    /// A header of every record; may be repeated
    #[arg(long, short = 'H', value_name = "NAME=VALUE", value_parser = key_value)]
    header: Vec<(String, String)>,

    /// Split each line into key and value at the first SEPARATOR
    #[arg(long, value_name = "SEPARATOR", conflicts_with = "key")]
    key_separator: Option<String>,
}

pub(crate) async fn run(arguments: ProduceArguments, global: &GlobalOptions) -> anyhow::Result<()> {
    if arguments.key_separator.as_deref() == Some("") {
        return Err(UsageError("--key-separator must not be empty".into()).into());
    }
    let mut stop = StopSignal::listen()?;
    let config = connection::producer_config(global, &[])?;
    let producer = tokio::select! {
        producer = Producer::connect(config) => producer?,
        () = stop.requested() => return Err(Interrupted.into()),
    };
    let started = Instant::now();
    let mut records = 0;
    let outcome = tokio::select! {
        outcome = send_lines(&producer, &arguments, global.json, &mut records) => outcome,
        () = stop.requested() => Err(Interrupted.into()),
    };
    // Also after a line that could not be sent: those before it were taken.
    let closed = producer
        .close(CLOSE_TIMEOUT)
        .await
        .with_context(|| format!("not everything arrived in {}", arguments.topic));
    if !global.quiet && closed.is_ok() {
        notice(format_args!(
            "{} to {} in {}",
            quantity::counted(records, "record"),
            arguments.topic,
            quantity::duration(started.elapsed())
        ));
    }
    match outcome {
        Err(interrupted) if interrupted.is::<Interrupted>() => closed.and(Err(interrupted)),
        outcome => outcome.and(closed),
    }
}

/// Sends standard input to its end and counts what was taken.
async fn send_lines(
    producer: &Producer,
    arguments: &ProduceArguments,
    json: bool,
    records: &mut u64,
) -> anyhow::Result<()> {
    let mut input = BufReader::with_capacity(256 * 1024, tokio::io::stdin());
    let (mut line, mut lines) = (Vec::new(), 0_u64);
    loop {
        line.clear();
        let mut limited = (&mut input).take(LINE_BYTES_MAX as u64 + 2);
        let read = limited.read_until(b'\n', &mut line).await;
        if read.context("cannot read standard input")? == 0 {
            return Ok(());
        }
        lines += 1;
        if line.ends_with(b"\n") {
            line.pop();
        }
        anyhow::ensure!(
            line.len() <= LINE_BYTES_MAX,
            "line {lines} of standard input is longer than {LINE_BYTES_MAX} bytes"
        );
        if json && line.trim_ascii().is_empty() {
            continue;
        }
        send(producer, arguments, json, &line)
            .await
            .with_context(|| format!("line {lines} of standard input"))?;
        *records += 1;
    }
}

async fn send(producer: &Producer, arguments: &ProduceArguments, json: bool, line: &[u8]) -> anyhow::Result<()> {
    let given = arguments.header.iter().map(|(name, value)| Header {
        key: name.as_bytes(),
        value: Some(value.as_bytes()),
    });
    let default_key = arguments.key.as_deref().map(str::as_bytes);
    let parsed = if json {
        Some(RecordToProduce::parse(line)?)
    } else {
        None
    };
    let (key, value, headers, timestamp, partition) = match &parsed {
        Some(record) => {
            let headers = record.headers().into_iter().chain(given).collect::<Vec<_>>();
            (
                record.key().or(default_key),
                record.value(),
                headers,
                record.timestamp,
                record.partition,
            )
        }
        None => {
            let (key, value) = match &arguments.key_separator {
                Some(separator) => {
                    let at = find(line, separator.as_bytes())
                        .with_context(|| format!("there is no separator `{separator}` in it"))?;
                    (Some(&line[..at]), &line[at + separator.len()..])
                }
                None => (default_key, line),
            };
            (key, Some(value), given.collect(), None, None)
        }
    };
    let record = ProduceRecord {
        topic: &arguments.topic,
        partition: arguments.partition.or(partition),
        timestamp,
        key,
        value,
        headers: &headers,
    };
    producer.send(record).await?;
    Ok(())
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

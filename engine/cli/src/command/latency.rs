//! `engine latency`: how long the results of a topic took.

mod table;

use std::{collections::BTreeMap, fs::File, io::BufWriter, path::PathBuf, time::Duration};

use anyhow::Context;
use clap::Args;
use engine_client::{Consumer, Decompressor, Event, Fetched, StartAt, TopicPartition};
use engine_runtime::latency::WindowLatencies;
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    connection, failure::Interrupted, global_options::GlobalOptions, logging::notice, output, quantity,
    signal::StopSignal, time_argument::PositionArgument,
};

/// How long an idle reader waits before it looks at its positions again.
const IDLE_WAIT: Duration = Duration::from_millis(50);

/// What `engine latency` takes.
#[derive(Debug, Args)]
pub(crate) struct LatencyArguments {
    /// The results topic: JSON objects, timestamps in milliseconds since 1970 or RFC 3339 text
    topic: String,

    /// The column that says when the newest event of a result was produced
    #[arg(long, value_name = "COLUMN", default_value = "max_produce_time")]
    column: String,

    /// The column that tells windows apart
    #[arg(long, value_name = "COLUMN", default_value = "window_start")]
    window: String,

    /// Write the overall percentile distribution to this file, in milliseconds, for HdrHistogram's plotters
    #[arg(long, value_name = "FILE")]
    hgrm: Option<PathBuf>,
}

pub(crate) async fn run(arguments: LatencyArguments, global: &GlobalOptions) -> anyhow::Result<()> {
    let ours = [
        ("allow.auto.create.topics", "false"),
        ("isolation.level", "read_committed"),
    ];
    let config = connection::consumer_config(global, &ours)?;
    let servers = config.client.bootstrap_servers.join(",");
    let mut stop = StopSignal::listen()?;
    let results = tokio::select! {
        results = async {
            let consumer = Consumer::connect(config).await.with_context(|| connection::unreachable(&servers))?;
            read_to_end(consumer, &arguments).await
        } => results?,
        () = stop.requested() => return Err(Interrupted.into()),
    };
    if let Some(path) = &arguments.hgrm {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut file = BufWriter::new(file);
        let written = results
            .latencies
            .overall()
            .write_hgrm(&mut file)
            .and_then(|()| std::io::Write::flush(&mut file));
        written.with_context(|| format!("cannot write {}", path.display()))?;
    }
    let report = results.latencies.report();
    anyhow::ensure!(
        report.overall.count + report.negative > 0,
        "topic {} has no results to measure: {}, none with a time in column {}",
        arguments.topic,
        quantity::counted(results.without_column, "record"),
        arguments.column
    );
    if results.without_column > 0 && !global.quiet {
        notice(format_args!(
            "{} without a time in column {}",
            quantity::counted(results.without_column, "record"),
            arguments.column
        ));
    }
    output::print(&report, global.json, || table::text(&report, &arguments.column))?;
    Ok(())
}

#[derive(Default)]
struct Results {
    latencies: WindowLatencies,
    without_column: u64,
}

async fn read_to_end(mut consumer: Consumer, arguments: &LatencyArguments) -> anyhow::Result<Results> {
    let topic = &arguments.topic;
    let count = consumer
        .partition_count(topic)
        .await?
        .with_context(|| format!("there is no topic {topic}; `engine topics list` names them all"))?;
    let partitions: Vec<TopicPartition> = (0..count)
        .map(|number| TopicPartition::new(topic.as_str(), number))
        .collect();
    consumer.assign(partitions.iter().cloned());
    let ends: BTreeMap<TopicPartition, i64> = consumer.end_offsets(&partitions).await?.into_iter().collect();
    consumer.start(partitions.into_iter().map(|tp| (tp, StartAt::Earliest)))?;
    let mut results = Results::default();
    let mut decompressor = Decompressor::default();
    while !ends
        .iter()
        .all(|(tp, &end)| consumer.position(tp).is_some_and(|position| position.offset >= end))
    {
        if let Ok(event) = timeout(IDLE_WAIT, consumer.poll()).await
            && let Event::Fetched(fetched) = event?
        {
            results.add(&fetched, arguments, &mut decompressor)?;
        }
    }
    consumer.close().await;
    Ok(results)
}

impl Results {
    fn add(
        &mut self,
        fetched: &Fetched,
        arguments: &LatencyArguments,
        decompressor: &mut Decompressor,
    ) -> anyhow::Result<()> {
        for batch in &fetched.batches {
            batch.verify_crc()?;
            for record in batch.records(decompressor)? {
                let record = record?;
                let result: Value = record
                    .value
                    .and_then(|value| serde_json::from_slice(value).ok())
                    .unwrap_or_default();
                match milliseconds(&result[&arguments.column]) {
                    Some(produced) => {
                        let window = milliseconds(&result[&arguments.window]);
                        let latency_ms = record.timestamp.saturating_sub(produced);
                        self.latencies.record(window, latency_ms.saturating_mul(1_000));
                    }
                    None => self.without_column += 1,
                }
            }
        }
        Ok(())
    }
}

/// A time as the engine writes it: an integer, or RFC 3339 text.
fn milliseconds(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => match text.parse::<PositionArgument>() {
            Ok(PositionArgument::Timestamp(milliseconds) | PositionArgument::Offset(milliseconds)) => {
                Some(milliseconds)
            }
            _ => None,
        },
        _ => None,
    }
}

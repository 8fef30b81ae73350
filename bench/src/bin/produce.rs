//! Produces JSON ad events as fast as the cluster takes them and reports CPU seconds per million records.
//!
//! `produce --bootstrap localhost:9092 --topic ads --records 10000000 -X compression.type=lz4`
//! With `--numbered`, each value starts with its number within its partition, so that a reader can
//! check for exactly once, in order.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use clap::Parser;
use engine_bench::client_run::{Checksum, ProduceRun, Stopwatch, ad_events, split_property, value_sum};
use engine_client::{ProduceRecord, Producer, ProducerConfig, TopicRecord};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    run: ProduceRun,
    /// Records per call of `append_all`; 1 sends each with `send`.
    #[arg(long, default_value_t = 10_000)]
    chunk: u64,
    /// Fixed partitions in turn, each value starting with its number there.
    #[arg(long)]
    numbered: bool,
    /// Pause between chunks, for runs that a broker is killed in.
    #[arg(long, default_value_t = 0)]
    pause_ms: u64,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let run = &arguments.run;
    let producer = Producer::connect(config(run)?).await?;
    let partitions = producer.partitions_for(&run.topic).await?;
    let events = ad_events(run.value_bytes);
    let sums: Vec<u64> = events.iter().map(|event| value_sum(event)).collect();

    let stopwatch = Stopwatch::start();
    let produced = if arguments.numbered {
        produce_numbered(&producer, &arguments, partitions).await?
    } else {
        produce_events(&producer, &arguments, &events, &sums).await?
    };
    let flushed = producer.flush().await;
    let result = stopwatch.stop(concat!("engine ", env!("CARGO_PKG_VERSION")).to_owned(), produced)?;
    let stats = producer.stats();
    let closed = producer.close(Duration::from_secs(10)).await;
    eprintln!(
        "{} requests, {} batches, {:.1} MB sent, latency mean {:.1} ms max {:.1} ms, {} retries, {} buffer full, errors {:?}",
        stats.requests,
        stats.batches_sent,
        stats.bytes_sent as f64 / 1e6,
        stats.latency.sum.as_secs_f64() * 1e3 / stats.latency.count.max(1) as f64,
        stats.latency.max.as_secs_f64() * 1e3,
        stats.retries,
        stats.buffer_full,
        stats.errors
    );
    flushed.and(closed).context("records were lost")?;
    ensure!(
        stats.records_delivered == produced.records && stats.records_failed == 0,
        "{} of {} records were delivered, {} failed",
        stats.records_delivered,
        produced.records,
        stats.records_failed
    );
    result.print(run.json)
}

async fn produce_events(
    producer: &Producer,
    arguments: &Arguments,
    events: &[Vec<u8>],
    sums: &[u64],
) -> Result<Checksum> {
    let topic = arguments.run.topic.as_str();
    let mut produced = Checksum::default();
    let mut ring = events.iter().zip(sums).cycle();
    let mut next_value = || {
        let (event, sum) = ring.next().expect("a ring has no end");
        produced.add_sum(event.len(), *sum);
        Some(event.as_slice())
    };
    let mut left = arguments.run.records;
    while left > 0 {
        let count = left.min(arguments.chunk);
        if arguments.chunk == 1 {
            let value = next_value();
            let record = ProduceRecord {
                topic,
                value,
                ..ProduceRecord::default()
            };
            producer.send(record).await?;
        } else {
            let records = (0..count).map(|_| TopicRecord {
                value: next_value(),
                ..TopicRecord::default()
            });
            producer.append_all(topic, records).await?;
        }
        left -= count;
        if arguments.pause_ms > 0 {
            tokio::time::sleep(Duration::from_millis(arguments.pause_ms)).await;
        }
    }
    Ok(produced)
}

async fn produce_numbered(producer: &Producer, arguments: &Arguments, partitions: i32) -> Result<Checksum> {
    let run = &arguments.run;
    let per_partition = run.records / partitions as u64;
    let mut produced = Checksum::default();
    let mut next = 0;
    while next < per_partition {
        let until = per_partition.min(next + arguments.chunk);
        for partition in 0..partitions {
            let values: Vec<String> = (next..until)
                .map(|number| format!("{number:<width$}", width = run.value_bytes))
                .collect();
            values.iter().for_each(|value| produced.add(value.as_bytes()));
            let records = values.iter().map(|value| TopicRecord {
                partition: Some(partition),
                value: Some(value.as_bytes()),
                ..TopicRecord::default()
            });
            producer.append_all(&run.topic, records).await?;
        }
        next = until;
        tokio::time::sleep(Duration::from_millis(arguments.pause_ms)).await;
    }
    Ok(produced)
}

fn config(run: &ProduceRun) -> Result<ProducerConfig> {
    let mut properties = vec![("bootstrap.servers", run.bootstrap.as_str())];
    for property in &run.properties {
        properties.push(split_property(property)?);
    }
    ProducerConfig::from_properties(properties).map_err(|mistakes| {
        let mistakes: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        anyhow!(mistakes.join("\n"))
    })
}

//! Produces JSON ad events as fast as the cluster takes them and reports CPU seconds per million records.
//!
//! `produce --bootstrap localhost:9092 --topic ads --records 10000000 -X compression.type=lz4`
//! With `--numbered`, each value starts with its number within its partition, so that a reader can
//! check for exactly once, in order.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use clap::Parser;
use engine_client::{Producer, ProducerConfig, TopicRecord};

#[derive(Parser)]
struct Arguments {
    /// Brokers to start from.
    #[arg(long)]
    bootstrap: String,
    /// The topic; must exist or be created by the broker.
    #[arg(long)]
    topic: String,
    /// How many records.
    #[arg(long, default_value_t = 5_000_000)]
    records: u64,
    /// Bytes of each value.
    #[arg(long, default_value_t = 257)]
    value_bytes: usize,
    /// Records per call of `append_all`; 1 sends each with `send`.
    #[arg(long, default_value_t = 10_000)]
    chunk: usize,
    /// Fixed partitions in turn, each value starting with its number there.
    #[arg(long)]
    numbered: bool,
    /// Pause between chunks, for runs that a broker is killed in.
    #[arg(long, default_value_t = 0)]
    pause_ms: u64,
    /// Further properties, `name=value`.
    #[arg(short = 'X')]
    properties: Vec<String>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let config = config(&arguments)?;
    let producer = Producer::connect(config).await?;
    let partitions = producer.partitions_for(&arguments.topic).await?;
    let events = events(arguments.value_bytes);
    // The first idempotent batch costs a fresh broker more than a second.
    producer.append_all(&arguments.topic, std::iter::empty()).await?;

    let (started, cpu_before) = (Instant::now(), cpu_seconds()?);
    if arguments.numbered {
        produce_numbered(&producer, &arguments, partitions).await?;
    } else {
        produce_events(&producer, &arguments, &events).await?;
    }
    let flushed = producer.flush().await;
    let (wall, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds()? - cpu_before);
    let stats = producer.stats();
    let closed = producer.close(Duration::from_secs(10)).await;
    let millions = stats.records as f64 / 1e6;
    println!(
        "{:.2} M records of {} B in {wall:.2} s: {:.2} M/s, {:.3} CPU-s per M records",
        millions,
        arguments.value_bytes,
        millions / wall,
        cpu / millions
    );
    println!(
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
    println!("delivered {}, failed {}", stats.records_delivered, stats.records_failed);
    flushed.and(closed).context("records were lost")
}

async fn produce_events(producer: &Producer, arguments: &Arguments, events: &[Vec<u8>]) -> anyhow::Result<()> {
    let mut at = 0;
    let mut left = arguments.records;
    while left > 0 {
        let count = left.min(arguments.chunk as u64) as usize;
        if arguments.chunk == 1 {
            let value = Some(events[at % events.len()].as_slice());
            let topic = arguments.topic.as_str();
            producer
                .send(engine_client::ProduceRecord {
                    topic,
                    value,
                    ..Default::default()
                })
                .await?;
        } else {
            let records = (at..at + count).map(|index| TopicRecord {
                value: Some(&events[index % events.len()]),
                ..TopicRecord::default()
            });
            producer.append_all(&arguments.topic, records).await?;
        }
        at += count;
        left -= count as u64;
        if arguments.pause_ms > 0 {
            tokio::time::sleep(Duration::from_millis(arguments.pause_ms)).await;
        }
    }
    Ok(())
}

async fn produce_numbered(producer: &Producer, arguments: &Arguments, partitions: i32) -> anyhow::Result<()> {
    let per_partition = arguments.records / partitions as u64;
    let mut next = 0;
    while next < per_partition {
        let until = per_partition.min(next + arguments.chunk as u64);
        for partition in 0..partitions {
            let values: Vec<String> = (next..until)
                .map(|number| format!("{number:<width$}", width = arguments.value_bytes))
                .collect();
            let records = values.iter().map(|value| TopicRecord {
                partition: Some(partition),
                value: Some(value.as_bytes()),
                ..TopicRecord::default()
            });
            producer.append_all(&arguments.topic, records).await?;
        }
        next = until;
        tokio::time::sleep(Duration::from_millis(arguments.pause_ms)).await;
    }
    Ok(())
}

fn config(arguments: &Arguments) -> anyhow::Result<ProducerConfig> {
    let mut properties = vec![("bootstrap.servers", arguments.bootstrap.as_str())];
    for property in &arguments.properties {
        properties.push(
            property
                .split_once('=')
                .with_context(|| format!("{property} is not name=value"))?,
        );
    }
    ProducerConfig::from_properties(properties).map_err(|mistakes| {
        let mistakes: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        anyhow!(mistakes.join("\n"))
    })
}

/// Different events in a ring, large enough that a codec does not see one twice in a block.
fn events(value_bytes: usize) -> Vec<Vec<u8>> {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    (0..8192)
        .map(|_| {
            let mut event = format!(
                "{{\"user_id\":\"{:08x}-{:012x}\",\"page_id\":\"{:08x}-{:012x}\",\"ad_id\":\"{:08x}\",\"ad_type\":\"{}\",\
                 \"event_type\":\"{}\",\"event_time_ns\":{},\"ip_address\":\"10.{}.{}.{}\",\"campaign_id\":{}",
                next() as u32,
                next() >> 16,
                next() as u32,
                next() >> 16,
                next() % 1000,
                ["image", "video", "carousel", "text"][(next() % 4) as usize],
                ["view", "click", "purchase"][(next() % 3) as usize],
                1_700_000_000_000_000_000 + next() % 1_000_000_000_000,
                next() % 256,
                next() % 256,
                next() % 256,
                next() % 10
            )
            .into_bytes();
            event.resize(value_bytes.max(2) - 1, b' ');
            event.push(b'}');
            event
        })
        .collect()
}

/// User and system time of this process.
fn cpu_seconds() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat
        .rsplit(") ")
        .next()
        .context("/proc/self/stat")?
        .split(' ')
        .collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok(ticks / 100.0)
}

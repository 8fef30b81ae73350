//! What consuming costs: CPU seconds per million records of the whole client process.
//!
//! ```text
//! cargo run --release -p engine-bench --bin consume -- --bootstrap 127.0.0.1:9092 --topic events
//! ```
//! Reads all partitions of the topic from their beginning to the end they have at the start, checks each
//! batch's CRC, decompresses and walks every record (values are touched), and prints one line. With
//! `--group` it joins the group instead, prints the group's events and runs until it is stopped
//! or `--seconds` pass.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::Parser;
use engine_client::{
    CommittedOffset, Consumer, ConsumerConfig, ConsumerError, Event, Fetched, StartAt, TopicPartition,
};
use engine_wire::compression::{DecodeLimits, Decompressor};

#[derive(Parser)]
struct Arguments {
    /// `host:port` of a broker.
    #[arg(long)]
    bootstrap: String,
    /// The topic.
    #[arg(long)]
    topic: String,
    /// Join this group instead of reading everything once.
    #[arg(long)]
    group: Option<String>,
    /// Stop after this time (with `--group`).
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// More consumer properties, `name=value`.
    #[arg(long)]
    property: Vec<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut properties = vec![
        ("bootstrap.servers", arguments.bootstrap.as_str()),
        ("auto.offset.reset", "earliest"),
    ];
    if let Some(group) = &arguments.group {
        properties.push(("group.id", group));
    }
    for property in &arguments.property {
        properties.push(property.split_once('=').context("a property is name=value")?);
    }
    let config = ConsumerConfig::from_properties(properties).map_err(|errors| {
        anyhow::anyhow!(
            "{}",
            errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        )
    })?;
    let consumer = Consumer::connect(config).await?;
    match arguments.group {
        Some(_) => follow_group(consumer, &arguments).await,
        None => read_once(consumer, &arguments.topic).await,
    }
}

#[derive(Default)]
struct Totals {
    records: u64,
    value_bytes: u64,
    wire_bytes: u64,
    fetched: u64,
    checksum: u64,
}

impl Totals {
    fn add(&mut self, fetched: &Fetched, decompressor: &mut Decompressor) -> Result<()> {
        self.fetched += 1;
        self.wire_bytes += fetched.bytes as u64;
        for batch in &fetched.batches {
            batch.verify_crc()?;
            for record in batch.records(decompressor)? {
                let record = record?;
                if record.offset < fetched.first_offset {
                    continue;
                }
                let value = record.value.unwrap_or_default();
                self.records += 1;
                self.value_bytes += value.len() as u64;
                self.checksum = self.checksum.wrapping_add(value.last().copied().unwrap_or(0).into());
            }
        }
        Ok(())
    }
}

async fn read_once(mut consumer: Consumer, topic: &str) -> Result<()> {
    let count = consumer
        .partition_count(topic)
        .await?
        .context("the topic does not exist")?;
    let partitions: Vec<_> = (0..count)
        .map(|partition| TopicPartition::new(topic, partition))
        .collect();
    let mut open: BTreeMap<TopicPartition, i64> = consumer.end_offsets(&partitions).await?.into_iter().collect();
    open.retain(|_, end| *end > 0);
    let mut decompressor = Decompressor::new(DecodeLimits::default());
    let mut totals = Totals::default();
    let (started, cpu_before) = (Instant::now(), cpu_seconds()?);
    consumer.assign(partitions.iter().cloned());
    consumer.start(partitions.iter().map(|tp| (tp.clone(), StartAt::Earliest)))?;
    while !open.is_empty() {
        if let Event::Fetched(fetched) = consumer.poll().await? {
            totals.add(&fetched, &mut decompressor)?;
            if open.get(&fetched.tp).is_some_and(|end| fetched.next_offset >= *end) {
                open.remove(&fetched.tp);
            }
        }
    }
    let (wall, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds()? - cpu_before);
    let millions = totals.records as f64 / 1e6;
    println!(
        "{} records, {} MB of values, {} MB on the wire, {} answers' partitions: {wall:.2} s, {:.2} M records/s, \
         {cpu:.2} CPU-s, {:.3} CPU-s per M records, checksum {}",
        totals.records,
        totals.value_bytes / 1_000_000,
        totals.wire_bytes / 1_000_000,
        totals.fetched,
        millions / wall,
        cpu / millions,
        totals.checksum,
    );
    println!("{:?}", consumer.stats());
    consumer.close().await;
    Ok(())
}

async fn follow_group(mut consumer: Consumer, arguments: &Arguments) -> Result<()> {
    consumer.subscribe([arguments.topic.as_str()])?;
    let mut decompressor = Decompressor::new(DecodeLimits::default());
    let mut totals = Totals::default();
    let mut positions: BTreeMap<TopicPartition, CommittedOffset> = BTreeMap::new();
    let until = tokio::time::sleep(Duration::from_secs(arguments.seconds));
    tokio::pin!(until);
    loop {
        let event = tokio::select! {
            event = consumer.poll() => event,
            () = &mut until => break,
        };
        match event {
            Ok(Event::Assigned(partitions)) => {
                println!("assigned {}", printed(&partitions));
                consumer.start(partitions.into_iter().map(|tp| (tp, StartAt::Committed)))?;
            }
            Ok(Event::Revoked(partitions)) => {
                println!("revoked {}", printed(&partitions));
                commit(&consumer, &positions).await;
                positions.clear();
                consumer.revoked_done();
            }
            Ok(Event::Lost(partitions)) => {
                println!("lost {}", printed(&partitions));
                positions.clear();
            }
            Ok(Event::Fetched(fetched)) => {
                totals.add(&fetched, &mut decompressor)?;
                let position = CommittedOffset {
                    offset: fetched.next_offset,
                    leader_epoch: fetched.leader_epoch,
                    metadata: String::new(),
                };
                positions.insert(fetched.tp, position);
            }
            Ok(_) => {}
            Err(ConsumerError::Fetch(error)) => println!("error {error}"),
            Err(error) => return Err(error.into()),
        }
    }
    commit(&consumer, &positions).await;
    println!("{} records", totals.records);
    println!("{:?}", consumer.stats());
    consumer.close().await;
    Ok(())
}

async fn commit(consumer: &Consumer, positions: &BTreeMap<TopicPartition, CommittedOffset>) {
    let positions: Vec<_> = positions.iter().map(|(tp, at)| (tp.clone(), at.clone())).collect();
    match consumer.commit(&positions).await {
        Ok(()) => println!("committed {} partitions", positions.len()),
        Err(error) => println!("commit failed: {error}"),
    }
}

fn printed(partitions: &[TopicPartition]) -> String {
    let list: Vec<_> = partitions.iter().map(ToString::to_string).collect();
    format!("[{}]", list.join(" "))
}

/// User and system time of this process, from `/proc`.
fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("CPU time needs /proc (Linux)")?;
    // The name in parentheses may hold spaces; user and system ticks are the 12th and 13th after it.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = fields
        .get(11..13)
        .context("short /proc/self/stat")?
        .iter()
        .filter_map(|f| f.parse::<u64>().ok())
        .sum();
    Ok(ticks as f64 / 100.0)
}

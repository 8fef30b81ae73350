//! What consuming costs: CPU seconds per million records of the whole client process.
//!
//! ```text
//! cargo run --release -p engine-bench --bin consume -- --bootstrap 127.0.0.1:9092 --topic events
//! ```
//! Reads all partitions of the topic from their beginning to the end they have at the start, checks each
//! batch's CRC, decompresses and walks every record (values are touched), and prints one line. With
//! `--group` it joins the group instead, prints the group's events and runs until it is stopped
//! or `--seconds` pass.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use clap::Parser;
use engine_bench::client_run::{Checksum, ConsumeRun, Stopwatch, split_property};
use engine_client::{
    CommittedOffset, Consumer, ConsumerConfig, ConsumerError, Event, Fetched, StartAt, TopicPartition,
};
use engine_wire::compression::{DecodeLimits, Decompressor};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    run: ConsumeRun,
    /// Join this group instead of reading everything once.
    #[arg(long)]
    group: Option<String>,
    /// Stop after this time (with `--group`).
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut properties = vec![
        ("bootstrap.servers", arguments.run.bootstrap.as_str()),
        ("auto.offset.reset", "earliest"),
    ];
    if let Some(group) = &arguments.group {
        properties.push(("group.id", group));
    }
    for property in &arguments.run.properties {
        properties.push(split_property(property)?);
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
        None => read_once(consumer, &arguments.run).await,
    }
}

fn read_values(fetched: &Fetched, decompressor: &mut Decompressor, values: &mut Checksum) -> Result<()> {
    for batch in &fetched.batches {
        batch.verify_crc()?;
        for record in batch.records(decompressor)? {
            let record = record?;
            if record.offset >= fetched.first_offset {
                values.add(record.value.unwrap_or_default());
            }
        }
    }
    Ok(())
}

async fn read_once(mut consumer: Consumer, run: &ConsumeRun) -> Result<()> {
    let count = consumer
        .partition_count(&run.topic)
        .await?
        .context("the topic does not exist")?;
    let partitions: Vec<_> = (0..count)
        .map(|partition| TopicPartition::new(run.topic.as_str(), partition))
        .collect();
    let mut open: BTreeMap<TopicPartition, i64> = consumer.end_offsets(&partitions).await?.into_iter().collect();
    open.retain(|_, end| *end > 0);
    let mut decompressor = Decompressor::new(DecodeLimits::default());
    let mut values = Checksum::default();
    let stopwatch = Stopwatch::start();
    consumer.assign(partitions.iter().cloned());
    consumer.start(partitions.iter().map(|tp| (tp.clone(), StartAt::Earliest)))?;
    while !open.is_empty() {
        if let Event::Fetched(fetched) = consumer.poll().await? {
            read_values(&fetched, &mut decompressor, &mut values)?;
            if open.get(&fetched.tp).is_some_and(|end| fetched.next_offset >= *end) {
                open.remove(&fetched.tp);
            }
        }
    }
    let result = stopwatch.stop(concat!("engine ", env!("CARGO_PKG_VERSION")).to_owned(), values)?;
    eprintln!("{:?}", consumer.stats());
    consumer.close().await;
    result.print(run.json)
}

async fn follow_group(mut consumer: Consumer, arguments: &Arguments) -> Result<()> {
    consumer.subscribe([arguments.run.topic.as_str()])?;
    let mut decompressor = Decompressor::new(DecodeLimits::default());
    let mut values = Checksum::default();
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
                read_values(&fetched, &mut decompressor, &mut values)?;
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
    println!("{} records", values.records);
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

//! The events: made by the generator, counted without the engine's decoder, windows or results.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use engine_client::admin::NewTopic;
use engine_client::{
    Admin, ClientConfig, Consumer, ConsumerConfig, DecodeLimits, Decompressor, Event, ProducerConfig, StartAt,
    TopicPartition,
};
use engine_runtime::generate::{GeneratorConfig, Pace, run_generator};
use serde::Deserialize;

use crate::BenchArguments;

const WINDOW_MS: i64 = 10_000;

/// (window start in ms, campaign) → (views, the latest produce time in ms).
pub(crate) type Counts = BTreeMap<(i64, i64), (i64, i64)>;

/// Creates the topic and fills it; gives the mean size of an event.
///
/// One producer, so that each partition's event times ascend: a drain has no late rows then, however far apart the
/// partitions are read.
pub(crate) async fn fill(bootstrap: &str, topic: &str, arguments: &BenchArguments) -> Result<f64> {
    create_topic(bootstrap, topic, arguments.partitions).await?;
    let properties = [
        ("bootstrap.servers", bootstrap),
        ("compression.type", &arguments.compression),
        ("linger.ms", "5"),
        ("batch.size", "262144"),
    ];
    let producer = ProducerConfig::from_properties(properties).map_err(|errors| anyhow!("{errors:?}"))?;
    let load = GeneratorConfig {
        topic: topic.to_owned(),
        pace: Pace::Max,
        rate: arguments.rate,
        producers: 1,
        count: Some(arguments.events),
        ..GeneratorConfig::default()
    };
    let (_stop, stop) = tokio::sync::watch::channel(false);
    let report = run_generator(load, producer, Arc::default(), stop).await?;
    eprintln!("{report}");
    if report.events != arguments.events {
        bail!("the generator sent {} of {} events", report.events, arguments.events);
    }
    Ok(report.bytes as f64 / report.events as f64)
}

/// Creates a topic.
pub(crate) async fn create_topic(bootstrap: &str, topic: &str, partitions: i32) -> Result<()> {
    let admin = Admin::connect(ClientConfig::new(bootstrap)).await?;
    let topic = NewTopic {
        name: topic.to_owned(),
        partitions: Some(partitions),
        replication_factor: Some(1),
        configs: BTreeMap::new(),
    };
    for (name, created) in admin.create_topics(&[topic]).await? {
        created.with_context(|| format!("topic {name}"))?;
    }
    Ok(())
}

/// Counts views per window and campaign from the raw events.
pub(crate) async fn count(bootstrap: &str, topic: &str) -> Result<Counts> {
    #[derive(Deserialize)]
    struct AdEvent<'a> {
        event_type: &'a str,
        event_time_ns: i64,
        campaign_id: i64,
        produce_time: i64,
    }
    let mut counts = Counts::new();
    read(bootstrap, topic, |value| {
        let event: AdEvent<'_> = serde_json::from_slice(value)?;
        if event.event_type == "view" {
            let window_ms = event.event_time_ns.div_euclid(WINDOW_MS * 1_000_000) * WINDOW_MS;
            let count = counts.entry((window_ms, event.campaign_id)).or_insert((0, i64::MIN));
            *count = (count.0 + 1, count.1.max(event.produce_time));
        }
        Ok(())
    })
    .await?;
    Ok(counts)
}

/// Reads what the pipeline wrote. A window that is there twice is an error: nothing failed, so nothing was repeated.
pub(crate) async fn results(bootstrap: &str, topic: &str) -> Result<Counts> {
    #[derive(Deserialize)]
    struct Row {
        window_start: i64,
        campaign_id: i64,
        events: i64,
        max_produce_time: i64,
    }
    let mut counts = Counts::new();
    read(bootstrap, topic, |value| {
        let row: Row = serde_json::from_slice(value)?;
        let key = (row.window_start, row.campaign_id);
        match counts.insert(key, (row.events, row.max_produce_time)) {
            Some(_) => bail!("window {} of campaign {} was emitted twice", key.0, key.1),
            None => Ok(()),
        }
    })
    .await?;
    Ok(counts)
}

/// Compares the results with the independent count.
pub(crate) fn compare(expected: &Counts, found: &Counts) -> Result<()> {
    for (key, value) in expected {
        if found.get(key) != Some(value) {
            bail!(
                "window {} of campaign {}: expected {value:?} (views, max produce time), found {:?}",
                key.0,
                key.1,
                found.get(key)
            );
        }
    }
    match found.keys().find(|key| !expected.contains_key(key)) {
        Some(key) => bail!("window {} of campaign {} should not be there", key.0, key.1),
        None => Ok(()),
    }
}

async fn read(bootstrap: &str, topic: &str, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let config = ConsumerConfig::from_properties([
        ("bootstrap.servers", bootstrap),
        ("auto.offset.reset", "earliest"),
        ("isolation.level", "read_committed"),
    ])
    .map_err(|errors| anyhow!("{errors:?}"))?;
    let mut consumer = Consumer::connect(config).await?;
    let count = consumer.partition_count(topic).await?.context("the topic is gone")?;
    let partitions: Vec<_> = (0..count)
        .map(|partition| TopicPartition::new(topic, partition))
        .collect();
    let mut open: BTreeMap<TopicPartition, i64> = consumer.end_offsets(&partitions).await?.into_iter().collect();
    open.retain(|_, end| *end > 0);
    consumer.assign(partitions.iter().cloned());
    consumer.start(partitions.iter().map(|tp| (tp.clone(), StartAt::Earliest)))?;
    let mut decompressor = Decompressor::new(DecodeLimits::default());
    while !open.is_empty() {
        let Event::Fetched(fetched) = consumer.poll().await? else {
            continue;
        };
        for batch in &fetched.batches {
            batch.verify_crc()?;
            for record in batch.records(&mut decompressor)? {
                let record = record?;
                if record.offset >= fetched.first_offset {
                    each(record.value.context("a tombstone")?)?;
                }
            }
        }
        if open.get(&fetched.tp).is_some_and(|end| fetched.next_offset >= *end) {
            open.remove(&fetched.tp);
        }
    }
    consumer.close().await;
    Ok(())
}

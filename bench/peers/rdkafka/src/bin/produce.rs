//! librdkafka as a producer, through the `rdkafka` crate: the command line and the result of `bench/src/bin/produce.rs`.

#[path = "../../../../src/client_run.rs"]
#[allow(dead_code)]
mod client_run;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use clap::Parser;
use client_run::{Checksum, ProduceRun, Stopwatch, ad_events, split_property, value_sum};
use rdkafka::{
    ClientContext,
    config::ClientConfig,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext},
    util::get_rdkafka_version,
};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    run: ProduceRun,
}

#[derive(Default)]
struct Failures(AtomicU64);

impl ClientContext for Failures {}

impl ProducerContext for Failures {
    type DeliveryOpaque = ();

    fn delivery(&self, delivered: &DeliveryResult<'_>, (): ()) {
        if delivered.is_err() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn main() -> Result<()> {
    let Arguments { run } = Arguments::parse();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &run.bootstrap);
    for property in &run.properties {
        let (name, value) = split_property(property)?;
        config.set(name, value);
    }
    let producer: BaseProducer<Failures> = config.create_with_context(Failures::default())?;
    producer.client().fetch_metadata(Some(&run.topic), TIMEOUT)?;
    let events = ad_events(run.value_bytes);
    let sums: Vec<u64> = events.iter().map(|event| value_sum(event)).collect();

    let stopwatch = Stopwatch::start();
    let mut produced = Checksum::default();
    for (event, sum) in events.iter().zip(&sums).cycle().take(run.records as usize) {
        let mut record = BaseRecord::<(), [u8]>::to(&run.topic).payload(event);
        loop {
            match producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                    record = refused;
                    producer.poll(QUEUE_FULL_WAIT);
                }
                Err((error, _)) => bail!(error),
            }
        }
        produced.add_sum(event.len(), *sum);
    }
    producer.flush(TIMEOUT)?;
    let (_, version) = get_rdkafka_version();
    let result = stopwatch.stop(format!("librdkafka {version}"), produced)?;
    let failed = producer.context().0.load(Ordering::Relaxed);
    ensure!(failed == 0, "{failed} records were not delivered");
    result.print(run.json)
}

const TIMEOUT: Duration = Duration::from_secs(60);
/// A full queue is waited for, not spun on.
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(5);

//! librdkafka as a consumer: the command line and the result of `bench/src/bin/consume.rs`.
//!
//! Messages are taken in batches, straight from the C library, because that is its fastest way. With `--each` they
//! are taken one by one with `BaseConsumer::poll`, the way of the `rdkafka` crate.

#[path = "../../../../src/client_run.rs"]
#[allow(dead_code)]
mod client_run;

use std::{ffi::CStr, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use client_run::{Checksum, ConsumeRun, Stopwatch, split_property};
use rdkafka::{
    Message, Offset, TopicPartitionList,
    bindings::{
        rd_kafka_consume_batch_queue, rd_kafka_err2str, rd_kafka_message_destroy, rd_kafka_message_t,
        rd_kafka_queue_destroy, rd_kafka_queue_get_consumer, rd_kafka_resp_err_t,
    },
    config::ClientConfig,
    consumer::{BaseConsumer, Consumer},
    util::get_rdkafka_version,
};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    run: ConsumeRun,
    /// Take messages one by one, with `BaseConsumer::poll`.
    #[arg(long)]
    each: bool,
}

fn main() -> Result<()> {
    let Arguments { run, each } = Arguments::parse();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &run.bootstrap);
    config.set("group.id", "bench"); // Asked for by the library, not used: partitions are assigned.
    config.set("enable.auto.commit", "false");
    for property in &run.properties {
        let (name, value) = split_property(property)?;
        config.set(name, value);
    }
    let consumer: BaseConsumer = config.create()?;
    let metadata = consumer.fetch_metadata(Some(&run.topic), TIMEOUT)?;
    let topic = metadata.topics().first().context("no such topic")?;
    let mut assignment = TopicPartitionList::new();
    let mut expected = 0;
    for partition in topic.partitions() {
        let (first, end) = consumer.fetch_watermarks(&run.topic, partition.id(), TIMEOUT)?;
        expected += (end - first) as u64;
        assignment.add_partition_offset(&run.topic, partition.id(), Offset::Beginning)?;
    }

    let stopwatch = Stopwatch::start();
    consumer.assign(&assignment)?;
    let values = if each {
        read_each(&consumer, expected)?
    } else {
        read_batches(&consumer, expected)?
    };
    let (_, version) = get_rdkafka_version();
    let how = if each { " (rdkafka crate, each)" } else { "" };
    let result = stopwatch.stop(format!("librdkafka {version}{how}"), values)?;
    ensure!(
        values.records == expected,
        "{} records instead of {expected}",
        values.records
    );
    result.print(run.json)
}

fn read_each(consumer: &BaseConsumer, expected: u64) -> Result<Checksum> {
    let mut values = Checksum::default();
    while values.records < expected {
        let message = consumer.poll(TIMEOUT).context("no message came")??;
        values.add(message.payload().unwrap_or_default());
    }
    Ok(values)
}

fn read_batches(consumer: &BaseConsumer, expected: u64) -> Result<Checksum> {
    let mut values = Checksum::default();
    let mut messages: Vec<*mut rd_kafka_message_t> = vec![std::ptr::null_mut(); BATCH];
    // SAFETY: the consumer outlives its queue, which is given back below. The library fills as many
    // pointers as it says; each is read while it is ours, then destroyed once.
    unsafe {
        let queue = rd_kafka_queue_get_consumer(consumer.client().native_ptr());
        ensure!(!queue.is_null(), "the consumer has no queue");
        while values.records < expected {
            // It waits until it has as many as it is asked for.
            let wanted = BATCH.min((expected - values.records) as usize);
            let count = rd_kafka_consume_batch_queue(queue, TIMEOUT.as_millis() as i32, messages.as_mut_ptr(), wanted);
            ensure!(count > 0, "no messages came");
            for message in &messages[..count as usize] {
                let found = &**message;
                if found.err != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                    bail!("{}", CStr::from_ptr(rd_kafka_err2str(found.err)).to_string_lossy());
                }
                values.add(std::slice::from_raw_parts(found.payload.cast::<u8>(), found.len));
                rd_kafka_message_destroy(*message);
            }
        }
        rd_kafka_queue_destroy(queue);
    }
    Ok(values)
}

const TIMEOUT: Duration = Duration::from_secs(30);
const BATCH: usize = 10_000;

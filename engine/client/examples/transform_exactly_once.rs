//! Reads one topic, writes another, and commits the offsets of what it read in the transaction of what it wrote: after a
//! crash at any moment each record was transformed once, for readers with `isolation.level = read_committed`.
//!
//! `cargo run -p engine-client --example transform_exactly_once -- localhost:9092 greetings shouted`

use std::{error::Error, time::Duration};

use engine_client::{
    AppendError, AutoOffsetReset, CommittedOffset, Consumer, ConsumerConfig, DecodeLimits, Decompressor, Event,
    Fetched, IsolationLevel, ProduceRecord, Producer, ProducerConfig, SendError, StartAt, TopicPartition,
    TransactionError,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let servers = arguments.next().unwrap_or("localhost:9092".into());
    let from = arguments.next().unwrap_or("greetings".into());
    let to = arguments.next().unwrap_or("shouted".into());
    let count = transform(&servers, &from, &to).await?;
    println!("{count} records");
    Ok(())
}

/// Shouts until the end of `from`; gives the number of records.
pub(crate) async fn transform(servers: &str, from: &str, to: &str) -> Result<u64, Box<dyn Error>> {
    let mut config = ConsumerConfig::new(servers);
    config.group_id = Some("shouters".into());
    config.auto_offset_reset = AutoOffsetReset::Earliest;
    config.isolation_level = IsolationLevel::ReadCommitted;
    let mut consumer = Consumer::connect(config).await?;
    consumer.subscribe([from])?;

    let mut config = ProducerConfig::new(servers);
    // One id per process that may run at a time; a newer one with the same id fences an older one.
    config.transactional_id = Some("shouter-1".into());
    let producer = Producer::connect(config).await?;
    producer.init_transactions().await?;

    let mut decompressor = Decompressor::new(DecodeLimits::default());
    let mut count = 0;
    loop {
        let assignment = consumer.assignment();
        if !assignment.is_empty() && assignment.iter().all(|tp| consumer.lag(tp) == Some(0)) {
            break;
        }
        let Ok(event) = tokio::time::timeout(Duration::from_millis(100), consumer.poll()).await else {
            continue;
        };
        match event? {
            Event::Assigned(partitions) => start_where_it_was_committed(&mut consumer, partitions)?,
            // No transaction is open between two events, so there is nothing to finish.
            Event::Revoked(_) => consumer.revoked_done(),
            Event::Fetched(fetched) => {
                let partition = fetched.tp.clone();
                match shout(&producer, &consumer, fetched, to, &mut decompressor).await {
                    Ok(shouted) => count += shouted,
                    // Nothing of it will be seen. The partition is read again from where it was committed.
                    Err(Failure::MustAbort) => {
                        producer.abort_transaction().await?;
                        if consumer.assignment().contains(&partition) {
                            start_where_it_was_committed(&mut consumer, vec![partition])?;
                        }
                    }
                    Err(Failure::Fatal(error)) => return Err(error),
                }
            }
            _ => {}
        }
    }
    producer.close(Duration::from_secs(10)).await?;
    consumer.close().await;
    Ok(count)
}

/// One transaction: the records of one fetch, and how far they were read.
async fn shout(
    producer: &Producer,
    consumer: &Consumer,
    fetched: Fetched,
    to: &str,
    decompressor: &mut Decompressor,
) -> Result<u64, Failure> {
    let mut count = 0;
    producer.begin_transaction()?;
    for batch in &fetched.batches {
        batch.verify_crc().map_err(fatal)?;
        for record in batch.records(decompressor).map_err(fatal)? {
            let record = record.map_err(fatal)?;
            if record.offset < fetched.first_offset {
                continue;
            }
            let value = record.value.map(<[u8]>::to_ascii_uppercase);
            let record = ProduceRecord {
                topic: to,
                key: record.key,
                value: value.as_deref(),
                timestamp: Some(record.timestamp),
                ..ProduceRecord::default()
            };
            producer.send(record).await?;
            count += 1;
        }
    }
    let position = CommittedOffset {
        offset: fetched.next_offset,
        leader_epoch: fetched.leader_epoch,
        metadata: String::new(),
    };
    let group = consumer.group_metadata().map_err(|_| Failure::MustAbort)?;
    producer
        .send_offsets_to_transaction(&[(fetched.tp, position)], &group)
        .await?;
    producer.commit_transaction().await?;
    Ok(count)
}

fn start_where_it_was_committed(
    consumer: &mut Consumer,
    partitions: Vec<TopicPartition>,
) -> Result<(), Box<dyn Error>> {
    Ok(consumer.start(partitions.into_iter().map(|tp| (tp, StartAt::Committed)))?)
}

enum Failure {
    MustAbort,
    Fatal(Box<dyn Error>),
}

impl From<TransactionError> for Failure {
    fn from(error: TransactionError) -> Self {
        match error {
            TransactionError::MustAbort { .. } => Failure::MustAbort,
            error => fatal(error),
        }
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        match error {
            // The transaction had failed before this record.
            SendError::Record(AppendError::Transaction(error)) => error.into(),
            error => fatal(error),
        }
    }
}

fn fatal(error: impl Into<Box<dyn Error>>) -> Failure {
    Failure::Fatal(error.into())
}

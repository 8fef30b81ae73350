//! Reads a topic as a member of a group, commits what it has processed, and stops at the end.
//!
//! `cargo run -p engine-client --example consume -- localhost:9092 greetings`

use std::{collections::HashMap, error::Error, time::Duration};

use engine_client::{
    AutoOffsetReset, CommittedOffset, Consumer, ConsumerConfig, DecodeLimits, Decompressor, Event, StartAt,
    TopicPartition,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let servers = arguments.next().unwrap_or("localhost:9092".into());
    let topic = arguments.next().unwrap_or("greetings".into());
    let count = consume(&servers, &topic).await?;
    println!("{count} records");
    Ok(())
}

/// Counts the records up to the end of the topic.
pub(crate) async fn consume(servers: &str, topic: &str) -> Result<u64, Box<dyn Error>> {
    let mut config = ConsumerConfig::new(servers);
    config.group_id = Some("example".into());
    config.auto_offset_reset = AutoOffsetReset::Earliest;
    let mut consumer = Consumer::connect(config).await?;
    consumer.subscribe([topic])?;

    let mut decompressor = Decompressor::new(DecodeLimits::default());
    let mut positions: HashMap<TopicPartition, CommittedOffset> = HashMap::new();
    let mut count = 0;
    loop {
        let assignment = consumer.assignment();
        if !assignment.is_empty() && assignment.iter().all(|tp| consumer.lag(tp) == Some(0)) {
            break;
        }
        // `poll` waits for as long as nothing happens, and may be dropped at any time: nothing is lost.
        let Ok(event) = tokio::time::timeout(Duration::from_millis(100), consumer.poll()).await else {
            continue;
        };
        match event? {
            // Nothing is fetched before this says where to begin: an application with a store of its own begins there.
            Event::Assigned(partitions) => {
                consumer.start(partitions.into_iter().map(|tp| (tp, StartAt::Committed)))?;
            }
            // The group waits for this member until `revoked_done`: what was processed is committed first.
            Event::Revoked(partitions) => {
                commit(&consumer, &positions).await?;
                for tp in &partitions {
                    positions.remove(tp);
                }
                consumer.revoked_done();
            }
            // Others may own these already: their offsets are not ours to commit any more.
            Event::Lost(partitions) => {
                for tp in &partitions {
                    positions.remove(tp);
                }
            }
            Event::Fetched(fetched) => {
                for batch in &fetched.batches {
                    batch.verify_crc()?;
                    for record in batch.records(&mut decompressor)? {
                        let record = record?;
                        // Kafka gives whole batches: the first may begin before the position.
                        if record.offset >= fetched.first_offset {
                            count += 1;
                        }
                    }
                }
                let position = CommittedOffset {
                    offset: fetched.next_offset,
                    leader_epoch: fetched.leader_epoch,
                    metadata: String::new(),
                };
                positions.insert(fetched.tp, position);
            }
            _ => {}
        }
    }
    commit(&consumer, &positions).await?;
    consumer.close().await;
    Ok(count)
}

async fn commit(
    consumer: &Consumer,
    positions: &HashMap<TopicPartition, CommittedOffset>,
) -> Result<(), Box<dyn Error>> {
    let positions: Vec<_> = positions.iter().map(|(tp, at)| (tp.clone(), at.clone())).collect();
    Ok(consumer.commit(&positions).await?)
}

//! Consumers that read while the cluster is disturbed, each record once and in order.

use std::time::Duration;

use engine_client::{AutoOffsetReset, Consumer, ConsumerConfig, Event, IsolationLevel, StartAt};
use engine_wire::compression::{DecodeLimits, Decompressor};
use tokio::{sync::watch, task::JoinHandle};

use crate::topic::{Numbers, Topic};

/// Reads a whole topic by manual assignment, in a task of its own.
pub(crate) struct LiveReader {
    target: watch::Sender<Option<usize>>,
    reading: JoinHandle<Read>,
}

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) by_partition: Numbers,
}

impl LiveReader {
    pub(crate) async fn start(topic: &Topic, isolation_level: IsolationLevel) -> Self {
        let mut config = ConsumerConfig {
            auto_offset_reset: AutoOffsetReset::None,
            isolation_level,
            ..ConsumerConfig::default()
        };
        config.client.bootstrap_servers = topic.bootstrap_servers.clone();
        // A paused node is left after this long.
        config.client.request_timeout = Duration::from_secs(5);
        let mut consumer = Consumer::connect(config).await.expect("connects");
        consumer.assign(topic.partitions());
        let starts = topic.partitions().map(|tp| (tp, StartAt::Earliest));
        consumer.start(starts).expect("assigned");
        let (target, wanted) = watch::channel(None);
        let reading = tokio::spawn(read(consumer, wanted));
        Self { target, reading }
    }

    /// Reads on until as many records came as were sent, and a little longer: there must not be more.
    pub(crate) async fn up_to(self, sent: &Numbers) -> Read {
        let count = sent.iter().map(Vec::len).sum();
        self.target.send_replace(Some(count));
        let read = tokio::time::timeout(CATCH_UP, self.reading).await;
        read.expect("the reader catches up").expect("the reader does not panic")
    }
}

async fn read(mut consumer: Consumer, mut wanted: watch::Receiver<Option<usize>>) -> Read {
    let mut decompressor = Decompressor::new(DecodeLimits::default());
    let (mut read, mut count) = (Read::default(), 0);
    loop {
        let event = tokio::select! {
            event = consumer.poll() => event,
            _ = wanted.changed() => continue,
            () = tokio::time::sleep(AFTERWARDS) => {
                if wanted.borrow().is_some_and(|wanted| count >= wanted) {
                    break;
                }
                continue;
            }
        };
        let Event::Fetched(fetched) = event.expect("no error, whatever happens to the nodes") else {
            continue;
        };
        let partition = usize::try_from(fetched.tp.partition).expect("not negative");
        for batch in &fetched.batches {
            batch.verify_crc().expect("the crc is right");
            for record in batch.records(&mut decompressor).expect("decodes") {
                let record = record.expect("decodes");
                if record.offset < fetched.first_offset {
                    continue;
                }
                let value = std::str::from_utf8(record.value.expect("has a value")).expect("is text");
                read.by_partition[partition].push(value.parse().expect("is a number"));
                count += 1;
            }
        }
    }
    consumer.close().await;
    read
}

const CATCH_UP: Duration = Duration::from_secs(60);
const AFTERWARDS: Duration = Duration::from_secs(1);

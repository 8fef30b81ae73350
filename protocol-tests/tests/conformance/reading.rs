//! Reading records back, as an application that keeps them all.

use std::time::Duration;

use engine_client::{
    Consumer, ConsumerConfig, ConsumerError, DecodeLimits, Decompressor, Event, FetchError, Fetched, StartAt,
    TopicPartition,
};
use engine_wire::record_batch::BatchHeader;
use protocol_tests::owned_record::{OwnedRecord, records_of};

use crate::scene::{Scene, partitions, tp};

/// A record comes within this, or not at all.
const PATIENCE: Duration = Duration::from_secs(60);

/// A record and where it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReadRecord {
    pub(crate) partition: i32,
    pub(crate) record: OwnedRecord,
}

impl Scene {
    /// All records of the partitions 0 to `count`, from the oldest to the end as of now.
    pub(crate) async fn read_topic(&self, topic: &str, count: i32) -> Vec<ReadRecord> {
        self.read_topic_with(topic, count, |_| {}).await
    }

    /// The same by a consumer that `change` configures.
    pub(crate) async fn read_topic_with(
        &self,
        topic: &str,
        count: i32,
        change: impl FnOnce(&mut ConsumerConfig),
    ) -> Vec<ReadRecord> {
        let mut consumer = self.consumer(change).await;
        let all = partitions(topic, count);
        consumer.assign(all.iter().cloned());
        let starts = all.iter().map(|tp| (tp.clone(), StartAt::Earliest));
        consumer.start(starts).expect("just assigned");
        let read = read_to_end(&mut consumer, &all).await;
        consumer.close().await;
        read
    }

    /// The headers of all batches in partition 0, control and aborted ones left out.
    pub(crate) async fn batch_headers(&self, topic: &str) -> Vec<BatchHeader> {
        let partition = tp(topic, 0);
        let mut consumer = reader_at(self, &partition, StartAt::Earliest).await;
        let ends = consumer
            .end_offsets(std::slice::from_ref(&partition))
            .await
            .expect("answers");
        let mut headers = Vec::new();
        while consumer
            .position(&partition)
            .is_none_or(|position| position.offset < ends[0].1)
        {
            if let Event::Fetched(fetched) = consumer.poll().await.expect("reading goes on") {
                headers.extend(fetched.batches.iter().map(|batch| batch.header));
            }
        }
        headers
    }
}

/// A consumer of one partition that starts there.
pub(crate) async fn reader_at(scene: &Scene, tp: &TopicPartition, start: StartAt) -> Consumer {
    let mut consumer = scene.consumer(|_| {}).await;
    consumer.assign([tp.clone()]);
    consumer.start([(tp.clone(), start)]).expect("just assigned");
    consumer
}

/// Polls until every partition is where it ends now.
pub(crate) async fn read_to_end(consumer: &mut Consumer, all: &[TopicPartition]) -> Vec<ReadRecord> {
    let ends = consumer.end_offsets(all).await.expect("answers");
    let mut read = Vec::new();
    loop {
        let is_there = |(tp, end): &(TopicPartition, i64)| consumer.position(tp).is_some_and(|p| p.offset >= *end);
        if ends.iter().all(is_there) {
            return read;
        }
        // A position that was looked up at the end makes no event.
        let event = tokio::time::timeout(Duration::from_millis(100), consumer.poll()).await;
        if let Ok(event) = event {
            read.extend(records_in(&event.expect("reading goes on")));
        }
    }
}

/// Polls until there are this many records.
pub(crate) async fn read_count(consumer: &mut Consumer, count: usize) -> Vec<ReadRecord> {
    let mut read = Vec::new();
    while read.len() < count {
        let event = tokio::time::timeout(PATIENCE, consumer.poll()).await;
        let event = event.unwrap_or_else(|_| panic!("{} of {count} records came", read.len()));
        read.extend(records_in(&event.expect("reading goes on")));
    }
    read
}

/// Polls until a partition fails.
pub(crate) async fn read_error(consumer: &mut Consumer) -> FetchError {
    loop {
        let event = tokio::time::timeout(PATIENCE, consumer.poll()).await;
        match event.expect("something happens") {
            Err(ConsumerError::Fetch(error)) => return error,
            other => assert!(records_in(&other.expect("only the partition fails")).is_empty()),
        }
    }
}

/// The next records that come, if any come in this time.
pub(crate) async fn read_within(consumer: &mut Consumer, time: Duration) -> Vec<ReadRecord> {
    let mut read = Vec::new();
    let deadline = tokio::time::Instant::now() + time;
    while let Ok(event) = tokio::time::timeout_at(deadline, consumer.poll()).await {
        read.extend(records_in(&event.expect("reading goes on")));
    }
    read
}

fn records_in(event: &Event) -> Vec<ReadRecord> {
    match event {
        Event::Fetched(fetched) => fetched_records(fetched),
        _ => Vec::new(),
    }
}

/// The records that the application has not had yet; every checksum is checked.
pub(crate) fn fetched_records(fetched: &Fetched) -> Vec<ReadRecord> {
    let mut decompressor = Decompressor::new(DecodeLimits::default());
    let mut read = Vec::new();
    for batch in &fetched.batches {
        batch.verify_crc().expect("the checksum is right");
        let records = records_of(batch, &mut decompressor).into_iter();
        let new = records.filter(|record| record.offset >= fetched.first_offset);
        read.extend(new.map(|record| ReadRecord {
            partition: fetched.tp.partition,
            record,
        }));
    }
    read
}

/// The values as numbers, in the order they came.
pub(crate) fn numbers(read: &[ReadRecord]) -> Vec<u32> {
    let number = |read: &ReadRecord| {
        let value = read.record.value.as_deref().expect("has a value");
        std::str::from_utf8(value)
            .expect("is text")
            .parse()
            .expect("is a number")
    };
    read.iter().map(number).collect()
}

/// The values as numbers of one partition.
pub(crate) fn numbers_of(read: &[ReadRecord], partition: i32) -> Vec<u32> {
    let of_partition: Vec<ReadRecord> = read.iter().filter(|r| r.partition == partition).cloned().collect();
    numbers(&of_partition)
}

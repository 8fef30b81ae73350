//! Our client, asked the same as the peers.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use engine_client::{
    AssignmentStrategy, AutoOffsetReset, Codec, CommittedOffset, Consumer, ConsumerConfig, DecodeLimits, Decompressor,
    Event, Fetched, IsolationLevel, ProduceRecord, Producer, ProducerConfig, StartAt, TopicPartition,
};
use engine_wire::record_batch::Header;
use protocol_tests::owned_record::OwnedRecord;
use tokio::sync::Notify;

use crate::client::{Committed, GroupRequest, ProduceRequest, Reading, TransactRequest};
use crate::group::SESSION_TIMEOUT;
use crate::member::{Member, Shared};
use crate::records::Placed;

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

const TIMEOUT: Duration = Duration::from_secs(30);
const SETTLE: Duration = Duration::from_millis(400);
const REQUEST_BYTES_MAX: usize = 16 << 20;

async fn producer(request: &ProduceRequest<'_>, transactional_id: Option<&str>) -> Result<Producer, Error> {
    let mut config = ProducerConfig::new(request.bootstrap);
    config.compression = request.codec;
    config.batch_bytes_max = request.batch_bytes;
    config.request_bytes_max = REQUEST_BYTES_MAX;
    config.linger = Duration::from_secs(5); // Batches are cut by flush, not by time.
    config.transactional_id = transactional_id.map(str::to_owned);
    Ok(Producer::connect(config).await?)
}

async fn send(
    producer: &Producer,
    topic: &str,
    partition: Option<i32>,
    records: &[OwnedRecord],
) -> Result<Vec<(i32, i64)>, Error> {
    let mut receipts = Vec::new();
    for record in records {
        let headers = record.headers.iter().map(|(key, value)| Header {
            key,
            value: value.as_deref(),
        });
        let headers: Vec<Header<'_>> = headers.collect();
        let record = ProduceRecord {
            topic,
            partition,
            timestamp: Some(record.timestamp),
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
        };
        receipts.push(producer.send(record).await?);
    }
    producer.flush().await?;
    let mut placed = Vec::new();
    for receipt in receipts {
        let delivered = receipt.delivered().await?;
        placed.push((
            delivered.partition,
            delivered.offset.ok_or("acknowledged without an offset")?,
        ));
    }
    Ok(placed)
}

pub(crate) async fn produce(request: &ProduceRequest<'_>) -> Result<Vec<(i32, i64)>, Error> {
    let producer = producer(request, None).await?;
    let placed = send(&producer, request.topic, request.partition, request.records).await?;
    producer.close(TIMEOUT).await?;
    Ok(placed)
}

pub(crate) async fn transact(request: &TransactRequest<'_>) -> Result<(), Error> {
    transact_while(request, async || Ok(()), || true).await.map(drop)
}

/// Connects, waits until it shall begin, and stops before a transaction when it should not go on; gives the number of those
/// that were ended.
pub(crate) async fn transact_while(
    request: &TransactRequest<'_>,
    begins: impl AsyncFnOnce() -> Result<(), Error>,
    goes_on: impl Fn() -> bool,
) -> Result<usize, Error> {
    let producing = ProduceRequest {
        bootstrap: request.bootstrap,
        topic: request.topic,
        codec: request.codec,
        batch_bytes: 16_384,
        partition: Some(0),
        records: &[],
    };
    let producer = producer(&producing, Some(request.transactional_id)).await?;
    producer.init_transactions().await?;
    begins().await?;
    let mut ended = 0;
    for transaction in request.transactions {
        if !goes_on() {
            break;
        }
        ended += 1;
        producer.begin_transaction()?;
        send(&producer, request.topic, Some(0), &transaction.records).await?;
        if let (Some(offset), Some(group)) = (transaction.offset, request.group) {
            let mut config = consumer_config(request.bootstrap);
            config.group_id = Some(group.to_owned());
            let consumer = Consumer::connect(config).await?;
            let position = CommittedOffset {
                offset,
                leader_epoch: None,
                metadata: String::new(),
            };
            let offsets = [(TopicPartition::new(request.topic, 0), position)];
            let group = consumer.group_metadata()?;
            producer.send_offsets_to_transaction(&offsets, &group).await?;
            consumer.close().await;
        }
        match transaction.commit {
            true => producer.commit_transaction().await?,
            false => producer.abort_transaction().await?,
        }
    }
    producer.close(TIMEOUT).await?;
    Ok(ended)
}

/// Waits until something was written to the topic.
pub(crate) async fn until_written(bootstrap: &str, topic: &str) -> Result<(), Error> {
    let mut config = consumer_config(bootstrap);
    config.isolation_level = IsolationLevel::ReadUncommitted;
    let consumer = Consumer::connect(config).await?;
    let deadline = Instant::now() + TIMEOUT;
    while Instant::now() < deadline {
        let ends = consumer.end_offsets(&[TopicPartition::new(topic, 0)]).await?;
        if ends.iter().any(|(_, end)| *end > 0) {
            consumer.close().await;
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Err(format!("nothing was written within {TIMEOUT:?}").into())
}

fn consumer_config(bootstrap: &str) -> ConsumerConfig {
    let mut config = ConsumerConfig::new(bootstrap);
    config.auto_offset_reset = AutoOffsetReset::Earliest;
    config.isolation_level = IsolationLevel::ReadCommitted;
    config.fetch_wait_max = Duration::from_millis(100);
    config.session_timeout = SESSION_TIMEOUT;
    config.heartbeat_interval = Duration::from_millis(300);
    config
}

/// What was read, and how it lay there.
#[derive(Default)]
pub(crate) struct Read {
    pub(crate) records: Vec<Placed>,
    /// As stored; with its header.
    pub(crate) largest_batch_bytes: usize,
    pub(crate) codecs: Vec<Codec>,
}

impl Read {
    fn take(&mut self, fetched: &Fetched, decompressor: &mut Decompressor) -> Result<(), Error> {
        for batch in &fetched.batches {
            batch.verify_crc()?;
            self.largest_batch_bytes = self.largest_batch_bytes.max(batch.bytes.len());
            let codec = batch.header.codec().map_err(|id| format!("codec id {id}"))?;
            if !self.codecs.contains(&codec) {
                self.codecs.push(codec);
            }
            for record in batch.records(decompressor)? {
                let record = OwnedRecord::from(record?);
                if record.offset >= fetched.first_offset {
                    self.records.push(Placed {
                        partition: fetched.tp.partition,
                        record,
                    });
                }
            }
        }
        Ok(())
    }
}

pub(crate) async fn consume(reading: &Reading<'_>) -> Result<Read, Error> {
    let mut config = consumer_config(reading.bootstrap);
    if !reading.read_committed {
        config.isolation_level = IsolationLevel::ReadUncommitted;
    }
    let mut consumer = Consumer::connect(config).await?;
    let partitions = (0..reading.partitions).map(|partition| TopicPartition::new(reading.topic, partition));
    consumer.assign(partitions.clone());
    consumer.start(partitions.map(|tp| (tp, StartAt::Earliest)))?;
    let mut decompressor = Decompressor::new(DecodeLimits::default());
    let mut read = Read::default();
    let mut deadline = Instant::now() + TIMEOUT;
    // A moment longer than needed: what should not be there must have its chance to appear.
    let mut is_settling = false;
    while let Ok(event) = tokio::time::timeout_at(deadline.into(), consumer.poll()).await {
        if let Event::Fetched(fetched) = event? {
            read.take(&fetched, &mut decompressor)?;
        }
        if !is_settling && read.records.len() >= reading.count {
            is_settling = true;
            deadline = Instant::now() + SETTLE;
        }
    }
    if !is_settling {
        let tp = TopicPartition::new(reading.topic, 0);
        let (position, lag, stats) = (consumer.position(&tp), consumer.lag(&tp), consumer.stats());
        let (count, expected) = (read.records.len(), reading.count);
        return Err(format!(
            "{count} of {expected} records within {TIMEOUT:?}; at {position:?}, lag {lag:?}, {stats:?}"
        )
        .into());
    }
    consumer.close().await;
    Ok(read)
}

pub(crate) async fn resume(request: &GroupRequest<'_>, count: usize, metadata: &str) -> Result<Vec<Placed>, Error> {
    let mut config = consumer_config(request.bootstrap);
    config.group_id = Some(request.group.to_owned());
    let mut consumer = Consumer::connect(config).await?;
    consumer.subscribe([request.topic])?;
    let mut decompressor = Decompressor::new(DecodeLimits::default());
    let mut read = Read::default();
    let deadline = Instant::now() + TIMEOUT;
    while read.records.len() < count
        && let Ok(event) = tokio::time::timeout_at(deadline.into(), consumer.poll()).await
    {
        match event? {
            Event::Assigned(partitions) => {
                consumer.start(partitions.into_iter().map(|tp| (tp, StartAt::Committed)))?;
            }
            Event::Revoked(_) => consumer.revoked_done(),
            Event::Fetched(fetched) => read.take(&fetched, &mut decompressor)?,
            _ => {}
        }
    }
    read.records.truncate(count);
    let mut positions = BTreeMap::new();
    for Placed { partition, record } in &read.records {
        let position = CommittedOffset {
            offset: record.offset + 1,
            leader_epoch: None,
            metadata: metadata.to_owned(),
        };
        positions.insert(TopicPartition::new(request.topic, *partition), position);
    }
    let positions: Vec<_> = positions.into_iter().collect();
    consumer.commit(&positions).await?;
    consumer.close().await;
    Ok(read.records)
}

pub(crate) async fn committed(request: &GroupRequest<'_>) -> Result<Vec<Committed>, Error> {
    let mut config = consumer_config(request.bootstrap);
    config.group_id = Some(request.group.to_owned());
    let consumer = Consumer::connect(config).await?;
    let partitions = (0..request.partitions).map(|partition| TopicPartition::new(request.topic, partition));
    let committed = consumer.committed(&partitions.collect::<Vec<_>>()).await?;
    consumer.close().await;
    let found = committed.into_iter().filter_map(|(tp, committed)| {
        committed.map(|committed| Committed {
            partition: tp.partition,
            offset: committed.offset,
            metadata: committed.metadata,
        })
    });
    Ok(found.collect())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Departure {
    Leaves,
    Dies,
}

/// On a thread and a runtime of its own, which can die with all that runs on it.
pub(crate) struct OurMember {
    told: Shared,
    leave: Arc<Notify>,
    die: Arc<Notify>,
}

impl OurMember {
    pub(crate) fn start(request: &GroupRequest<'_>, assignor: &str) -> Result<Self, String> {
        let mut config = consumer_config(request.bootstrap);
        config.group_id = Some(request.group.to_owned());
        config.partition_assignment_strategy = vec![match assignor {
            "range" => AssignmentStrategy::Range,
            "roundrobin" => AssignmentStrategy::RoundRobin,
            _ => return Err(format!("we have no assignor {assignor}")),
        }];
        let member = Self {
            told: Shared::default(),
            leave: Arc::default(),
            die: Arc::default(),
        };
        let (told, leave, die) = (member.told.clone(), member.leave.clone(), member.die.clone());
        let topic = request.topic.to_owned();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime starts").block_on(async {
                let departure = tokio::select! {
                    () = leave.notified() => Departure::Leaves,
                    () = die.notified() => Departure::Dies,
                    departure = be_a_member(config, &topic, &told, &leave, &die) => departure.unwrap_or_else(|error| {
                        told.lock().error = Some(error.to_string());
                        Departure::Leaves
                    }),
                };
                let mut told = told.lock();
                told.assigned.clear();
                told.has_left = departure == Departure::Leaves;
            });
        });
        Ok(member)
    }
}

async fn be_a_member(
    config: ConsumerConfig,
    topic: &str,
    told: &Shared,
    leave: &Notify,
    die: &Notify,
) -> Result<Departure, Error> {
    let mut consumer = Consumer::connect(config).await?;
    consumer.subscribe([topic])?;
    let mut decompressor = Decompressor::new(DecodeLimits::default());
    loop {
        let event = tokio::select! {
            event = consumer.poll() => event?,
            () = leave.notified() => {
                consumer.close().await;
                return Ok(Departure::Leaves);
            }
            () = die.notified() => {
                // Dropping it would say goodbye; the runtime's end cuts the connections instead.
                std::mem::forget(consumer);
                return Ok(Departure::Dies);
            }
        };
        match event {
            Event::Assigned(partitions) => {
                told.lock().assigned.extend(partitions.iter().map(|tp| tp.partition));
                consumer.start(partitions.into_iter().map(|tp| (tp, StartAt::Committed)))?;
            }
            Event::Revoked(partitions) => {
                told.lock()
                    .assigned
                    .retain(|at| partitions.iter().all(|tp| tp.partition != *at));
                consumer.revoked_done();
            }
            Event::Lost(partitions) => {
                told.lock()
                    .assigned
                    .retain(|at| partitions.iter().all(|tp| tp.partition != *at));
            }
            Event::Fetched(fetched) => {
                let mut read = Read::default();
                read.take(&fetched, &mut decompressor)?;
                let mut told = told.lock();
                for Placed { partition, record } in read.records {
                    *told.read.entry((partition, record.offset)).or_default() += 1;
                }
            }
            _ => {}
        }
    }
}

impl Member for OurMember {
    fn told(&self) -> &Shared {
        &self.told
    }

    fn leave(&mut self) {
        self.leave.notify_one();
    }

    fn die(&mut self) {
        self.die.notify_one();
    }
}

impl Drop for OurMember {
    fn drop(&mut self) {
        self.leave.notify_one();
    }
}

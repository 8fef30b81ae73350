//! Producing and consuming allocate with batches and requests, never with records.
//!
//! The allocator of this binary counts calls, of all threads: the application's, the client's tasks, the compression's.
//! The broker is therefore another process, this program again. What is compared is twice as many records with
//! once as many, so that connecting and warming up do not count; what is asserted is far below one
//! allocation per hundred records, and does not depend on how long anything took.

use std::alloc::System;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use engine_broker::{Broker, BrokerConfig};
use engine_client::admin::NewTopic;
use engine_client::{
    Admin, ClientConfig, Consumer, ConsumerConfig, Event, ProduceRecord, Producer, ProducerConfig, StartAt,
    TopicPartition, TopicRecord, TrySendError,
};
use engine_wire::compression::{Codec, DecodeLimits, Decompressor};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::sync::Mutex;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// One test at a time: the counters are the process's.
static COUNTERS: Mutex<()> = Mutex::const_new(());

/// Set in the process that is the broker.
const BROKER: &str = "ENGINE_ALLOCATIONS_BROKER";
const PARTITIONS: i32 = 4;
const RECORDS: usize = 40_000;
const VALUE_BYTES: usize = 290;
/// A batch holds about 1,700 records.
const BATCH_BYTES: usize = 512 << 10;

/// The embedded broker in a process of its own; ends when this is dropped.
struct BrokerProcess {
    child: Child,
    address: String,
}

impl BrokerProcess {
    fn start() -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program)
            .args(["the_broker_of_these_tests", "--exact", "--nocapture"])
            .env(BROKER, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program runs again");
        let told = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut lines = told.lines().map(|line| line.expect("it is text"));
        let address = lines.find_map(|line| Some(line.split_once("listens at ")?.1.to_owned()));
        // Whatever else it says must have somewhere to go.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            address: address.expect("it says where it listens"),
        }
    }

    async fn topic(&self, name: &str) {
        let admin = Admin::connect(ClientConfig::new(&self.address))
            .await
            .expect("connects");
        let topic = NewTopic {
            name: name.into(),
            partitions: Some(PARTITIONS),
            ..NewTopic::default()
        };
        let created = admin.create_topics(&[topic]).await.expect("is created");
        assert_eq!(created, [(name.to_owned(), Ok(()))]);
    }
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// No test by itself: the other process, until its standard input ends.
#[test]
fn the_broker_of_these_tests() {
    if std::env::var_os(BROKER).is_none() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let config = BrokerConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            ..BrokerConfig::default()
        };
        let broker = Broker::start(config).await.expect("the embedded broker starts");
        println!("listens at {}", broker.address());
        let ended = tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0]));
        let _ = ended.await;
    });
    // Its tasks end with the process.
    std::process::exit(0);
}

/// How records get to the producer.
#[derive(Debug, Clone, Copy)]
enum Way {
    AppendAll,
    TrySend,
    Send,
}

async fn produce(producer: &Producer, topic: &str, way: Way, count: usize) {
    let value = [b'v'; VALUE_BYTES];
    let key = |number: usize| (number as u64 % 1_000).to_be_bytes();
    match way {
        Way::AppendAll => {
            let keys: Vec<_> = (0..1_000).map(key).collect();
            let records = (0..count).map(|number| TopicRecord {
                key: Some(&keys[number % 1_000]),
                value: Some(&value),
                ..TopicRecord::default()
            });
            assert_eq!(producer.append_all(topic, records).await.expect("is accepted"), count);
        }
        Way::TrySend | Way::Send => {
            for number in 0..count {
                let key = key(number);
                let record = ProduceRecord {
                    topic,
                    key: Some(&key),
                    value: Some(&value),
                    ..ProduceRecord::default()
                };
                if matches!(way, Way::Send) {
                    producer.send(record).await.expect("is accepted");
                    continue;
                }
                while let Err(error) = producer.try_send(record) {
                    assert!(matches!(error, TrySendError::Full { .. }), "{error}");
                    producer.ready().await;
                }
                // A loop that never waits would keep the sender from its turn.
                if number % 1_000 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        }
    }
    producer.flush().await.expect("is delivered");
}

/// Allocations of `work`, growing existing ones included.
async fn allocations(work: impl Future<Output = ()>) -> usize {
    let region = Region::new(ALLOCATOR);
    work.await;
    let change = region.change();
    change.allocations + change.reallocations
}

/// A batch and its request cost some dozens, whatever is in them; one allocation for each tenth record would be
/// some hundreds more.
fn assert_per_batch(what: &str, once: usize, twice: usize) {
    println!("{what}: {once} allocations for {RECORDS} records, {twice} for twice as many");
    let more = twice.saturating_sub(once);
    assert!(
        more <= RECORDS / 10,
        "{what}: {more} allocations for {RECORDS} more records"
    );
    assert!(
        twice <= RECORDS / 5,
        "{what}: {twice} allocations for twice {RECORDS} records"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn producing_allocates_nothing_per_record() {
    let _alone = COUNTERS.lock().await;
    let broker = BrokerProcess::start();
    for codec in [Codec::None, Codec::Lz4] {
        let topic = format!("produced-{codec}");
        broker.topic(&topic).await;
        for way in [Way::AppendAll, Way::TrySend, Way::Send] {
            let mut config = ProducerConfig::new(&broker.address);
            config.compression = codec;
            config.batch_bytes_max = BATCH_BYTES;
            let producer = Producer::connect(config).await.expect("connects");
            produce(&producer, &topic, way, RECORDS).await;
            let once = allocations(produce(&producer, &topic, way, RECORDS)).await;
            let twice = allocations(produce(&producer, &topic, way, 2 * RECORDS)).await;
            assert_per_batch(&format!("{way:?}, {codec}"), once, twice);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consuming_allocates_nothing_per_record() {
    let _alone = COUNTERS.lock().await;
    let broker = BrokerProcess::start();
    for codec in [Codec::None, Codec::Lz4] {
        let topic = format!("consumed-{codec}");
        broker.topic(&topic).await;
        let mut config = ProducerConfig::new(&broker.address);
        config.compression = codec;
        config.batch_bytes_max = BATCH_BYTES;
        let producer = Producer::connect(config).await.expect("connects");
        produce(&producer, &topic, Way::AppendAll, 5 * RECORDS).await;
        // Little is ready in advance: fetching is measured, too.
        let mut config = ConsumerConfig::new(&broker.address);
        config.prefetch_bytes_max = 1 << 20;
        let mut consumer = Consumer::connect(config).await.expect("connects");
        let partitions: Vec<_> = (0..PARTITIONS)
            .map(|index| TopicPartition::new(&*topic, index))
            .collect();
        consumer.assign(partitions.clone());
        let starts = partitions.into_iter().map(|tp| (tp, StartAt::Earliest));
        consumer.start(starts).expect("just assigned");
        let mut decompressor = Decompressor::new(DecodeLimits::default());
        consume(&mut consumer, &mut decompressor, RECORDS).await;
        let once = allocations(consume(&mut consumer, &mut decompressor, RECORDS)).await;
        let twice = allocations(consume(&mut consumer, &mut decompressor, 2 * RECORDS)).await;
        assert_per_batch(&format!("consume, {codec}"), once, twice);
        consumer.close().await;
    }
}

/// Reads at least so many records, each with its value.
async fn consume(consumer: &mut Consumer, decompressor: &mut Decompressor, count: usize) {
    let mut read = 0;
    while read < count {
        let event = consumer.poll().await.expect("nothing fails");
        let Event::Fetched(fetched) = event else { continue };
        for batch in &fetched.batches {
            batch.verify_crc().expect("the broker keeps what it got");
            for record in batch.records(decompressor).expect("it was compressed here") {
                let record = record.expect("it was written here");
                read += usize::from(record.value.is_some_and(|value| value.len() == VALUE_BYTES));
            }
        }
    }
}

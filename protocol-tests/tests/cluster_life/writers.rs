//! Producers that write numbers, at a bounded rate, until they are told that it is over.

use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use engine_client::{ProduceRecord, Producer, ProducerConfig, Receipt, TransactionError};
use tokio::sync::mpsc;

use crate::topic::{Numbers, PARTITIONS, Topic};

/// What a producer was told.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// Acknowledged, and committed if there are transactions.
    pub(crate) by_partition: Numbers,
    committed: usize,
    aborted: usize,
    must_abort: usize,
    longest_wait: Duration,
    retries: u64,
    errors: String,
}

impl Sent {
    fn take(&mut self, producer: &Producer) {
        let stats = producer.stats();
        self.retries = stats.retries;
        self.errors = format!("{:?}", stats.errors);
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let records: usize = self.by_partition.iter().map(Vec::len).sum();
        write!(
            f,
            "{records} records acknowledged, longest wait {} ms, ",
            self.longest_wait.as_millis()
        )?;
        if self.committed + self.aborted + self.must_abort > 0 {
            let Sent {
                committed,
                aborted,
                must_abort,
                ..
            } = self;
            write!(
                f,
                "{committed} transactions committed, {aborted} aborted by choice, {must_abort} because they had to be, "
            )?;
        }
        write!(
            f,
            "{} batches sent again, attempts that failed: {}",
            self.retries, self.errors
        )
    }
}

/// Sends on whatever is not acknowledged yet. Every record must be, at an offset behind that of the one before it.
pub(crate) async fn write_idempotent(topic: &Topic, is_over: &AtomicBool) -> Sent {
    let producer = connect(topic, None).await;
    // What is sent without an answer is bounded: the sender waits then.
    let (waiting, mut receipts) = mpsc::channel(UNACKNOWLEDGED_MAX);
    let sending = async {
        let mut number = 0;
        while !is_over.load(Ordering::Relaxed) {
            for _ in 0..BURST {
                let receipt = send(&producer, topic, number).await.expect("is accepted");
                let sent = (number, Instant::now(), receipt);
                waiting.send(sent).await.expect("the other end is open");
                number += 1;
            }
            tokio::time::sleep(PAUSE).await;
        }
        drop(waiting);
    };
    let checking = async {
        let mut sent = Sent::default();
        let mut last_offset = [-1; PARTITIONS];
        while let Some((number, since, receipt)) = receipts.recv().await {
            let delivered = receipt.delivered().await;
            let delivered = delivered.unwrap_or_else(|error| panic!("record {number} was not delivered: {error}"));
            let partition = usize::try_from(delivered.partition).expect("not negative");
            if let Some(offset) = delivered.offset {
                let last = std::mem::replace(&mut last_offset[partition], offset);
                assert!(last < offset, "partition {partition}: offset {offset} after {last}");
            }
            sent.by_partition[partition].push(number);
            sent.longest_wait = sent.longest_wait.max(since.elapsed());
        }
        sent
    };
    let ((), mut sent) = tokio::join!(sending, checking);
    sent.take(&producer);
    producer.close(CLOSE).await.expect("nothing is left");
    sent
}

/// One transaction after another; every fifth is aborted.
pub(crate) async fn write_transactions(topic: &Topic, is_over: &AtomicBool) -> Sent {
    let producer = connect(topic, Some("writer".into())).await;
    finish("init", || producer.init_transactions())
        .await
        .expect("is initialized");
    let mut sent = Sent::default();
    let mut next = 0;
    for round in 1.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let started = Instant::now();
        producer.begin_transaction().expect("none is open");
        let numbers = next..next + BURST as u64;
        next = numbers.end;
        let mut is_lost = false;
        for number in numbers.clone() {
            // The transaction may be lost under our hands; what it was told then is told again when it is to be committed.
            is_lost |= send(&producer, topic, number).await.is_err();
        }
        if round % 5 == 0 {
            finish("abort", || producer.abort_transaction())
                .await
                .expect("is aborted");
            sent.aborted += 1;
            continue;
        }
        match finish("commit", || producer.commit_transaction()).await {
            Ok(()) => {
                assert!(!is_lost, "a transaction was committed whose records were refused");
                sent.committed += 1;
                for number in numbers {
                    sent.by_partition[partition_of(number)].push(number);
                }
            }
            Err(TransactionError::MustAbort { reason }) => {
                println!("transaction {round} must be aborted: {reason}");
                finish("abort", || producer.abort_transaction())
                    .await
                    .expect("is aborted");
                sent.must_abort += 1;
            }
            Err(error) => panic!("transaction {round}: {error}"),
        }
        sent.longest_wait = sent.longest_wait.max(started.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    sent.take(&producer);
    producer.close(CLOSE).await.expect("nothing is left");
    sent
}

/// An operation that took longer than `max.block.ms` goes on, and is asked for again: at most twice.
async fn finish<F: Future<Output = Result<(), TransactionError>>>(
    what: &str,
    operation: impl Fn() -> F,
) -> Result<(), TransactionError> {
    let mut outcome = operation().await;
    for _ in 0..2 {
        if !matches!(outcome, Err(TransactionError::TimedOut { .. })) {
            break;
        }
        println!("{what} takes longer than max.block.ms");
        outcome = operation().await;
    }
    outcome
}

async fn connect(topic: &Topic, transactional_id: Option<String>) -> Producer {
    let mut config = ProducerConfig {
        transactional_id,
        linger: Duration::from_millis(5),
        ..ProducerConfig::default()
    };
    config.client.bootstrap_servers = topic.bootstrap_servers.clone();
    Producer::connect(config).await.expect("connects")
}

async fn send(producer: &Producer, topic: &Topic, number: u64) -> Result<Receipt, engine_client::SendError> {
    let value = number.to_string();
    let record = ProduceRecord {
        topic: &topic.name,
        partition: Some(i32::try_from(partition_of(number)).expect("small")),
        value: Some(value.as_bytes()),
        ..ProduceRecord::default()
    };
    producer.send(record).await
}

fn partition_of(number: u64) -> usize {
    (number % PARTITIONS as u64) as usize
}

const BURST: usize = 60;
const PAUSE: Duration = Duration::from_millis(10);
const UNACKNOWLEDGED_MAX: usize = 100_000;
const CLOSE: Duration = Duration::from_secs(60);

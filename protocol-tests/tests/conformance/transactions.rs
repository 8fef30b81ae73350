//! Transactions: all or nothing, one producer per transactional id.

use std::{collections::BTreeSet, time::Duration};

use engine_client::{IsolationLevel, ProduceRecord, Producer, ProducerConfig, SendError, TransactionError};
use engine_wire::messages::ApiKey;

use crate::behaviour::{Cannot, Shown, behaviours, cannot};
use crate::reading::{ReadRecord, numbers, numbers_of};
use crate::scene::{Scene, partitions};

behaviours! { "Transactions":
    a_committed_transaction_is_read_from_all_its_partitions,
    an_aborted_transaction_is_read_by_nobody_who_asks_for_committed_records,
    transactions_in_a_row_keep_their_order,
    an_empty_transaction_ends_without_asking_the_broker,
    records_outside_of_a_transaction_are_refused_at_once,
    calls_out_of_order_are_refused_without_harm,
    a_newer_producer_fences_the_older_one_and_aborts_what_it_left_open,
    a_transaction_beyond_its_timeout_is_aborted_by_the_broker,
    a_timeout_beyond_the_brokers_maximum_is_refused,
    a_record_that_is_refused_fails_the_commit_and_the_next_transaction_goes_well,
    closing_aborts_an_open_transaction,
    each_transaction_has_an_epoch_of_its_own_under_kip_890_and_only_there,
}

impl Scene {
    /// A producer with a transactional id of this name, not initialized.
    pub(crate) async fn transactional(&self, name: &str) -> Producer {
        self.transactional_with(name, |_| {}).await
    }

    pub(crate) async fn transactional_with(&self, name: &str, change: impl FnOnce(&mut ProducerConfig)) -> Producer {
        let transactional_id = self.name(name);
        self.producer(|config| {
            config.transactional_id = Some(transactional_id);
            change(config);
        })
        .await
    }

    /// The same, ready for its first transaction.
    pub(crate) async fn initialized(&self, name: &str) -> Producer {
        let producer = self.transactional(name).await;
        producer.init_transactions().await.expect("initializes");
        producer
    }

    pub(crate) fn needs_transactions(&self) -> Result<(), Cannot> {
        self.needs(ApiKey::AddPartitionsToTxn, 0)?;
        self.needs(ApiKey::EndTxn, 0)
    }

    /// What `read_committed` gives once no transaction is open: a commit is answered before its markers are written.
    pub(crate) async fn read_committed(&self, topic: &str, count: i32) -> Vec<ReadRecord> {
        let all = partitions(topic, count);
        let plain = self.consumer(|_| {}).await;
        let stable = self
            .consumer(|config| config.isolation_level = IsolationLevel::ReadCommitted)
            .await;
        loop {
            let high = plain.end_offsets(&all).await.expect("answers");
            if stable.end_offsets(&all).await.expect("answers") == high {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let change =
            |config: &mut engine_client::ConsumerConfig| config.isolation_level = IsolationLevel::ReadCommitted;
        self.read_topic_with(topic, count, change).await
    }
}

/// These numbers as values; they may still be under way.
pub(crate) async fn send(producer: &Producer, topic: &str, partition: i32, values: impl IntoIterator<Item = u32>) {
    for number in values {
        let value = number.to_string();
        let record = ProduceRecord {
            topic,
            partition: Some(partition),
            value: Some(value.as_bytes()),
            ..ProduceRecord::default()
        };
        producer.send(record).await.expect("is accepted");
    }
}

async fn a_committed_transaction_is_read_from_all_its_partitions(scene: Scene) -> Shown {
    scene.needs_transactions()?;
    let (one, two) = (scene.topic(2).await, scene.topic(1).await);
    let producer = scene.initialized("producer").await;
    producer.begin_transaction().expect("none is open");
    send(&producer, &one, 0, 0..10).await;
    send(&producer, &one, 1, 10..20).await;
    send(&producer, &two, 0, 20..30).await;
    producer.commit_transaction().await.expect("commits");
    let read = scene.read_committed(&one, 2).await;
    assert_eq!(numbers_of(&read, 0), (0..10).collect::<Vec<_>>());
    assert_eq!(numbers_of(&read, 1), (10..20).collect::<Vec<_>>());
    assert_eq!(
        numbers(&scene.read_committed(&two, 1).await),
        (20..30).collect::<Vec<_>>()
    );
    Ok(())
}

async fn an_aborted_transaction_is_read_by_nobody_who_asks_for_committed_records(scene: Scene) -> Shown {
    scene.needs_transactions()?;
    let topic = scene.topic(2).await;
    let producer = scene.initialized("producer").await;
    producer.begin_transaction().expect("none is open");
    send(&producer, &topic, 0, 0..10).await;
    send(&producer, &topic, 1, 10..20).await;
    producer.flush().await.expect("is delivered");
    producer.abort_transaction().await.expect("aborts");
    assert_eq!(scene.read_committed(&topic, 2).await, []);
    assert_eq!(scene.read_topic(&topic, 2).await.len(), 20);
    Ok(())
}

async fn transactions_in_a_row_keep_their_order(scene: Scene) -> Shown {
    scene.needs_transactions()?;
    let topic = scene.topic(1).await;
    let producer = scene.initialized("producer").await;
    let mut committed = Vec::new();
    for round in 0..12 {
        producer.begin_transaction().expect("none is open");
        let values = 10 * round..10 * round + 5;
        send(&producer, &topic, 0, values.clone()).await;
        match round % 3 {
            0 => producer.abort_transaction().await.expect("aborts"),
            _ => {
                producer.commit_transaction().await.expect("commits");
                committed.extend(values);
            }
        }
    }
    assert_eq!(numbers(&scene.read_committed(&topic, 1).await), committed);
    Ok(())
}

async fn an_empty_transaction_ends_without_asking_the_broker(scene: Scene) -> Shown {
    scene.needs_transactions()?;
    let topic = scene.topic(1).await;
    let producer = scene.initialized("producer").await;
    for _ in 0..3 {
        producer.begin_transaction().expect("none is open");
        producer.commit_transaction().await.expect("commits nothing");
        producer.begin_transaction().expect("none is open");
        producer.abort_transaction().await.expect("aborts nothing");
    }
    producer.begin_transaction().expect("none is open");
    send(&producer, &topic, 0, 0..3).await;
    producer.commit_transaction().await.expect("commits");
    assert_eq!(numbers(&scene.read_committed(&topic, 1).await), [0, 1, 2]);
    // Three records and one marker: the empty ones left none.
    let ends = scene
        .consumer(|_| {})
        .await
        .end_offsets(&partitions(&topic, 1))
        .await
        .expect("answers");
    assert_eq!(ends[0].1, 4);
    Ok(())
}

async fn records_outside_of_a_transaction_are_refused_at_once(scene: Scene) -> Shown {
    scene.needs_transactions()?;
    let topic = scene.topic(1).await;
    let producer = scene.initialized("producer").await;
    let record = ProduceRecord {
        topic: &topic,
        value: Some(b"1"),
        ..ProduceRecord::default()
    };
    let refused = producer.send(record).await.expect_err("no transaction is open");
    assert!(matches!(refused, SendError::Record(_)), "{refused}");
    assert_eq!(scene.read_topic(&topic, 1).await, []);
    Ok(())
}

async fn calls_out_of_order_are_refused_without_harm(scene: Scene) -> Shown {
    scene.needs_transactions()?;
    let topic = scene.topic(1).await;
    let producer = scene.transactional("producer").await;
    let is_state = |error: &TransactionError| matches!(error, TransactionError::State { .. });
    assert!(is_state(&producer.begin_transaction().expect_err("is not initialized")));
    producer.init_transactions().await.expect("initializes");
    assert!(is_state(
        &producer.commit_transaction().await.expect_err("none is open")
    ));
    producer.begin_transaction().expect("none is open");
    assert!(is_state(&producer.begin_transaction().expect_err("one is open")));
    send(&producer, &topic, 0, 0..3).await;
    producer.commit_transaction().await.expect("commits");
    assert_eq!(numbers(&scene.read_committed(&topic, 1).await), [0, 1, 2]);
    let plain = scene.producer(|_| {}).await;
    let refused = plain.begin_transaction().expect_err("has no transactional id");
    assert!(
        matches!(refused, TransactionError::NotTransactional { .. }),
        "{refused}"
    );
    Ok(())
}

async fn a_newer_producer_fences_the_older_one_and_aborts_what_it_left_open(scene: Scene) -> Shown {
    scene.needs_transactions()?;
    let topic = scene.topic(1).await;
    let older = scene.initialized("producer").await;
    older.begin_transaction().expect("none is open");
    send(&older, &topic, 0, 0..3).await;
    older.flush().await.expect("is delivered");
    let newer = scene.initialized("producer").await;
    let refused = older.commit_transaction().await.expect_err("its place is taken");
    newer.begin_transaction().expect("none is open");
    send(&newer, &topic, 0, 10..13).await;
    newer.commit_transaction().await.expect("commits");
    assert_eq!(numbers(&scene.read_committed(&topic, 1).await), [10, 11, 12]);
    match &refused {
        TransactionError::Fenced { .. } => Ok(()),
        TransactionError::Fatal { reason, .. } if reason.contains("INVALID_TXN_STATE") => cannot(
            "refuses the commit of the older producer with INVALID_TXN_STATE, which does not say that it is fenced",
        ),
        other => panic!("{other}"),
    }
}

async fn a_transaction_beyond_its_timeout_is_aborted_by_the_broker(scene: Scene) -> Shown {
    scene.needs_transactions()?;
    let topic = scene.topic(1).await;
    let short = |config: &mut ProducerConfig| config.transaction_timeout = Duration::from_secs(1);
    let slow = scene.transactional_with("producer", short).await;
    slow.init_transactions().await.expect("initializes");
    slow.begin_transaction().expect("none is open");
    send(&slow, &topic, 0, 0..3).await;
    slow.flush().await.expect("is delivered");
    // Brokers look every ten seconds; this waits until nothing is open.
    assert_eq!(scene.read_committed(&topic, 1).await, []);
    let refused = slow.commit_transaction().await.expect_err("took too long");
    // Older brokers fence it; with KIP-890 its next epoch is known there, and the answer is INVALID_TXN_STATE.
    let is_over = match &refused {
        TransactionError::Fenced { .. } => true,
        TransactionError::Fatal { reason, .. } => reason.contains("INVALID_TXN_STATE"),
        _ => false,
    };
    assert!(is_over, "{refused}");
    let next = scene.initialized("producer").await;
    next.begin_transaction().expect("none is open");
    send(&next, &topic, 0, 10..12).await;
    next.commit_transaction().await.expect("commits");
    assert_eq!(numbers(&scene.read_committed(&topic, 1).await), [10, 11]);
    Ok(())
}

async fn a_timeout_beyond_the_brokers_maximum_is_refused(scene: Scene) -> Shown {
    scene.needs_transactions()?;
    let long = |config: &mut ProducerConfig| config.transaction_timeout = Duration::from_secs(86_400);
    let producer = scene.transactional_with("producer", long).await;
    let refused = producer.init_transactions().await.expect_err("a day is too long");
    assert!(matches!(refused, TransactionError::Fatal { .. }), "{refused}");
    assert!(refused.to_string().contains("INVALID_TRANSACTION_TIMEOUT"), "{refused}");
    Ok(())
}

async fn a_record_that_is_refused_fails_the_commit_and_the_next_transaction_goes_well(scene: Scene) -> Shown {
    scene.needs_transactions()?;
    let topic = scene.topic_with(1, &[("max.message.bytes", "10000")]).await;
    let topic = topic.expect("can be created");
    let producer = scene.initialized("producer").await;
    producer.begin_transaction().expect("none is open");
    send(&producer, &topic, 0, 0..3).await;
    let value = vec![b'v'; 20_000];
    let record = ProduceRecord {
        topic: &topic,
        partition: Some(0),
        value: Some(&value),
        ..ProduceRecord::default()
    };
    producer.send(record).await.expect("is accepted");
    let refused = producer.commit_transaction().await.expect_err("a record is missing");
    assert!(
        matches!(&refused, TransactionError::MustAbort { reason } if reason.contains("MESSAGE_TOO_LARGE")),
        "{refused}"
    );
    producer.abort_transaction().await.expect("aborts");
    producer.begin_transaction().expect("none is open");
    send(&producer, &topic, 0, 10..13).await;
    producer.commit_transaction().await.expect("commits");
    assert_eq!(numbers(&scene.read_committed(&topic, 1).await), [10, 11, 12]);
    Ok(())
}

async fn closing_aborts_an_open_transaction(scene: Scene) -> Shown {
    scene.needs_transactions()?;
    let topic = scene.topic(1).await;
    let producer = scene.initialized("producer").await;
    producer.begin_transaction().expect("none is open");
    send(&producer, &topic, 0, 0..3).await;
    producer.flush().await.expect("is delivered");
    producer.close(Duration::from_secs(30)).await.expect("closes");
    assert_eq!(scene.read_committed(&topic, 1).await, []);
    Ok(())
}

async fn each_transaction_has_an_epoch_of_its_own_under_kip_890_and_only_there(scene: Scene) -> Shown {
    scene.needs_transactions()?;
    let topic = scene.topic(1).await;
    let producer = scene.initialized("producer").await;
    for round in 0..5 {
        producer.begin_transaction().expect("none is open");
        send(&producer, &topic, 0, 10 * round..10 * round + 2).await;
        producer.commit_transaction().await.expect("commits");
    }
    scene.read_committed(&topic, 1).await;
    let headers = scene.batch_headers(&topic).await;
    let epochs: BTreeSet<i16> = headers.iter().map(|header| header.producer_epoch).collect();
    let expected = if scene.facts.feature("transaction.version") >= 2 {
        5
    } else {
        1
    };
    assert_eq!(epochs.len(), expected, "{epochs:?}");
    Ok(())
}

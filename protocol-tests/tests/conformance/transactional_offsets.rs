//! Offsets in transactions: read, process, write, as one step (KIP-447).

use engine_client::{CommittedOffset, ConsumerGroupMetadata, IsolationLevel, TransactionError};
use engine_wire::messages::ApiKey;

use crate::behaviour::{Shown, behaviours};
use crate::group_member::{Member, run};
use crate::reading::numbers;
use crate::scene::{Scene, tp};
use crate::transactions::send;

behaviours! { "Offsets in transactions":
    offsets_are_committed_with_the_records_of_the_transaction,
    offsets_of_an_aborted_transaction_are_not_committed,
    offsets_of_a_member_that_was_replaced_abort_the_transaction,
    offsets_that_a_transaction_holds_are_waited_for,
    records_are_read_processed_and_written_exactly_once,
}

fn at(offset: i64) -> CommittedOffset {
    CommittedOffset {
        offset,
        ..CommittedOffset::default()
    }
}

impl Scene {
    /// What the scene's group has committed for the partition, once no transaction holds it.
    async fn stable_offset(&self, topic: &str) -> Option<i64> {
        let consumer = self
            .consumer(|config| {
                config.group_id = Some(self.name("group"));
                config.isolation_level = IsolationLevel::ReadCommitted;
            })
            .await;
        let told = consumer.committed(&[tp(topic, 0)]).await.expect("answers");
        told[0].1.as_ref().map(|committed| committed.offset)
    }

    fn outsider(&self) -> ConsumerGroupMetadata {
        ConsumerGroupMetadata {
            group_id: self.name("group"),
            generation_id: -1,
            member_id: String::new(),
            group_instance_id: None,
        }
    }
}

async fn offsets_are_committed_with_the_records_of_the_transaction(scene: Scene) -> Shown {
    scene.needs_transactions()?;
    let topic = scene.topic(1).await;
    scene.known_everywhere(&topic, |_| true).await;
    let producer = scene.initialized("producer").await;
    producer.begin_transaction().expect("none is open");
    send(&producer, &topic, 0, 0..3).await;
    let sent = producer
        .send_offsets_to_transaction(&[(tp(&topic, 0), at(42))], &scene.outsider())
        .await;
    sent.expect("is taken");
    producer.commit_transaction().await.expect("commits");
    assert_eq!(scene.stable_offset(&topic).await, Some(42));
    assert_eq!(numbers(&scene.read_committed(&topic, 1).await), [0, 1, 2]);
    Ok(())
}

async fn offsets_of_an_aborted_transaction_are_not_committed(scene: Scene) -> Shown {
    scene.needs_transactions()?;
    let topic = scene.topic(1).await;
    scene.known_everywhere(&topic, |_| true).await;
    let producer = scene.initialized("producer").await;
    for (is_committed, offset, expected) in [(true, 5, 5), (false, 9, 5), (true, 11, 11)] {
        producer.begin_transaction().expect("none is open");
        let offsets = [(tp(&topic, 0), at(offset))];
        let sent = producer.send_offsets_to_transaction(&offsets, &scene.outsider()).await;
        sent.expect("is taken");
        if is_committed {
            producer.commit_transaction().await.expect("commits");
        } else {
            producer.abort_transaction().await.expect("aborts");
        }
        assert_eq!(scene.stable_offset(&topic).await, Some(expected));
    }
    Ok(())
}

async fn offsets_of_a_member_that_was_replaced_abort_the_transaction(scene: Scene) -> Shown {
    scene.needs_transactions()?;
    scene.needs(ApiKey::TxnOffsetCommit, 3)?;
    let topic = scene.topic(1).await;
    let member = Member::joined(&scene, &topic, 1).await;
    let current = member.consumer.group_metadata().expect("is a member");
    let mut stale = current.clone();
    stale.generation_id -= 1;
    let producer = scene.initialized("producer").await;
    producer.begin_transaction().expect("none is open");
    send(&producer, &topic, 0, 0..3).await;
    let offsets = [(tp(&topic, 0), at(3))];
    let refused = producer
        .send_offsets_to_transaction(&offsets, &stale)
        .await
        .expect_err("is stale");
    assert!(matches!(refused, TransactionError::MustAbort { .. }), "{refused}");
    let refused = producer.commit_transaction().await.expect_err("must be aborted");
    assert!(matches!(refused, TransactionError::MustAbort { .. }), "{refused}");
    producer.abort_transaction().await.expect("aborts");
    producer.begin_transaction().expect("none is open");
    send(&producer, &topic, 0, 10..12).await;
    let sent = producer.send_offsets_to_transaction(&offsets, &current).await;
    sent.expect("its own offsets are taken");
    producer.commit_transaction().await.expect("commits");
    assert_eq!(scene.stable_offset(&topic).await, Some(3));
    assert_eq!(numbers(&scene.read_committed(&topic, 1).await), [10, 11]);
    member.consumer.close().await;
    Ok(())
}

async fn offsets_that_a_transaction_holds_are_waited_for(scene: Scene) -> Shown {
    scene.needs_transactions()?;
    scene.needs(ApiKey::OffsetFetch, 7)?;
    let topic = scene.topic(1).await;
    scene.known_everywhere(&topic, |_| true).await;
    let before = [(tp(&topic, 0), at(1))];
    let altered = scene
        .admin()
        .await
        .alter_group_offsets(&scene.name("group"), &before)
        .await;
    assert_eq!(altered.expect("answers")[0].1, Ok(()));
    let producer = scene.initialized("producer").await;
    producer.begin_transaction().expect("none is open");
    let sent = producer
        .send_offsets_to_transaction(&[(tp(&topic, 0), at(42))], &scene.outsider())
        .await;
    sent.expect("is taken");
    let (asking, topic_asked) = (scene.clone(), topic.clone());
    let asked = tokio::spawn(async move { asking.stable_offset(&topic_asked).await });
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    assert!(
        !asked.is_finished(),
        "the transaction is open, its offset is neither there nor not"
    );
    producer.commit_transaction().await.expect("commits");
    assert_eq!(asked.await.expect("answers"), Some(42));
    Ok(())
}

/// Two lives of an application that doubles numbers; the first one ends with a transaction open.
async fn records_are_read_processed_and_written_exactly_once(scene: Scene) -> Shown {
    scene.needs_transactions()?;
    let (from, into) = (scene.topic(1).await, scene.topic(1).await);
    scene.write(&from, 0, 0..60).await;
    for is_last_life in [false, true] {
        let mut member = Member::join(&scene, &[&from], |config| {
            config.isolation_level = IsolationLevel::ReadCommitted;
            config.partition_fetch_bytes_max = 1;
        })
        .await;
        let producer = scene.initialized("producer").await;
        let mut done = 0;
        loop {
            run(&mut [&mut member], "more records, or the end", |m| {
                let end = m[0].positions.get(&tp(&from, 0)).map(|position| position.offset);
                m[0].read.len() > done || end == Some(60)
            })
            .await;
            let new: Vec<u32> = numbers(&member.read[done..]).iter().map(|number| 2 * number).collect();
            if new.is_empty() {
                break;
            }
            done = member.read.len();
            producer.begin_transaction().expect("none is open");
            send(&producer, &into, 0, new).await;
            let offsets: Vec<_> = member
                .positions
                .iter()
                .map(|(tp, at)| (tp.clone(), at.clone()))
                .collect();
            let group = member.consumer.group_metadata().expect("is a member");
            let sent = producer.send_offsets_to_transaction(&offsets, &group).await;
            sent.expect("is taken");
            if !is_last_life {
                producer.flush().await.expect("is delivered");
                break; // Before the commit.
            }
            producer.commit_transaction().await.expect("commits");
            if member.positions[&tp(&from, 0)].offset == 60 {
                break;
            }
        }
        if is_last_life {
            assert_eq!(scene.stable_offset(&from).await, Some(60));
        }
        member.consumer.close().await;
    }
    let read = numbers(&scene.read_committed(&into, 1).await);
    assert_eq!(read, (0..60).map(|number| 2 * number).collect::<Vec<_>>());
    Ok(())
}

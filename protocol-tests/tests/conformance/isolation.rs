//! Isolation levels: which records of transactions are read, and how far.

use std::time::Duration;

use engine_client::{Codec, Consumer, IsolationLevel, ProducerConfig, StartAt};

use crate::behaviour::{Shown, behaviours};
use crate::reading::{numbers, read_count, read_to_end, read_within};
use crate::scene::{Scene, partitions, tp};
use crate::transactions::send;

behaviours! { "Isolation":
    interleaved_transactions_are_told_apart,
    an_open_transaction_holds_committed_reads_back_until_it_ends,
    the_end_for_committed_reads_is_the_last_stable_offset,
    aborted_records_are_left_out_whatever_their_codec,
    an_abort_without_records_in_a_partition_swallows_nothing_there,
    reading_from_the_middle_of_an_aborted_transaction_leaves_it_out,
    positions_pass_control_batches,
}

async fn committed_reader(scene: &Scene, topic: &str, start: StartAt) -> Consumer {
    let mut consumer = scene
        .consumer(|config| config.isolation_level = IsolationLevel::ReadCommitted)
        .await;
    consumer.assign([tp(topic, 0)]);
    consumer.start([(tp(topic, 0), start)]).expect("just assigned");
    consumer
}

async fn interleaved_transactions_are_told_apart(scene: Scene) -> Shown {
    scene.needs_transactions()?;
    let topic = scene.topic(1).await;
    let (kept, dropped) = (scene.initialized("kept").await, scene.initialized("dropped").await);
    let mut expected = Vec::new();
    for round in 0..4 {
        let first = 100 * round;
        kept.begin_transaction().expect("none is open");
        dropped.begin_transaction().expect("none is open");
        for step in 0..3 {
            send(&kept, &topic, 0, [first + step]).await;
            kept.flush().await.expect("is delivered");
            send(&dropped, &topic, 0, [first + 50 + step]).await;
            dropped.flush().await.expect("is delivered");
        }
        scene.write(&topic, 0, first + 90..first + 91).await;
        // Once the one, once the other ends first.
        if round % 2 == 0 {
            dropped.abort_transaction().await.expect("aborts");
            kept.commit_transaction().await.expect("commits");
        } else {
            kept.commit_transaction().await.expect("commits");
            dropped.abort_transaction().await.expect("aborts");
        }
        expected.extend([first, first + 1, first + 2, first + 90]);
    }
    assert_eq!(numbers(&scene.read_committed(&topic, 1).await), expected);
    assert_eq!(scene.read_topic(&topic, 1).await.len(), 28);
    Ok(())
}

async fn an_open_transaction_holds_committed_reads_back_until_it_ends(scene: Scene) -> Shown {
    scene.needs_transactions()?;
    let topic = scene.topic(1).await;
    scene.write(&topic, 0, 0..2).await;
    let producer = scene.initialized("producer").await;
    producer.begin_transaction().expect("none is open");
    send(&producer, &topic, 0, 2..4).await;
    producer.flush().await.expect("is delivered");
    scene.write(&topic, 0, 4..6).await; // Behind it, outside of any transaction.
    let mut consumer = committed_reader(&scene, &topic, StartAt::Earliest).await;
    assert_eq!(numbers(&read_count(&mut consumer, 2).await), [0, 1]);
    assert_eq!(read_within(&mut consumer, Duration::from_secs(1)).await, []);
    producer.commit_transaction().await.expect("commits");
    assert_eq!(numbers(&read_count(&mut consumer, 4).await), [2, 3, 4, 5]);
    Ok(())
}

async fn the_end_for_committed_reads_is_the_last_stable_offset(scene: Scene) -> Shown {
    scene.needs_transactions()?;
    let topic = scene.topic(1).await;
    scene.write(&topic, 0, 0..3).await;
    let producer = scene.initialized("producer").await;
    producer.begin_transaction().expect("none is open");
    send(&producer, &topic, 0, 3..8).await;
    producer.flush().await.expect("is delivered");
    let all = partitions(&topic, 1);
    let mut consumer = committed_reader(&scene, &topic, StartAt::Latest).await;
    assert_eq!(consumer.end_offsets(&all).await.expect("answers")[0].1, 3);
    let plain = scene.consumer(|_| {}).await;
    assert_eq!(plain.end_offsets(&all).await.expect("answers")[0].1, 8);
    crate::positions::wait_for_position(&mut consumer, &topic, 3).await;
    producer.abort_transaction().await.expect("aborts");
    scene.write(&topic, 0, 8..9).await;
    assert_eq!(numbers(&read_count(&mut consumer, 1).await), [8]);
    Ok(())
}

async fn aborted_records_are_left_out_whatever_their_codec(scene: Scene) -> Shown {
    scene.needs_transactions()?;
    let topic = scene.topic(1).await;
    let mut expected = Vec::new();
    for (round, codec) in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd]
        .into_iter()
        .enumerate()
    {
        let compressed = |config: &mut ProducerConfig| config.compression = codec;
        let producer = scene.transactional_with(&format!("producer-{round}"), compressed).await;
        producer.init_transactions().await.expect("initializes");
        let first = 100 * round as u32;
        producer.begin_transaction().expect("none is open");
        send(&producer, &topic, 0, first + 50..first + 60).await;
        producer.flush().await.expect("is delivered");
        producer.abort_transaction().await.expect("aborts");
        producer.begin_transaction().expect("none is open");
        send(&producer, &topic, 0, first..first + 10).await;
        producer.commit_transaction().await.expect("commits");
        expected.extend(first..first + 10);
    }
    assert_eq!(numbers(&scene.read_committed(&topic, 1).await), expected);
    Ok(())
}

async fn an_abort_without_records_in_a_partition_swallows_nothing_there(scene: Scene) -> Shown {
    scene.needs_transactions()?;
    let topic = scene.topic(2).await;
    let producer = scene.initialized("producer").await;
    producer.begin_transaction().expect("none is open");
    send(&producer, &topic, 1, 0..5).await;
    producer.flush().await.expect("is delivered");
    producer.abort_transaction().await.expect("aborts");
    // The log starts behind the aborted records, the marker may be all that is left of them.
    let deleted = scene
        .admin()
        .await
        .delete_records(&[(tp(&topic, 1), 5)])
        .await
        .expect("answers");
    assert_eq!(deleted[0].1, Ok(5));
    for partition in 0..2 {
        producer.begin_transaction().expect("none is open");
        send(&producer, &topic, partition, 10..15).await;
        producer.commit_transaction().await.expect("commits");
    }
    let read = scene.read_committed(&topic, 2).await;
    for partition in 0..2 {
        assert_eq!(crate::reading::numbers_of(&read, partition), [10, 11, 12, 13, 14]);
    }
    Ok(())
}

async fn reading_from_the_middle_of_an_aborted_transaction_leaves_it_out(scene: Scene) -> Shown {
    scene.needs_transactions()?;
    let topic = scene.topic(1).await;
    let producer = scene.initialized("producer").await;
    producer.begin_transaction().expect("none is open");
    for batch in 0..4 {
        send(&producer, &topic, 0, 10 * batch..10 * batch + 5).await;
        producer.flush().await.expect("is delivered");
    }
    producer.abort_transaction().await.expect("aborts");
    producer.begin_transaction().expect("none is open");
    send(&producer, &topic, 0, 100..103).await;
    producer.commit_transaction().await.expect("commits");
    scene.read_committed(&topic, 1).await;
    for offset in [0, 7, 12, 19, 20, 21] {
        let start = StartAt::Offset {
            offset,
            leader_epoch: None,
        };
        let mut consumer = committed_reader(&scene, &topic, start).await;
        let read = read_to_end(&mut consumer, &partitions(&topic, 1)).await;
        assert_eq!(numbers(&read), [100, 101, 102], "from {offset}");
    }
    Ok(())
}

async fn positions_pass_control_batches(scene: Scene) -> Shown {
    scene.needs_transactions()?;
    let topic = scene.topic(1).await;
    let producer = scene.initialized("producer").await;
    producer.begin_transaction().expect("none is open");
    send(&producer, &topic, 0, 0..3).await;
    producer.commit_transaction().await.expect("commits");
    assert_eq!(numbers(&scene.read_committed(&topic, 1).await), [0, 1, 2]);
    for level in [IsolationLevel::ReadCommitted, IsolationLevel::ReadUncommitted] {
        let mut consumer = scene.consumer(|config| config.isolation_level = level).await;
        consumer.assign([tp(&topic, 0)]);
        consumer
            .start([(tp(&topic, 0), StartAt::Earliest)])
            .expect("just assigned");
        let read = read_to_end(&mut consumer, &partitions(&topic, 1)).await;
        assert_eq!(read.len(), 3, "no application sees a marker");
        let position = consumer.position(&tp(&topic, 0)).expect("is known");
        assert_eq!(position.offset, 4, "behind the marker");
    }
    Ok(())
}

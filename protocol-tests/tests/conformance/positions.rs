//! Positions: where reading starts, where it is, and how it is moved.

use std::time::Duration;

use engine_client::{Consumer, StartAt};

use crate::behaviour::{Shown, behaviours};
use crate::reading::{numbers, numbers_of, read_count, read_to_end, read_within, reader_at};
use crate::scene::{Scene, create_time, partitions, tp};

behaviours! { "Positions":
    a_partition_is_read_from_its_oldest_record,
    a_partition_is_read_from_its_end_on,
    a_partition_is_read_from_an_offset_within_a_batch,
    a_partition_is_read_from_a_time,
    a_time_after_the_last_record_means_the_end,
    a_consumer_seeks_back_and_forth,
    a_paused_partition_gives_nothing_until_it_is_resumed,
    a_partition_that_is_given_back_is_not_read,
    the_position_and_the_lag_follow_what_was_polled,
    oldest_and_end_offsets_are_told,
    offsets_are_found_by_time,
    many_partitions_are_read_side_by_side,
}

async fn a_partition_is_read_from_its_oldest_record(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    scene.write(&topic, 0, 0..20).await;
    let mut consumer = reader_at(&scene, &tp(&topic, 0), StartAt::Earliest).await;
    let read = read_count(&mut consumer, 20).await;
    assert_eq!(numbers(&read), (0..20).collect::<Vec<_>>());
    let offsets: Vec<i64> = read.iter().map(|read| read.record.offset).collect();
    assert_eq!(offsets, (0..20).collect::<Vec<_>>());
    Ok(())
}

async fn a_partition_is_read_from_its_end_on(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    scene.write(&topic, 0, 0..5).await;
    let partition = tp(&topic, 0);
    let mut consumer = reader_at(&scene, &partition, StartAt::Latest).await;
    wait_for_position(&mut consumer, &topic, 5).await;
    scene.write(&topic, 0, 5..8).await;
    assert_eq!(numbers(&read_count(&mut consumer, 3).await), [5, 6, 7]);
    Ok(())
}

async fn a_partition_is_read_from_an_offset_within_a_batch(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    scene.write(&topic, 0, 0..50).await;
    let start = StartAt::Offset {
        offset: 33,
        leader_epoch: None,
    };
    let mut consumer = reader_at(&scene, &tp(&topic, 0), start).await;
    assert_eq!(
        numbers(&read_count(&mut consumer, 17).await),
        (33..50).collect::<Vec<_>>()
    );
    Ok(())
}

async fn a_partition_is_read_from_a_time(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    scene.write(&topic, 0, 0..10).await;
    scene.write(&topic, 0, 100..110).await;
    let start = StartAt::Timestamp(create_time() + 50);
    let mut consumer = reader_at(&scene, &tp(&topic, 0), start).await;
    assert_eq!(
        numbers(&read_count(&mut consumer, 10).await),
        (100..110).collect::<Vec<_>>()
    );
    Ok(())
}

async fn a_time_after_the_last_record_means_the_end(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    scene.write(&topic, 0, 0..10).await;
    let start = StartAt::Timestamp(create_time() + 1_000_000);
    let mut consumer = reader_at(&scene, &tp(&topic, 0), start).await;
    wait_for_position(&mut consumer, &topic, 10).await;
    scene.write(&topic, 0, 10..12).await;
    assert_eq!(numbers(&read_count(&mut consumer, 2).await), [10, 11]);
    Ok(())
}

async fn a_consumer_seeks_back_and_forth(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    scene.write(&topic, 0, 0..100).await;
    let partition = tp(&topic, 0);
    let mut consumer = reader_at(&scene, &partition, StartAt::Earliest).await;
    assert_eq!(read_count(&mut consumer, 100).await.len(), 100);
    for offset in [90, 10, 99, 0] {
        let start = StartAt::Offset {
            offset,
            leader_epoch: None,
        };
        consumer.start([(partition.clone(), start)]).expect("is assigned");
        let read = read_count(&mut consumer, (100 - offset) as usize).await;
        assert_eq!(numbers(&read), (offset as u32..100).collect::<Vec<_>>());
    }
    Ok(())
}

async fn a_paused_partition_gives_nothing_until_it_is_resumed(scene: Scene) -> Shown {
    let topic = scene.topic(2).await;
    let both = partitions(&topic, 2);
    let mut consumer = reader_at(&scene, &both[0], StartAt::Earliest).await;
    consumer.assign([both[1].clone()]);
    consumer
        .start([(both[1].clone(), StartAt::Earliest)])
        .expect("just assigned");
    consumer.pause(&both[..1]);
    scene.write(&topic, 0, 0..5).await;
    scene.write(&topic, 1, 10..15).await;
    assert_eq!(
        numbers(&read_count(&mut consumer, 5).await),
        (10..15).collect::<Vec<_>>()
    );
    assert_eq!(read_within(&mut consumer, Duration::from_millis(700)).await, []);
    consumer.resume(&both[..1]);
    assert_eq!(numbers(&read_count(&mut consumer, 5).await), (0..5).collect::<Vec<_>>());
    Ok(())
}

async fn a_partition_that_is_given_back_is_not_read(scene: Scene) -> Shown {
    let topic = scene.topic(2).await;
    let both = partitions(&topic, 2);
    let mut consumer = scene.consumer(|_| {}).await;
    consumer.assign(both.iter().cloned());
    let starts = both.iter().map(|tp| (tp.clone(), StartAt::Earliest));
    consumer.start(starts).expect("just assigned");
    consumer.unassign(&both[..1]);
    assert_eq!(consumer.assignment(), both[1..]);
    scene.write(&topic, 0, 0..5).await;
    scene.write(&topic, 1, 10..15).await;
    assert_eq!(
        numbers(&read_count(&mut consumer, 5).await),
        (10..15).collect::<Vec<_>>()
    );
    assert_eq!(read_within(&mut consumer, Duration::from_millis(300)).await, []);
    let refused = consumer
        .start([(both[0].clone(), StartAt::Earliest)])
        .expect_err("was given back");
    assert_eq!(refused.tp, both[0]);
    Ok(())
}

async fn the_position_and_the_lag_follow_what_was_polled(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    scene.write(&topic, 0, 0..10).await;
    let partition = tp(&topic, 0);
    let mut consumer = scene.consumer(|_| {}).await;
    consumer.assign([partition.clone()]);
    let start = StartAt::Offset {
        offset: 4,
        leader_epoch: None,
    };
    consumer.start([(partition.clone(), start)]).expect("just assigned");
    read_count(&mut consumer, 6).await;
    assert_eq!(consumer.position(&partition).map(|position| position.offset), Some(10));
    assert_eq!(consumer.lag(&partition), Some(0));
    consumer.pause(std::slice::from_ref(&partition));
    consumer.start([(partition.clone(), start)]).expect("is assigned");
    assert_eq!(consumer.position(&partition).map(|position| position.offset), Some(4));
    // The end comes with an answer.
    consumer.resume(std::slice::from_ref(&partition));
    scene.write(&topic, 0, 10..12).await;
    assert_eq!(read_count(&mut consumer, 8).await.len(), 8);
    assert_eq!(consumer.lag(&partition), Some(0));
    Ok(())
}

async fn oldest_and_end_offsets_are_told(scene: Scene) -> Shown {
    let topic = scene.topic(3).await;
    scene.write(&topic, 0, 0..7).await;
    scene.write(&topic, 2, 0..3).await;
    let all = partitions(&topic, 3);
    let consumer = scene.consumer(|_| {}).await;
    let told = consumer.beginning_offsets(&all).await.expect("answers");
    assert_eq!(told, all.iter().cloned().zip([0, 0, 0]).collect::<Vec<_>>());
    let told = consumer.end_offsets(&all).await.expect("answers");
    assert_eq!(told, all.iter().cloned().zip([7, 0, 3]).collect::<Vec<_>>());
    Ok(())
}

async fn offsets_are_found_by_time(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    scene.write(&topic, 0, 0..10).await;
    scene.write(&topic, 0, 100..110).await;
    let partition = tp(&topic, 0);
    let consumer = scene.consumer(|_| {}).await;
    for (time, expected) in [
        (0, Some((0, 0))),
        (create_time() + 3, Some((3, 3))),
        (create_time() + 10, Some((10, 100))),
        (create_time() + 109, Some((19, 109))),
        (create_time() + 110, None),
    ] {
        let found = consumer
            .offsets_for_times(&[(partition.clone(), time)])
            .await
            .expect("answers");
        let found = found[0].1.map(|found| (found.offset, found.timestamp - create_time()));
        assert_eq!(found, expected, "{time}");
    }
    Ok(())
}

async fn many_partitions_are_read_side_by_side(scene: Scene) -> Shown {
    const PARTITIONS: i32 = 24;
    let topic = scene.topic(PARTITIONS).await;
    let producer = scene.producer(|_| {}).await;
    for partition in 0..PARTITIONS {
        crate::scene::write_with(&producer, &topic, partition, 0..20).await;
    }
    let all = partitions(&topic, PARTITIONS);
    let mut consumer = scene.consumer(|_| {}).await;
    consumer.assign(all.iter().cloned());
    let starts = all.iter().map(|tp| (tp.clone(), StartAt::Earliest));
    consumer.start(starts).expect("just assigned");
    let read = read_to_end(&mut consumer, &all).await;
    for partition in 0..PARTITIONS {
        assert_eq!(numbers_of(&read, partition), (0..20).collect::<Vec<_>>());
    }
    Ok(())
}

/// A look-up ends in a position, of which no event tells.
pub(crate) async fn wait_for_position(consumer: &mut Consumer, topic: &str, offset: i64) {
    let partition = tp(topic, 0);
    while consumer.position(&partition).map(|position| position.offset) != Some(offset) {
        assert_eq!(read_within(consumer, Duration::from_millis(20)).await, []);
    }
}

//! Fetching: sessions, waiting, and what is read ahead.

use std::time::{Duration, Instant};

use engine_client::{Event, StartAt};
use engine_wire::messages::ApiKey;

use crate::behaviour::{Shown, behaviours};
use crate::reading::{numbers, read_count, read_within, reader_at};
use crate::scene::{Scene, partitions, tp, write_with};

behaviours! { "Fetching":
    a_record_that_comes_while_a_fetch_waits_is_read_at_once,
    a_fetch_session_leaves_out_partitions_without_news,
    a_partition_that_joins_a_fetch_session_is_read,
    what_is_read_ahead_is_bounded_while_nobody_polls,
    small_fetches_read_everything_once,
    an_end_without_news_is_heard_of_again_and_again,
}

async fn a_record_that_comes_while_a_fetch_waits_is_read_at_once(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    let mut consumer = scene
        .consumer(|config| config.fetch_wait_max = Duration::from_secs(20))
        .await;
    consumer.assign([tp(&topic, 0)]);
    consumer
        .start([(tp(&topic, 0), StartAt::Earliest)])
        .expect("just assigned");
    assert_eq!(read_within(&mut consumer, Duration::from_millis(500)).await, []);
    let producer = scene.producer(|_| {}).await;
    let started = Instant::now();
    write_with(&producer, &topic, 0, 0..1).await;
    assert_eq!(numbers(&read_count(&mut consumer, 1).await), [0]);
    let took = started.elapsed();
    assert!(
        took < Duration::from_secs(10),
        "{took:?}: the fetch was not ended by the record"
    );
    Ok(())
}

async fn a_fetch_session_leaves_out_partitions_without_news(scene: Scene) -> Shown {
    scene.needs(ApiKey::Fetch, 7)?;
    let topic = scene.topic(6).await;
    let all = partitions(&topic, 6);
    let mut consumer = scene
        .consumer(|config| config.fetch_wait_max = Duration::from_millis(50))
        .await;
    consumer.assign(all.iter().cloned());
    let starts = all.iter().map(|tp| (tp.clone(), StartAt::Earliest));
    consumer.start(starts).expect("just assigned");
    let producer = scene.producer(|_| {}).await;
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut written = 0;
    while consumer.stats().fetch.unchanged < 20 {
        assert!(Instant::now() < deadline, "no session: {:?}", consumer.stats().fetch);
        write_with(&producer, &topic, (written % 6) as i32, written..written + 1).await;
        assert_eq!(numbers(&read_count(&mut consumer, 1).await), [written]);
        written += 1;
        read_within(&mut consumer, Duration::from_millis(100)).await;
    }
    assert_eq!(consumer.stats().fetch.lost_sessions, 0);
    Ok(())
}

async fn a_partition_that_joins_a_fetch_session_is_read(scene: Scene) -> Shown {
    let topic = scene.topic(3).await;
    let all = partitions(&topic, 3);
    let mut consumer = reader_at(&scene, &all[0], StartAt::Earliest).await;
    for partition in 0..3 {
        if partition > 0 {
            let joining = &all[partition as usize];
            consumer.assign([joining.clone()]);
            consumer
                .start([(joining.clone(), StartAt::Earliest)])
                .expect("just assigned");
        }
        let first = 10 * partition as u32;
        scene.write(&topic, partition, first..first + 3).await;
        assert_eq!(
            numbers(&read_count(&mut consumer, 3).await),
            [first, first + 1, first + 2]
        );
        read_within(&mut consumer, Duration::from_millis(200)).await;
    }
    consumer.unassign(&all[1..2]);
    scene.write(&topic, 1, 100..101).await;
    scene.write(&topic, 2, 200..201).await;
    assert_eq!(numbers(&read_count(&mut consumer, 1).await), [200]);
    Ok(())
}

async fn what_is_read_ahead_is_bounded_while_nobody_polls(scene: Scene) -> Shown {
    const PREFETCH: usize = 100_000;
    const ANSWER: usize = 50_000;
    let topic = scene.topic(1).await;
    let producer = scene.producer(|config| config.batch_bytes_max = 10_000).await;
    let value = vec![b'v'; 1_000];
    for _ in 0..2_000 {
        let record = engine_client::ProduceRecord {
            topic: &topic,
            value: Some(&value),
            ..engine_client::ProduceRecord::default()
        };
        producer.send(record).await.expect("is accepted");
    }
    producer.flush().await.expect("is delivered");
    let mut consumer = scene
        .consumer(|config| {
            config.prefetch_bytes_max = PREFETCH;
            config.fetch_bytes_max = ANSWER;
            config.partition_fetch_bytes_max = ANSWER;
        })
        .await;
    consumer.assign([tp(&topic, 0)]);
    consumer
        .start([(tp(&topic, 0), StartAt::Earliest)])
        .expect("just assigned");
    let deadline = Instant::now() + Duration::from_secs(30);
    while consumer.stats().prefetched_bytes < PREFETCH / 2 {
        assert!(Instant::now() < deadline, "nothing is read ahead");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for _ in 0..20 {
        let ahead = consumer.stats().prefetched_bytes;
        assert!(ahead <= PREFETCH + ANSWER, "{ahead} bytes are read ahead");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(read_count(&mut consumer, 2_000).await.len(), 2_000);
    Ok(())
}

async fn small_fetches_read_everything_once(scene: Scene) -> Shown {
    let topic = scene.topic(2).await;
    let producer = scene.producer(|config| config.batch_bytes_max = 300).await;
    for partition in 0..2 {
        write_with(&producer, &topic, partition, 0..200).await;
    }
    let change = |config: &mut engine_client::ConsumerConfig| {
        config.fetch_bytes_max = 700;
        config.partition_fetch_bytes_max = 500;
    };
    let read = scene.read_topic_with(&topic, 2, change).await;
    for partition in 0..2 {
        assert_eq!(
            crate::reading::numbers_of(&read, partition),
            (0..200).collect::<Vec<_>>()
        );
    }
    Ok(())
}

async fn an_end_without_news_is_heard_of_again_and_again(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    scene.write(&topic, 0, 0..3).await;
    let partition = tp(&topic, 0);
    let mut consumer = scene
        .consumer(|config| config.fetch_wait_max = Duration::from_millis(100))
        .await;
    consumer.assign([partition.clone()]);
    consumer
        .start([(partition.clone(), StartAt::Earliest)])
        .expect("just assigned");
    read_count(&mut consumer, 3).await;
    let mut heard = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(30);
    while heard.len() < 3 {
        assert!(Instant::now() < deadline, "the end was heard of {} times", heard.len());
        let event = tokio::time::timeout(Duration::from_millis(50), consumer.poll()).await;
        if let Ok(Ok(Event::Fetched(fetched))) = event {
            assert!(fetched.batches.is_empty());
        }
        let at = consumer.end_heard_at(&partition);
        if at.is_some() && heard.last() != Some(&at) {
            heard.push(at);
        }
    }
    assert_eq!(consumer.lag(&partition), Some(0));
    Ok(())
}

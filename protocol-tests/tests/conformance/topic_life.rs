//! Topics that come, go, come back and grow under clients that use them.

use std::time::{Duration, Instant};

use engine_client::{
    AutoOffsetReset, ConsumerConfig, FetchError, OffsetsError, ProduceRecord, ProducerConfig, SendError, StartAt,
    admin::NewTopic,
};
use engine_wire::messages::ApiKey;

use crate::behaviour::{Cannot, Shown, behaviours, cannot};
use crate::group_member::{Member, run, sorted_numbers};
use crate::reading::{numbers, read_count, read_error, reader_at};
use crate::scene::{Scene, partitions, tp, write_with};

behaviours! { "Life of topics":
    a_topic_that_is_not_there_is_an_error_for_a_producer_that_may_not_create_it,
    a_topic_that_is_not_there_has_no_partitions_and_no_offsets,
    a_producer_that_may_create_topics_creates_the_one_it_writes_to,
    a_group_reads_a_topic_that_appears_after_it_subscribed,
    partitions_that_are_added_are_written_to,
    partitions_that_are_added_are_read_by_a_group,
    a_recreated_topic_is_written_to_by_the_same_producer,
    a_recreated_topic_is_read_from_its_start_by_the_same_consumer,
    a_recreated_topic_is_an_error_without_a_policy,
}

fn may_not_create(config: &mut ProducerConfig) {
    config.client.allow_auto_create_topics = false;
    config.client.metadata_age_max = Duration::from_millis(500);
}

fn looks_often(config: &mut ConsumerConfig) {
    config.client.allow_auto_create_topics = false;
    config.client.metadata_age_max = Duration::from_millis(500);
}

async fn a_topic_that_is_not_there_is_an_error_for_a_producer_that_may_not_create_it(scene: Scene) -> Shown {
    let producer = scene
        .producer(|config| {
            may_not_create(config);
            config.block_max = Duration::from_secs(2);
        })
        .await;
    let topic = scene.name("missing");
    let record = ProduceRecord {
        topic: &topic,
        value: Some(b"x"),
        ..ProduceRecord::default()
    };
    let refused = producer.send(record).await.expect_err("there is no such topic");
    assert!(matches!(refused, SendError::NoMetadata { .. }), "{refused}");
    assert!(refused.to_string().contains("UNKNOWN_TOPIC_OR_PARTITION"), "{refused}");
    let topics = scene.admin().await.list_topics().await.expect("answers");
    assert!(topics.iter().all(|it| it.name != topic), "asking has created it");
    Ok(())
}

async fn a_topic_that_is_not_there_has_no_partitions_and_no_offsets(scene: Scene) -> Shown {
    let consumer = scene
        .consumer(|config| {
            looks_often(config);
            config.client.request_timeout = Duration::from_secs(1);
            config.client.default_api_timeout = Duration::from_secs(1);
        })
        .await;
    let topic = scene.name("missing");
    assert_eq!(consumer.partition_count(&topic).await.expect("answers"), None);
    let refused = consumer
        .end_offsets(&[tp(&topic, 0)])
        .await
        .expect_err("there is no such topic");
    let is_told = matches!(refused, OffsetsError::TimedOut { .. } | OffsetsError::Partition { .. });
    assert!(is_told && refused.to_string().contains(&topic), "{refused}");
    Ok(())
}

async fn a_producer_that_may_create_topics_creates_the_one_it_writes_to(scene: Scene) -> Shown {
    let topic = scene.name("created");
    let producer = scene
        .producer(|config| config.block_max = Duration::from_secs(20))
        .await;
    let record = ProduceRecord {
        topic: &topic,
        key: Some(b"k"),
        value: Some(b"5"),
        ..ProduceRecord::default()
    };
    let receipt = match producer.send(record).await {
        Ok(receipt) => receipt,
        Err(refused) => {
            let told = refused.to_string();
            assert!(told.contains("UNKNOWN_TOPIC_OR_PARTITION"), "{told}");
            return cannot("does not create topics that are asked for (auto.create.topics.enable)");
        }
    };
    let delivered = receipt.delivered().await.expect("is delivered");
    let start = tp(&topic, delivered.partition);
    let mut consumer = reader_at(&scene, &start, StartAt::Earliest).await;
    assert_eq!(numbers(&read_count(&mut consumer, 1).await), [5]);
    Ok(())
}

async fn a_group_reads_a_topic_that_appears_after_it_subscribed(scene: Scene) -> Shown {
    let topic = scene.name("later");
    let may_not_create = |config: &mut ConsumerConfig| config.client.allow_auto_create_topics = false;
    let mut member = Member::join(&scene, &[&topic], may_not_create).await;
    let soon = Instant::now() + Duration::from_millis(1_500);
    run(&mut [&mut member], "a while", |_| Instant::now() >= soon).await;
    assert!(member.owned.is_empty());
    create(&scene, &topic, 2).await;
    scene.write(&topic, 0, 0..3).await;
    scene.write(&topic, 1, 3..6).await;
    run(&mut [&mut member], "all records", |m| m[0].read.len() >= 6).await;
    assert_eq!(sorted_numbers([&member]), [0, 1, 2, 3, 4, 5]);
    member.consumer.close().await;
    Ok(())
}

async fn partitions_that_are_added_are_written_to(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    let producer = scene.producer(may_not_create).await;
    write_with(&producer, &topic, 0, 0..2).await;
    let grown = scene
        .admin()
        .await
        .create_partitions(&[(&topic, 3)])
        .await
        .expect("answers");
    assert_eq!(grown[0].1, Ok(()));
    let deadline = Instant::now() + Duration::from_secs(30);
    while producer.partitions_for(&topic).await.expect("is known") < 3 {
        assert!(Instant::now() < deadline, "the new partitions are not noticed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    write_with(&producer, &topic, 1, 10..12).await;
    write_with(&producer, &topic, 2, 20..22).await;
    let mut read = numbers(&scene.read_topic(&topic, 3).await);
    read.sort_unstable();
    assert_eq!(read, [0, 1, 10, 11, 20, 21]);
    Ok(())
}

async fn partitions_that_are_added_are_read_by_a_group(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    scene.write(&topic, 0, 0..2).await;
    let mut member = Member::join(&scene, &[&topic], looks_often).await;
    run(&mut [&mut member], "2 records", |m| m[0].read.len() >= 2).await;
    let grown = scene
        .admin()
        .await
        .create_partitions(&[(&topic, 3)])
        .await
        .expect("answers");
    assert_eq!(grown[0].1, Ok(()));
    run(&mut [&mut member], "the new partitions", |m| m[0].owned.len() == 3).await;
    scene.write(&topic, 1, 2..4).await;
    scene.write(&topic, 2, 4..6).await;
    run(&mut [&mut member], "all records", |m| m[0].read.len() >= 6).await;
    assert_eq!(sorted_numbers([&member]), [0, 1, 2, 3, 4, 5]);
    member.consumer.close().await;
    Ok(())
}

async fn a_recreated_topic_is_written_to_by_the_same_producer(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    let producer = scene.producer(may_not_create).await;
    write_with(&producer, &topic, 0, 0..5).await;
    recreate(&scene, &topic).await;
    let delivered = write_with(&producer, &topic, 0, 10..13).await;
    assert_eq!(delivered[0].offset, Some(0));
    assert_eq!(numbers(&scene.read_topic(&topic, 1).await), [10, 11, 12]);
    Ok(())
}

async fn a_recreated_topic_is_read_from_its_start_by_the_same_consumer(scene: Scene) -> Shown {
    scene.needs_fetch_by_topic_id()?;
    let topic = scene.topic(1).await;
    scene.write(&topic, 0, 0..5).await;
    let mut consumer = scene.consumer(looks_often).await;
    consumer.assign(partitions(&topic, 1));
    consumer
        .start([(tp(&topic, 0), StartAt::Earliest)])
        .expect("just assigned");
    assert_eq!(numbers(&read_count(&mut consumer, 5).await), [0, 1, 2, 3, 4]);
    recreate(&scene, &topic).await;
    // More than there were, so that an offset of the old topic is not out of range in the new one.
    scene.write(&topic, 0, 10..20).await;
    assert_eq!(
        numbers(&read_count(&mut consumer, 10).await),
        (10..20).collect::<Vec<_>>()
    );
    Ok(())
}

async fn a_recreated_topic_is_an_error_without_a_policy(scene: Scene) -> Shown {
    scene.needs_fetch_by_topic_id()?;
    let topic = scene.topic(1).await;
    scene.write(&topic, 0, 0..5).await;
    let mut consumer = scene
        .consumer(|config| {
            looks_often(config);
            config.auto_offset_reset = AutoOffsetReset::None;
        })
        .await;
    consumer.assign(partitions(&topic, 1));
    consumer
        .start([(tp(&topic, 0), StartAt::Earliest)])
        .expect("just assigned");
    read_count(&mut consumer, 5).await;
    recreate(&scene, &topic).await;
    scene.write(&topic, 0, 10..20).await;
    let error = read_error(&mut consumer).await;
    assert!(matches!(error, FetchError::TopicRecreated { offset: 5, .. }), "{error}");
    consumer
        .start([(tp(&topic, 0), StartAt::Earliest)])
        .expect("is assigned");
    assert_eq!(
        numbers(&read_count(&mut consumer, 10).await),
        (10..20).collect::<Vec<_>>()
    );
    Ok(())
}

impl Scene {
    /// Goes on only where a fetch names the topic by its id, so that the broker refuses one that is meant for an older topic.
    fn needs_fetch_by_topic_id(&self) -> Result<(), Cannot> {
        match self.facts.offers(ApiKey::Fetch, 13) {
            true => Ok(()),
            false => Err(Cannot(format!(
                "fetches by the topic's name (Fetch {}, ids came with 13): until metadata tells, nobody can know records of \
                 the new topic from those of the old one",
                self.facts.versions(ApiKey::Fetch)
            ))),
        }
    }
}

/// Returns when every broker knows the new topic: one that does not yet takes records for the old one, and forgets them.
async fn recreate(scene: &Scene, topic: &str) {
    let admin = scene.admin().await;
    let old = admin.describe_topics(&[topic]).await.expect("answers").remove(0).1;
    let old = old.expect("exists").topic_id;
    let deleted = admin.delete_topics(&[topic]).await.expect("answers");
    assert_eq!(deleted[0].1, Ok(()));
    create(scene, topic, 1).await;
    scene
        .known_everywhere(topic, |described| old.is_none() || described.topic_id != old)
        .await;
}

/// Creates it, as soon as the cluster lets go of an old one of this name.
async fn create(scene: &Scene, name: &str, count: i32) {
    let admin = scene.admin().await;
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let topic = NewTopic {
            name: name.to_owned(),
            partitions: Some(count),
            ..NewTopic::default()
        };
        match admin.create_topics(&[topic]).await.expect("answers").remove(0).1 {
            Ok(()) => return,
            Err(refusal) => assert!(Instant::now() < deadline, "{refusal}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

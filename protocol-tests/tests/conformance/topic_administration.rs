//! Administration of topics: made, looked at, grown, removed; each item with a result of its own.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use engine_client::admin::NewTopic;
use engine_wire::error_code::ErrorCode;

use crate::behaviour::{Shown, behaviours, cannot};
use crate::scene::Scene;

behaviours! { "Administration of topics":
    a_topic_is_created_described_listed_and_deleted,
    a_topic_that_exists_is_not_created_again,
    one_refused_topic_does_not_stop_the_others,
    a_topic_with_the_brokers_own_number_of_partitions_is_created,
    names_factors_and_properties_that_cannot_be_are_refused,
    properties_of_a_topic_are_told_with_their_defaults,
    partitions_are_added_but_never_removed,
    unknown_topics_are_refused_by_name,
}

fn plain(name: &str, partitions: i32) -> NewTopic {
    NewTopic {
        name: name.to_owned(),
        partitions: Some(partitions),
        ..NewTopic::default()
    }
}

async fn a_topic_is_created_described_listed_and_deleted(scene: Scene) -> Shown {
    let admin = scene.admin().await;
    let topic = scene.topic(3).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let described = admin.describe_topics(&[&topic]).await.expect("answers").remove(0);
        assert_eq!(described.0, topic);
        // Another broker than the one that was asked to create it may not know it for a moment.
        if let Ok(described) = described.1 {
            let indices: Vec<i32> = described
                .partitions
                .iter()
                .map(|partition| partition.partition)
                .collect();
            assert_eq!(indices, [0, 1, 2]);
            assert!(!described.is_internal);
            let is_led = |it: &engine_client::admin::PartitionDescription| {
                it.leader
                    .is_some_and(|leader| it.replicas.contains(&leader) && it.in_sync_replicas.contains(&leader))
            };
            if described.partitions.iter().all(is_led) {
                break;
            }
        }
        assert!(Instant::now() < deadline, "it has no leaders");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    scene.known_everywhere(&topic, |_| true).await;
    assert!(is_listed(&scene, &topic).await);
    assert_eq!(
        admin.delete_topics(&[&topic]).await.expect("answers"),
        [(topic.clone(), Ok(()))]
    );
    while is_listed(&scene, &topic).await {
        assert!(Instant::now() < deadline, "it is still there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

async fn is_listed(scene: &Scene, topic: &str) -> bool {
    let topics = scene.admin().await.list_topics().await.expect("answers");
    topics.iter().any(|it| it.name == topic)
}

async fn a_topic_that_exists_is_not_created_again(scene: Scene) -> Shown {
    let admin = scene.admin().await;
    let topic = scene.topic(1).await;
    let refused = admin
        .create_topics(&[plain(&topic, 5)])
        .await
        .expect("answers")
        .remove(0)
        .1;
    let refused = refused.expect_err("exists");
    assert_eq!(refused.code, ErrorCode::TOPIC_ALREADY_EXISTS);
    assert!(!refused.message.is_empty());
    Ok(())
}

async fn one_refused_topic_does_not_stop_the_others(scene: Scene) -> Shown {
    let admin = scene.admin().await;
    let (one, two) = (scene.name("one"), scene.name("two"));
    let existing = scene.topic(1).await;
    let wanted = [plain(&one, 1), plain(&existing, 1), plain(&two, 2)];
    let created: BTreeMap<String, _> = admin
        .create_topics(&wanted)
        .await
        .expect("answers")
        .into_iter()
        .collect();
    assert_eq!(created.len(), 3);
    assert_eq!((&created[&one], &created[&two]), (&Ok(()), &Ok(())));
    assert!(created[&existing].is_err());
    Ok(())
}

async fn a_topic_with_the_brokers_own_number_of_partitions_is_created(scene: Scene) -> Shown {
    let topic = NewTopic {
        name: scene.name("default"),
        ..NewTopic::default()
    };
    let name = topic.name.clone();
    let created = scene
        .admin()
        .await
        .create_topics(&[topic])
        .await
        .expect("answers")
        .remove(0)
        .1;
    assert_eq!(created, Ok(()));
    let producer = scene.producer(|_| {}).await;
    assert!(producer.partitions_for(&name).await.expect("is known") >= 1);
    Ok(())
}

async fn names_factors_and_properties_that_cannot_be_are_refused(scene: Scene) -> Shown {
    let admin = scene.admin().await;
    let name = scene.name("refused");
    let mut wrong_factor = plain(&name, 1);
    wrong_factor.replication_factor = Some(100);
    let mut wrong_property = plain(&name, 1);
    wrong_property
        .configs
        .insert("cleanup.policy".into(), "sometimes".into());
    let mut lacking = Vec::new();
    for (topic, expected) in [
        (plain("no/slashes", 1), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (plain(&name, 0), ErrorCode::INVALID_PARTITIONS),
        (wrong_factor, ErrorCode::INVALID_REPLICATION_FACTOR),
        (wrong_property, ErrorCode::INVALID_CONFIG),
    ] {
        let created = admin
            .create_topics(std::slice::from_ref(&topic))
            .await
            .expect("answers")
            .remove(0)
            .1;
        match created {
            Err(refused) => assert_eq!(refused.code, expected, "{refused}"),
            Ok(()) => {
                lacking.push(expected.name());
                admin.delete_topics(&[&topic.name]).await.expect("answers");
            }
        }
    }
    match lacking.is_empty() {
        true => Ok(()),
        false => cannot(format!(
            "creates topics where Apache Kafka answers {}",
            lacking.join(", ")
        )),
    }
}

async fn properties_of_a_topic_are_told_with_their_defaults(scene: Scene) -> Shown {
    let topic = scene
        .topic_with(1, &[("retention.ms", "123456789")])
        .await
        .expect("can be created");
    scene.known_everywhere(&topic, |_| true).await;
    let described = scene
        .admin()
        .await
        .describe_configs(&[&topic])
        .await
        .expect("answers")
        .remove(0)
        .1;
    let described = described.expect("exists");
    let of = |name: &str| described.iter().find(|entry| entry.name == name).expect("is told");
    let retention = of("retention.ms");
    assert_eq!(
        (retention.value.as_deref(), retention.is_default),
        (Some("123456789"), false)
    );
    let policy = of("cleanup.policy");
    assert_eq!((policy.value.as_deref(), policy.is_default), (Some("delete"), true));
    Ok(())
}

async fn partitions_are_added_but_never_removed(scene: Scene) -> Shown {
    let admin = scene.admin().await;
    let topic = scene.topic(2).await;
    assert_eq!(
        admin.create_partitions(&[(&topic, 4)]).await.expect("answers"),
        [(topic.clone(), Ok(()))]
    );
    let refused = admin
        .create_partitions(&[(&topic, 3)])
        .await
        .expect("answers")
        .remove(0)
        .1;
    assert_eq!(refused.expect_err("has four").code, ErrorCode::INVALID_PARTITIONS);
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let described = admin.describe_topics(&[&topic]).await.expect("answers").remove(0).1;
        if described.is_ok_and(|described| described.partitions.len() == 4) {
            return Ok(());
        }
        assert!(Instant::now() < deadline, "they do not appear");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn unknown_topics_are_refused_by_name(scene: Scene) -> Shown {
    let admin = scene.admin().await;
    let (known, unknown) = (scene.topic(1).await, scene.name("unknown"));
    for (operation, results) in [
        (
            "describe",
            admin
                .describe_topics(&[&unknown])
                .await
                .expect("answers")
                .remove(0)
                .1
                .map(drop),
        ),
        (
            "configs",
            admin
                .describe_configs(&[&unknown])
                .await
                .expect("answers")
                .remove(0)
                .1
                .map(drop),
        ),
        (
            "grow",
            admin
                .create_partitions(&[(&unknown, 3)])
                .await
                .expect("answers")
                .remove(0)
                .1,
        ),
    ] {
        let refused = results.expect_err("is not there");
        assert_eq!(refused.code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "{operation}");
    }
    let deleted: BTreeMap<_, _> = admin
        .delete_topics(&[&unknown, &known])
        .await
        .expect("answers")
        .into_iter()
        .collect();
    let refused = deleted[&unknown].as_ref().expect_err("is not there");
    assert_eq!(refused.code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(deleted[&known], Ok(()));
    Ok(())
}

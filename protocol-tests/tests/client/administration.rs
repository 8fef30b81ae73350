//! The admin client.

use engine_broker::FaultAction;
use engine_client::{CommittedOffset, admin::NewTopic};
use engine_wire::error_code::ErrorCode;

use crate::scene::{FIND_COORDINATOR, METADATA, Scene};

#[tokio::test]
async fn the_admin_sees_and_changes_topics_groups_and_records() {
    let scene = Scene::new(2).await;
    let admin = scene.admin().await;
    scene.produce(2, 0, 100).await;
    let topic = scene.topic.as_str();
    let again = NewTopic {
        name: topic.into(),
        partitions: Some(1),
        replication_factor: Some(1),
        ..NewTopic::default()
    };
    let refused = admin
        .create_topics(&[again])
        .await
        .expect("answers")
        .remove(0)
        .1
        .expect_err("exists");
    assert_eq!(refused.code, ErrorCode::TOPIC_ALREADY_EXISTS);
    let described = admin.describe_topics(&[topic, "no-such-topic"]).await.expect("answers");
    let of = |name: &str| {
        described
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, result)| result)
            .expect("is answered")
    };
    assert_eq!(of(topic).as_ref().expect("exists").partitions.len(), 2);
    assert_eq!(
        of("no-such-topic").as_ref().expect_err("missing").code,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    );
    assert!(
        admin
            .list_topics()
            .await
            .expect("answers")
            .iter()
            .any(|t| t.name == topic)
    );
    let configs = admin
        .describe_configs(&[topic])
        .await
        .expect("answers")
        .remove(0)
        .1
        .expect("exists");
    assert!(configs.iter().any(|entry| entry.name == "cleanup.policy"));
    let cluster = admin.describe_cluster().await.expect("answers");
    assert!(!cluster.brokers.is_empty() && cluster.controller.is_some());

    let group = format!("{topic}-admin");
    let committed = [(
        scene.tp(1),
        CommittedOffset {
            offset: 5,
            leader_epoch: None,
            metadata: "m".into(),
        },
    )];
    let altered = admin.alter_group_offsets(&group, &committed).await.expect("answers");
    assert_eq!(altered, [(scene.tp(1), Ok(()))]);
    assert_eq!(admin.group_offsets(&group).await.expect("answers"), committed);
    assert!(
        admin
            .list_groups()
            .await
            .expect("answers")
            .iter()
            .any(|listing| listing.group == group)
    );
    let deleted = admin.delete_groups(&[&group]).await.expect("answers");
    assert_eq!(deleted, [(group.clone(), Ok(()))]);

    let low = admin.delete_records(&[(scene.tp(0), 20)]).await.expect("answers");
    assert_eq!(low, [(scene.tp(0), Ok(20))]);
    let begins = admin.list_offsets(&[(scene.tp(0), -2)]).await.expect("answers");
    assert_eq!(begins[0].1.map(|listed| listed.offset), Some(20));
    let deleted = admin.delete_topics(&[topic]).await.expect("answers");
    assert_eq!(deleted, [(topic.to_owned(), Ok(()))]);
}

#[tokio::test]
async fn questions_are_asked_again_when_the_connection_breaks_or_the_coordinator_is_still_missing() {
    let scene = Scene::embedded(1).await;
    let admin = scene.admin().await;
    scene.inject(METADATA, FaultAction::Disconnect);
    let topics = admin.list_topics().await.expect("asked again");
    assert!(topics.iter().any(|topic| topic.name == scene.topic));
    // A fresh cluster has no coordinators before it has made their topic.
    for _ in 0..2 {
        scene.inject(
            FIND_COORDINATOR,
            FaultAction::Error(ErrorCode::COORDINATOR_NOT_AVAILABLE),
        );
    }
    let committed = [(scene.tp(0), CommittedOffset::default())];
    let altered = admin
        .alter_group_offsets("first", &committed)
        .await
        .expect("asked again");
    assert_eq!(altered, [(scene.tp(0), Ok(()))]);
}

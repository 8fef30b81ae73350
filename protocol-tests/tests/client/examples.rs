//! The client's example programs do what they say.

#[path = "../../../engine/client/examples/consume.rs"]
#[allow(dead_code)] // Its `main`.
mod consume;
#[path = "../../../engine/client/examples/produce.rs"]
#[allow(dead_code)]
mod produce;
#[path = "../../../engine/client/examples/transform_exactly_once.rs"]
#[allow(dead_code)]
mod transform_exactly_once;

use engine_client::admin::NewTopic;

use crate::scene::Scene;

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_write_transform_and_read_each_record_once() {
    let scene = Scene::embedded(4).await;
    let shouted = NewTopic {
        name: "shouted".into(),
        partitions: Some(3),
        replication_factor: Some(1),
        ..NewTopic::default()
    };
    let created = scene.admin().await.create_topics(&[shouted]).await.expect("answers");
    assert_eq!(created, [("shouted".to_owned(), Ok(()))]);

    produce::produce(&scene.bootstrap, &scene.topic)
        .await
        .expect("produces");
    let transform = || transform_exactly_once::transform(&scene.bootstrap, &scene.topic, "shouted");
    assert_eq!(transform().await.expect("transforms"), 1_000);
    assert_eq!(transform().await.expect("goes on where it was"), 0);
    let consume = || consume::consume(&scene.bootstrap, "shouted");
    assert_eq!(consume().await.expect("consumes"), 1_000);
    assert_eq!(consume().await.expect("goes on where it was"), 0);
}

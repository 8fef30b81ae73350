//! Topics: made, grown, configured, deleted.

use engine_broker::{BrokerConfig, Fault, FaultAction};
use engine_wire::error_code::ErrorCode;
use engine_wire::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use engine_wire::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use engine_wire::messages::metadata_request::MetadataRequestTopic;
use engine_wire::messages::{
    CreateTopicsRequest, DeleteTopicsRequest, IncrementalAlterConfigsRequest, MetadataRequest,
};

use crate::client::{RawClient, batch, fetch_request, name, produce_request, start, start_with, string};
use crate::durability::{crash, on_disk, restart};

#[tokio::test]
async fn impossible_topics_are_refused_with_their_codes() {
    let broker = start().await;
    let mut client = RawClient::connect(&broker).await;
    client.create("present").await;
    let topic = |topic: &str, partitions, replication_factor| {
        CreatableTopic::default()
            .with_name(name(topic))
            .with_num_partitions(partitions)
            .with_replication_factor(replication_factor)
    };
    let config = CreatableTopicConfig::default()
        .with_name(string("nonsense"))
        .with_value(Some(string("1")));
    let wanted = [
        (topic("present", 1, 1), ErrorCode::TOPIC_ALREADY_EXISTS),
        (topic("a/b", 1, 1), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (topic("none", 0, 1), ErrorCode::INVALID_PARTITIONS),
        (topic("many", i32::MAX, 1), ErrorCode::INVALID_PARTITIONS),
        (topic("copies", 1, 3), ErrorCode::INVALID_REPLICATION_FACTOR),
        (topic("odd", 1, 1).with_configs(vec![config]), ErrorCode::INVALID_CONFIG),
        (topic("twice", 1, 1), ErrorCode::INVALID_REQUEST),
        (topic("twice", 1, 1), ErrorCode::INVALID_REQUEST),
        (topic("default", -1, -1), ErrorCode::NONE),
    ];
    let request = CreateTopicsRequest::default().with_topics(wanted.iter().map(|(topic, _)| topic.clone()).collect());
    let response = client.ask(7, &request).await;
    for ((topic, code), result) in wanted.iter().zip(response.topics) {
        assert_eq!(
            ErrorCode::from(result.error_code),
            *code,
            "{}: {:?}",
            topic.name.as_str(),
            result.error_message
        );
    }
}

#[tokio::test]
async fn a_topic_that_is_deleted_and_made_again_has_a_new_id_and_no_records() {
    let broker = start().await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    client.produce("t", 0, batch(&["a"])).await;
    let all = MetadataRequest::default().with_topics(None);
    let old_id = client.ask(12, &all).await.topics.remove(0).topic_id;
    client
        .ask(5, &DeleteTopicsRequest::default().with_topic_names(vec![name("t")]))
        .await;
    assert_eq!(client.ask(12, &all).await.topics.len(), 0);
    client.create("t").await;
    assert_ne!(client.ask(12, &all).await.topics.remove(0).topic_id, old_id);
    assert_eq!(client.produce("t", 0, batch(&["b"])).await.base_offset, 0);
}

/// Pitfall 13: clients that go by ids must learn that theirs is gone, and that epochs begin again.
#[tokio::test]
async fn a_topic_that_is_made_again_is_unknown_by_its_old_id_and_begins_its_leader_epochs_at_0() {
    let data = tempfile::tempdir().expect("a directory");
    let broker = start_with(on_disk(data.path())).await;
    crash(broker);
    let broker = restart(data.path()).await; // A later life: its own number is not 0.
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    let all = MetadataRequest::default().with_topics(None);
    broker.inject(Fault::once(3, FaultAction::MoveLeaders));
    let old = client.ask(12, &all).await.topics.remove(0);
    assert_eq!(old.partitions[0].leader_epoch, 1);
    let delete = DeleteTopicsRequest::default().with_topic_names(vec![name("t")]);
    client.ask(5, &delete).await;
    client.create("t").await;
    let new = client.ask(12, &all).await.topics.remove(0);
    assert_eq!(new.partitions[0].leader_epoch, 0);

    for (id, code) in [
        (old.topic_id, ErrorCode::UNKNOWN_TOPIC_ID),
        (new.topic_id, ErrorCode::NONE),
    ] {
        let mut produce = produce_request("t", 0, batch(&["b"]));
        produce.topic_data[0].name = name("");
        produce.topic_data[0].topic_id = id;
        let produced = client.ask(13, &produce).await.responses.remove(0);
        assert_eq!(produced.topic_id, id);
        assert_eq!(ErrorCode::from(produced.partition_responses[0].error_code), code);
        for version in [13, 17] {
            let mut fetch = fetch_request("t", 0, 0, 0);
            fetch.topics[0].topic = name("");
            fetch.topics[0].topic_id = id;
            let fetched = client.ask(version, &fetch).await.responses.remove(0);
            assert_eq!(fetched.topic_id, id);
            assert_eq!(
                ErrorCode::from(fetched.partitions[0].error_code),
                code,
                "version {version}"
            );
        }
    }
}

#[tokio::test]
async fn topics_are_made_on_first_use_only_if_both_sides_want_it() {
    for (broker_wants, client_wants, code) in [
        (true, true, ErrorCode::NONE),
        (true, false, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (false, true, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
    ] {
        let config = BrokerConfig {
            auto_create_topics: broker_wants,
            default_partitions: 2,
            ..BrokerConfig::default()
        };
        let broker = start_with(config).await;
        let mut client = RawClient::connect(&broker).await;
        let wanted = MetadataRequestTopic::default().with_name(Some(name("t")));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![wanted]))
            .with_allow_auto_topic_creation(client_wants);
        let topic = client.ask(8, &request).await.topics.remove(0);
        assert_eq!(ErrorCode::from(topic.error_code), code);
        assert_eq!(topic.partitions.len(), if code.is_ok() { 2 } else { 0 });
    }
}

#[tokio::test]
async fn a_changed_setting_is_obeyed_from_then_on() {
    let broker = start().await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    let change = AlterableConfig::default()
        .with_name(string("max.message.bytes"))
        .with_value(Some(string("10")));
    let resource = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(string("t"))
        .with_configs(vec![change]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let response = client.ask(1, &request).await.responses.remove(0);
    assert_eq!(ErrorCode::from(response.error_code), ErrorCode::NONE);
    let refused = client.produce("t", 0, batch(&["a"])).await;
    assert_eq!(ErrorCode::from(refused.error_code), ErrorCode::MESSAGE_TOO_LARGE);
}

//! Every API answers with the error that a fault asks for, where that API has its errors, and does nothing else.

use engine_broker::{Broker, Fault, FaultAction};
use engine_wire::error_code::ErrorCode;
use engine_wire::messages::create_partitions_request::CreatePartitionsTopic;
use engine_wire::messages::create_topics_request::CreatableTopic;
use engine_wire::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use engine_wire::messages::delete_topics_request::DeleteTopicState;
use engine_wire::messages::describe_configs_request::DescribeConfigsResource;
use engine_wire::messages::incremental_alter_configs_request::AlterConfigsResource;
use engine_wire::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use engine_wire::messages::{
    ApiVersionsRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteGroupsRequest, DeleteRecordsRequest,
    DeleteTopicsRequest, DescribeClusterRequest, DescribeConfigsRequest, DescribeGroupsRequest,
    DescribeTransactionsRequest, GroupId, IncrementalAlterConfigsRequest, LeaveGroupRequest, ListGroupsRequest,
    ListTransactionsRequest, MetadataRequest, OffsetDeleteRequest, OffsetForLeaderEpochRequest, Request,
    TransactionalId,
};

use crate::client::{RawClient, batch, name, read, start, string};

/// Unlike anything that these requests could meet otherwise.
const CODE: ErrorCode = ErrorCode::BROKER_ID_NOT_REGISTERED;

async fn refused<R: Request>(broker: &Broker, client: &mut RawClient, version: i16, request: &R) -> R::Response {
    broker.inject(Fault::once(R::KEY, FaultAction::Error(CODE)));
    client.ask(version, request).await
}

#[tokio::test]
async fn topics_are_neither_made_nor_changed_nor_deleted_when_an_error_is_asked_for() {
    let broker = start().await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    client.produce("t", 0, batch(&["a"])).await;
    let c = &mut client;
    let topic = CreatableTopic::default().with_name(name("u")).with_num_partitions(1);
    let request = CreateTopicsRequest::default().with_topics(vec![topic.with_replication_factor(1)]);
    assert_eq!(refused(&broker, c, 7, &request).await.topics[0].error_code, CODE.code());
    let by_name = DeleteTopicsRequest::default().with_topic_names(vec![name("t")]);
    let answer = refused(&broker, c, 5, &by_name).await;
    assert_eq!(answer.responses[0].error_code, CODE.code());
    let named = DeleteTopicState::default().with_name(Some(name("t")));
    let request = DeleteTopicsRequest::default().with_topics(vec![named]);
    assert_eq!(
        refused(&broker, c, 6, &request).await.responses[0].error_code,
        CODE.code()
    );
    let wanted = DeleteRecordsPartition::default().with_offset(1);
    let topic = DeleteRecordsTopic::default().with_name(name("t"));
    let request = DeleteRecordsRequest::default().with_topics(vec![topic.with_partitions(vec![wanted])]);
    let answer = refused(&broker, c, 2, &request).await;
    assert_eq!(answer.topics[0].partitions[0].error_code, CODE.code());
    let topic = CreatePartitionsTopic::default().with_name(name("t")).with_count(9);
    let request = CreatePartitionsRequest::default().with_topics(vec![topic]);
    assert_eq!(
        refused(&broker, c, 3, &request).await.results[0].error_code,
        CODE.code()
    );
    let resource = AlterConfigsResource::default().with_resource_type(2);
    let resources = vec![resource.with_resource_name(string("t"))];
    let request = IncrementalAlterConfigsRequest::default().with_resources(resources);
    assert_eq!(
        refused(&broker, c, 1, &request).await.responses[0].error_code,
        CODE.code()
    );
    let resource = DescribeConfigsResource::default().with_resource_type(2);
    let resources = vec![resource.with_resource_name(string("t"))];
    let request = DescribeConfigsRequest::default().with_resources(resources);
    assert_eq!(
        refused(&broker, c, 4, &request).await.results[0].error_code,
        CODE.code()
    );
    let topic = OffsetForLeaderTopic::default().with_topic(name("t"));
    let topic = topic.with_partitions(vec![OffsetForLeaderPartition::default()]);
    let request = OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
    let answer = refused(&broker, c, 4, &request).await;
    assert_eq!(answer.topics[0].partitions[0].error_code, CODE.code());

    let topics = client
        .ask(12, &MetadataRequest::default().with_topics(None))
        .await
        .topics;
    assert_eq!(topics.len(), 1, "as before");
    assert_ne!(topics[0].partitions.len(), 9, "as before");
    assert_eq!(read(client.fetch("t", 0, 0, 0).await.records), [(0, "a".into())]);
}

#[tokio::test]
async fn groups_transactions_and_the_cluster_answer_with_the_error_that_is_asked_for() {
    let broker = start().await;
    let mut client = RawClient::connect(&broker).await;
    let c = &mut client;
    let group = || GroupId(string("g"));
    let request = LeaveGroupRequest::default().with_group_id(group());
    assert_eq!(refused(&broker, c, 5, &request).await.error_code, CODE.code());
    let request = DescribeGroupsRequest::default().with_groups(vec![group()]);
    assert_eq!(refused(&broker, c, 5, &request).await.groups[0].error_code, CODE.code());
    let request = ListGroupsRequest::default();
    assert_eq!(refused(&broker, c, 5, &request).await.error_code, CODE.code());
    let request = DeleteGroupsRequest::default().with_groups_names(vec![group()]);
    assert_eq!(
        refused(&broker, c, 2, &request).await.results[0].error_code,
        CODE.code()
    );
    let request = OffsetDeleteRequest::default().with_group_id(group());
    assert_eq!(refused(&broker, c, 0, &request).await.error_code, CODE.code());
    let request = DescribeClusterRequest::default();
    assert_eq!(refused(&broker, c, 1, &request).await.error_code, CODE.code());
    let ids = vec![TransactionalId(string("tx"))];
    let request = DescribeTransactionsRequest::default().with_transactional_ids(ids);
    let answer = refused(&broker, c, 0, &request).await;
    assert_eq!(answer.transaction_states[0].error_code, CODE.code());
    let request = ListTransactionsRequest::default();
    assert_eq!(refused(&broker, c, 1, &request).await.error_code, CODE.code());
    let request = ApiVersionsRequest::default();
    assert_eq!(refused(&broker, c, 3, &request).await.error_code, CODE.code());
}

//! Every announced version of every API is answered in a form that decodes.

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::api_versions_response::ApiVersion;
use engine_wire::messages::*;

use crate::client::{RawClient, batch, fetch_request, name, produce_request, start, string};

#[tokio::test]
async fn an_unknown_version_of_api_versions_is_answered_in_version_zero() {
    let broker = start().await;
    let mut client = RawClient::connect(&broker).await;
    // Header v2: key 18, version 99, correlation id 1, client id null, no tags; then a body of some kind.
    let request = [0, 18, 0, 99, 0, 0, 0, 1, 0xff, 0xff, 0, 2, b'x', 2, b'y', 0];
    client.write(&(request.len() as i32).to_be_bytes()).await;
    client.write(&request).await;
    let frame = client.frame().await.expect("an answer");
    let answer = engine_wire::response::decode_api_versions(99, frame.slice(4..)).expect("version 0");
    assert_eq!(ErrorCode::from(answer.error_code), ErrorCode::UNSUPPORTED_VERSION);
    let ApiVersion {
        api_key, max_version, ..
    } = answer.api_keys[0];
    assert_eq!((answer.api_keys.len(), api_key, max_version), (1, 18, 4));
    // The connection goes on.
    assert!(client.ask(4, &ApiVersionsRequest::default()).await.api_keys.len() > 20);
}

#[tokio::test]
async fn an_unknown_version_of_anything_else_closes_the_connection() {
    let broker = start().await;
    let mut client = RawClient::connect(&broker).await;
    client.send(1, &WriteTxnMarkersRequest::default()).await;
    assert!(client.answer::<WriteTxnMarkersRequest>(1).await.is_none());
}

/// Asks for all announced versions of an API; `$request` may depend on the version.
macro_rules! every_version {
    ($client:ident, $announced:ident, $api:ident, $version:ident => $request:expr) => {
        let (min, max) = $announced
            .iter()
            .find(|api| api.api_key == ApiKey::$api as i16)
            .map(|api| (api.min_version, api.max_version))
            .expect("announced");
        for $version in min.max(if matches!(ApiKey::$api, ApiKey::Produce) {
            3
        } else {
            min
        })..=max
        {
            let answer = $client.ask($version, &$request).await;
            assert!(!format!("{answer:?}").is_empty());
        }
    };
}

#[tokio::test]
async fn every_announced_version_is_answered() {
    let broker = start().await;
    let mut client = RawClient::connect(&broker).await;
    let topics = client.create("t").await.topics;
    assert_eq!(topics.len(), 1);
    let topic_id = client
        .ask(12, &MetadataRequest::default().with_topics(None))
        .await
        .topics
        .remove(0)
        .topic_id;
    let announced = client.ask(4, &ApiVersionsRequest::default()).await.api_keys;
    every_version!(client, announced, ApiVersions, _v => ApiVersionsRequest::default());
    every_version!(client, announced, Metadata, v => {
        MetadataRequest::default().with_topics(if v == 0 { Some(vec![]) } else { None })
    });
    every_version!(client, announced, Produce, v => {
        let mut request = produce_request("t", 0, batch(&["x"]));
        if v >= 13 {
            request.topic_data[0].name = TopicName::default();
            request.topic_data[0].topic_id = topic_id;
        }
        request
    });
    every_version!(client, announced, Fetch, v => {
        let mut request = fetch_request("t", 0, 0, 0);
        if v >= 13 {
            request.topics[0].topic = TopicName::default();
            request.topics[0].topic_id = topic_id;
        }
        request.with_session_epoch(if v >= 7 { 0 } else { -1 })
    });
    every_version!(client, announced, ListOffsets, _v => {
        let wanted = list_offsets_request::ListOffsetsPartition::default().with_timestamp(-1);
        let topic = list_offsets_request::ListOffsetsTopic::default().with_name(name("t")).with_partitions(vec![wanted]);
        ListOffsetsRequest::default().with_topics(vec![topic])
    });
    every_version!(client, announced, FindCoordinator, v => {
        let request = FindCoordinatorRequest::default();
        if v < 4 { request.with_key(string("g")) } else { request.with_coordinator_keys(vec![string("g")]) }
    });
    every_version!(client, announced, InitProducerId, _v => InitProducerIdRequest::default());
    every_version!(client, announced, OffsetForLeaderEpoch, _v => {
        use offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
        let topic = OffsetForLeaderTopic::default()
            .with_topic(name("t"))
            .with_partitions(vec![OffsetForLeaderPartition::default()]);
        OffsetForLeaderEpochRequest::default().with_topics(vec![topic])
    });
    every_version!(client, announced, OffsetCommit, _v => {
        use offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
        let wanted = OffsetCommitRequestPartition::default().with_committed_offset(1);
        let topic = OffsetCommitRequestTopic::default().with_name(name("t")).with_partitions(vec![wanted]);
        OffsetCommitRequest::default().with_group_id(GroupId(string("simple"))).with_topics(vec![topic])
    });
    every_version!(client, announced, OffsetFetch, v => {
        use offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics};
        let group_id = GroupId(string("simple"));
        if v < 8 {
            let topic = OffsetFetchRequestTopic::default().with_name(name("t")).with_partition_indexes(vec![0, 1]);
            OffsetFetchRequest::default().with_group_id(group_id).with_topics(Some(vec![topic]))
        } else {
            let topic = OffsetFetchRequestTopics::default().with_name(name("t")).with_partition_indexes(vec![0, 1]);
            let group = OffsetFetchRequestGroup::default().with_group_id(group_id).with_topics(Some(vec![topic]));
            OffsetFetchRequest::default().with_groups(vec![group])
        }
    });
    every_version!(client, announced, Heartbeat, _v => HeartbeatRequest::default());
    every_version!(client, announced, LeaveGroup, v => {
        let member = leave_group_request::MemberIdentity::default().with_member_id(string("m"));
        match v {
            0..3 => LeaveGroupRequest::default().with_member_id(string("m")),
            _ => LeaveGroupRequest::default().with_members(vec![member]),
        }
    });
    every_version!(client, announced, JoinGroup, v => {
        let protocol = join_group_request::JoinGroupRequestProtocol::default().with_name(string("range"));
        JoinGroupRequest::default()
            .with_group_id(GroupId(string(&format!("joined-{v}"))))
            .with_session_timeout_ms(10_000)
            .with_rebalance_timeout_ms(10_000)
            .with_protocol_type(string("consumer"))
            .with_protocols(vec![protocol])
    });
    every_version!(client, announced, SyncGroup, _v => SyncGroupRequest::default());
    every_version!(client, announced, DescribeGroups, _v => {
        let groups = ["simple", "joined-0", "nobody"].map(|group| GroupId(string(group)));
        DescribeGroupsRequest::default().with_groups(groups.to_vec())
    });
    every_version!(client, announced, ListGroups, _v => ListGroupsRequest::default());
    every_version!(client, announced, DescribeConfigs, _v => {
        let resource = describe_configs_request::DescribeConfigsResource::default();
        let topic = resource.clone().with_resource_type(2).with_resource_name(string("t"));
        let broker = resource.with_resource_type(4).with_resource_name(string("1"));
        DescribeConfigsRequest::default().with_resources(vec![topic, broker]).with_include_synonyms(true)
    });
    every_version!(client, announced, IncrementalAlterConfigs, _v => IncrementalAlterConfigsRequest::default());
    every_version!(client, announced, CreateTopics, v => {
        let topic = |topic: String| create_topics_request::CreatableTopic::default()
            .with_name(name(&topic)).with_num_partitions(1).with_replication_factor(1);
        CreateTopicsRequest::default().with_topics(vec![topic(format!("new-{v}")), topic("t".to_owned())])
    });
    every_version!(client, announced, CreatePartitions, v => {
        let topic = create_partitions_request::CreatePartitionsTopic::default()
            .with_name(name("t")).with_count(5 + i32::from(v)).with_assignments(None);
        CreatePartitionsRequest::default().with_topics(vec![topic])
    });
    every_version!(client, announced, DeleteTopics, v => {
        let topic = delete_topics_request::DeleteTopicState::default().with_name(Some(name("new-6")));
        match v {
            0..6 => DeleteTopicsRequest::default().with_topic_names(vec![name(&format!("new-{v}")), name("nothing")]),
            _ => DeleteTopicsRequest::default().with_topics(vec![topic]),
        }
    });
    every_version!(client, announced, DeleteRecords, _v => {
        let wanted = delete_records_request::DeleteRecordsPartition::default().with_offset(-1);
        let topic = delete_records_request::DeleteRecordsTopic::default()
            .with_name(name("t")).with_partitions(vec![wanted]);
        DeleteRecordsRequest::default().with_topics(vec![topic])
    });
    every_version!(client, announced, OffsetDelete, _v => {
        OffsetDeleteRequest::default().with_group_id(GroupId(string("simple")))
    });
    every_version!(client, announced, DeleteGroups, _v => {
        DeleteGroupsRequest::default().with_groups_names(vec![GroupId(string("simple"))])
    });
    every_version!(client, announced, DescribeCluster, _v => DescribeClusterRequest::default());
    every_version!(client, announced, AddPartitionsToTxn, v => match v {
        0..4 => AddPartitionsToTxnRequest::default(),
        _ => {
            let transaction = add_partitions_to_txn_request::AddPartitionsToTxnTransaction::default();
            AddPartitionsToTxnRequest::default().with_transactions(vec![transaction.with_verify_only(true)])
        }
    });
    every_version!(client, announced, AddOffsetsToTxn, _v => AddOffsetsToTxnRequest::default());
    every_version!(client, announced, EndTxn, _v => EndTxnRequest::default());
    every_version!(client, announced, TxnOffsetCommit, _v => {
        let partition = txn_offset_commit_request::TxnOffsetCommitRequestPartition::default();
        let topic = txn_offset_commit_request::TxnOffsetCommitRequestTopic::default()
            .with_name(name("t")).with_partitions(vec![partition]);
        TxnOffsetCommitRequest::default().with_generation_id(-1).with_topics(vec![topic])
    });
    every_version!(client, announced, DescribeTransactions, _v => {
        DescribeTransactionsRequest::default().with_transactional_ids(vec![TransactionalId(string("tx"))])
    });
    every_version!(client, announced, ListTransactions, _v => ListTransactionsRequest::default());
}

//! Groups over the wire: joining, assignments, commits, timeouts. Their finer points are `group`'s unit tests.

use bytes::Bytes;
use engine_broker::BrokerConfig;
use engine_wire::error_code::ErrorCode;
use engine_wire::messages::join_group_request::JoinGroupRequestProtocol;
use engine_wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use engine_wire::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use engine_wire::messages::sync_group_request::SyncGroupRequestAssignment;
use engine_wire::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse,
    OffsetCommitRequest, OffsetFetchRequest, StrBytes, SyncGroupRequest,
};

use crate::client::{RawClient, name, start, start_with, string};

fn group() -> GroupId {
    GroupId(string("g"))
}

fn join(member_id: &StrBytes) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(string("range"))
        .with_metadata(Bytes::from_static(b"topics"));
    JoinGroupRequest::default()
        .with_group_id(group())
        .with_member_id(member_id.clone())
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(10_000)
        .with_protocol_type(string("consumer"))
        .with_protocols(vec![protocol])
}

fn sync(joined: &JoinGroupResponse, assignments: &[(&StrBytes, &'static str)]) -> SyncGroupRequest {
    let assignment = |(member_id, assignment): &(&StrBytes, &'static str)| {
        SyncGroupRequestAssignment::default()
            .with_member_id((*member_id).clone())
            .with_assignment(Bytes::from_static(assignment.as_bytes()))
    };
    SyncGroupRequest::default()
        .with_group_id(group())
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_protocol_type(Some(string("consumer")))
        .with_protocol_name(Some(string("range")))
        .with_assignments(assignments.iter().map(assignment).collect())
}

/// Asks for an id, as clients of version 4 and later do.
async fn new_id(client: &mut RawClient) -> StrBytes {
    let told = client.ask(9, &join(&StrBytes::new())).await;
    assert_eq!(ErrorCode::from(told.error_code), ErrorCode::MEMBER_ID_REQUIRED);
    told.member_id
}

fn heartbeat(joined: &JoinGroupResponse) -> HeartbeatRequest {
    HeartbeatRequest::default()
        .with_group_id(group())
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
}

#[tokio::test]
async fn two_members_share_a_generation_and_get_what_the_leader_assigned() {
    let broker = start().await;
    let (mut first, mut second) = (RawClient::connect(&broker).await, RawClient::connect(&broker).await);
    let first_id = new_id(&mut first).await;
    let alone = first.ask(9, &join(&first_id)).await;
    assert_eq!((alone.generation_id, &alone.leader), (1, &first_id));
    let assigned = first.ask(5, &sync(&alone, &[(&first_id, "all")])).await;
    assert_eq!(assigned.assignment, "all");

    let second_id = new_id(&mut second).await;
    second.send(9, &join(&second_id)).await;
    // The first one hears of it by heartbeat.
    loop {
        let beat = ErrorCode::from(first.ask(4, &heartbeat(&alone)).await.error_code);
        if beat == ErrorCode::REBALANCE_IN_PROGRESS {
            break;
        }
        assert_eq!(beat, ErrorCode::NONE);
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let led = first.ask(9, &join(&first_id)).await;
    let followed = second.answer::<JoinGroupRequest>(9).await.expect("an answer");
    assert_eq!((led.generation_id, followed.generation_id), (2, 2));
    assert_eq!((led.members.len(), followed.members.len()), (2, 0));
    assert_eq!(led.members[0].metadata, "topics");

    second.send(5, &sync(&followed, &[])).await;
    let mine = first
        .ask(5, &sync(&led, &[(&first_id, "one"), (&second_id, "two")]))
        .await;
    let theirs = second.answer::<SyncGroupRequest>(5).await.expect("an answer");
    assert_eq!(
        (&mine.assignment[..], &theirs.assignment[..]),
        (&b"one"[..], &b"two"[..])
    );

    let described = first
        .ask(5, &DescribeGroupsRequest::default().with_groups(vec![group()]))
        .await
        .groups
        .remove(0);
    assert_eq!(
        (described.group_state.as_str(), described.protocol_data.as_str()),
        ("Stable", "range")
    );
    assert_eq!(described.members.len(), 2);
    assert!(described.members.iter().any(|member| member.member_assignment == "two"));
}

#[tokio::test]
async fn a_silent_member_is_expired_and_only_then() {
    let config = BrokerConfig::default();
    let broker = start_with(config).await;
    let mut client = RawClient::connect(&broker).await;
    let id = new_id(&mut client).await;
    let joined = client.ask(9, &join(&id).with_session_timeout_ms(600)).await;
    client.ask(5, &sync(&joined, &[(&id, "all")])).await;
    for _ in 0..5 {
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
        assert_eq!(
            client.ask(4, &heartbeat(&joined)).await.error_code,
            0,
            "it is not silent"
        );
    }
    tokio::time::sleep(std::time::Duration::from_millis(900)).await;
    let beat = client.ask(4, &heartbeat(&joined)).await;
    assert_eq!(ErrorCode::from(beat.error_code), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[tokio::test]
async fn commits_of_the_wrong_generation_or_member_are_refused() {
    let broker = start().await;
    let mut client = RawClient::connect(&broker).await;
    client.create("t").await;
    let id = new_id(&mut client).await;
    let joined = client.ask(9, &join(&id)).await;
    let commit = |member_id: &StrBytes, generation_id, offset, metadata: &str| {
        let wanted = OffsetCommitRequestPartition::default()
            .with_committed_offset(offset)
            .with_committed_metadata(Some(string(metadata)));
        let topic = OffsetCommitRequestTopic::default()
            .with_name(name("t"))
            .with_partitions(vec![wanted]);
        OffsetCommitRequest::default()
            .with_group_id(group())
            .with_member_id(member_id.clone())
            .with_generation_id_or_member_epoch(generation_id)
            .with_topics(vec![topic])
    };
    let before_sync = client.ask(9, &commit(&id, 1, 3, "")).await.topics[0].partitions[0].error_code;
    assert_eq!(ErrorCode::from(before_sync), ErrorCode::REBALANCE_IN_PROGRESS);
    client.ask(5, &sync(&joined, &[(&id, "all")])).await;
    let too_long = "x".repeat(5_000);
    for (member_id, generation_id, metadata, code) in [
        (&id, 1, "here", ErrorCode::NONE),
        (&id, 2, "", ErrorCode::ILLEGAL_GENERATION),
        (&id, 0, "", ErrorCode::ILLEGAL_GENERATION),
        (&string("stranger"), 1, "", ErrorCode::UNKNOWN_MEMBER_ID),
        (&StrBytes::new(), -1, "", ErrorCode::UNKNOWN_MEMBER_ID),
        (&id, 1, &too_long, ErrorCode::OFFSET_METADATA_TOO_LARGE),
    ] {
        let response = client.ask(9, &commit(member_id, generation_id, 5, metadata)).await;
        let committed = ErrorCode::from(response.topics[0].partitions[0].error_code);
        assert_eq!(committed, code, "{} {generation_id}", member_id.as_str());
    }
    let topics = OffsetFetchRequestTopics::default()
        .with_name(name("t"))
        .with_partition_indexes(vec![0, 1]);
    let wanted = OffsetFetchRequestGroup::default()
        .with_group_id(group())
        .with_topics(Some(vec![topics]));
    let all = OffsetFetchRequestGroup::default()
        .with_group_id(group())
        .with_topics(None);
    let request = OffsetFetchRequest::default()
        .with_groups(vec![wanted, all])
        .with_require_stable(true);
    let groups = client.ask(8, &request).await.groups;
    let of_group = |index: usize| -> Vec<(i64, Option<StrBytes>)> {
        let partitions = groups[index].topics[0].partitions.iter();
        partitions
            .map(|partition| (partition.committed_offset, partition.metadata.clone()))
            .collect()
    };
    assert_eq!(of_group(0), [(5, Some(string("here"))), (-1, Some(string("")))]);
    assert_eq!(of_group(1), [(5, Some(string("here")))]);
    let deleted = client
        .ask(2, &DeleteGroupsRequest::default().with_groups_names(vec![group()]))
        .await;
    assert_eq!(
        ErrorCode::from(deleted.results[0].error_code),
        ErrorCode::NON_EMPTY_GROUP
    );
}

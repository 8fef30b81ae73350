//! Committed offsets: kept, resumed from, and refused to those who no longer own the partition.

use engine_client::{AutoOffsetReset, CommitError, CommittedOffset, FetchError, StartAt};
use engine_wire::error_code::ErrorCode;
use engine_wire::messages::{
    ApiKey, FindCoordinatorRequest, GroupId, OffsetCommitRequest, StrBytes, TopicName,
    offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
};

use crate::behaviour::{Shown, behaviours, cannot};
use crate::group_member::{Member, run};
use crate::raw_connection::RawConnection;
use crate::reading::{numbers, read_count, read_error};
use crate::scene::{Scene, tp};

behaviours! { "Committed offsets":
    a_group_goes_on_where_it_committed,
    an_offset_is_committed_with_its_leader_epoch_and_metadata,
    offsets_are_committed_without_being_a_member,
    a_member_cannot_commit_a_partition_that_is_not_its_own,
    a_commit_of_an_older_generation_is_refused,
    a_stranger_cannot_commit_while_the_group_has_members,
    no_committed_offset_without_a_policy_is_an_error,
    a_committed_offset_that_is_gone_follows_the_policy,
    metadata_beyond_the_limit_is_refused,
}

async fn a_group_goes_on_where_it_committed(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    scene.write(&topic, 0, 0..30).await;
    let mut member = Member::joined(&scene, &topic, 1).await;
    run(&mut [&mut member], "30 records", |m| m[0].read.len() >= 30).await;
    let committed = CommittedOffset {
        offset: 20,
        ..CommittedOffset::default()
    };
    member
        .consumer
        .commit(&[(tp(&topic, 0), committed)])
        .await
        .expect("commits");
    member.consumer.close().await;
    let mut member = Member::joined(&scene, &topic, 1).await;
    run(&mut [&mut member], "10 records", |m| m[0].read.len() >= 10).await;
    assert_eq!(numbers(&member.read), (20..30).collect::<Vec<_>>());
    member.consumer.close().await;
    Ok(())
}

async fn an_offset_is_committed_with_its_leader_epoch_and_metadata(scene: Scene) -> Shown {
    let topic = scene.topic(2).await;
    scene.write(&topic, 0, 0..3).await;
    let mut member = Member::joined(&scene, &topic, 2).await;
    run(&mut [&mut member], "3 records", |m| m[0].read.len() >= 3).await;
    member.positions.remove(&tp(&topic, 1));
    member.commit().await.expect("commits");
    let told = member
        .consumer
        .committed(&[tp(&topic, 0), tp(&topic, 1)])
        .await
        .expect("answers");
    assert_eq!(told[0].1.as_ref(), member.positions.get(&tp(&topic, 0)));
    let committed = told[0].1.as_ref().expect("was committed");
    assert_eq!((committed.offset, committed.metadata.as_str()), (3, "conformance"));
    assert_eq!(told[1].1, None);
    member.consumer.close().await;
    Ok(())
}

async fn offsets_are_committed_without_being_a_member(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    scene.write(&topic, 0, 0..10).await;
    let group = scene.name("group");
    let mut consumer = scene.consumer(|config| config.group_id = Some(group.clone())).await;
    consumer.assign([tp(&topic, 0)]);
    consumer
        .start([(tp(&topic, 0), StartAt::Committed)])
        .expect("just assigned");
    assert_eq!(read_count(&mut consumer, 10).await.len(), 10);
    let committed = CommittedOffset {
        offset: 7,
        ..CommittedOffset::default()
    };
    consumer.commit(&[(tp(&topic, 0), committed)]).await.expect("commits");
    consumer
        .start([(tp(&topic, 0), StartAt::Committed)])
        .expect("is assigned");
    assert_eq!(numbers(&read_count(&mut consumer, 3).await), [7, 8, 9]);
    Ok(())
}

async fn a_member_cannot_commit_a_partition_that_is_not_its_own(scene: Scene) -> Shown {
    let topic = scene.topic(2).await;
    let mut first = Member::join(&scene, &[&topic], |_| {}).await;
    let mut second = Member::join(&scene, &[&topic], |_| {}).await;
    let shared = |m: &[&mut Member]| m.iter().all(|m| m.owned.len() == 1);
    run(&mut [&mut first, &mut second], "one each", shared).await;
    let foreign: Vec<_> = second
        .owned
        .iter()
        .map(|tp| (tp.clone(), CommittedOffset::default()))
        .collect();
    let refused = first.consumer.commit(&foreign).await;
    assert!(matches!(refused, Err(CommitError::NotAssigned { .. })), "{refused:?}");
    first.consumer.close().await;
    second.consumer.close().await;
    Ok(())
}

async fn a_commit_of_an_older_generation_is_refused(scene: Scene) -> Shown {
    const OFFSET_COMMIT_VERSION: i16 = 7;
    scene.needs(ApiKey::OffsetCommit, OFFSET_COMMIT_VERSION)?;
    let topic = scene.topic(1).await;
    let member = Member::joined(&scene, &topic, 1).await;
    let metadata = member.consumer.group_metadata().expect("is a member");
    let group = scene.name("group");
    let mut coordinator = RawConnection::open(&scene.group_coordinator(&group).await).await;
    for (generation_id, expected) in [
        (metadata.generation_id - 1, ErrorCode::ILLEGAL_GENERATION),
        (metadata.generation_id, ErrorCode::NONE),
    ] {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(0)
            .with_committed_offset(5);
        let topics = OffsetCommitRequestTopic::default()
            .with_name(TopicName(StrBytes::from_string(topic.clone())))
            .with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(StrBytes::from_string(group.clone())))
            .with_generation_id_or_member_epoch(generation_id)
            .with_member_id(StrBytes::from_string(metadata.member_id.clone()))
            .with_topics(vec![topics]);
        let answer = coordinator.ask(OFFSET_COMMIT_VERSION, &request).await;
        let code = ErrorCode::from(answer.topics[0].partitions[0].error_code);
        assert_eq!(code, expected);
    }
    member.consumer.close().await;
    Ok(())
}

async fn a_stranger_cannot_commit_while_the_group_has_members(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    let member = Member::joined(&scene, &topic, 1).await;
    let admin = scene.admin().await;
    let (group, offsets) = (scene.name("group"), [(tp(&topic, 0), CommittedOffset::default())]);
    let refused = admin
        .alter_group_offsets(&group, &offsets)
        .await
        .expect("answers")
        .remove(0)
        .1;
    let refused = refused.expect_err("the group has a member");
    assert_eq!(refused.code, ErrorCode::UNKNOWN_MEMBER_ID);
    member.consumer.close().await;
    let altered = admin
        .alter_group_offsets(&group, &offsets)
        .await
        .expect("answers")
        .remove(0)
        .1;
    assert_eq!(altered, Ok(()));
    Ok(())
}

async fn no_committed_offset_without_a_policy_is_an_error(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    let mut consumer = scene
        .consumer(|config| {
            config.group_id = Some(scene.name("group"));
            config.auto_offset_reset = AutoOffsetReset::None;
        })
        .await;
    consumer.assign([tp(&topic, 0)]);
    consumer
        .start([(tp(&topic, 0), StartAt::Committed)])
        .expect("just assigned");
    let error = read_error(&mut consumer).await;
    assert_eq!(error, FetchError::NoCommittedOffset { tp: tp(&topic, 0) });
    Ok(())
}

async fn a_committed_offset_that_is_gone_follows_the_policy(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    scene.write(&topic, 0, 0..10).await;
    let admin = scene.admin().await;
    let group = scene.name("group");
    let committed = CommittedOffset {
        offset: 2,
        ..CommittedOffset::default()
    };
    let altered = admin
        .alter_group_offsets(&group, &[(tp(&topic, 0), committed)])
        .await
        .expect("answers");
    assert_eq!(altered[0].1, Ok(()));
    let deleted = admin.delete_records(&[(tp(&topic, 0), 6)]).await.expect("answers");
    assert_eq!(deleted[0].1, Ok(6));
    let mut member = Member::joined(&scene, &topic, 1).await;
    run(&mut [&mut member], "what is left", |m| m[0].read.len() >= 4).await;
    assert_eq!(numbers(&member.read), [6, 7, 8, 9]);
    member.consumer.close().await;
    Ok(())
}

async fn metadata_beyond_the_limit_is_refused(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    let member = Member::joined(&scene, &topic, 1).await;
    let committed = CommittedOffset {
        offset: 0,
        leader_epoch: None,
        metadata: "m".repeat(5_000),
    };
    let refused = member.consumer.commit(&[(tp(&topic, 0), committed.clone())]).await;
    if refused.is_ok() {
        let told = member.consumer.committed(&[tp(&topic, 0)]).await.expect("answers");
        assert_eq!(told[0].1, Some(committed), "taken, and not kept");
        return cannot("has no limit below 5000 bytes: it takes and keeps them");
    }
    let is_too_large = |code| code == ErrorCode::OFFSET_METADATA_TOO_LARGE;
    assert!(
        matches!(refused, Err(CommitError::Partition { code, .. }) if is_too_large(code)),
        "{refused:?}"
    );
    member.consumer.close().await;
    Ok(())
}

impl Scene {
    /// `host:port` of a group's coordinator, once there is one.
    pub(crate) async fn group_coordinator(&self, group: &str) -> String {
        let mut connection = RawConnection::open(&self.facts.bootstrap).await;
        loop {
            let request = FindCoordinatorRequest::default().with_key(StrBytes::from_string(group.to_owned()));
            let answer = connection.ask(2, &request).await;
            let code = ErrorCode::from(answer.error_code);
            if code.is_ok() {
                return format!("{}:{}", answer.host, answer.port);
            }
            assert!(code.is_retriable(), "FindCoordinator: {code}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

//! Administration of groups: listed, described, their offsets changed, deleted.

use engine_client::CommittedOffset;
use engine_wire::error_code::ErrorCode;

use crate::behaviour::{Shown, behaviours};
use crate::group_member::Member;
use crate::scene::{Scene, partitions, tp};

behaviours! { "Administration of groups":
    a_group_is_described_with_its_members_their_topics_and_partitions,
    a_group_is_listed_with_its_state,
    offsets_of_an_empty_group_are_changed_and_told,
    an_empty_group_is_deleted_and_one_with_members_is_not,
    a_group_that_nobody_knows_is_dead_or_refused,
}

async fn a_group_is_described_with_its_members_their_topics_and_partitions(scene: Scene) -> Shown {
    let topic = scene.topic(2).await;
    let member = Member::joined(&scene, &topic, 2).await;
    let group = scene.name("group");
    let described = scene
        .admin()
        .await
        .describe_groups(&[&group])
        .await
        .expect("answers")
        .remove(0)
        .1;
    let described = described.expect("exists");
    assert_eq!(described.group, group);
    assert_eq!(
        (described.state.as_str(), described.protocol.as_str()),
        ("Stable", "range")
    );
    assert_eq!(described.members.len(), 1);
    let told = &described.members[0];
    assert_eq!(told.topics, [topic.as_str()]);
    assert_eq!(told.assignment, partitions(&topic, 2));
    assert_eq!(told.client_id, "engine");
    assert!(!told.member_id.is_empty() && told.group_instance_id.is_none());
    member.consumer.close().await;
    Ok(())
}

async fn a_group_is_listed_with_its_state(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    let member = Member::joined(&scene, &topic, 1).await;
    let group = scene.name("group");
    let listed = scene.admin().await.list_groups().await.expect("answers");
    let told: Vec<_> = listed.iter().filter(|listing| listing.group == group).collect();
    assert_eq!(told.len(), 1, "each group is listed once, by its coordinator");
    assert_eq!(
        (told[0].protocol_type.as_str(), told[0].state.as_str()),
        ("consumer", "Stable")
    );
    member.consumer.close().await;
    Ok(())
}

async fn offsets_of_an_empty_group_are_changed_and_told(scene: Scene) -> Shown {
    let topic = scene.topic(2).await;
    scene.known_everywhere(&topic, |_| true).await;
    let (admin, group) = (scene.admin().await, scene.name("group"));
    let at = |offset| CommittedOffset {
        offset,
        leader_epoch: None,
        metadata: "by hand".into(),
    };
    let wanted = [(tp(&topic, 0), at(5)), (tp(&topic, 1), at(7))];
    let altered = admin.alter_group_offsets(&group, &wanted).await.expect("answers");
    assert!(altered.iter().all(|(_, result)| result.is_ok()), "{altered:?}");
    let told = admin.group_offsets(&group).await.expect("answers");
    let told: Vec<_> = told
        .iter()
        .map(|(tp, at)| (tp.clone(), at.offset, at.metadata.as_str()))
        .collect();
    assert_eq!(told, [(tp(&topic, 0), 5, "by hand"), (tp(&topic, 1), 7, "by hand")]);
    Ok(())
}

async fn an_empty_group_is_deleted_and_one_with_members_is_not(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    let (admin, group) = (scene.admin().await, scene.name("group"));
    let member = Member::joined(&scene, &topic, 1).await;
    let refused = admin.delete_groups(&[&group]).await.expect("answers").remove(0).1;
    assert_eq!(refused.expect_err("has a member").code, ErrorCode::NON_EMPTY_GROUP);
    let committed = CommittedOffset {
        offset: 0,
        ..CommittedOffset::default()
    };
    member
        .consumer
        .commit(&[(tp(&topic, 0), committed)])
        .await
        .expect("commits");
    member.consumer.close().await;
    assert_eq!(
        admin.delete_groups(&[&group]).await.expect("answers"),
        [(group.clone(), Ok(()))]
    );
    assert_eq!(admin.group_offsets(&group).await.expect("answers"), []);
    let refused = admin.delete_groups(&[&group]).await.expect("answers").remove(0).1;
    assert_eq!(refused.expect_err("is gone").code, ErrorCode::GROUP_ID_NOT_FOUND);
    Ok(())
}

async fn a_group_that_nobody_knows_is_dead_or_refused(scene: Scene) -> Shown {
    let described = scene
        .admin()
        .await
        .describe_groups(&[&scene.name("unknown")])
        .await
        .expect("answers");
    match &described[0].1 {
        Ok(group) => assert_eq!((group.state.as_str(), group.members.len()), ("Dead", 0)),
        Err(refused) => assert_eq!(refused.code, ErrorCode::GROUP_ID_NOT_FOUND),
    }
    Ok(())
}

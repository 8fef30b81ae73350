//! Groups: who gets which partitions when members come, go, and fall silent.

use std::time::Duration;

use engine_wire::messages::ApiKey;

use crate::behaviour::{Shown, behaviours};
use crate::group_member::{Member, run, sorted_numbers};
use crate::scene::Scene;

behaviours! { "Groups":
    a_lone_member_gets_every_partition_of_every_topic,
    two_members_share_without_overlap_and_read_each_record_once,
    a_member_that_leaves_hands_over_at_once,
    a_third_member_of_two_partitions_stands_by_and_takes_over,
    a_member_that_left_may_come_back,
    a_member_that_does_not_poll_loses_its_partitions_and_comes_back,
    a_static_member_that_returns_gets_its_partitions_without_a_rebalance,
    a_static_member_that_stays_silent_is_replaced_when_its_session_ends,
    a_static_member_that_is_started_twice_fences_the_first,
    heartbeats_go_on_while_the_application_is_busy,
    two_groups_read_the_same_topic_independently,
}

async fn write_all(scene: &Scene, topic: &str, partitions: i32, first: u32, each: u32) {
    for partition in 0..partitions {
        let first = first + partition as u32 * each;
        scene.write(topic, partition, first..first + each).await;
    }
}

async fn a_lone_member_gets_every_partition_of_every_topic(scene: Scene) -> Shown {
    let (one, two) = (scene.topic(3).await, scene.topic(2).await);
    write_all(&scene, &one, 3, 0, 10).await;
    write_all(&scene, &two, 2, 30, 10).await;
    let mut member = Member::join(&scene, &[&one, &two], |_| {}).await;
    run(&mut [&mut member], "all records", |m| m[0].read.len() >= 50).await;
    assert_eq!(member.owned.len(), 5);
    assert_eq!(sorted_numbers([&member]), (0..50).collect::<Vec<_>>());
    member.consumer.close().await;
    Ok(())
}

async fn two_members_share_without_overlap_and_read_each_record_once(scene: Scene) -> Shown {
    let topic = scene.topic(4).await;
    write_all(&scene, &topic, 4, 0, 50).await;
    let mut first = Member::joined(&scene, &topic, 4).await;
    let mut second = Member::join(&scene, &[&topic], |_| {}).await;
    let shared = |m: &[&mut Member]| m.iter().all(|m| m.owned.len() == 2);
    run(&mut [&mut first, &mut second], "two each", shared).await;
    assert!(first.owned.is_disjoint(&second.owned));
    write_all(&scene, &topic, 4, 200, 10).await;
    let all = |m: &[&mut Member]| m.iter().map(|m| m.read.len()).sum::<usize>() >= 240;
    run(&mut [&mut first, &mut second], "all records", all).await;
    assert_eq!(sorted_numbers([&first, &second]), (0..240).collect::<Vec<_>>());
    assert_eq!((first.lost, second.lost), (0, 0));
    first.consumer.close().await;
    second.consumer.close().await;
    Ok(())
}

async fn a_member_that_leaves_hands_over_at_once(scene: Scene) -> Shown {
    let topic = scene.topic(4).await;
    let long_session = |config: &mut engine_client::ConsumerConfig| config.session_timeout = Duration::from_secs(60);
    let mut first = Member::join(&scene, &[&topic], long_session).await;
    let mut second = Member::join(&scene, &[&topic], long_session).await;
    let shared = |m: &[&mut Member]| m.iter().all(|m| m.owned.len() == 2);
    run(&mut [&mut first, &mut second], "two each", shared).await;
    second.consumer.close().await;
    let left = std::time::Instant::now();
    run(&mut [&mut first], "all four", |m| m[0].owned.len() == 4).await;
    let took = left.elapsed();
    assert!(
        took < Duration::from_secs(30),
        "{took:?}: that waited for the session's end"
    );
    write_all(&scene, &topic, 4, 0, 5).await;
    run(&mut [&mut first], "all records", |m| m[0].read.len() >= 20).await;
    first.consumer.close().await;
    Ok(())
}

async fn a_third_member_of_two_partitions_stands_by_and_takes_over(scene: Scene) -> Shown {
    let topic = scene.topic(2).await;
    let mut first = Member::join(&scene, &[&topic], |_| {}).await;
    let mut second = Member::join(&scene, &[&topic], |_| {}).await;
    let mut third = Member::join(&scene, &[&topic], |_| {}).await;
    let group = scene.name("group");
    let admin = scene.admin().await;
    loop {
        run(
            &mut [&mut first, &mut second, &mut third],
            "both partitions are owned",
            |m| m.iter().map(|m| m.owned.len()).sum::<usize>() == 2,
        )
        .await;
        let described = admin.describe_groups(&[&group]).await.expect("answers").remove(0).1;
        let described = described.expect("exists");
        if described.members.len() == 3 && described.state == "Stable" {
            break;
        }
        for member in [&mut first, &mut second, &mut third] {
            member.step().await;
        }
    }
    let mut members = vec![first, second, third];
    members.sort_by_key(|member| member.owned.len());
    let standby = members.remove(0);
    let (mut standby, gone, mut stays) = (standby, members.remove(0), members.remove(0));
    assert_eq!((standby.owned.len(), gone.owned.len(), stays.owned.len()), (0, 1, 1));
    gone.consumer.close().await;
    run(&mut [&mut standby, &mut stays], "one each", |m| {
        m.iter().all(|m| m.owned.len() == 1)
    })
    .await;
    standby.consumer.close().await;
    stays.consumer.close().await;
    Ok(())
}

async fn a_member_that_left_may_come_back(scene: Scene) -> Shown {
    let topic = scene.topic(2).await;
    for round in 0..3 {
        let mut member = Member::joined(&scene, &topic, 2).await;
        write_all(&scene, &topic, 2, 100 * round, 5).await;
        run(&mut [&mut member], "what is new", |m| m[0].read.len() >= 10).await;
        member.commit().await.expect("commits");
        assert_eq!(
            sorted_numbers([&member]),
            (100 * round..100 * round + 10).collect::<Vec<_>>()
        );
        member.consumer.close().await;
    }
    Ok(())
}

async fn a_member_that_does_not_poll_loses_its_partitions_and_comes_back(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    let change = |config: &mut engine_client::ConsumerConfig| {
        config.poll_interval_max = Duration::from_millis(600);
        config.rebalance_timeout = Some(Duration::from_secs(6));
    };
    let mut member = Member::join(&scene, &[&topic], change).await;
    run(&mut [&mut member], "its partition", |m| m[0].owned.len() == 1).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let admin = scene.admin().await;
    let described = admin
        .describe_groups(&[&scene.name("group")])
        .await
        .expect("answers")
        .remove(0)
        .1;
    assert_eq!(described.map(|group| group.members.len()), Ok(0), "it left");
    run(&mut [&mut member], "lost, and back", |m| {
        m[0].lost == 1 && m[0].owned.len() == 1
    })
    .await;
    member.consumer.close().await;
    Ok(())
}

fn named(instance: &str) -> impl FnOnce(&mut engine_client::ConsumerConfig) {
    let instance = instance.to_owned();
    move |config| {
        config.group_instance_id = Some(instance);
        config.session_timeout = Duration::from_secs(6);
    }
}

async fn a_static_member_that_returns_gets_its_partitions_without_a_rebalance(scene: Scene) -> Shown {
    scene.needs(ApiKey::JoinGroup, 5)?;
    let topic = scene.topic(4).await;
    let long = |config: &mut engine_client::ConsumerConfig| config.session_timeout = Duration::from_secs(60);
    let mut first = Member::join(&scene, &[&topic], |config| {
        named("one")(config);
        long(config);
    })
    .await;
    let mut second = Member::join(&scene, &[&topic], |config| {
        named("two")(config);
        long(config);
    })
    .await;
    let shared = |m: &[&mut Member]| m.iter().all(|m| m.owned.len() == 2);
    run(&mut [&mut first, &mut second], "two each", shared).await;
    let (owned, rebalances) = (second.owned.clone(), first.consumer.stats().membership.rebalances);
    second.consumer.close().await;
    let mut second = Member::join(&scene, &[&topic], |config| {
        named("two")(config);
        long(config);
    })
    .await;
    run(&mut [&mut first, &mut second], "two each again", shared).await;
    assert_eq!(second.owned, owned);
    assert_eq!(first.consumer.stats().membership.rebalances, rebalances);
    first.consumer.close().await;
    second.consumer.close().await;
    Ok(())
}

async fn a_static_member_that_stays_silent_is_replaced_when_its_session_ends(scene: Scene) -> Shown {
    scene.needs(ApiKey::JoinGroup, 5)?;
    let topic = scene.topic(2).await;
    let mut first = Member::join(&scene, &[&topic], named("one")).await;
    let mut second = Member::join(&scene, &[&topic], named("two")).await;
    let shared = |m: &[&mut Member]| m.iter().all(|m| m.owned.len() == 1);
    run(&mut [&mut first, &mut second], "one each", shared).await;
    second.consumer.close().await; // A static member says nothing when it goes.
    let silent = std::time::Instant::now();
    run(&mut [&mut first], "both", |m| m[0].owned.len() == 2).await;
    let took = silent.elapsed();
    assert!(
        took > Duration::from_secs(3),
        "{took:?}: the session was not waited for"
    );
    first.consumer.close().await;
    Ok(())
}

async fn a_static_member_that_is_started_twice_fences_the_first(scene: Scene) -> Shown {
    scene.needs(ApiKey::JoinGroup, 5)?;
    let topic = scene.topic(1).await;
    let mut first = Member::join(&scene, &[&topic], named("one")).await;
    run(&mut [&mut first], "its partition", |m| m[0].owned.len() == 1).await;
    let mut second = Member::join(&scene, &[&topic], named("one")).await;
    run(
        &mut [&mut first, &mut second],
        "the second has it, the first is told",
        |m| m[1].owned.len() == 1 && !m[0].errors.is_empty(),
    )
    .await;
    let told = first.errors[0].to_string();
    assert!(told.contains("FENCED_INSTANCE_ID"), "{told}");
    first.commit().await.expect_err("its place is taken");
    second.consumer.close().await;
    Ok(())
}

async fn heartbeats_go_on_while_the_application_is_busy(scene: Scene) -> Shown {
    let topic = scene.topic(1).await;
    scene.write(&topic, 0, 0..5).await;
    let mut member = Member::join(&scene, &[&topic], |config| {
        config.session_timeout = Duration::from_secs(6)
    })
    .await;
    run(&mut [&mut member], "5 records", |m| m[0].read.len() >= 5).await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    member.commit().await.expect("is still a member");
    assert_eq!(member.consumer.stats().membership.rebalances, 1);
    assert_eq!(member.lost, 0);
    member.consumer.close().await;
    Ok(())
}

async fn two_groups_read_the_same_topic_independently(scene: Scene) -> Shown {
    let topic = scene.topic(2).await;
    write_all(&scene, &topic, 2, 0, 10).await;
    let mut members = Vec::new();
    for group in ["left", "right"] {
        let group = scene.name(group);
        members.push(Member::join(&scene, &[&topic], |config| config.group_id = Some(group)).await);
    }
    for member in &mut members {
        run(&mut [&mut *member], "all records", |m| m[0].read.len() >= 20).await;
        assert_eq!(sorted_numbers([&*member]), (0..20).collect::<Vec<_>>());
    }
    for member in members {
        member.consumer.close().await;
    }
    Ok(())
}

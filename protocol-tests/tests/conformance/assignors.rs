//! Assignors: how a group's partitions are dealt out, and how its members agree on that.

use std::collections::BTreeSet;

use engine_client::{AssignmentStrategy, ConsumerError, TopicPartition};

use crate::behaviour::{Shown, behaviours};
use crate::group_member::{Member, run};
use crate::scene::{Scene, now_ms, tp};

behaviours! { "Assignors":
    range_gives_each_member_a_run_of_every_topic,
    round_robin_deals_all_partitions_in_turn,
    sticky_moves_no_more_than_it_must,
    cooperative_sticky_takes_back_only_what_moves,
    single_owner_gives_all_to_the_member_that_started_first,
    members_agree_on_a_strategy_that_all_have,
    a_member_without_a_common_strategy_is_refused,
}

async fn pair(scene: &Scene, topics: &[&str], strategies: [AssignmentStrategy; 2], done: [usize; 2]) -> [Member; 2] {
    let [mine, other] = strategies;
    let mut first = Member::join(scene, topics, |config| {
        config.partition_assignment_strategy = vec![mine]
    })
    .await;
    run(&mut [&mut first], "the first owns all", |m| {
        m[0].owned.len() == done[0] + done[1]
    })
    .await;
    let mut second = Member::join(scene, topics, |config| {
        config.partition_assignment_strategy = vec![other]
    })
    .await;
    run(&mut [&mut first, &mut second], "both have their share", |m| {
        let shares = [m[0].owned.len(), m[1].owned.len()];
        let is_second_in = m[1].consumer.stats().membership.rebalances > 0;
        is_second_in && (shares == done || shares == [done[1], done[0]])
    })
    .await;
    [first, second]
}

fn of(topics: &[(&str, &[i32])]) -> BTreeSet<TopicPartition> {
    let all = topics
        .iter()
        .flat_map(|(topic, partitions)| partitions.iter().map(|partition| tp(topic, *partition)));
    all.collect()
}

/// Which of the two is the first is up to their member ids.
fn assert_shares(members: &[Member; 2], shares: [BTreeSet<TopicPartition>; 2]) {
    let owned = [&members[0].owned, &members[1].owned];
    let [one, two] = &shares;
    assert!(owned == [one, two] || owned == [two, one], "{owned:?}");
}

async fn range_gives_each_member_a_run_of_every_topic(scene: Scene) -> Shown {
    let (one, two) = (scene.topic(3).await, scene.topic(3).await);
    let strategy = AssignmentStrategy::Range;
    let members = pair(&scene, &[&one, &two], [strategy, strategy], [4, 2]).await;
    assert_shares(
        &members,
        [
            of(&[(&one, &[0, 1]), (&two, &[0, 1])]),
            of(&[(&one, &[2]), (&two, &[2])]),
        ],
    );
    close(members).await
}

async fn round_robin_deals_all_partitions_in_turn(scene: Scene) -> Shown {
    let (one, two) = (scene.topic(3).await, scene.topic(3).await);
    let strategy = AssignmentStrategy::RoundRobin;
    let members = pair(&scene, &[&one, &two], [strategy, strategy], [3, 3]).await;
    assert_shares(
        &members,
        [
            of(&[(&one, &[0, 2]), (&two, &[1])]),
            of(&[(&one, &[1]), (&two, &[0, 2])]),
        ],
    );
    close(members).await
}

async fn sticky_moves_no_more_than_it_must(scene: Scene) -> Shown {
    third_joins_two(&scene, AssignmentStrategy::Sticky).await;
    Ok(())
}

async fn cooperative_sticky_takes_back_only_what_moves(scene: Scene) -> Shown {
    let given_back = third_joins_two(&scene, AssignmentStrategy::CooperativeSticky).await;
    // Three of the first one's six went to the second, then one of each one's three to the third.
    assert_eq!(given_back, 5, "whatever stays is not interrupted");
    Ok(())
}

/// Two members share six partitions, then three do. Tells how many partitions were given back meanwhile.
async fn third_joins_two(scene: &Scene, strategy: AssignmentStrategy) -> usize {
    let topic = scene.topic(6).await;
    let [mut first, mut second] = pair(scene, &[&topic], [strategy, strategy], [3, 3]).await;
    let before = [first.owned.clone(), second.owned.clone()];
    let mut third = Member::join(scene, &[&topic], |config| {
        config.partition_assignment_strategy = vec![strategy]
    })
    .await;
    let shared = |m: &[&mut Member]| m.iter().all(|m| m.owned.len() == 2);
    run(&mut [&mut first, &mut second, &mut third], "two each", shared).await;
    assert!(
        first.owned.is_subset(&before[0]),
        "{:?} was {:?}",
        first.owned,
        before[0]
    );
    assert!(
        second.owned.is_subset(&before[1]),
        "{:?} was {:?}",
        second.owned,
        before[1]
    );
    assert_eq!((first.lost, second.lost, third.lost), (0, 0, 0));
    let given_back = first.given_back + second.given_back + third.given_back;
    for member in [first, second, third] {
        member.consumer.close().await;
    }
    given_back
}

async fn single_owner_gives_all_to_the_member_that_started_first(scene: Scene) -> Shown {
    let topic = scene.topic(3).await;
    let started_ms = now_ms();
    let strategies = [0, 1_000].map(|later| AssignmentStrategy::SingleOwner {
        started_ms: started_ms + later,
    });
    let [first, mut second] = pair(&scene, &[&topic], strategies, [3, 0]).await;
    assert_eq!((first.owned.len(), second.owned.len()), (3, 0));
    first.consumer.close().await;
    run(&mut [&mut second], "the one that stood by owns all", |m| {
        m[0].owned.len() == 3
    })
    .await;
    second.consumer.close().await;
    Ok(())
}

async fn members_agree_on_a_strategy_that_all_have(scene: Scene) -> Shown {
    let topic = scene.topic(2).await;
    let both = vec![AssignmentStrategy::Range, AssignmentStrategy::RoundRobin];
    let mut first = Member::join(&scene, &[&topic], |config| config.partition_assignment_strategy = both).await;
    let only = vec![AssignmentStrategy::RoundRobin];
    let mut second = Member::join(&scene, &[&topic], |config| config.partition_assignment_strategy = only).await;
    let shared = |m: &[&mut Member]| m.iter().all(|m| m.owned.len() == 1);
    run(&mut [&mut first, &mut second], "one each", shared).await;
    let admin = scene.admin().await;
    let described = admin
        .describe_groups(&[&scene.name("group")])
        .await
        .expect("answers")
        .remove(0)
        .1;
    assert_eq!(described.expect("exists").protocol, "roundrobin");
    close([first, second]).await
}

async fn a_member_without_a_common_strategy_is_refused(scene: Scene) -> Shown {
    let topic = scene.topic(2).await;
    let range = vec![AssignmentStrategy::Range];
    let mut first = Member::join(&scene, &[&topic], |config| config.partition_assignment_strategy = range).await;
    run(&mut [&mut first], "its partitions", |m| m[0].owned.len() == 2).await;
    let other = vec![AssignmentStrategy::RoundRobin];
    let mut second = Member::join(&scene, &[&topic], |config| config.partition_assignment_strategy = other).await;
    run(&mut [&mut first, &mut second], "the refusal", |m| {
        !m[1].errors.is_empty()
    })
    .await;
    let told = &second.errors[0];
    assert!(matches!(told, ConsumerError::Group(_)), "{told}");
    assert!(told.to_string().contains("INCONSISTENT_GROUP_PROTOCOL"), "{told}");
    assert_eq!((first.owned.len(), first.lost), (2, 0));
    close([first, second]).await
}

async fn close(members: [Member; 2]) -> Shown {
    for member in members {
        member.consumer.close().await;
    }
    Ok(())
}

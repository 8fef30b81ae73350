//! What moves is nobody's for one rebalance, and the next one gives it away.

use std::collections::BTreeSet;

use fastrand::Rng;

use super::*;
use crate::group::assignor::scenarios::{counts, member, printed};
use crate::topic_partition::TopicPartition;

fn list(partitions: &[i32]) -> Vec<TopicPartition> {
    partitions
        .iter()
        .map(|partition| TopicPartition::new("t", *partition))
        .collect()
}

fn owner(member_id: &str, generation_id: i32, owned: &[i32]) -> GroupMember {
    let mut member = member(member_id, &["t"]);
    member.subscription.owned_partitions = list(owned);
    member.subscription.generation_id = Some(generation_id);
    member
}

fn assigned(partitions: i32, members: &[GroupMember]) -> String {
    printed(&CooperativeStickyAssignor.assign(&counts(&[("t", partitions)]), members))
}

#[test]
fn what_moves_is_revoked_first_and_given_in_the_next_round() {
    let newcomer = || member("c2", &["t"]);
    let first = [owner("c1", 1, &[0, 1, 2, 3]), newcomer()];
    assert_eq!(assigned(4, &first), "c1: t-0 t-1 | c2:");
    let second = [owner("c1", 2, &[0, 1]), newcomer()];
    assert_eq!(assigned(4, &second), "c1: t-0 t-1 | c2: t-2 t-3");
}

#[test]
fn what_nobody_holds_is_given_at_once() {
    let members = [owner("c1", 3, &[0, 1]), owner("c2", 3, &[2])];
    assert_eq!(assigned(6, &members), "c1: t-0 t-1 t-4 | c2: t-2 t-3 t-5");
}

#[test]
fn a_partition_that_an_older_claim_holds_is_given_to_nobody_else() {
    // c1 missed a rebalance and still reads t-0 and t-1; c2 is right about t-1.
    let members = [
        owner("c1", 4, &[0, 1]),
        owner("c2", 5, &[1, 2]),
        owner("c3", 5, &[3, 4, 5]),
    ];
    assert_eq!(assigned(6, &members), "c1: t-0 | c2: t-1 t-2 | c3: t-3 t-4");
}

#[test]
fn the_generation_of_an_older_client_is_in_its_user_data() {
    let mut old = owner("c1", 0, &[0]);
    old.subscription.generation_id = None;
    let last = LastAssignment {
        generation_id: 9,
        partitions: Vec::new(),
    };
    old.subscription.user_data = CooperativeStickyAssignor.user_data(Some(&last));
    assert_eq!(generation_id(&old), 9);
    let members = [old, owner("c2", 8, &[0])];
    assert_eq!(assigned(2, &members), "c1: t-0 | c2: t-1");
    for unreadable in [None, Some(Bytes::from_static(b"?"))] {
        let mut member = member("c1", &["t"]);
        member.subscription.user_data = unreadable;
        assert_eq!(generation_id(&member), -1);
    }
}

/// Members come, go, and miss rebalances. Nobody is ever given what another one may still read, and once nothing
/// changes any more everything is dealt within two rounds.
#[test]
fn nothing_is_read_by_two_and_the_group_settles() {
    for seed in 0..300 {
        let mut rng = Rng::with_seed(seed);
        let partitions = rng.i32(1..=20);
        let mut members: Vec<GroupMember> = Vec::new();
        let mut generation = 0;
        for step in 0..20 {
            let is_calm = step >= 17;
            if !is_calm {
                if members.len() > 1 && rng.u32(0..3) == 0 {
                    members.remove(rng.usize(..members.len()));
                }
                if members.is_empty() || rng.u32(0..3) == 0 {
                    members.push(member(&format!("m{step:02}"), &["t"]));
                }
            }
            let assignment = CooperativeStickyAssignor.assign(&counts(&[("t", partitions)]), &members);
            generation += 1;
            let before: Vec<BTreeSet<TopicPartition>> = members
                .iter()
                .map(|member| member.subscription.owned_partitions.iter().cloned().collect())
                .collect();
            for (place, member) in members.iter_mut().enumerate() {
                let given = &assignment[&member.member_id];
                for tp in given.iter().filter(|tp| !before[place].contains(tp)) {
                    let holders = before.iter().filter(|held| held.contains(tp)).count();
                    assert_eq!(holders, 0, "seed {seed}, step {step}: {tp} is still read");
                }
                member.subscription.owned_partitions = given.clone();
                member.subscription.generation_id = Some(generation);
            }
        }
        let loads: Vec<usize> = members.iter().map(|m| m.subscription.owned_partitions.len()).collect();
        let (least, most) = (
            loads.iter().min().expect("somebody"),
            loads.iter().max().expect("somebody"),
        );
        assert!(most - least <= 1, "seed {seed}: {loads:?}");
        assert_eq!(loads.iter().sum::<usize>(), partitions as usize, "seed {seed}");
    }
}

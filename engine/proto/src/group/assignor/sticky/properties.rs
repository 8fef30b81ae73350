//! What holds for every group: each partition is dealt once, as evenly as can be, and what can stay stays.

use std::collections::BTreeSet;
use std::time::Duration;

use fastrand::Rng;

use super::*;
use crate::group::assignor::scenarios::member;
use crate::group::membership::tests::start_of_time;
use crate::topic_partition::TopicPartition;

const TOPICS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// A group with a history.
struct Group {
    counts: PartitionCounts,
    members: Vec<GroupMember>,
    generation_id: i32,
    born: u32,
}

impl Group {
    fn random(rng: &mut Rng) -> Group {
        let topics = &TOPICS[..rng.usize(1..=TOPICS.len())];
        let counts = topics.iter().map(|topic| ((*topic).into(), rng.i32(1..=12)));
        Group {
            counts: counts.collect(),
            members: Vec::new(),
            generation_id: 0,
            born: 0,
        }
    }

    fn topics(&self) -> Vec<&'static str> {
        TOPICS
            .into_iter()
            .filter(|topic| self.counts.contains_key(*topic))
            .collect()
    }

    fn join(&mut self, topics: &[&str]) {
        self.born += 1;
        self.members.push(member(&format!("m{:03}", self.born), topics));
    }

    /// Deals, and lets everybody know what it has.
    fn rebalance(&mut self) -> GroupAssignment {
        let assignment = StickyAssignor.assign(&self.counts, &self.members);
        self.generation_id += 1;
        for member in &mut self.members {
            let last = LastAssignment {
                generation_id: self.generation_id,
                partitions: assignment[&member.member_id].clone(),
            };
            member.subscription.user_data = StickyAssignor.user_data(Some(&last));
        }
        assignment
    }

    /// Every partition that somebody wants is dealt once, to a subscriber.
    fn check_complete(&self, assignment: &GroupAssignment, seed: u64) {
        let mut dealt = BTreeSet::new();
        for member in &self.members {
            for tp in &assignment[&member.member_id] {
                assert!(dealt.insert(tp.clone()), "seed {seed}: {tp} twice");
                let topics = &member.subscription.topics;
                assert!(
                    topics.iter().any(|topic| **topic == *tp.topic),
                    "seed {seed}: {tp} is not wanted"
                );
            }
        }
        let mut wanted = BTreeSet::new();
        for topic in self.members.iter().flat_map(|member| &member.subscription.topics) {
            let count = self.counts[topic.as_str()];
            wanted.extend((0..count).map(|partition| TopicPartition::new(topic.as_str(), partition)));
        }
        assert_eq!(dealt, wanted, "seed {seed}");
        assert_eq!(assignment.len(), self.members.len(), "seed {seed}");
    }
}

fn loads(assignment: &GroupAssignment) -> (usize, usize) {
    let loads = assignment.values().map(Vec::len);
    (loads.clone().min().unwrap_or(0), loads.max().unwrap_or(0))
}

#[test]
fn equal_subscriptions_are_dealt_within_one_and_the_others_keep_theirs() {
    for seed in 0..400 {
        let mut rng = Rng::with_seed(seed);
        let mut group = Group::random(&mut rng);
        let topics = group.topics();
        for _ in 0..rng.usize(1..=7) {
            group.join(&topics);
        }
        let mut before = group.rebalance();
        for step in 0..8 {
            let joins = group.members.len() == 1 || rng.bool();
            if joins {
                group.join(&topics);
            } else {
                group.members.remove(rng.usize(..group.members.len()));
            }
            let now = group.rebalance();
            group.check_complete(&now, seed);
            let (least, most) = loads(&now);
            assert!(most - least <= 1, "seed {seed}, step {step}: {least} to {most}");
            for (member_id, had) in &before {
                let Some(has) = now.get(member_id) else { continue };
                let kept = had.iter().filter(|tp| has.contains(tp)).count();
                // Who had less than its new share gives nothing up; who had more only gives up what is beyond it.
                assert_eq!(kept, had.len().min(has.len()), "seed {seed}, step {step}: {member_id}");
                assert!(!joins || has.len() <= had.len(), "seed {seed}: only the newcomer gains");
            }
            before = now;
        }
    }
}

/// No partition could go to another subscriber of its topic with at least two less: the criterion of Kafka's tests.
fn check_balance(group: &Group, assignment: &GroupAssignment, seed: u64) {
    for from in &group.members {
        for to in &group.members {
            let (more, less) = (&assignment[&from.member_id], &assignment[&to.member_id]);
            if more.len() < less.len() + 2 {
                continue;
            }
            let movable = more
                .iter()
                .find(|tp| to.subscription.topics.iter().any(|topic| **topic == *tp.topic));
            assert_eq!(movable, None, "seed {seed}: {} to {}", from.member_id, to.member_id);
        }
    }
}

#[test]
fn different_subscriptions_are_dealt_so_that_no_move_helps() {
    for seed in 0..400 {
        let mut rng = Rng::with_seed(seed);
        let mut group = Group::random(&mut rng);
        for step in 0..10 {
            let wanted: Vec<&str> = group.topics().into_iter().filter(|_| rng.bool()).collect();
            match rng.u32(0..4) {
                0 if group.members.len() > 1 => {
                    group.members.remove(rng.usize(..group.members.len()));
                }
                1 if !group.members.is_empty() => {
                    let changed = rng.usize(..group.members.len());
                    let topics = &mut group.members[changed].subscription.topics;
                    *topics = wanted.iter().map(|topic| (*topic).to_owned()).collect();
                }
                _ => group.join(&wanted),
            }
            let assignment = group.rebalance();
            group.check_complete(&assignment, seed);
            check_balance(&group, &assignment, seed);
            let again = group.rebalance();
            assert_eq!(
                again, assignment,
                "seed {seed}, step {step}: nothing changed, nothing moves"
            );
        }
    }
}

/// A sixth of a second each without optimisation; whatever grew with the square of the size would take minutes.
#[test]
fn large_groups_are_dealt_in_seconds() {
    let counts: PartitionCounts = (0..100).map(|n| (format!("topic{n:03}").into(), 200)).collect();
    let names: Vec<String> = counts.keys().map(|topic| topic.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut group = Group {
        counts,
        members: Vec::new(),
        generation_id: 0,
        born: 0,
    };
    let started = start_of_time();
    for _ in 0..250 {
        group.join(&names);
    }
    group.rebalance();
    group.members.pop();
    let (least, most) = loads(&group.rebalance());
    assert!(most - least <= 1);
    // One member wants a topic less: the general way.
    group.members[0].subscription.topics.pop();
    group.rebalance();
    let took = start_of_time().saturating_duration_since(started);
    assert!(took < Duration::from_secs(30), "{took:?}");
}

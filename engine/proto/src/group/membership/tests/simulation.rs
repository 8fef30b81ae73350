//! Seeded simulation: three members, a coordinator that kicks them out, a network that breaks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::scene::{config, joined, start_of_time};
use crate::group::action::{GroupAction, GroupError, Joined};
use crate::group::assignor::cooperative_sticky::CooperativeStickyAssignor;
use crate::group::assignor::range::RangeAssignor;
use crate::group::assignor::sticky::StickyAssignor;
use crate::group::assignor::{Assignor, GroupMember, PartitionCounts};
use crate::group::consumer_protocol::Subscription;
use crate::group::member_state::MembershipConfig;
use crate::group::membership::Membership;
use crate::group::ownership::GroupEvent;
use crate::topic_partition::TopicPartition;

/// A coordinator as simple as a model can be: members, a generation, who must still join.
#[derive(Default)]
struct Coordinator {
    protocol_name: String,
    generation_id: i32,
    next_member: u32,
    members: BTreeSet<String>,
    is_rebalancing: bool,
    waiting: Vec<(usize, u64, String, Bytes)>,
    syncing: Vec<(usize, i32)>,
    assignments: BTreeMap<String, Bytes>,
}

/// One simulated application: what it holds, and whether it is giving it up.
struct Player {
    member: Membership,
    held: BTreeSet<TopicPartition>,
    revoking: Option<Vec<TopicPartition>>,
}

/// Three members, a coordinator that kicks members out, and a network that breaks. Whenever all
/// have settled, each partition is held once; and nobody who keeps its membership loses anything
/// without being asked.
#[test]
fn simulated_groups_settle_with_each_partition_held_once() {
    for seed in 0..200 {
        simulate(seed, Arc::new(RangeAssignor));
    }
}

#[test]
fn simulated_sticky_groups_settle_with_each_partition_held_once() {
    for seed in 0..200 {
        simulate(seed, Arc::new(StickyAssignor));
    }
}

/// The same for members that keep partitions through a rebalance.
#[test]
fn simulated_cooperative_groups_settle_with_each_partition_held_once() {
    for seed in 0..200 {
        simulate(seed, Arc::new(CooperativeStickyAssignor));
    }
}

fn simulate(seed: u64, assignor: Arc<dyn Assignor>) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut now = start_of_time();
    let mut coordinator = Coordinator {
        protocol_name: assignor.name().to_owned(),
        ..Coordinator::default()
    };
    let config = || MembershipConfig {
        assignors: vec![assignor.clone()],
        ..config()
    };
    let mut players: Vec<Player> = (0..3)
        .map(|n| {
            let mut member = Membership::new(now, config(), seed + n);
            member.handle_subscribe(now, [Arc::from("t")]);
            member.handle_poll_entered(now);
            Player {
                member,
                held: BTreeSet::new(),
                revoking: None,
            }
        })
        .collect();
    for step in 0..600 {
        now += Duration::from_millis(rng.u64(0..1500));
        let is_calm = step > 400;
        for index in 0..players.len() {
            while let Some(action) = players[index].member.poll_action(now) {
                let is_broken = !is_calm && rng.u32(0..12) == 0;
                coordinator.take(index, &mut players, now, action, is_broken);
            }
            let player = &mut players[index];
            if rng.u32(0..3) == 0
                && let Some(revoked) = player.revoking.take()
            {
                player.held.retain(|tp| !revoked.contains(tp));
                player.member.handle_revoked(now);
            }
            match player.member.poll_event() {
                Some(GroupEvent::Assigned { partitions, .. }) => player.held.extend(partitions),
                Some(GroupEvent::Revoked { partitions, .. }) => player.revoking = Some(partitions),
                Some(GroupEvent::Lost { partitions }) => {
                    player.revoking = None;
                    player.held.retain(|tp| !partitions.contains(tp));
                    assert!(!is_calm || step < 420, "seed {seed}: lost in calm");
                }
                None => {}
            }
            assert_eq!(player.member.poll_failure(), None, "seed {seed}, step {step}");
        }
        if !is_calm
            && rng.u32(0..25) == 0
            && let Some(kicked) = coordinator.members.iter().nth(rng.usize(0..3)).cloned()
        {
            coordinator.members.remove(&kicked);
            coordinator.is_rebalancing = true;
        }
        coordinator.finish_join(&mut players, now);
    }
    let held: Vec<&TopicPartition> = players.iter().flat_map(|player| &player.held).collect();
    let distinct: BTreeSet<&&TopicPartition> = held.iter().collect();
    assert_eq!((held.len(), distinct.len()), (6, 6), "seed {seed}: {held:?}");
    let generation = coordinator.generation_id;
    for player in &players {
        assert_eq!(player.member.commit_generation(), Some(generation), "seed {seed}");
    }
}

impl Coordinator {
    fn take(&mut self, index: usize, players: &mut [Player], now: Instant, action: GroupAction, is_broken: bool) {
        let member = &mut players[index].member;
        let unavailable = GroupError::CoordinatorUnavailable;
        match action {
            GroupAction::FindCoordinator if is_broken => member.handle_coordinator(now, Err(unavailable)),
            GroupAction::FindCoordinator => member.handle_coordinator(now, Ok(1)),
            GroupAction::Join(join) if is_broken => member.handle_join(now, join.attempt, Err(unavailable)),
            GroupAction::Join(join) if join.member_id.is_empty() => {
                self.next_member += 1;
                let member_id = format!("m{}", self.next_member);
                self.members.insert(member_id.clone());
                member.handle_join(now, join.attempt, Err(GroupError::MemberIdRequired { member_id }));
            }
            GroupAction::Join(join) if !self.members.contains(&join.member_id) => {
                member.handle_join(now, join.attempt, Err(GroupError::UnknownMemberId));
            }
            GroupAction::Join(join) => {
                self.is_rebalancing = true;
                self.waiting.retain(|(waiting, ..)| *waiting != index);
                self.waiting
                    .push((index, join.attempt, join.member_id, join.protocols[0].1.clone()));
            }
            GroupAction::CountPartitions { generation_id, .. } => {
                let counts = PartitionCounts::from([(Arc::from("t"), 6)]);
                member.handle_partition_counts(generation_id, Ok(counts), now);
            }
            GroupAction::Sync(sync) => {
                let generation_id = sync.identity.generation_id;
                if is_broken {
                    return member.handle_sync(now, generation_id, Err(unavailable));
                }
                if self.is_rebalancing || generation_id != self.generation_id {
                    let error = match self.members.contains(&sync.identity.member_id) {
                        true => GroupError::RebalanceInProgress,
                        false => GroupError::UnknownMemberId,
                    };
                    return member.handle_sync(now, generation_id, Err(error));
                }
                self.assignments.extend(sync.assignments);
                self.syncing.push((index, generation_id));
                self.finish_sync(players, now);
            }
            GroupAction::Heartbeat(identity) => {
                let answer = if is_broken {
                    Err(unavailable)
                } else if !self.members.contains(&identity.member_id) {
                    Err(GroupError::UnknownMemberId)
                } else if identity.generation_id != self.generation_id {
                    Err(GroupError::IllegalGeneration)
                } else if self.is_rebalancing {
                    Err(GroupError::RebalanceInProgress)
                } else {
                    Ok(())
                };
                member.handle_heartbeat(now, identity.generation_id, answer);
            }
            GroupAction::Leave(identity) => {
                self.members.remove(&identity.member_id);
                self.is_rebalancing = true;
            }
        }
    }

    /// Answers the joins once every member has come. A member id that nobody will use again (its answer
    /// was lost) is timed out here.
    fn finish_join(&mut self, players: &mut [Player], now: Instant) {
        let alive: BTreeSet<String> = players.iter().map(|p| p.member.member_id().to_owned()).collect();
        self.members.retain(|member_id| alive.contains(member_id));
        if self.is_rebalancing {
            for (index, generation_id) in std::mem::take(&mut self.syncing) {
                let rebalancing = Err(GroupError::RebalanceInProgress);
                players[index].member.handle_sync(now, generation_id, rebalancing);
            }
        }
        let (parked, kicked) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(_, _, member_id, _)| self.members.contains(member_id));
        self.waiting = parked;
        for (index, attempt, ..) in kicked {
            players[index]
                .member
                .handle_join(now, attempt, Err(GroupError::UnknownMemberId));
        }
        let came: BTreeSet<String> = self.waiting.iter().map(|(_, _, id, _)| id.clone()).collect();
        if !self.is_rebalancing || self.members.is_empty() || !self.members.is_subset(&came) {
            return;
        }
        self.generation_id += 1;
        self.is_rebalancing = false;
        self.assignments.clear();
        self.syncing.clear();
        let waiting = std::mem::take(&mut self.waiting);
        let members: Vec<GroupMember> = waiting
            .iter()
            .map(|(_, _, member_id, metadata)| GroupMember {
                member_id: member_id.clone(),
                group_instance_id: None,
                subscription: Subscription::decode(metadata.clone()).expect("our own bytes"),
            })
            .collect();
        let leader = members[0].member_id.clone();
        for (index, attempt, member_id, _) in waiting {
            let answer = Joined {
                members: if member_id == leader {
                    members.clone()
                } else {
                    Vec::new()
                },
                member_id,
                protocol_name: self.protocol_name.clone(),
                ..joined(self.generation_id, &leader)
            };
            players[index].member.handle_join(now, attempt, Ok(answer));
        }
    }

    /// Followers wait until the leader's assignment is there.
    fn finish_sync(&mut self, players: &mut [Player], now: Instant) {
        if self.assignments.is_empty() {
            return;
        }
        for (index, generation_id) in std::mem::take(&mut self.syncing) {
            let member = &mut players[index].member;
            let mine = self.assignments.get(member.member_id()).cloned().unwrap_or_default();
            member.handle_sync(now, generation_id, Ok(mine));
        }
    }
}

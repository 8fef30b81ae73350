//! The coordinator of one classic group, by the broker's rules (`GroupMetadata`, `GroupCoordinator`).
//!
//! Never here: the network; a parked answer is a request's number.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use engine_proto::TopicPartition;
use engine_proto::group::action::{GroupError, Join, Joined, Sync};
use engine_proto::group::assignor::GroupMember;
use engine_proto::group::consumer_protocol::{Assignment, Subscription};

#[derive(Debug)]
pub(crate) struct GroupCoordinator {
    pub(crate) generation_id: i32,
    pub(crate) committed: BTreeMap<TopicPartition, i64>,
    state: State,
    members: BTreeMap<String, Member>,
    next_member: u32,
    protocol_name: String,
    session_timeout: Duration,
    rebalance_timeout: Duration,
    /// What the generation's leader said.
    assignments: BTreeMap<String, Bytes>,
}

/// ```text
/// Empty ──join──▶ Preparing ──all came, or time is up──▶ Completing ──leader synced──▶ Stable
///                     ▲──────────join, leave, silence────────┴───────────────────────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Empty,
    Preparing { until: Instant },
    Completing,
    Stable,
}

#[derive(Debug)]
struct Member {
    heard_at: Instant,
    metadata: Bytes,
    /// The request whose answer waits for the others.
    joining: Option<u64>,
    syncing: Option<u64>,
}

/// An answer that is due.
#[derive(Debug)]
pub(crate) enum Due {
    Joined(u64, Result<Joined, GroupError>),
    Synced(u64, Result<Bytes, GroupError>),
}

impl GroupCoordinator {
    pub(crate) fn new(protocol_name: &str, session_timeout: Duration, rebalance_timeout: Duration) -> Self {
        Self {
            generation_id: 0,
            committed: BTreeMap::new(),
            state: State::Empty,
            members: BTreeMap::new(),
            next_member: 0,
            protocol_name: protocol_name.to_owned(),
            session_timeout,
            rebalance_timeout,
            assignments: BTreeMap::new(),
        }
    }

    pub(crate) fn is_stable(&self) -> bool {
        self.state == State::Stable
    }

    pub(crate) fn member_ids(&self) -> impl Iterator<Item = &String> {
        self.members.keys()
    }

    pub(crate) fn join(&mut self, now: Instant, id: u64, join: Join) -> Vec<Due> {
        let mut due = Vec::new();
        if join.member_id.is_empty() {
            self.next_member += 1;
            let member_id = format!("m{}", self.next_member);
            self.members.insert(
                member_id.clone(),
                Member {
                    heard_at: now,
                    metadata: join.protocols[0].1.clone(),
                    joining: None,
                    syncing: None,
                },
            );
            return vec![Due::Joined(id, Err(GroupError::MemberIdRequired { member_id }))];
        }
        let Some(member) = self.members.get_mut(&join.member_id) else {
            return vec![Due::Joined(id, Err(GroupError::UnknownMemberId))];
        };
        member.heard_at = now;
        member.metadata = join.protocols[0].1.clone();
        if let Some(before) = member.joining.replace(id) {
            due.push(Due::Joined(before, Err(GroupError::CoordinatorUnavailable)));
        }
        due.extend(self.prepare(now));
        due.extend(self.settle(now));
        due
    }

    pub(crate) fn sync(&mut self, now: Instant, id: u64, sync: Sync) -> Vec<Due> {
        let identity = &sync.identity;
        if let Err(error) = self.check(now, &identity.member_id, identity.generation_id) {
            return vec![Due::Synced(id, Err(error))];
        }
        match self.state {
            State::Preparing { .. } => return vec![Due::Synced(id, Err(GroupError::RebalanceInProgress))],
            State::Stable => {
                let mine = self.assignments.get(&identity.member_id).cloned().unwrap_or_default();
                return vec![Due::Synced(id, Ok(mine))];
            }
            State::Completing | State::Empty => {}
        }
        let member = self.members.get_mut(&identity.member_id).expect("checked above");
        member.syncing = Some(id);
        if !sync.assignments.is_empty() {
            self.assignments = sync.assignments.into_iter().collect();
            self.state = State::Stable;
        }
        self.finish_sync()
    }

    pub(crate) fn heartbeat(&mut self, now: Instant, member_id: &str, generation_id: i32) -> Result<(), GroupError> {
        self.check(now, member_id, generation_id)?;
        match self.state {
            State::Preparing { .. } => Err(GroupError::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    pub(crate) fn leave(&mut self, now: Instant, member_id: &str) -> Vec<Due> {
        let Some(gone) = self.members.remove(member_id) else {
            return Vec::new();
        };
        let unknown = GroupError::UnknownMemberId;
        let joining = gone.joining.map(|id| Due::Joined(id, Err(unknown.clone())));
        let syncing = gone.syncing.map(|id| Due::Synced(id, Err(unknown)));
        let mut due: Vec<Due> = joining.into_iter().chain(syncing).collect();
        due.extend(self.prepare(now));
        due.extend(self.settle(now));
        due
    }

    /// Takes offsets, if the member has a right to commit them.
    pub(crate) fn commit(
        &mut self,
        now: Instant,
        member_id: &str,
        generation_id: i32,
        offsets: &BTreeMap<TopicPartition, i64>,
    ) -> Result<(), GroupError> {
        self.check(now, member_id, generation_id)?;
        if self.state == State::Completing {
            return Err(GroupError::RebalanceInProgress);
        }
        for (tp, offset) in offsets {
            let owner = self.assignments.iter().find(|(_, bytes)| {
                let assignment = Assignment::decode((*bytes).clone());
                assignment.is_ok_and(|assignment| assignment.partitions.contains(tp))
            });
            let other = owner.filter(|(owner, _)| *owner != member_id);
            assert!(other.is_none(), "{member_id} commits {tp}, which belongs to {other:?}");
            let before = self.committed.insert(tp.clone(), *offset).unwrap_or(0);
            assert!(before <= *offset, "{tp}: {member_id} set {before} back to {offset}");
        }
        Ok(())
    }

    /// Lets time pass: members that were silent are out, and a rebalance that takes too long goes on without the rest.
    pub(crate) fn tick(&mut self, now: Instant) -> Vec<Due> {
        let silent = self.members.iter().filter(|(_, member)| {
            let is_parked = member.joining.is_some();
            !is_parked && now.saturating_duration_since(member.heard_at) > self.session_timeout
        });
        let silent: Vec<String> = silent.map(|(member_id, _)| member_id.clone()).collect();
        let mut due = Vec::new();
        for member_id in silent {
            due.extend(self.leave(now, &member_id));
        }
        due.extend(self.settle(now));
        due
    }

    /// Another node took over, or somebody lost its place: parked answers are gone.
    pub(crate) fn forget_parked(&mut self) {
        for member in self.members.values_mut() {
            (member.joining, member.syncing) = (None, None);
        }
    }

    /// The member is out, as if it had been silent.
    pub(crate) fn kick(&mut self, now: Instant, member_id: &str) -> Vec<Due> {
        self.leave(now, member_id)
    }

    fn check(&mut self, now: Instant, member_id: &str, generation_id: i32) -> Result<(), GroupError> {
        let member = self.members.get_mut(member_id).ok_or(GroupError::UnknownMemberId)?;
        if generation_id != self.generation_id {
            return Err(GroupError::IllegalGeneration);
        }
        member.heard_at = now;
        Ok(())
    }

    fn prepare(&mut self, now: Instant) -> Vec<Due> {
        if let State::Preparing { .. } = self.state {
            return Vec::new();
        }
        self.state = State::Preparing {
            until: now + self.rebalance_timeout,
        };
        let parked = self.members.values_mut().filter_map(|member| member.syncing.take());
        parked
            .map(|id| Due::Synced(id, Err(GroupError::RebalanceInProgress)))
            .collect()
    }

    fn settle(&mut self, now: Instant) -> Vec<Due> {
        let State::Preparing { until } = self.state else {
            return Vec::new();
        };
        if self.members.is_empty() {
            self.state = State::Empty;
            self.assignments.clear();
            return Vec::new();
        }
        let missing: BTreeSet<String> = self
            .members
            .iter()
            .filter(|(_, member)| member.joining.is_none())
            .map(|(member_id, _)| member_id.clone())
            .collect();
        if now < until && !missing.is_empty() {
            return Vec::new();
        }
        self.members.retain(|member_id, _| !missing.contains(member_id));
        let Some(leader) = self.members.keys().next().cloned() else {
            return self.settle(now);
        };
        self.generation_id += 1;
        self.state = State::Completing;
        self.assignments.clear();
        let described: Vec<GroupMember> = self
            .members
            .iter()
            .map(|(member_id, member)| GroupMember {
                member_id: member_id.clone(),
                group_instance_id: None,
                subscription: Subscription::decode(member.metadata.clone()).expect("our own bytes"),
            })
            .collect();
        let (generation_id, protocol_name) = (self.generation_id, &self.protocol_name);
        let due = self.members.iter_mut().filter_map(|(member_id, member)| {
            member.heard_at = now;
            let id = member.joining.take()?;
            let joined = Joined {
                generation_id,
                member_id: member_id.clone(),
                leader: leader.clone(),
                protocol_name: protocol_name.clone(),
                members: if *member_id == leader {
                    described.clone()
                } else {
                    Vec::new()
                },
                skip_assignment: false,
            };
            Some(Due::Joined(id, Ok(joined)))
        });
        due.collect()
    }

    /// Followers wait until the leader's assignment is there.
    fn finish_sync(&mut self) -> Vec<Due> {
        if self.state != State::Stable {
            return Vec::new();
        }
        let assignments = &self.assignments;
        let due = self.members.iter_mut().filter_map(|(member_id, member)| {
            let id = member.syncing.take()?;
            Some(Due::Synced(
                id,
                Ok(assignments.get(member_id).cloned().unwrap_or_default()),
            ))
        });
        due.collect()
    }
}

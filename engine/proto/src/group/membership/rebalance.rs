//! A rebalance, from giving back to the new assignment: revoke, join, assign, sync.
//!
//! Each answer carries the attempt or generation that asked, and is late if the member is elsewhere.
//! Never here: the session (see `liveness`), the coordinator's whereabouts.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use bytes::Bytes;

use super::{Heartbeats, Membership};
use crate::{
    group::{
        action::{GroupAction, GroupError, Join, Joined, Sync, encoded},
        assignor::{LastAssignment, PartitionCounts, RebalanceProtocol},
        consumer_protocol::{Assignment, Subscription},
        member_state::MemberState,
    },
    topic_partition::TopicPartition,
};

impl Membership {
    /// Answer to [`GroupAction::Join`].
    pub fn handle_join(&mut self, now: Instant, attempt: u64, answer: Result<Joined, GroupError>) {
        if self.state != (MemberState::Joining { attempt }) {
            return; // A late answer to a join that we gave up.
        }
        let joined = match answer {
            Ok(joined) => joined,
            Err(error) => return self.handle_rebalance_error(now, error),
        };
        self.backoff.reset();
        self.member_id = joined.member_id;
        self.protocol_name = joined.protocol_name;
        self.heartbeat = Heartbeats {
            next: now + self.config.heartbeat_interval,
            sent: None,
            session_until: now + self.config.session_timeout,
        };
        let generation_id = joined.generation_id;
        if joined.leader != self.member_id || joined.skip_assignment {
            self.led_counts = None;
            return self.sync(generation_id, Vec::new());
        }
        let topics: BTreeSet<Arc<str>> = joined
            .members
            .iter()
            .flat_map(|member| member.subscription.topics.iter())
            .map(|topic| Arc::from(topic.as_str()))
            .collect();
        self.led_members = joined.members;
        self.state = MemberState::Assigning { generation_id };
        self.actions.push_back(GroupAction::CountPartitions {
            generation_id,
            topics: topics.into_iter().collect(),
        });
    }

    /// Answer to [`GroupAction::CountPartitions`]; topics that do not exist are absent.
    pub fn handle_partition_counts(
        &mut self,
        generation_id: i32,
        counts: Result<PartitionCounts, GroupError>,
        now: Instant,
    ) {
        if self.state != (MemberState::Assigning { generation_id }) {
            return; // A late answer for a generation we already left.
        }
        let counts = match counts {
            Ok(counts) => counts,
            Err(error) => return self.handle_rebalance_error(now, error),
        };
        let picked = self.config.assignors.iter().find(|a| a.name() == self.protocol_name);
        let Some(assignor) = picked else {
            return self.fail(GroupError::Fatal {
                name: "INCONSISTENT_GROUP_PROTOCOL".into(),
                message: format!("the coordinator picked {:?}, not offered", self.protocol_name),
            });
        };
        let members = std::mem::take(&mut self.led_members);
        let assignment = assignor.assign(&counts, &members);
        // A topic that does not exist yet has no partitions: when it has some, the group rebalances.
        let mut led = counts;
        for topic in members.iter().flat_map(|member| &member.subscription.topics) {
            if !led.contains_key(topic.as_str()) {
                led.insert(topic.as_str().into(), 0);
            }
        }
        self.watch(now, led);
        self.sync(generation_id, encoded(&assignment));
    }

    /// Answer to [`GroupAction::Sync`].
    pub fn handle_sync(&mut self, now: Instant, generation_id: i32, answer: Result<Bytes, GroupError>) {
        if self.state != (MemberState::Syncing { generation_id }) {
            return; // A late answer for a generation we already left.
        }
        let assignment = match answer.map(Assignment::decode) {
            Ok(Ok(assignment)) => assignment,
            Ok(Err(error)) => {
                return self.fail(GroupError::Fatal {
                    name: "INVALID_ASSIGNMENT".into(),
                    message: error.to_string(),
                });
            }
            Err(error) => return self.handle_rebalance_error(now, error),
        };
        self.stats.rebalances += 1;
        if let Some(started) = self.rebalance_started.take() {
            self.stats.last_rebalance = now.saturating_duration_since(started);
        }
        self.state = MemberState::Stable { generation_id };
        self.rejoins_at_once = 0;
        self.generation_id = Some(generation_id);
        let partitions: BTreeSet<_> = assignment
            .partitions
            .into_iter()
            .filter(|tp| tp.partition >= 0)
            .collect();
        self.last_assignment = Some(LastAssignment {
            generation_id,
            partitions: partitions.iter().cloned().collect(),
        });
        let owned = self.ownership.owned().clone();
        self.ownership
            .assign(generation_id, partitions.difference(&owned).cloned().collect());
        // Only a cooperative member still owns something here; what moved away is revoked now.
        let moved: BTreeSet<_> = owned.difference(&partitions).cloned().collect();
        if !moved.is_empty() {
            self.revoke(now, generation_id, moved);
        } else if self.topics != self.joined_topics {
            self.rebalance(now, generation_id);
        }
    }

    fn handle_rebalance_error(&mut self, now: Instant, error: GroupError) {
        self.state = MemberState::Unjoined;
        if error != GroupError::CoordinatorUnavailable {
            self.heartbeat.session_until = now + self.config.session_timeout; // It has heard of us.
        }
        match error {
            GroupError::MemberIdRequired { member_id } => {
                self.member_id = member_id;
                self.rejoin(now);
            }
            GroupError::UnknownMemberId => {
                self.member_id.clear();
                self.lose(now);
            }
            GroupError::IllegalGeneration => self.lose(now),
            GroupError::RebalanceInProgress => self.rejoin(now),
            GroupError::CoordinatorUnavailable => {
                self.coordinator = None;
                self.back_off(now);
            }
            GroupError::CoordinatorLoading => self.back_off(now),
            GroupError::FencedInstanceId | GroupError::Fatal { .. } => self.fail(error),
        }
    }

    pub(super) fn join(&mut self, now: Instant, coordinator: i32) -> Join {
        self.attempts += 1;
        let attempt = self.attempts;
        self.state = MemberState::Joining { attempt };
        self.rebalance_started.get_or_insert(now);
        self.joined_topics = self.topics.clone();
        self.led_counts = None;
        let protocols = self.config.assignors.iter().map(|assignor| {
            let subscription = Subscription {
                topics: self.topics.iter().map(|topic| topic.to_string()).collect(),
                user_data: assignor.user_data(self.last_assignment.as_ref()),
                owned_partitions: self.ownership.owned().iter().cloned().collect(),
                generation_id: self.generation_id,
                rack_id: self.config.rack_id.clone(),
            };
            (assignor.name().to_owned(), subscription.encode())
        });
        Join {
            attempt,
            coordinator,
            member_id: self.member_id.clone(),
            protocols: protocols.collect(),
        }
    }

    fn sync(&mut self, generation_id: i32, assignments: Vec<(String, Bytes)>) {
        self.state = MemberState::Syncing { generation_id };
        let Some(coordinator) = self.coordinator else {
            self.state = MemberState::Unjoined; // A heartbeat found it gone meanwhile.
            return;
        };
        self.actions.push_back(GroupAction::Sync(Sync {
            identity: self.identity(coordinator, generation_id),
            protocol_name: self.protocol_name.clone(),
            assignments,
        }));
    }

    pub(super) fn rebalance(&mut self, now: Instant, generation_id: i32) {
        // Any of the offered assignors may be picked, so all of them must be able to leave partitions
        // where they are (KIP-429).
        let mut assignors = self.config.assignors.iter();
        let revoked = match assignors.all(|a| a.rebalance_protocol() == RebalanceProtocol::Cooperative) {
            true => BTreeSet::new(),
            false => self.ownership.owned().clone(),
        };
        self.revoke(now, generation_id, revoked);
    }

    fn revoke(&mut self, now: Instant, generation_id: i32, revoked: BTreeSet<TopicPartition>) {
        self.retry_at = Some(now);
        self.state = MemberState::Unjoined;
        if self.ownership.revoke(generation_id, &revoked) {
            let until = now + self.config.rebalance_timeout;
            self.state = MemberState::Revoking { generation_id, until };
            self.revoking = revoked;
            self.revocation_seen = false;
        }
    }
}
